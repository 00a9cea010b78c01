//! Knobs in a plan: the nearest profile, and the differences from it.
//!
//! A plan is made for readers, and three dozen defaults would hide the one number that matters.

use protocol::config::Knobs;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::{Table, Value};

/// Writes the differences from the nearer profile.
pub(crate) fn serialize<S: Serializer>(knobs: &Knobs, serializer: S) -> Result<S::Ok, S::Error> {
    let all = Table::try_from(knobs).map_err(S::Error::custom)?;
    let differing = |name: &str, base: &Knobs| -> Result<Table, S::Error> {
        let base = Table::try_from(base).map_err(S::Error::custom)?;
        let mut table: Table =
            all.clone().into_iter().filter(|(key, value)| base.get(key) != Some(value)).collect();
        table.insert(PROFILE.to_owned(), Value::String(name.to_owned()));
        Ok(table)
    };
    let (fast, default) =
        (differing("fast", &Knobs::fast())?, differing("default", &Knobs::default())?);
    if fast.len() <= default.len() {
        fast.serialize(serializer)
    } else {
        default.serialize(serializer)
    }
}

/// Reads knobs; values that are not written are those of the profile, or of the product's defaults
/// if none is named.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Knobs, D::Error> {
    let mut written = Table::deserialize(deserializer)?;
    let base = match written.remove(PROFILE) {
        None => Knobs::default(),
        Some(Value::String(name)) if name == "default" => Knobs::default(),
        Some(Value::String(name)) if name == "fast" => Knobs::fast(),
        Some(other) => {
            return Err(D::Error::custom(format!("profile = {other}: `fast` or `default`")));
        }
    };
    let mut all = Table::try_from(&base).map_err(D::Error::custom)?;
    all.extend(written);
    all.try_into().map_err(D::Error::custom)
}

const PROFILE: &str = "profile";

#[cfg(test)]
mod tests {
    use protocol::config::Knobs;
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Page {
        #[serde(with = "super")]
        knobs: Knobs,
    }

    #[track_caller]
    fn check(knobs: Knobs, text: &str) {
        let page = Page { knobs };
        assert_eq!(toml::to_string(&page).unwrap(), text);
        assert_eq!(toml::from_str::<Page>(text).unwrap(), page);
    }

    #[test]
    fn only_what_differs_is_written() {
        check(Knobs::fast(), "[knobs]\nprofile = \"fast\"\n");
        check(
            Knobs { preempt: true, ..Knobs::default() },
            "[knobs]\npreempt = true\nprofile = \"default\"\n",
        );
    }

    #[test]
    fn what_nobody_knows_is_refused() {
        for text in
            ["[knobs]\nprofile = \"slow\"\n", "[knobs]\nprofile = 3\n", "[knobs]\nspeed = 1\n"]
        {
            assert!(toml::from_str::<Page>(text).is_err(), "{text}");
        }
        let page: Page =
            toml::from_str("[knobs]\nretain_entries = 4\nmax_lag_entries = 2\n").unwrap();
        assert_eq!(page.knobs, Knobs { retain_entries: 4, max_lag_entries: 2, ..Knobs::default() });
    }
}
