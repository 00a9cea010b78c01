//! The state of the group in words, sent to every page repeatedly.

use std::time::{Duration, Instant};

use protocol::config::Mode;
use protocol::id::PeerId;
use serde::Serialize;

use crate::chronicle::Happening;
use crate::clock::span;
use crate::members::{MemberRow, Members};
use crate::sensors::gauge::SensorState;
use crate::status::Report;
use crate::survey::Survey;

/// The content for all pages.
#[derive(Debug)]
pub(super) struct State {
    peer: String,
    cluster: String,
    /// The number of the newest text; 0 before the first.
    number: u64,
    text: String,
    happenings: Vec<Happening>,
    /// The leader's measurements, and when they arrived.
    measured: Option<(Members, Instant)>,
}

/// The verdict in one word and in sentences.
#[derive(Serialize)]
struct Verdict {
    /// `well`, `watch` or `wrong`.
    level: &'static str,
    say: String,
    /// Problems and warnings, one sentence each.
    wrong: Vec<String>,
}

#[derive(Serialize)]
struct Told<'a> {
    verdict: Verdict,
    status: &'a Report,
    members: &'a Members,
}

impl State {
    pub(super) fn new(id: &PeerId, cluster: &str) -> Self {
        let (peer, cluster) = (id.to_string(), cluster.to_owned());
        Self {
            peer,
            cluster,
            number: 0,
            text: String::new(),
            happenings: Vec::new(),
            measured: None,
        }
    }

    /// The first message to a page.
    pub(super) fn hello(&self, apart_ms: u64) -> String {
        serde_json::json!({"peer": self.peer, "cluster": self.cluster, "build": crate::BUILD, "now": crate::clock::utc_micros() / 1_000, "apart_ms": apart_ms}).to_string()
    }

    /// Drops outdated measurements of the leader.
    pub(super) fn begin_turn(&mut self) {
        if self.measured.as_ref().is_some_and(|(_, at)| at.elapsed() > MEASURED_FOR) {
            self.measured = None;
        }
    }

    /// The number of the newest text.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The newest text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Sends the facts after that number; returns the number of the last one.
    pub(super) fn tell_since(&self, number: u64, mut tell: impl FnMut(&str)) -> u64 {
        for happening in self.happenings.iter().filter(|happening| happening.number > number) {
            tell(&serde_json::to_string(happening).expect("a fact is made of what JSON can say"));
        }
        self.happenings.last().map_or(number, |last| last.number.max(number))
    }

    /// The leader's measurements: the line of an answer.
    pub(super) fn measured(&mut self, line: &[u8]) {
        #[derive(serde::Deserialize)]
        struct Answer {
            ok: Members,
        }
        if let Ok(Answer { ok }) = serde_json::from_slice(line) {
            self.measured = Some((ok, Instant::now()));
        }
    }

    /// The loop's survey has arrived.
    pub(super) fn renew(&mut self, survey: Survey, now: Instant) {
        let Survey { report, mut members, happenings, .. } = survey;
        if let Some((measured, _)) = self.measured.as_ref().filter(|(measured, at)| {
            measured.leader == members.leader && now.duration_since(*at) <= MEASURED_FOR
        }) {
            merge(&mut members, measured);
        }
        let told = Told { verdict: verdict(&report, &members), status: &report, members: &members };
        self.text = serde_json::to_string(&told).expect("a report is made of what JSON can say");
        self.number += 1;
        self.happenings = happenings;
    }
}

/// Completes this peer's present knowledge with the leader's measurements.
fn merge(members: &mut Members, measured: &Members) {
    for row in &mut members.members {
        let Some(said) =
            measured.members.iter().find(|said| said.peer == row.peer && said.inc == row.inc)
        else {
            continue;
        };
        row.lag = row.lag.or(said.lag);
        row.rtt_us = row.rtt_us.or(said.rtt_us);
        row.build = row.build.take().or_else(|| said.build.clone());
        if row.units.is_empty() {
            row.units.clone_from(&said.units);
        }
    }
    members.unknown.clone_from(&measured.unknown);
}

/// The verdict.
fn verdict(report: &Report, members: &Members) -> Verdict {
    let mut wrong = Vec::new();
    for other in &report.unreachable {
        let since = span(Duration::from_millis(other.for_ms));
        wrong.push(format!(
            "{} at {} is heard and cannot be reached, for {since}: it {}.",
            other.peer, other.address, other.why
        ));
    }
    for sensor in report.sensors.iter().filter(|sensor| is_in_trouble(sensor.state)) {
        let why = sensor.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        wrong.push(format!("The sensor {} is {}{why}.", sensor.name, sensor.state));
    }
    wrong.extend(report.outputs.iter().map(|output| format!("{output}.")));
    for row in members.members.iter().filter(|row| row.lag.is_some_and(|lag| lag >= LAG_WATCH)) {
        wrong.push(behind(row));
    }
    if let Some(why) = &report.status.blocked {
        return Verdict { level: "wrong", say: format!("Blocked: {why}."), wrong };
    }
    if let Some(why) = report.not_ready() {
        return Verdict { level: "wrong", say: format!("Not ready: {why}."), wrong };
    }
    let lose = lose(members);
    if wrong.is_empty() {
        return Verdict { level: "well", say: format!("All is well. {lose}"), wrong };
    }
    let watch =
        if wrong.len() == 1 { "one thing".to_owned() } else { format!("{} things", wrong.len()) };
    Verdict { level: "watch", say: format!("Going on, with {watch} to watch. {lose}"), wrong }
}

fn is_in_trouble(state: SensorState) -> bool {
    matches!(
        state,
        SensorState::Silent | SensorState::Failing | SensorState::Waiting | SensorState::Unsplit
    )
}

fn behind(row: &MemberRow) -> String {
    let lag = row.lag.unwrap_or_default();
    let trip = row
        .rtt_us
        .map(|micros| format!(" (a round trip to it takes {:.1} ms)", micros as f64 / 1_000.0))
        .unwrap_or_default();
    format!("{} is {lag} entries behind{trip}.", row.peer)
}

/// How many members the group can still lose.
fn lose(members: &Members) -> String {
    let size = members.members.len();
    match (members.mode, members.can_lose) {
        (_, 0) if size <= 1 => "This peer is alone: if it goes, nobody goes on.".to_owned(),
        (_, 0) => format!("The group of {size} can lose none and go on."),
        (Mode::Available, 1) => "The group of 2 can lose either and go on.".to_owned(),
        (Mode::Available, lose) => format!("The group of {size} can lose any {lose} and go on."),
        (Mode::Primary, lose) => {
            format!("The group of {size} can lose any {lose} at once and go on.")
        }
    }
}

/// The lag in entries that causes no warning.
const LAG_WATCH: u64 = 1_000;
/// How long the leader's measurements are used.
const MEASURED_FOR: Duration = Duration::from_secs(5);
