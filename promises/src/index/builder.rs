//! Builds the index: record by record, oldest first.

use std::collections::BTreeMap;

use protocol::config::{Knobs, Mode};
use protocol::id::{Epoch, Incarnation, PeerId};
use protocol::log_id::LogId;
use protocol::note::{Event, Evidence, Note};

use super::had::Had;
use super::{
    Entry, EpochId, Fact, Index, Kind, Lag, Life, LifeId, Placed, Publication, TroubleKind,
    ViewFact, What,
};
use crate::history::{History, Hole, Record};

mod troubles;

pub(super) struct Builder<'a> {
    index: Index<'a>,
    life_ids: BTreeMap<(u64, &'a str), LifeId>,
    epoch_ids: BTreeMap<(u64, LifeId), EpochId>,
    /// Process names by pid, from the starts.
    spawned: BTreeMap<u32, &'a str>,
    /// The present life of each process, and the process of each peer that was started under its
    /// own name.
    present: BTreeMap<&'a str, LifeId>,
    /// The readings that each life has received so far.
    had: BTreeMap<LifeId, Had>,
    late: u64,
    /// The longest additional delay that no peer can mistake for a death.
    mild: u64,
}

impl<'a> Builder<'a> {
    pub(super) fn new(knobs: &Knobs) -> Self {
        let micros =
            |span: std::time::Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let aftermath = micros(
            knobs.heartbeat_timeout
                + knobs.heartbeat_interval
                + knobs.election_timeout
                + knobs.sync_timeout,
        );
        let index = Index {
            lives: vec![],
            epochs: vec![],
            none: LogId::none(),
            views: vec![],
            placed: vec![],
            published: vec![],
            troubles: vec![],
            wiped: vec![],
            full: vec![],
            primary: false,
            quiet: None,
            unconfirmed: vec![],
            aftermath,
            end: 0,
        };
        Self {
            index,
            life_ids: BTreeMap::new(),
            epoch_ids: BTreeMap::new(),
            spawned: BTreeMap::new(),
            present: BTreeMap::new(),
            had: BTreeMap::new(),
            late: micros(knobs.heartbeat_timeout) / 4,
            mild: micros(knobs.election_timeout.min(knobs.sync_timeout)) / 8,
        }
    }

    pub(super) fn build(mut self, history: &'a History, holes: &[Hole]) -> Index<'a> {
        for (at, record) in history.records.iter().enumerate() {
            let t = record.time().as_micros();
            self.index.end = t;
            match record {
                Record::Peer(event) => {
                    let life = self.life(&event.p, event.inc);
                    if self.index.lives[life].first.is_none() {
                        self.begin(life, at, t, event);
                    }
                    (self.index.lives[life].last, self.index.lives[life].told) = (at, event.n);
                    if let Some(what) = self.what(life, at, t, &event.note) {
                        self.index.lives[life].facts.push(Fact { at, t, what });
                    }
                }
                Record::World(event) => self.witness(at, t, &event.what),
            }
        }
        self.resolve_late_names();
        for life in self.index.lives.iter_mut().filter(|life| life.omits) {
            life.holed = true;
        }
        for hole in holes {
            if let Some(life) = self.index.life(&hole.peer, hole.inc) {
                self.index.lives[life].holed = true;
            }
        }
        self.place();
        self.index.published.sort_unstable_by_key(|known| (known.origin, known.oseq, known.at));
        self.index
    }

    /// Sorts the reports of all lives about the log by position. A stack finds the entry that a
    /// life had before another one: entries at or above the new entry's position are removed from
    /// the stack, because the life has diverged.
    fn place(&mut self) {
        let Index { lives, placed, .. } = &mut self.index;
        let mut stack: Vec<(u64, EpochId, usize)> = vec![];
        for (id, life) in lives.iter().enumerate() {
            stack.clear();
            for fact in &life.facts {
                let entry = match fact.what {
                    What::Entry(entry) | What::Missed(entry) => entry,
                    What::Diverged { from, .. } => {
                        // Its former entry at that position is no longer in its log, whichever
                        // position comes next.
                        while stack.last().is_some_and(|(seq, ..)| *seq >= from) {
                            stack.pop();
                        }
                        continue;
                    }
                    _ => continue,
                };
                while stack.last().is_some_and(|(seq, ..)| *seq >= entry.seq) {
                    stack.pop();
                }
                let before = stack
                    .last()
                    .filter(|(seq, ..)| seq + 1 == entry.seq)
                    .map(|(_, epoch, at)| (*epoch, *at));
                stack.push((entry.seq, entry.epoch, fact.at));
                placed.push(Placed { entry, life: id, at: fact.at, before });
            }
        }
        placed.sort_unstable_by_key(|placed| (placed.entry.epoch, placed.entry.seq, placed.at));
    }

    fn life(&mut self, peer: &'a PeerId, inc: Incarnation) -> LifeId {
        let lives = &mut self.index.lives;
        *self.life_ids.entry((inc.0, peer.as_str())).or_insert_with(|| {
            lives.push(Life {
                peer,
                inc,
                process: None,
                facts: vec![],
                began: None,
                first: None,
                last: 0,
                told: 0,
                ended: None,
                stopped: false,
                holed: false,
                omits: false,
            });
            lives.len() - 1
        })
    }

    fn epoch(&mut self, epoch: &'a Epoch) -> EpochId {
        let owner = self.life(&epoch.owner.id, epoch.owner.inc);
        let epochs = &mut self.index.epochs;
        *self.epoch_ids.entry((epoch.round, owner)).or_insert_with(|| {
            epochs.push(epoch);
            epochs.len() - 1
        })
    }

    /// The first report of a life: the previous life of its process is over.
    fn begin(&mut self, life: LifeId, at: usize, t: u64, event: &'a Event) {
        let peer = self.index.lives[life].peer.as_str();
        let process = match &event.note {
            Note::Start { pid, .. } => {
                self.spawned.get(pid).filter(|_| *pid != 0).copied().unwrap_or(peer)
            }
            // A process that is told to take a higher incarnation continues under it and keeps its
            // event numbers.
            _ => self.goes_on(event).unwrap_or(peer),
        };
        (self.index.lives[life].first, self.index.lives[life].began) = (Some(at), Some(t));
        self.index.lives[life].process = Some(process);
        if let Some(before) = self.present.insert(process, life) {
            // It keeps the settings that it was started with.
            self.index.lives[life].omits =
                !matches!(event.note, Note::Start { .. }) && self.index.lives[before].omits;
            self.index.lives[before].ended.get_or_insert(t);
            for trouble in &mut self.index.troubles {
                if trouble.to == u64::MAX
                    && trouble.lives.contains(&before)
                    && trouble.kind == TroubleKind::Paused
                {
                    trouble.to = t;
                }
            }
        }
    }

    fn goes_on(&self, event: &Event) -> Option<&'a str> {
        let lives = &self.index.lives;
        let present = self
            .present
            .iter()
            .filter(|(_, life)| *lives[**life].peer == event.p && lives[**life].ended.is_none());
        // Two processes of one name may have reported equally much; only a process without any
        // reading may take another number, and the number that it takes is a higher one.
        let holds = |life: LifeId| {
            lives[life]
                .facts
                .iter()
                .any(|fact| matches!(fact.what, What::Cut { .. } | What::Entry(_)))
        };
        let went_on =
            |life: LifeId| lives[life].told.checked_add(1) == Some(event.n) && !holds(life);
        let went_on = present.filter(|(_, life)| went_on(**life));
        went_on.min_by_key(|(_, life)| lives[**life].inc >= event.inc).map(|(process, _)| *process)
    }

    fn what(&mut self, life: LifeId, at: usize, t: u64, note: &'a Note) -> Option<What<'a>> {
        Some(match note {
            Note::Deliver {
                epoch, seq, view_id, origin, origin_inc, oseq, digest, safe, ..
            } => {
                let origin = self.life(origin, *origin_inc);
                self.had.entry(life).or_default().add(origin, oseq.0, oseq.0);
                let kind = Kind::Data {
                    origin,
                    oseq: oseq.0,
                    view_id: view_id.0,
                    digest: Some(digest.value()),
                    safe: *safe,
                };
                What::Entry(Entry { epoch: self.epoch(epoch), seq: seq.0, kind })
            }
            Note::DupSuppressed { epoch, seq, view_id, origin, origin_inc, oseq, .. } => {
                let origin = self.life(origin, *origin_inc);
                let kind = Kind::Data {
                    origin,
                    oseq: oseq.0,
                    view_id: view_id.0,
                    digest: None,
                    safe: false,
                };
                let entry = Entry { epoch: self.epoch(epoch), seq: seq.0, kind };
                let has_had = self.had.get(&life).is_some_and(|had| had.has(origin, oseq.0));
                if has_had || self.index.lives[life].omits {
                    What::Entry(entry)
                } else {
                    What::Missed(entry)
                }
            }
            Note::Lost { epoch, seq, origin, origin_inc, from, to, .. } => {
                let origin = self.life(origin, *origin_inc);
                self.had.entry(life).or_default().add(origin, from.0, to.0);
                let kind = Kind::Lost { origin, from: from.0, to: to.0 };
                What::Entry(Entry { epoch: self.epoch(epoch), seq: seq.0, kind })
            }
            Note::View { view_id, epoch, seq, leader, members, incs, log } => {
                let epoch = self.epoch(epoch);
                let (view_id, seq) = (view_id.0, seq.0);
                self.index.views.push(ViewFact {
                    life,
                    at,
                    t,
                    epoch,
                    view_id,
                    seq,
                    leader,
                    members,
                    incs,
                    log,
                });
                What::Entry(Entry { epoch, seq, kind: Kind::View(self.index.views.len() - 1) })
            }
            Note::Gap { from, to, .. } => What::Gap { from: from.0, to: to.0 },
            Note::StateTransfer { resume, epoch, .. } => {
                What::Transfer { resume: resume.0, epoch: self.epoch(epoch) }
            }
            Note::Diverged { from, to, .. } => What::Diverged { from: from.0, to: to.0 },
            Note::Merged { from, to, new_from, new_to, .. } => {
                What::Merged { old: (from.0, to.0), new: (new_from.0, new_to.0) }
            }
            Note::Cut { epoch, seq, log } => {
                What::Cut { epoch: self.epoch(epoch), seq: seq.0, log }
            }
            Note::Promised { epoch, .. } => What::Promised { epoch: self.epoch(epoch) },
            Note::Stable { seq, .. } => What::Stable { seq: seq.0 },
            Note::LeaderElected { epoch, size, renewed, .. } => {
                What::Elected { epoch: self.epoch(epoch), size: *size, renewed: *renewed }
            }
            Note::Follows { leader, epoch, .. } => {
                What::Follows { leader, epoch: self.epoch(epoch) }
            }
            Note::StepDown { .. } => What::StepDown,
            Note::ElectionStarted { .. } => What::ElectionStarted,
            Note::Publish { oseq, digest, safe } => {
                let (origin, oseq, digest) = (life, oseq.0, digest.value());
                self.index.published.push(Publication { origin, oseq, digest, at, t });
                What::Publish { oseq, safe: *safe }
            }
            Note::Acknowledged { oseq, seq, .. } => What::Acknowledged { oseq: oseq.0, seq: seq.0 },
            Note::Suspect {
                peer,
                peer_inc,
                evidence: Evidence::Slow { behind, acked, high, for_ms, .. },
            } => {
                let lag = Lag {
                    behind: *behind,
                    acked: acked.0,
                    high: high.0,
                    for_ms: *for_ms,
                    awaited: None,
                };
                What::Slow { life: self.life(peer, *peer_inc), lag }
            }
            Note::Suspect {
                peer,
                peer_inc,
                evidence: Evidence::Unacknowledged { acked, awaited, high, for_ms, .. },
            } => {
                let behind = high.0.saturating_sub(acked.0);
                let lag = Lag {
                    behind,
                    acked: acked.0,
                    high: high.0,
                    for_ms: *for_ms,
                    awaited: Some(awaited.0),
                };
                What::Slow { life: self.life(peer, *peer_inc), lag }
            }
            Note::Failed { peer, peer_inc, ordered, .. }
            | Note::Left { peer, peer_inc, ordered } => {
                What::Removes { life: self.life(peer, *peer_inc), ordered }
            }
            Note::Reject { why, count, .. } => What::Reject { why, count: *count },
            Note::Start { omits_readings, .. } => {
                self.index.lives[life].omits = *omits_readings;
                What::Start
            }
            Note::Ready => What::Ready,
            Note::Panic { message } => What::Panic { message },
            Note::Status(status) => {
                self.index.primary |= status.mode == Mode::Primary;
                let (published, ordered) = (status.published.0, status.ordered.0);
                What::Unordered { published, ordered, outside: status.role == "joining" }
            }
            Note::Blocked { .. } => What::Blocked,
            Note::Refused { why, count } => What::Refused { why: *why, count: *count },
            Note::LeftBehind { from, .. } => What::LeftBehind { from: from.0 },
            Note::Leave => {
                self.trouble(at, t, TroubleKind::Down, ("", &[]), vec![life]);
                What::Leaves
            }
            Note::Stop { reason } => {
                self.trouble(at, t, TroubleKind::Down, ("", &[]), vec![life]);
                self.index.lives[life].ended = Some(t);
                self.index.lives[life].stopped = true;
                What::Ends { left: LEFT.contains(&reason.as_str()) }
            }
            Note::Send { .. }
            | Note::Recv { .. }
            | Note::Suspect { .. }
            | Note::Unanswered { .. }
            | Note::PeerAdded { .. }
            | Note::PeerRemoved { .. }
            | Note::ElectionOk { .. }
            | Note::Vetoed { .. }
            | Note::Claim { .. }
            | Note::Coordinator { .. }
            | Note::StaleEpoch { .. }
            | Note::EventsLost { .. }
            | Note::Persist { .. }
            | Note::Moved { .. }
            | Note::Unreachable { .. } => return None,
        })
    }
}

/// The reason that a process, or the simulator, gives for a stop that the group has confirmed.
const LEFT: [&str; 2] = ["left the group", "Left"];
