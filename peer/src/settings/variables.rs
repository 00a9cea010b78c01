//! The environment: each flag of `peer run` has a variable, for containers and services.
//!
//! The flags come from `clap` by name, so a new flag has its variable at once. The variables are
//! read here and not by `clap` itself, because for `clap` an empty variable is a wrong value; here
//! it counts as not set, as `${PORT:-}` in a Compose file means it. The order is flag, variable,
//! file, default.

use std::ffi::OsString;

use clap::{Arg, Args as _, Command, FromArgMatches as _};

use super::Raw;

impl Raw {
    /// These settings, completed by environment variables. An empty variable counts as not set.
    ///
    /// # Errors
    /// Which variable is wrong, and why.
    pub fn with_environment(
        self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, String> {
        let mut flags: Vec<(OsString, String)> = Vec::new();
        for arg in bare().get_arguments() {
            let Some(flag) = arg.get_long() else { continue };
            let given = names(flag)
                .into_iter()
                .find_map(|name| Some((variable(&name).filter(|value| !value.is_empty())?, name)));
            if let Some((value, name)) = given {
                let mut word = OsString::from(format!("--{flag}="));
                word.push(value);
                flags.push((word, name));
            }
        }
        let mut environment = Self::default();
        // One at a time, so that each mistake names its variable; variables overridden by a flag
        // are ignored.
        for (word, name) in flags {
            match parse(word) {
                Ok(one) => environment = environment.over(one),
                Err(_) if self.gives(&name) => {}
                Err(why) => return Err(format!("the variable {name}: {why}; correct or unset it")),
            }
        }
        Ok(self.over(environment))
    }

    /// Whether a flag sets the setting of this variable.
    fn gives(&self, variable: &str) -> bool {
        let default = Self::default();
        default
            .differences(self)
            .iter()
            .any(|(field, _)| names(field).iter().any(|name| name == variable))
    }
}

/// Adds the variable to the help of each flag.
pub fn document(arg: Arg) -> Arg {
    let Some(names) = arg.get_long().map(names) else { return arg };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    arg.help(format!("{help} [env: {}]", names.join(" or ")))
}

/// The variables of a flag or setting; the first one that is set wins.
pub(super) fn names(flag: &str) -> Vec<String> {
    let own = flag.replace('-', "_").to_uppercase();
    // All programs of this system have used this one from the beginning.
    let plain = (own == BROADCAST_PORT).then(|| own.clone());
    std::iter::once(format!("PEER_{own}")).chain(plain).collect()
}

/// A command with these flags only.
pub(super) fn bare() -> Command {
    Raw::augment_args(Command::new("peer").disable_help_flag(true))
}

fn parse(word: OsString) -> Result<Raw, String> {
    let matches = bare().try_get_matches_from([OsString::from("peer"), word]);
    matches.and_then(|matches| Raw::from_arg_matches(&matches)).map_err(|error| {
        // The help up to the first empty line; the usage follows it.
        let text = error.to_string();
        let lines = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim);
        let words = lines.collect::<Vec<_>>().join(" ");
        words.strip_prefix("error: ").unwrap_or(&words).to_owned()
    })
}

const BROADCAST_PORT: &str = "BROADCAST_PORT";

#[cfg(test)]
mod tests {
    use super::super::template::file_values;
    use super::{Raw, bare, document, names, parse};
    use std::ffi::OsString;

    fn with(variables: &[(&str, &str)]) -> Result<Raw, String> {
        let variable = |name: &str| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| OsString::from(value))
        };
        Raw::default().with_environment(variable)
    }

    #[test]
    fn every_flag_has_a_variable_that_says_the_same() {
        // The configuration file has a value for each of them; those of the two others are
        // invented.
        let values = file_values()
            .into_iter()
            .chain([("config".into(), "peer.toml".into()), ("die-with".into(), "1".into())]);
        let mut seen = 0;
        for (flag, value) in values {
            let said = parse(format!("--{flag}={value}").into()).unwrap();
            assert_ne!(said, Raw::default(), "--{flag}={value}");
            for name in names(&flag) {
                assert_eq!(with(&[(&name, &value)]).as_ref(), Ok(&said), "{name}={value}");
                assert_eq!(with(&[(&name, "")]), Ok(Raw::default()), "{name}= is not set");
            }
            let name = names(&flag).remove(0);
            let arg = bare()
                .get_arguments()
                .find(|arg| arg.get_long() == Some(&flag))
                .cloned()
                .map(document)
                .unwrap();
            assert!(
                arg.get_help().unwrap().to_string().contains(&format!("[env: {name}")),
                "--{flag} does not say its variable"
            );
            // A flag overrides it, and then its value does not matter.
            let nonsense = |wanted: &str| (wanted == name).then(|| OsString::from("\u{1}"));
            assert_eq!(
                said.clone().with_environment(nonsense).map(|raw| raw.over(Raw::default())),
                Ok(said),
                "{name}"
            );
            seen += 1;
        }
        assert_eq!(
            seen,
            bare().get_arguments().filter(|arg| arg.get_long().is_some()).count(),
            "none is left out"
        );
    }

    #[test]
    fn a_wrong_variable_is_named() {
        for (name, value, words) in [
            ("PEER_PORT", "99999", "99999"),
            ("PEER_TIMING", "slow", "fast"),
            ("PEER_INTERVAL", "15", "15s"),
            ("PEER_SEEDS", "attic", "host:port"),
            ("BROADCAST_PORT", "many", "many"),
        ] {
            let why = with(&[(name, value)]).unwrap_err();
            assert!(
                why.starts_with(&format!("the variable {name}: ")) && why.contains(words),
                "{why}"
            );
            assert!(
                why.ends_with("; correct or unset it")
                    && !why.contains('\n')
                    && !why.contains("Usage"),
                "{why}"
            );
        }
        let both = with(&[("PEER_BROADCAST_PORT", "7001"), ("BROADCAST_PORT", "7002")]).unwrap();
        assert_eq!(
            both.broadcast_port,
            Some(7_001),
            "the name that says whose it is goes before the other"
        );
    }
}
