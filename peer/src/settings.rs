//! The settings of `peer run`: flags and a file with the same names, raw as given, then checked.
//! Flags win.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;
use nix::unistd::Group;
use protocol::config::{Config, Knobs};
use protocol::id::PeerId;

pub use self::raw::{Raw, Switch, Timing};
pub use self::sensor::{
    ExecSettings, FileSettings, RawSensor, Run, SensorName, SensorSettings, SourceSettings,
};
pub use self::template::template;
use self::value::Size;
pub use self::variables::document;
use crate::door::Opening;
use crate::failure::{BAD_FILE, Failure, USAGE};
use crate::notify;
use crate::seed_addresses::SeedAddress;
use crate::sensors::load::{LoadSettings, STAMP};
use crate::web::address::HttpSettings;

mod raw;
mod sensor;
mod template;
mod value;
mod variables;

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The peer's name; generated if none is given.
    pub id: Option<PeerId>,
    /// The address to listen on; detected if none is given.
    pub address: Option<Ipv4Addr>,
    /// The address that others are told, if it is not an address of this machine.
    pub advertise: Option<SeedAddress>,
    /// The TCP port; 0 takes a free one.
    pub port: u16,
    /// The explicit priority.
    pub priority: i64,
    /// The UDP port on which peers meet.
    pub broadcast_port: u16,
    /// Peers to contact by unicast.
    pub seeds: Vec<SeedAddress>,
    /// The knobs of the protocol.
    pub config: Config,
    /// The sensors.
    pub sensors: Vec<SensorSettings>,
    /// Whether lines of standard input may begin with a command.
    pub stdin_commands: bool,
    /// The synthetic load.
    pub load: Option<LoadSettings>,
    /// Whether to measure the latency of synthetic load.
    pub load_latency: bool,
    /// The interval of sensors without one of their own.
    pub interval: Duration,
    /// The sinks for deliveries.
    pub data: Option<DataSettings>,
    /// The event file.
    pub events: Option<PathBuf>,
    /// The file for recorded inputs.
    pub inputs: Option<PathBuf>,
    /// Whether every single reading is reported.
    pub log_deliveries: bool,
    /// The log level.
    pub log_level: LevelFilter,
    /// Access to the socket for commands.
    pub opening: Opening,
    /// The address of the page and the metrics, if they are served.
    pub http: Option<HttpSettings>,
    /// The source of the settings, so that the file can be read again.
    pub source: Source,
}

/// The given settings, by source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    /// Flags, and environment variables.
    flags: Raw,
    /// The same completed by the file.
    whole: Raw,
}

/// The differences after the file was read again.
#[derive(Debug)]
pub struct Changes {
    /// The new settings.
    pub settings: Settings,
    /// The names of settings with another effect than before.
    pub names: Vec<&'static str>,
}

/// The sinks for deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSettings {
    /// The folder.
    pub folder: PathBuf,
    /// A file that would grow beyond this is rotated.
    pub rotate_bytes: u64,
    /// How many files of a kind are kept beside the current one.
    pub rotate_keep: u32,
    /// Whether there is a table for each sensor, too.
    pub csv: bool,
}

impl Settings {
    /// Reads the file if there is one, completes it with the flags, which win, and checks the
    /// whole.
    ///
    /// # Errors
    /// [`Failure`] with the code of a bad file if the file is at fault, with that of usage if the
    /// flags are.
    pub fn gather(flags: Raw) -> Result<Self, Failure> {
        let Some(path) = flags.config.clone() else {
            let settings = Self::check(flags.clone()).map_err(|why| Failure::new(USAGE, why))?;
            return Ok(Self { source: Source { whole: flags.clone(), flags }, ..settings });
        };
        let text = read(&path)?;
        let file = parse(&path, &text)?;
        let whole = flags.clone().over(file);
        match Self::check(whole.clone()) {
            Ok(settings) => Ok(Self { source: Source { flags, whole }, ..settings }),
            Err(why) => Err(match Self::check(flags) {
                // The flags are valid without the file.
                Ok(_) => Failure::new(BAD_FILE, blame(&path, &text, &why)),
                Err(why) => Failure::new(USAGE, why),
            }),
        }
    }

    /// Checks a file for settings that no peer can run with.
    ///
    /// # Errors
    /// [`Failure`]: file, line and column of each mistake, and how to mend it.
    pub fn check_file(path: &Path) -> Result<(), Failure> {
        let text = read(path)?;
        Self::check(parse(path, &text)?)
            .map(drop)
            .map_err(|why| Failure::new(BAD_FILE, blame(path, &text, &why)))
    }

    fn check(raw: Raw) -> Result<Self, String> {
        let knobs = raw.knobs();
        let id = raw
            .id
            .map(|id| PeerId::new(&id).map_err(|error| format!("id: {error}")))
            .transpose()?;
        if raw.address.is_some_and(|address| {
            address.is_unspecified() || address.is_broadcast() || address.is_multicast()
        }) {
            return Err(
                "address: others have to be able to dial it; give an address of this machine"
                    .to_owned(),
            );
        }
        let interval = raw.interval.map_or(DEFAULT_INTERVAL, Duration::from);
        if interval < INTERVAL_MIN || interval > INTERVAL_MAX {
            return Err(format!(
                "interval is {interval:?}; make it {INTERVAL_MIN:?} to {INTERVAL_MAX:?}"
            ));
        }
        if raw.csv == Some(true) && raw.data_dir.is_none() {
            return Err("csv: the tables lie in the data folder; name one with data_dir".to_owned());
        }
        let broadcast_port = raw.broadcast_port.unwrap_or(DEFAULT_BROADCAST_PORT);
        if broadcast_port == 0 {
            return Err("broadcast_port is 0; make it a number that all peers share".to_owned());
        }
        let rotate_bytes = raw.rotate_bytes.map_or(DEFAULT_ROTATE_BYTES, u64::from);
        if rotate_bytes < ROTATE_BYTES_MIN {
            return Err(format!(
                "rotate_bytes is {rotate_bytes}; make it at least {ROTATE_BYTES_MIN}"
            ));
        }
        let (sensors, has_load) = sensor::gather(raw.sensor)?;
        if raw.stdin_commands == Some(true)
            && !sensors.iter().any(|sensor| sensor.source == SourceSettings::Stdin)
        {
            return Err("stdin_commands: there are no lines without the sensor `stdin`".to_owned());
        }
        let load =
            load(&raw.load_bytes, [raw.load_rate, raw.load_count], raw.load_members, has_load)?;
        Ok(Self {
            id,
            address: raw.address,
            advertise: raw.advertise,
            port: raw.port.unwrap_or(0),
            priority: raw.priority.unwrap_or(0),
            broadcast_port,
            seeds: raw.seeds,
            config: Config::try_from(knobs).map_err(|error| error.to_string())?,
            stdin_commands: raw.stdin_commands.unwrap_or(false),
            sensors,
            load,
            load_latency: raw.load_latency.unwrap_or(false),
            interval,
            data: raw.data_dir.map(|folder| DataSettings {
                folder,
                rotate_bytes,
                rotate_keep: raw.rotate_keep.unwrap_or(DEFAULT_ROTATE_KEEP),
                csv: raw.csv.unwrap_or(false),
            }),
            events: raw.events,
            inputs: raw.inputs,
            // The journal time-stamps and stores each line again; it is not meant for a line per
            // reading.
            log_deliveries: raw
                .log_deliveries
                .map_or_else(|| !notify::writes_to_the_journal(), |switch| switch == Switch::On),
            log_level: raw.log_level.unwrap_or(LevelFilter::Info),
            http: HttpSettings::check(raw.http.as_deref(), raw.http_token_file, raw.http_host)?,
            opening: opening(raw.socket_group.as_deref(), raw.read_socket == Some(true))?,
            source: Source::default(),
        })
    }
}

/// Access to the socket for commands besides this user.
fn opening(group: Option<&str>, everybody_reads: bool) -> Result<Opening, String> {
    let find = |name: &str| match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => Err(format!(
            "socket_group: this machine has no group {name:?}; make it (groupadd {name}), or name \
             another one"
        )),
        Err(error) => Err(format!("socket_group: cannot look up the group {name:?}: {error}")),
    };
    Ok(Opening { group: group.map(find).transpose()?, everybody_reads })
}

/// The synthetic load, if there is one.
fn load(
    bytes: &Option<Size>,
    [rate, count]: [Option<u64>; 2],
    members: Option<usize>,
    wanted: bool,
) -> Result<Option<LoadSettings>, String> {
    if !wanted {
        let given = bytes.is_some() || rate.is_some() || count.is_some() || members.is_some();
        return if given {
            Err("load_…: there is no load without the sensor `load`".to_owned())
        } else {
            Ok(None)
        };
    }
    let bytes = bytes.map_or(DEFAULT_LOAD_BYTES, u64::from);
    let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes >= STAMP);
    let bytes = bytes.ok_or_else(|| {
        format!("load_bytes: a reading begins with a moment of {STAMP} bytes; make it larger")
    })?;
    if rate == Some(0) {
        return Err("load_rate is 0; leave the sensor `load` out, or make it at least 1".to_owned());
    }
    Ok(Some(LoadSettings { bytes, rate, count, members: members.unwrap_or(1) }))
}

impl Source {
    /// The file, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.flags.config.as_deref()
    }

    /// Adopts a setting from `new`.
    pub fn adopt(&mut self, name: &str, new: &Self) {
        if let Some((_, whole)) =
            self.whole.differences(&new.whole).into_iter().find(|(differs, _)| *differs == name)
        {
            self.whole = whole;
        }
    }

    /// Reads the file again.
    ///
    /// # Errors
    /// [`Failure`]: the file is invalid, or conflicts with the flags.
    pub fn read_again(&self) -> Result<Changes, Failure> {
        let settings = Settings::gather(self.flags.clone())?;
        let before = Settings::check(self.whole.clone()).map_err(|why| Failure::new(USAGE, why))?;
        let shown = format!("{before:?}");
        // Only effects count: an explicit default changes nothing.
        let has_effect = |one: &Raw| {
            Settings::check(one.clone()).map_or(true, |one| format!("{one:?}") != shown)
        };
        let differences = self.whole.differences(&settings.source.whole);
        let names = differences
            .into_iter()
            .filter(|(_, one)| has_effect(one))
            .map(|(name, _)| name)
            .collect();
        Ok(Changes { settings, names })
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::new(BAD_FILE, format!("{}: {error}", path.display())))
}

fn parse(path: &Path, text: &str) -> Result<Raw, Failure> {
    // The parser's own message has line, column and the line itself.
    toml::from_str(text)
        .map_err(|error| Failure::new(BAD_FILE, format!("{}: {error}", path.display())))
}

/// Finds the place of an invalid combination: of the setting that the message begins with,
/// otherwise of one that it names.
fn blame(path: &Path, text: &str, why: &str) -> String {
    let words = || why.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let stands = |name: &str| {
        text.lines().enumerate().find_map(|(number, line)| {
            let rest = line.trim_start().strip_prefix(name)?;
            rest.trim_start()
                .starts_with('=')
                .then(|| (number + 1, line.len() - line.trim_start().len() + 1))
        })
    };
    match words().filter(|word| !word.is_empty()).find_map(stands) {
        Some((line, column)) => {
            format!("{} at line {line}, column {column}: {why}", path.display())
        }
        None => format!("{}: {why}", path.display()),
    }
}

const DEFAULT_INTERVAL: Duration = Duration::from_secs(15);
const INTERVAL_MIN: Duration = Duration::from_millis(1);
const INTERVAL_MAX: Duration = Duration::from_secs(86_400);
const DEFAULT_BROADCAST_PORT: u16 = 9_999;
const DEFAULT_LOAD_BYTES: u64 = 100;
const DEFAULT_ROTATE_BYTES: u64 = 64 << 20;
const ROTATE_BYTES_MIN: u64 = 4 << 10;
const DEFAULT_ROTATE_KEEP: u32 = 8;

impl Raw {
    /// The knobs of the protocol: the profile, with the given values.
    fn knobs(&self) -> Knobs {
        let profile =
            if self.timing == Some(Timing::Fast) { Knobs::fast() } else { Knobs::default() };
        let span = |given: Option<value::Span>, usual| given.map_or(usual, Duration::from);
        let size = |given: Option<Size>, usual| given.map_or(usual, u64::from);
        Knobs {
            heartbeat_interval: span(self.heartbeat_interval, profile.heartbeat_interval),
            heartbeat_timeout: span(self.heartbeat_timeout, profile.heartbeat_timeout),
            election_timeout: span(self.election_timeout, profile.election_timeout),
            sync_timeout: span(self.sync_timeout, profile.sync_timeout),
            join_timeout: span(self.join_timeout, profile.join_timeout),
            join_patience: span(self.join_patience, profile.join_patience),
            join_batch: span(self.join_batch, profile.join_batch),
            link_idle: span(self.link_idle, profile.link_idle),
            window_entries: self.window_entries.unwrap_or(profile.window_entries),
            window_bytes: size(self.window_bytes, profile.window_bytes),
            retain_entries: self.retain_entries.unwrap_or(profile.retain_entries),
            retain_bytes: size(self.retain_bytes, profile.retain_bytes),
            merge_retain_entries: self.merge_retain_entries.unwrap_or(profile.merge_retain_entries),
            merge_retain_bytes: size(self.merge_retain_bytes, profile.merge_retain_bytes),
            max_lag_entries: self.max_lag_entries.unwrap_or(profile.max_lag_entries),
            slow_timeout: span(self.slow_timeout, profile.slow_timeout),
            payload_max: size(self.payload_max, profile.payload_max),
            members_max: self.members_max.unwrap_or(profile.members_max),
            cluster: self.cluster.clone().unwrap_or(profile.cluster),
            mode: self.mode.unwrap_or(profile.mode),
            delivery: self.delivery.unwrap_or(profile.delivery),
            preempt: self.preempt.unwrap_or(profile.preempt),
            late_join: self.late_join.unwrap_or(profile.late_join),
            bootstrap: self
                .bootstrap
                .iter()
                .cloned()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BAD_FILE, Raw, SensorSettings, Settings, USAGE};
    use clap::Parser;
    use protocol::config::{Guarantee, LateJoin, Mode};
    use protocol::id::PeerId;
    use std::time::Duration;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        raw: Raw,
    }

    fn flags(line: &[&str]) -> Raw {
        Line::try_parse_from(std::iter::once(&"peer").chain(line)).expect("these flags exist").raw
    }

    #[track_caller]
    fn check_refused(line: &[&str], file: Option<&str>, code: u8, words: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peer.toml");
        let mut raw = flags(line);
        if let Some(text) = file {
            std::fs::write(&path, text).unwrap();
            raw.config = Some(path);
        }
        let failure = Settings::gather(raw).expect_err("refused");
        assert_eq!(failure.code, code, "{failure}");
        assert!(failure.text.contains(words), "{failure}");
    }

    #[test]
    fn no_flags_at_all_will_do() {
        let settings = Settings::gather(flags(&[])).unwrap();
        assert_eq!(settings.id, None);
        assert_eq!((settings.port, settings.broadcast_port), (0, 9_999));
        assert_eq!(settings.sensors.iter().map(SensorSettings::kind).collect::<Vec<_>>(), ["host"]);
        assert_eq!(settings.config.knobs(), &protocol::config::Knobs::default());
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_the_profile() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peer.toml");
        let text = "id = 'a'\ntiming = 'fast'\nheartbeat_interval = '50ms'\nelection_timeout = \
                    '1s'\nwindow_bytes = '2MiB'\n\
                    sensor = ['stdin']\nseeds = ['127.0.0.1:1', '127.0.0.1:2']\nlog_deliveries = \
                    'off'\n";
        std::fs::write(&path, text).unwrap();
        let mut raw = flags(&["--id", "b", "--election-timeout", "300ms"]);
        raw.config = Some(path);
        let settings = Settings::gather(raw).unwrap();
        let knobs = settings.config.knobs();
        assert_eq!(settings.id.unwrap().as_str(), "b");
        assert_eq!(knobs.heartbeat_interval, Duration::from_millis(50));
        assert_eq!(knobs.election_timeout, Duration::from_millis(300));
        assert_eq!(knobs.heartbeat_timeout, Duration::from_millis(500));
        assert_eq!(knobs.window_bytes, 2 << 20);
        assert_eq!(
            settings.sensors.iter().map(SensorSettings::kind).collect::<Vec<_>>(),
            ["stdin"]
        );
        assert_eq!(settings.seeds.len(), 2);
        assert!(!settings.log_deliveries);
    }

    #[test]
    fn guarantees_are_knobs_like_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peer.toml");
        let text = "mode = 'primary'\nbootstrap = ['p2', 'p1', 'p2']\ndelivery = 'safe'\nlate_join \
                    = 'last 7'\npreempt = true\n";
        std::fs::write(&path, text).unwrap();
        let mut raw = flags(&["--delivery", "agreed", "--late-join", "from_now"]);
        raw.config = Some(path);
        let settings = Settings::gather(raw).unwrap();
        let knobs = settings.config.knobs();
        assert_eq!(
            (knobs.mode, knobs.delivery, knobs.late_join),
            (Mode::Primary, Guarantee::Agreed, LateJoin::FromNow)
        );
        let founders: Vec<&str> = knobs.bootstrap.iter().map(PeerId::as_str).collect();
        assert_eq!(
            (founders, knobs.preempt),
            (vec!["p1", "p2"], true),
            "a name that is given twice is one founder"
        );
        let listed = Settings::gather(flags(&["--mode", "primary", "--bootstrap", "a,b"])).unwrap();
        assert_eq!(listed.config.knobs().bootstrap.len(), 2);
    }

    #[test]
    fn an_empty_variable_is_not_set_and_a_wrong_one_is_named() {
        let with = |line: &[&str], value: &str| {
            flags(line).with_environment(|name| (name == "BROADCAST_PORT").then(|| value.into()))
        };
        assert_eq!(with(&[], "").unwrap().broadcast_port, None);
        assert_eq!(with(&[], "7001").unwrap().broadcast_port, Some(7_001));
        assert_eq!(
            with(&["--broadcast-port", "7002"], "nonsense").unwrap().broadcast_port,
            Some(7_002),
            "flags win"
        );
        let refused = with(&[], "99999").unwrap_err();
        assert!(
            refused.contains("variable BROADCAST_PORT") && refused.contains("99999"),
            "{refused}"
        );
    }

    #[test]
    fn mistakes_are_named_and_placed() {
        check_refused(&["--id", "a b"], None, USAGE, "' '");
        check_refused(&["--heartbeat-interval", "1h"], None, USAGE, "heartbeat_timeout");
        check_refused(&["--address", "0.0.0.0"], None, USAGE, "address");
        check_refused(&["--interval", "0s"], None, USAGE, "interval");
        check_refused(&["--broadcast-port", "0"], None, USAGE, "broadcast_port");
        check_refused(&["--rotate-bytes", "1"], None, USAGE, "rotate_bytes");
        check_refused(&["--csv"], None, USAGE, "data_dir");
        check_refused(&["--sensor", "none", "--sensor", "host"], None, USAGE, "none");
        check_refused(&["--stdin-commands"], None, USAGE, "sensor `stdin`");
        check_refused(&["--load-rate", "5"], None, USAGE, "sensor `load`");
        check_refused(&["--sensor", "load", "--load-rate", "0"], None, USAGE, "at least 1");
        check_refused(&["--sensor", "load", "--load-bytes", "15"], None, USAGE, "16 bytes");
        check_refused(&["--mode", "primary"], None, USAGE, "bootstrap names nobody");
        check_refused(&["--bootstrap", "p1"], None, USAGE, "mode is available");
        check_refused(&[], Some("mode = 'primary'"), BAD_FILE, "bootstrap = [\"peer1\"");
        check_refused(&[], Some("mode = 'both'"), BAD_FILE, "available");
        check_refused(&[], Some("late_join = 'last ten'"), BAD_FILE, "last 100");
        check_refused(&[], Some("delivery = 'exactly-once'"), BAD_FILE, "safe");
        check_refused(
            &[],
            Some("id = 'a'\nheartbeat_intervall = '1s'"),
            BAD_FILE,
            "line 2, column 1",
        );
        check_refused(
            &[],
            Some("id = 'a'\n[[sensor]]\nname = 'm'\nexec = 'x'"),
            BAD_FILE,
            "line 4, column 8",
        );
        check_refused(&[], Some("interval = 'soon'"), BAD_FILE, "line 1");
        check_refused(&[], Some("payload_max = '7 apples'"), BAD_FILE, "KiB");
        check_refused(&[], Some("payload_max = 0"), BAD_FILE, "payload_max");
        check_refused(&["--id", "a b"], Some("id = 'fine'"), USAGE, "' '");
    }
}
