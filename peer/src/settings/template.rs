//! A configuration file with every setting, its meaning and its default, generated from the flags.
//!
//! Every setting is commented out, so that a later build may have better defaults for users who
//! have changed nothing.

use clap::{Arg, ArgAction};

use super::variables::{bare, names};

/// The file.
#[must_use]
pub fn template() -> String {
    let mut text = HEAD.to_owned();
    let mut heading = None;
    for arg in bare().get_arguments() {
        let Some(flag) = arg.get_long().filter(|flag| !ONLY_FLAGS.contains(flag)) else { continue };
        if arg.get_help_heading() != heading {
            heading = arg.get_help_heading();
            text.push_str(&format!("\n# ── {} ──\n", heading.unwrap_or("The peer")));
        }
        text.push_str(&format!(
            "\n{}# {} = {}\n",
            comment(arg, flag),
            flag.replace('-', "_"),
            value(arg)
        ));
    }
    text
}

/// The meaning of the setting, and its environment variable.
fn comment(arg: &Arg, flag: &str) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let possible: Vec<String> =
        arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    let possible = if possible.is_empty() || is_switch(arg) {
        String::new()
    } else {
        format!(" [one of: {}]", possible.join(", "))
    };
    fill(&format!("{help}{possible} [variable: {}]", names(flag).join(" or ")))
}

/// Wraps a text into lines of comment.
fn fill(text: &str) -> String {
    let (mut lines, mut line) = (String::new(), String::from("#"));
    for word in text.split_whitespace() {
        if line.len() + word.len() >= WIDTH && line.len() > 1 {
            lines.push_str(&line);
            lines.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    lines + &line + "\n"
}

/// The default in the file's syntax; if there is none, an example.
fn value(arg: &Arg) -> String {
    let name = arg.get_long().unwrap_or_default().replace('-', "_");
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let example =
        EXAMPLES.iter().find(|(of, _)| *of == name).map(|(_, example)| (*example).to_owned());
    let value = example
        .or_else(|| default_in(&help).map(str::to_owned))
        .unwrap_or_else(|| "false".to_owned());
    let is_plain = value.starts_with(['"', '['])
        || value == "true"
        || value == "false"
        || value.parse::<i64>().is_ok();
    let value = if is_plain { value } else { format!("\"{value}\"") };
    if matches!(arg.get_action(), ArgAction::Append) && !value.starts_with('[') {
        format!("[{value}]")
    } else {
        value
    }
}

/// The `X` of `[default: X]` or `[default: X; …]`.
pub(super) fn default_in(help: &str) -> Option<&str> {
    let rest = &help[help.find(DEFAULT)? + DEFAULT.len()..];
    rest.split([']', ';']).next()
}

fn is_switch(arg: &Arg) -> bool {
    arg.get_possible_values().iter().all(|value| matches!(value.get_name(), "true" | "false"))
}

const DEFAULT: &str = "[default: ";
/// Flags without a key in the file.
const ONLY_FLAGS: [&str; 2] = ["config", "die-with"];
/// For settings without a default, or without a single one.
pub(super) const EXAMPLES: [(&str, &str); 18] = [
    ("id", "\"kitchen\""),
    ("address", "\"192.168.1.5\""),
    ("advertise", "\"kitchen.example.org:7000\""),
    ("port", "7000"),
    ("seeds", "[\"192.168.1.5:7000\", \"attic:7000\"]"),
    ("data_dir", "\"/var/lib/sensor-peers/data\""),
    ("events", "\"/var/lib/sensor-peers/events.jsonl\""),
    ("inputs", "\"/var/lib/sensor-peers/inputs.bin\""),
    ("load_rate", "1000"),
    ("load_count", "100000"),
    ("socket_group", "\"sensor-peers\""),
    ("http", "\"127.0.0.1:8080\""),
    ("http_token_file", "\"/etc/sensor-peers/token\""),
    ("http_host", "[\"kitchen.lan\"]"),
    ("bootstrap", "[\"attic\", \"cellar\", \"kitchen\"]"),
    ("timing", "\"default\""),
    ("stdin_commands", "false"),
    ("load_latency", "false"),
];
const WIDTH: usize = 98;
const HEAD: &str = "\
# The configuration of a peer: `peer run --config FILE`. `peer config check FILE` finds mistakes.
#
# Every setting is a comment here and says its default, or an example where the default is nothing.
# Take the `# ` in front of a line away to change it. A flag goes before a variable of the
# environment, that before this file, and this file before the default.
#
# Durations have a unit: ms, s, m, h (\"100ms\", \"1m 30s\"). Sizes are bytes, or have a unit: KiB,
# MiB, GiB (\"64MiB\"). Counts have none. After a change, SIGHUP (`systemctl reload peer`) has a
# running peer read this file again; it says what it has taken over, and what needs a restart.
";

/// Each flag, and the file's value for it in the syntax of the command line.
#[cfg(test)]
pub(super) fn file_values() -> Vec<(String, String)> {
    let plain = |value: String| value.chars().filter(|c| !"[]\" ".contains(*c)).collect();
    let flags = bare()
        .get_arguments()
        .filter_map(|arg| Some((arg.get_long()?.to_owned(), plain(value(arg)))))
        .collect::<Vec<_>>();
    flags.into_iter().filter(|(flag, _)| !ONLY_FLAGS.contains(&flag.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Raw, Settings};
    use super::{EXAMPLES, ONLY_FLAGS, bare, default_in, template};

    /// Each line that is a setting, without the comment sign.
    fn settings() -> Vec<String> {
        let text = template();
        text.lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| is_setting(line))
            .map(str::to_owned)
            .collect()
    }

    fn is_setting(line: &str) -> bool {
        line.split_once(" = ")
            .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    }

    fn checked(text: &str) -> Settings {
        let raw: Raw = toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        Settings::check(raw).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn it_has_every_setting_once_and_in_a_form_that_is_read() {
        let flags: Vec<String> =
            bare().get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned)).collect();
        let named: Vec<String> = settings()
            .iter()
            .map(|line| line.split(' ').next().unwrap().replace('_', "-"))
            .collect();
        let expected: Vec<String> =
            flags.into_iter().filter(|flag| !ONLY_FLAGS.contains(&flag.as_str())).collect();
        assert_eq!(named, expected);
        for line in settings() {
            let raw: Raw = toml::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_ne!(raw, Raw::default(), "{line}: it says something");
        }
        assert_eq!(
            toml::from_str::<Raw>(&template()).unwrap(),
            Raw::default(),
            "as it is written, it changes nothing"
        );
        assert!(
            template().lines().all(|line| line.chars().count() <= 100),
            "lines that fit a terminal"
        );
    }

    #[test]
    fn what_it_calls_a_default_is_the_default() {
        let usual = format!("{:?}", checked(""));
        for line in settings() {
            let name = line.split(' ').next().unwrap();
            let is_default = !EXAMPLES.iter().any(|(example, _)| *example == name)
                || ["timing", "stdin_commands"].contains(&name);
            // The load flags need the sensor of that name.
            let (text, usual) = if name.starts_with("load_") && is_default {
                (
                    format!("{line}\nsensor = [\"load\"]"),
                    format!("{:?}", checked("sensor = [\"load\"]")),
                )
            } else {
                (line.clone(), usual.clone())
            };
            if is_default {
                assert_eq!(format!("{:?}", checked(&text)), usual, "{line}");
            }
        }
    }

    #[test]
    fn a_flag_says_its_default_or_has_an_example() {
        for arg in bare().get_arguments() {
            let Some(flag) = arg.get_long().filter(|flag| !ONLY_FLAGS.contains(flag)) else {
                continue;
            };
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let known = EXAMPLES.iter().any(|(name, _)| *name == flag.replace('-', "_"));
            assert!(
                known || default_in(&help).is_some(),
                "--{flag}: write `[default: …]` into its help, or an example into EXAMPLES"
            );
        }
    }
}
