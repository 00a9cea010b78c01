//! The sensors of a peer: names on the command line, or `[[sensor]]` tables in the file.
//!
//! A table is checked while it is parsed, so that a mistake is reported with its line and column.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::value::Span;

/// A kind of sensor, as it is named in a list or by a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SensorName {
    /// CPU, memory, load, disk and temperatures of this machine
    Host,
    /// Made-up temperature, humidity and pressure, labelled so
    Synthetic,
    /// Each line of standard input is a reading
    Stdin,
    /// Synthetic load, for measuring: as many readings as the group takes, or as the flags --load-…
    /// say
    Load,
    /// Nothing: a peer that only listens
    None,
}

/// A sensor as given: a name, or a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawSensor {
    /// A name.
    Named(SensorName),
    /// A table of the file.
    Table(Box<SensorSettings>),
}

/// One sensor.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "SensorTable")]
pub struct SensorSettings {
    /// Its name; a reading without a sensor belongs to `<peer>.<name>`.
    pub name: String,
    /// The source of its readings.
    pub source: SourceSettings,
    /// Tags of each of its readings.
    pub tags: Vec<(String, String)>,
    /// The units of its fields.
    pub units: BTreeMap<String, String>,
}

/// The source of readings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSettings {
    /// This machine.
    Host {
        /// The interval; none to use the file's `interval`.
        every: Option<Duration>,
    },
    /// Synthetic weather.
    Synthetic {
        /// The interval; none to use the file's `interval`.
        every: Option<Duration>,
    },
    /// Lines of standard input.
    Stdin,
    /// Output lines of a command.
    Exec(ExecSettings),
    /// Lines appended to a file.
    File(FileSettings),
}

/// A command with readings as output lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecSettings {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The schedule; none for a command that runs continuously.
    pub run: Option<Run>,
}

/// The schedule of a command, and its timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// From one start to the next.
    pub every: Duration,
    /// A run that takes longer is killed.
    pub timeout: Duration,
}

/// A file to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// Its path.
    pub path: PathBuf,
    /// Whether to begin with the existing data, or after it.
    pub from_start: bool,
}

impl SensorSettings {
    /// Its kind in a report.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.source {
            SourceSettings::Host { .. } => "host",
            SourceSettings::Synthetic { .. } => "synthetic",
            SourceSettings::Stdin => "stdin",
            SourceSettings::Exec(_) => "exec",
            SourceSettings::File(_) => "file",
        }
    }

    fn named(name: &str, source: SourceSettings) -> Self {
        Self { name: name.to_owned(), source, tags: Vec::new(), units: BTreeMap::new() }
    }
}

/// The wanted sensors, and whether synthetic load is wanted.
pub(super) fn gather(given: Vec<RawSensor>) -> Result<(Vec<SensorSettings>, bool), String> {
    let (mut names, mut sensors) = (BTreeSet::new(), Vec::new());
    for sensor in given {
        match sensor {
            RawSensor::Named(name) => drop(names.insert(name)),
            RawSensor::Table(table) => sensors.push(*table),
        }
    }
    if names.is_empty() && sensors.is_empty() {
        names.insert(SensorName::Host);
    }
    if names.remove(&SensorName::None) && !(names.is_empty() && sensors.is_empty()) {
        return Err("sensor: `none` goes with no other sensor".to_owned());
    }
    let has_load = names.remove(&SensorName::Load);
    for name in names.into_iter().rev() {
        let sensor = match name {
            SensorName::Host => SensorSettings::named("host", SourceSettings::Host { every: None }),
            SensorName::Synthetic => {
                SensorSettings::named("synthetic", SourceSettings::Synthetic { every: None })
            }
            SensorName::Stdin => SensorSettings::named("stdin", SourceSettings::Stdin),
            SensorName::Load | SensorName::None => unreachable!("they were taken out above"),
        };
        sensors.insert(0, sensor);
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = sensors.iter().find(|sensor| !seen.insert(sensor.name.as_str())) {
        return Err(format!(
            "two sensors have the name {:?}; give one of them another `name`",
            twice.name
        ));
    }
    if sensors.iter().filter(|sensor| sensor.source == SourceSettings::Stdin).count() > 1 {
        return Err("two sensors are of the kind `stdin`; standard input has one reader".to_owned());
    }
    if sensors.len() > SENSORS_MAX {
        return Err(format!(
            "there are {} sensors; one peer has at most {SENSORS_MAX}, so start a second one",
            sensors.len()
        ));
    }
    Ok((sensors, has_load))
}

impl<'de> Deserialize<'de> for RawSensor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrTable;
        impl<'de> Visitor<'de> for NameOrTable {
            type Value = RawSensor;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a sensor, or a [[sensor]] table")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<RawSensor, E> {
                SensorName::from_str(name, false).map(RawSensor::Named).map_err(|_| {
                    E::unknown_variant(name, &["host", "synthetic", "stdin", "load", "none"])
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawSensor, A::Error> {
                SensorSettings::deserialize(MapAccessDeserializer::new(map))
                    .map(|table| RawSensor::Table(Box::new(table)))
            }
        }
        deserializer.deserialize_any(NameOrTable)
    }
}

/// A `[[sensor]]` table in its written form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SensorTable {
    name: Option<String>,
    exec: Option<Command>,
    file: Option<PathBuf>,
    kind: Option<Kind>,
    every: Option<Span>,
    timeout: Option<Span>,
    from: Option<From>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    units: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Host,
    Synthetic,
    Stdin,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum From {
    Start,
    End,
}

/// A program and its arguments.
struct Command(Vec<String>);

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = Command;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a list of the program and its arguments, such as \
                             [\"/usr/bin/sensors\", \"-j\"]",
                )
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut words: A) -> Result<Command, A::Error> {
                let mut command: Vec<String> = Vec::new();
                while let Some(word) = words.next_element()? {
                    command.push(word);
                }
                Ok(Command(command))
            }
        }
        deserializer.deserialize_any(Words)
    }
}

impl TryFrom<SensorTable> for SensorSettings {
    type Error = String;

    fn try_from(table: SensorTable) -> Result<Self, String> {
        let SensorTable { name, exec, file, kind, every, timeout, from, tags, units } = table;
        let every = every.map(Duration::from);
        let timeout = timeout.map(Duration::from);
        for (key, span) in [("every", every), ("timeout", timeout)] {
            if let Some(span) = span.filter(|span| *span < EVERY_MIN || *span > EVERY_MAX) {
                return Err(format!("{key} is {span:?}; make it {EVERY_MIN:?} to {EVERY_MAX:?}"));
            }
        }
        let is_exec = exec.is_some();
        if timeout.is_some() && !(is_exec && every.is_some()) {
            return Err("timeout goes with `exec` and `every`: it ends a run that takes too long"
                .to_owned());
        }
        if from.is_some() && file.is_none() {
            return Err("from goes with `file`".to_owned());
        }
        let (usual, source) = match (exec, file, kind) {
            (Some(Command(command)), None, None) => {
                if command.first().is_none_or(String::is_empty) {
                    return Err("exec names no program".to_owned());
                }
                if command.iter().any(|word| word.contains('\0')) {
                    return Err("exec has a word with a NUL in it".to_owned());
                }
                let run = every.map(|every| Run { every, timeout: timeout.unwrap_or(every) });
                (None, SourceSettings::Exec(ExecSettings { command, run }))
            }
            (None, Some(path), None) => {
                if every.is_some() {
                    return Err(
                        "every: a file is read whenever something is appended to it; leave \
                                `every` out"
                            .to_owned(),
                    );
                }
                (
                    None,
                    SourceSettings::File(FileSettings {
                        path,
                        from_start: from == Some(From::Start),
                    }),
                )
            }
            (None, None, Some(Kind::Host)) => (Some("host"), SourceSettings::Host { every }),
            (None, None, Some(Kind::Synthetic)) => {
                (Some("synthetic"), SourceSettings::Synthetic { every })
            }
            (None, None, Some(Kind::Stdin)) => {
                if every.is_some() {
                    return Err(
                        "every: lines of standard input are read when they come; leave `every` out"
                            .to_owned(),
                    );
                }
                (Some("stdin"), SourceSettings::Stdin)
            }
            _ => return Err("a sensor has exactly one of `exec`, `file` and `kind`".to_owned()),
        };
        let name = name
            .or_else(|| usual.map(str::to_owned))
            .ok_or("a sensor with `exec` or `file` needs a `name`")?;
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_of_name) {
            return Err(format!("name is {name:?}; make it 1 to {NAME_MAX} of A-Z a-z 0-9 . _ -"));
        }
        if tags.len() > TAGS_MAX || tags.keys().any(String::is_empty) {
            return Err(format!("tags: at most {TAGS_MAX}, each with a name"));
        }
        Ok(Self { name, source, tags: tags.into_iter().collect(), units })
    }
}

/// Each blocking sensor has a thread of its own.
const SENSORS_MAX: usize = 64;
/// So that `<peer>.<name>` leaves room for the peer.
const NAME_MAX: usize = 32;
const TAGS_MAX: usize = 32;
const EVERY_MIN: Duration = Duration::from_millis(10);
const EVERY_MAX: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::{
        Duration, ExecSettings, FileSettings, RawSensor, Run, SensorSettings, SourceSettings,
        gather,
    };
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct File {
        sensor: Vec<RawSensor>,
    }

    fn sensors(text: &str) -> Result<Vec<SensorSettings>, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        gather(file.sensor).map(|(sensors, _)| sensors)
    }

    #[track_caller]
    fn check_refused(text: &str, place: &str, words: &str) {
        let error = sensors(text).expect_err("refused");
        assert!(error.contains(place) && error.contains(words), "{error}");
    }

    #[test]
    fn a_table_is_read() {
        let text = "[[sensor]]\nname = 'bme280'\nexec = ['/usr/local/bin/read', '-1']\nevery = \
                    '15s'\n\
                    units = { celsius = '°C' }\ntags = { room = 'kitchen' }\n\
                    [[sensor]]\nname = 'log'\nfile = '/var/log/x'\nfrom = 'start'\n\
                    [[sensor]]\nkind = 'host'\nevery = '1m'\n[[sensor]]\nname = 'on'\nexec = \
                    ['x']\n";
        let [meter, log, host, on] =
            <[SensorSettings; 4]>::try_from(sensors(text).unwrap()).unwrap();
        let run = Run { every: Duration::from_secs(15), timeout: Duration::from_secs(15) };
        let command = ["/usr/local/bin/read", "-1"].map(str::to_owned).into();
        assert_eq!(meter.source, SourceSettings::Exec(ExecSettings { command, run: Some(run) }));
        assert_eq!((meter.name.as_str(), &meter.units["celsius"]), ("bme280", &"°C".to_owned()));
        assert_eq!(meter.tags, [("room".to_owned(), "kitchen".to_owned())]);
        assert_eq!(
            log.source,
            SourceSettings::File(FileSettings { path: "/var/log/x".into(), from_start: true })
        );
        assert_eq!(
            (host.name.as_str(), host.source),
            ("host", SourceSettings::Host { every: Some(Duration::from_secs(60)) })
        );
        assert_eq!(
            on.source,
            SourceSettings::Exec(ExecSettings { command: vec!["x".to_owned()], run: None })
        );
    }

    #[test]
    fn names_go_on_working() {
        let names = |text: &str| {
            sensors(text).unwrap().into_iter().map(|sensor| sensor.name).collect::<Vec<_>>()
        };
        assert_eq!(names("sensor = ['stdin', 'host', 'host']"), ["host", "stdin"]);
        assert_eq!(names("sensor = []"), ["host"]);
        assert_eq!(names("sensor = ['none']"), [""; 0]);
        check_refused("sensor = ['host', 'nose']", "line 1, column 19", "`stdin`");
        check_refused("sensor = ['none', 'host']", "", "no other sensor");
    }

    #[test]
    fn mistakes_are_told_with_their_place_and_their_cure() {
        let head = "[[sensor]]\nname = 'm'\n";
        let check = |rest: &str, place: &str, words: &str| {
            check_refused(&format!("{head}{rest}"), place, words)
        };
        check("exec = 'read -1'", "line 3, column 8", "a list of the program and its arguments");
        check("exec = ['x']\nevry = '1s'", "line 4, column 1", "`every`");
        check("exec = ['x']\nevery = 15", "line 4, column 9", "expected a string");
        check("exec = ['x']\nevery = 'soon'", "line 4, column 9", "such as 100ms");
        check("kind = 'load'", "line 3, column 8", "`host`, `synthetic`, `stdin`");
        check("exec = ['x']\ntags = { room = 1 }", "line 4, column 17", "string");
        check("", "line 1, column 1", "exactly one of");
        check("exec = ['x']\nfile = 'y'", "line 1, column 1", "exactly one of");
        check("exec = []", "line 1, column 1", "no program");
        check("exec = ['x']\ntimeout = '1s'", "line 1, column 1", "goes with `exec` and `every`");
        check("exec = ['x']\nfrom = 'start'", "line 1, column 1", "goes with `file`");
        check("file = 'x'\nevery = '1s'", "line 1, column 1", "leave `every` out");
        check("exec = ['x']\nevery = '1ms'", "line 1, column 1", "10ms");
        check_refused("[[sensor]]\nfile = 'x'", "line 1, column 1", "needs a `name`");
        check_refused("[[sensor]]\nfile = 'x'\nname = 'a b'", "line 1, column 1", "A-Z a-z 0-9");
        check(&format!("exec = ['x']\n{head}exec = ['y']"), "", "another `name`");
        check_refused(
            "[[sensor]]\nkind = 'stdin'\n[[sensor]]\nname = 'b'\nkind = 'stdin'",
            "",
            "one reader",
        );
    }
}
