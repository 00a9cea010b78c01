//! The loop's part of the local service.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use protocol::config::{Guarantee, Mode};
use protocol::id::{Contact, Oseq};
use protocol::io::{Input, Publication};
use protocol::note::Refusal;

use super::Shell;
use crate::clock::{self, Stamp};
use crate::door::{Ask, Asker, Fault, Payload, Wait, What};
use crate::members::{MemberRow, Members};
use crate::tokens::Tokens;

/// Readings of clients on their way to the node.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// Readings that wait for room, oldest first.
    waiting: VecDeque<Wanted>,
    /// Readings whose tokens are being stored.
    storing: BTreeMap<u64, Wanted>,
    /// Readings just given to the node, and neither accepted nor refused yet.
    given: VecDeque<Wanted>,
    /// Whether clients may have more requests than one turn handles.
    has_more: bool,
    /// Requests of clients while only their questions could be answered.
    later: VecDeque<Ask>,
}

#[derive(Debug)]
struct Wanted {
    from: Asker,
    payload: Payload,
    guarantee: Option<Guarantee>,
    wait: Wait,
    token: Option<String>,
    /// Clients that sent the same token before the node got the reading.
    also: Vec<(Asker, Wait)>,
}

impl Wanted {
    /// All clients that wait for an answer about this reading.
    fn askers(self) -> impl Iterator<Item = Asker> {
        std::iter::once(self.from).chain(self.also.into_iter().map(|(from, _)| from))
    }
}

impl Desk {
    /// The reading with that token that the node has not got yet.
    fn with_token(&mut self, token: &str) -> Option<&mut Wanted> {
        let mut open = self.waiting.iter_mut().chain(self.storing.values_mut());
        open.find(|wanted| wanted.token.as_deref() == Some(token))
    }

    /// Whether there is something to do at once, if the window takes this many readings and bytes.
    pub(super) fn is_busy(&self, (readings, bytes): (u64, u64)) -> bool {
        let fits = |wanted: &Wanted| readings > 0 && bytes >= wanted.payload.len() as u64;
        self.waiting.front().is_some_and(fits) || self.has_more && self.waiting.len() < WAITING_MAX
    }
}

impl Shell {
    /// Handles the requests of clients.
    pub(super) fn serve_door(&mut self) {
        self.desk.has_more = true;
        for _ in 0..ASKS_PER_TURN {
            let has_room = self.desk.waiting.len() < WAITING_MAX;
            let next = if has_room { self.desk.later.pop_front() } else { None };
            let Some(Ask { from, what }) = next.or_else(|| self.door.ask(has_room)) else {
                self.desk.has_more = !has_room;
                break;
            };
            self.obey(from, what);
        }
        self.take_stored_tokens();
        self.publish_for_clients();
        let changes = self.confirmations.take_changes();
        if let Some(tokens) = &self.tokens {
            changes.into_iter().for_each(|line| tokens.note(line));
        }
    }

    /// Readings with stored tokens may be given to the node.
    fn take_stored_tokens(&mut self) {
        while let Some((job, stored)) = self.tokens.as_ref().and_then(Tokens::stored) {
            let Some(wanted) = self.desk.storing.remove(&job) else { continue };
            match stored {
                Ok(()) => self.desk.waiting.push_back(wanted),
                Err(error) => {
                    let say = format!(
                        "the token cannot be stored in the data folder ({error}), so the reading \
                         is not published; say it without one, or mend the folder"
                    );
                    wanted.askers().for_each(|from| {
                        self.door.refuse(from, Fault::new("not_stored", say.clone()))
                    });
                }
            }
        }
    }

    /// Stores the state of readings with a token when this peer stops; false if that takes too
    /// long. Readings that the node never got may be repeated.
    pub(super) fn settle_tokens(&mut self, patience: Duration) -> bool {
        let Desk { waiting, storing, .. } = std::mem::take(&mut self.desk);
        waiting
            .into_iter()
            .chain(storing.into_values())
            .for_each(|wanted| self.confirmations.refuse(wanted.token));
        let changes = self.confirmations.take_changes();
        self.tokens.take().is_none_or(|tokens| tokens.finish(changes, patience))
    }

    /// While the disk stores the peer's memory, no dependent output leaves; questions about the
    /// status are answered.
    pub(super) fn serve_door_meanwhile(&mut self) {
        while self.desk.later.len() < ASKS_PER_TURN
            && let Some(ask) = self.door.ask(false)
        {
            match ask.what {
                What::Status | What::Survey => self.obey(ask.from, ask.what),
                _ => self.desk.later.push_back(ask),
            }
        }
        self.door.close_turn();
    }

    fn obey(&mut self, from: Asker, what: What) {
        match what {
            What::Status => {
                let report = serde_json::to_string(&self.report())
                    .expect("a report is made of what JSON can say");
                self.door.answer(from, report, true);
            }
            What::Survey => self.door.survey(self.survey()),
            What::Members => self.tell_members(from),
            What::Why(about) => {
                let about = about.unwrap_or_else(|| self.node.contact().id().clone());
                self.tell_why(from, about);
            }
            What::Demote { undo } => self.demote(from, undo),
            What::Publish { payload, guarantee, wait, token } => {
                let from = match &token {
                    Some(token) => self.confirmations.repeat(token, from, wait, &self.door),
                    None => Some(from),
                };
                let Some(from) = from else { return };
                if let Some(given) = token.as_ref().and_then(|token| self.desk.with_token(token)) {
                    if given.also.len() < ALSO_MOST {
                        given.also.push((from, wait));
                    } else {
                        let say = "as many requests with that token wait for room as may; ask \
                                   again when they are answered";
                        self.door.refuse(from, Fault::new("busy", say));
                    }
                    return;
                }
                let wanted = Wanted { from, payload, guarantee, wait, token, also: Vec::new() };
                match (&mut self.tokens, &wanted.token) {
                    (Some(tokens), Some(token)) => match tokens.begin(token) {
                        Some(job) => drop(self.desk.storing.insert(job, wanted)),
                        None => self.door.refuse(
                            wanted.from,
                            Fault::new(
                                "busy",
                                "too many tokens wait for the disk; ask again in a while",
                            ),
                        ),
                    },
                    _ => self.desk.waiting.push_back(wanted),
                }
            }
            What::Leave => {
                self.door.answer(from, "{\"is\":\"leaving\"}".to_owned(), false);
                log::info!("A client of the socket for commands asks this peer to leave.");
                self.feed(Input::Leave);
            }
            What::LogLevel(level) => {
                let was = log::max_level();
                log::set_max_level(level);
                let words = |level: log::LevelFilter| level.as_str().to_lowercase();
                self.door.answer(
                    from,
                    format!("{{\"was\":\"{}\",\"is\":\"{}\"}}", words(was), words(level)),
                    true,
                );
            }
        }
    }

    /// Gives this peer the lowest priority, or the configured one again.
    fn demote(&mut self, from: Asker, undo: bool) {
        let explicit = if undo { self.priority } else { i64::MIN };
        let leads = self.node.status().role == "leader";
        let alone = self.node.members() <= 1;
        log::info!("A client of the socket for commands gives this peer the priority {explicit}.");
        self.feed(Input::Prioritised { explicit });
        let say = match (undo, leads, alone) {
            (true, ..) => {
                "It may lead again; it takes over by itself only where the knob preempt says so."
            }
            (false, true, true) => {
                "It is alone, so it goes on leading; it hands over to the first that comes and \
                 keeps up."
            }
            (false, true, false) => "It leads, and hands over as soon as another member keeps up.",
            (false, false, _) => "It leads only where nobody else can.",
        };
        self.door.answer(from, format!("{{\"priority\":\"{explicit}\",\"say\":\"{say}\"}}"), true);
    }

    /// The group as this peer sees it.
    pub(super) fn members(&self) -> Members {
        let status = self.node.status();
        let now = clock::utc_micros();
        let (me, progress) = (&self.node.contact().member, self.node.acknowledged());
        let view = self.node.view();
        let row = |contact: &Contact| {
            let (member, this) = (&contact.member, contact.member == *me);
            let is_leader = view.is_some_and(|view| view.leader == member.id);
            let role = if this {
                status.role.as_str()
            } else if is_leader {
                "leader"
            } else {
                "member"
            };
            let since = self.company.since(member, this);
            let (build, units) = if this {
                (Some(crate::BUILD.to_owned()), self.units.clone())
            } else {
                self.queries.introduction(member)
            };
            let acked = progress.iter().find(|(other, _)| other == member).map(|(_, acked)| *acked);
            MemberRow {
                peer: member.id.to_string(),
                inc: member.inc.to_string(),
                role: role.to_owned(),
                address: contact.address.to_string(),
                priority: (contact.explicit != 0).then(|| contact.explicit.to_string()),
                since: since.filter(|since| since.is_seen).map(|since| Stamp(since.at).to_string()),
                for_ms: since.map(|since| now.saturating_sub(since.at) / 1_000),
                lag: acked.map(|acked| status.contiguous.above(acked)),
                rtt_us: self
                    .meter
                    .round_trip(member)
                    .map(|span| u64::try_from(span.as_micros()).unwrap_or(u64::MAX)),
                build,
                units,
                this,
            }
        };
        let rows: Vec<MemberRow> =
            view.into_iter().flat_map(|view| view.members.iter().rev()).map(row).collect();
        let size = rows.len() as u64;
        let can_lose = match status.mode {
            Mode::Available => size.saturating_sub(1),
            Mode::Primary => size.saturating_sub(1) / 2,
        };
        let is_leader = status.leader.as_ref() == Some(&me.id);
        Members {
            peer: me.id.to_string(),
            mode: status.mode,
            view: view.map(|view| view.view_id.0),
            epoch: (!status.log.is_none())
                .then(|| format!("{}#{}", status.epoch, status.epoch_inc)),
            leader: status.leader.as_ref().map(ToString::to_string),
            blocked: status.blocked.clone(),
            can_lose,
            unknown: (!is_leader && size > 1)
                .then(|| "only the leader measures lag and round trips".to_owned()),
            members: rows,
        }
    }

    /// Publishes the readings of clients, while there is room.
    fn publish_for_clients(&mut self) {
        if self.desk.waiting.is_empty() {
            return;
        }
        let now = clock::utc_micros();
        let count = self.room(self.stamps.room(now)).min(self.desk.waiting.len());
        if count == 0 {
            return;
        }
        let taken: Vec<Wanted> = self.desk.waiting.drain(..count).collect();
        let readings = taken
            .iter()
            .map(|wanted| (wanted.payload.as_slice(), self.stamps.next(now), wanted.guarantee));
        let publications = Publication::together(readings);
        self.desk.given = taken.into();
        self.feed(Input::Publish { publications });
        let _told_each = std::mem::take(&mut self.refused);
    }

    /// The node has accepted the next readings that it got, under these numbers.
    pub(super) fn on_accepted(&mut self, first: Oseq, count: u64) {
        let inc = self.node.contact().member.inc;
        if self.desk.given.is_empty() {
            self.confirmations.on_renumbered(inc, first, first.plus(count).previous(), &self.door);
            return;
        }
        for past in 0..count {
            let Some(Wanted { from, wait, token, also, .. }) = self.desk.given.pop_front() else {
                return;
            };
            let repeats = token.clone();
            self.confirmations.accept((inc, first.plus(past)), from, wait, token, &self.door);
            for (from, wait) in also {
                let told = repeats
                    .as_deref()
                    .and_then(|token| self.confirmations.repeat(token, from, wait, &self.door));
                debug_assert!(told.is_none(), "it was accepted just now");
            }
        }
    }

    /// The node has refused the next one.
    pub(super) fn on_refused(&mut self, why: Refusal) {
        if why == Refusal::WindowFull {
            while let Some(wanted) = self.desk.given.pop_back() {
                self.desk.waiting.push_front(wanted);
            }
            return;
        }
        let Some(mut wanted) = self.desk.given.pop_front() else { return };
        self.confirmations.refuse(wanted.token.take());
        self.refusals.refuse(why);
        let fault = match why {
            Refusal::TooLarge => {
                let say = format!(
                    "the reading has {} bytes; payload_max is {}",
                    wanted.payload.len(),
                    self.payload_max
                );
                Fault::new("too_large", say)
            }
            Refusal::Leaving => Fault::new("leaving", "this peer is leaving the group"),
            Refusal::NoQuorum => {
                let why = self.node.status().blocked.unwrap_or_else(|| why.to_string());
                Fault::new("blocked", format!("not taken: {why}"))
            }
            Refusal::WindowFull => unreachable!("it was dealt with"),
        };
        wanted.askers().for_each(|from| self.door.refuse(from, fault.clone()));
    }
}

/// Requests with one token that wait for the first of them.
const ALSO_MOST: usize = 64;
const ASKS_PER_TURN: usize = 1_024;
/// Readings of clients that may wait for room.
const WAITING_MAX: usize = 8_192;
