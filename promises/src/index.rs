//! An index of a history, so that every check is a short walk: the lives and their times, the facts
//! of each life in order, and all faults with their times. Peers, lives and epochs become small
//! numbers.

use protocol::config::Knobs;
use protocol::id::{Epoch, Incarnation, PeerId};
use protocol::log_id::LogId;
use protocol::note::Refusal;

use crate::fault::LinkSet;
use crate::history::{History, Hole};

mod builder;
mod had;

/// The number of a life: one `(peer, incarnation)`.
pub(crate) type LifeId = usize;
/// The number of an epoch; the numbers are in no order.
pub(crate) type EpochId = usize;

/// An index of a history.
pub(crate) struct Index<'a> {
    pub(crate) lives: Vec<Life<'a>>,
    pub(crate) epochs: Vec<&'a Epoch>,
    /// The log of a life without a log.
    pub(crate) none: LogId,
    pub(crate) views: Vec<ViewFact<'a>>,
    /// The reports of all lives about all positions, sorted by epoch and position.
    pub(crate) placed: Vec<Placed>,
    /// Every publication, sorted by origin and number.
    pub(crate) published: Vec<Publication>,
    pub(crate) troubles: Vec<Trouble<'a>>,
    /// The processes restarted without their stored data, and the records of those restarts.
    wiped: Vec<(usize, &'a str)>,
    /// The ranges of records in which the disk of a process was full, with the fault's name.
    full: Vec<(std::ops::Range<usize>, &'a str, &'a str)>,
    /// Whether a peer reports that it runs in mode `primary`.
    pub(crate) primary: bool,
    pub(crate) quiet: Option<Quiet>,
    pub(crate) unconfirmed: Vec<&'a str>,
    /// How long a fault may affect the group after its end.
    pub(crate) aftermath: u64,
    pub(crate) end: u64,
}

/// One life of one peer.
pub(crate) struct Life<'a> {
    pub(crate) peer: &'a PeerId,
    pub(crate) inc: Incarnation,
    /// The process it ran in; none for a life that only other peers mention.
    pub(crate) process: Option<&'a str>,
    pub(crate) facts: Vec<Fact<'a>>,
    /// The time of its first report.
    pub(crate) began: Option<u64>,
    /// Its first and its last record.
    pub(crate) first: Option<usize>,
    pub(crate) last: usize,
    /// The number of its last event.
    told: u64,
    /// When it ended, if it did.
    pub(crate) ended: Option<u64>,
    /// Whether it ended by itself and has written everything.
    pub(crate) stopped: bool,
    /// Whether some of its reports are missing: then its silence proves nothing.
    pub(crate) holed: bool,
    /// Whether it was started without reports of single readings.
    pub(crate) omits: bool,
}

/// One report of a life.
pub(crate) struct Fact<'a> {
    /// Its record.
    pub(crate) at: usize,
    pub(crate) t: u64,
    pub(crate) what: What<'a>,
}

/// The content of a report, as far as promises need it.
pub(crate) enum What<'a> {
    Entry(Entry),
    /// A reading that it took for a repeat, although it neither received it nor was told that it is
    /// lost.
    Missed(Entry),
    Gap {
        from: u64,
        to: u64,
    },
    Transfer {
        resume: u64,
        epoch: EpochId,
    },
    Diverged {
        from: u64,
        to: u64,
    },
    /// Its group merged into another one: the range that only the old log has, and that of the new
    /// one.
    Merged {
        old: (u64, u64),
        new: (u64, u64),
    },
    Cut {
        epoch: EpochId,
        seq: u64,
        log: &'a LogId,
    },
    Promised {
        epoch: EpochId,
    },
    Stable {
        seq: u64,
    },
    Elected {
        epoch: EpochId,
        /// How many peers had answered, itself included.
        size: u64,
        renewed: bool,
    },
    Follows {
        leader: &'a PeerId,
        epoch: EpochId,
    },
    StepDown,
    ElectionStarted,
    Publish {
        oseq: u64,
        /// Whether it asked for confirmation once the reading is safe.
        safe: bool,
    },
    Acknowledged {
        oseq: u64,
        seq: u64,
    },
    Slow {
        life: LifeId,
        lag: Lag,
    },
    /// It has numbered a view without some peers, and with these members.
    Removes {
        life: LifeId,
        ordered: &'a [PeerId],
    },
    Reject {
        why: &'a str,
        count: u64,
    },
    Start,
    Ready,
    Panic {
        message: &'a str,
    },
    /// Its state: how many readings it had, how many of them were ordered, and whether it was in no
    /// group.
    Unordered {
        published: u64,
        ordered: u64,
        outside: bool,
    },
    /// It can do nothing before it reaches others.
    Blocked,
    /// It refused a reading.
    Refused {
        why: Refusal,
        count: u64,
    },
    /// It was asked to leave.
    Leaves,
    /// It stops, and its readings from that number on are in no log.
    LeftBehind {
        from: u64,
    },
    /// It stops by itself, having left its group or not.
    Ends {
        left: bool,
    },
}

/// The numbers of a lagging member.
#[derive(Clone, Copy)]
pub(crate) struct Lag {
    pub(crate) behind: u64,
    pub(crate) acked: u64,
    pub(crate) high: u64,
    pub(crate) for_ms: u64,
    /// The first position that waited to be safe, if the member is evicted for that.
    pub(crate) awaited: Option<u64>,
}

/// The report of a life about one position of the log.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) epoch: EpochId,
    pub(crate) seq: u64,
    pub(crate) kind: Kind,
}

/// The content of a position.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A reading; `digest` is present unless it was suppressed as a repeat; `safe` says that it was
    /// delivered as safe.
    Data { origin: LifeId, oseq: u64, view_id: u64, digest: Option<u64>, safe: bool },
    /// A declaration of loss.
    Lost { origin: LifeId, from: u64, to: u64 },
    /// A view, by its index in `Index::views`.
    View(usize),
}

/// The report of one life about one position.
pub(crate) struct Placed {
    pub(crate) entry: Entry,
    pub(crate) life: LifeId,
    pub(crate) at: usize,
    /// The epoch of the previous entry of this life, if it had that entry.
    pub(crate) before: Option<(EpochId, usize)>,
}

/// A reading, as its origin reported it.
pub(crate) struct Publication {
    pub(crate) origin: LifeId,
    pub(crate) oseq: u64,
    pub(crate) digest: u64,
    pub(crate) at: usize,
    pub(crate) t: u64,
}

/// A view as one life reported it.
pub(crate) struct ViewFact<'a> {
    pub(crate) life: LifeId,
    pub(crate) at: usize,
    pub(crate) t: u64,
    pub(crate) epoch: EpochId,
    pub(crate) view_id: u64,
    pub(crate) seq: u64,
    pub(crate) leader: &'a PeerId,
    pub(crate) members: &'a [PeerId],
    pub(crate) incs: &'a [Incarnation],
    pub(crate) log: &'a LogId,
}

impl ViewFact<'_> {
    /// The members, with their incarnations.
    pub(crate) fn lives(&self) -> impl Iterator<Item = (&PeerId, Incarnation)> {
        self.members.iter().zip(self.incs.iter().copied())
    }

    /// Whether that very life is a member.
    pub(crate) fn names(&self, peer: &PeerId, inc: Incarnation) -> bool {
        self.lives().any(|(name, its)| its == inc && name == peer)
    }
}

/// A fault or an accident, with its time.
pub(crate) struct Trouble<'a> {
    pub(crate) from: u64,
    /// `u64::MAX` if it did not end.
    pub(crate) to: u64,
    pub(crate) at: usize,
    pub(crate) kind: TroubleKind,
    /// The lives concerned; empty if the machine itself was late.
    pub(crate) lives: Vec<LifeId>,
    /// The links, for a fault of links.
    pub(crate) table: Option<&'a LinkSet>,
    id: &'a str,
    processes: &'a [String],
}

/// The kind of a trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TroubleKind {
    /// Killed, stopped, ended, or leaving by itself.
    Down,
    /// Paused.
    Paused,
    /// Its links are cut or degraded.
    Links,
    /// The machine was late, and so perhaps every process.
    Machine,
}

/// The last window without any fault.
pub(crate) struct Quiet {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) core: Vec<String>,
}

impl<'a> Index<'a> {
    pub(crate) fn of(history: &'a History, holes: &[Hole], knobs: &Knobs) -> Self {
        builder::Builder::new(knobs).build(history, holes)
    }

    /// The reports of all lives about one position of one epoch.
    pub(crate) fn at_position(&self, epoch: EpochId, seq: u64) -> &[Placed] {
        let key = |placed: &Placed| (placed.entry.epoch, placed.entry.seq);
        let from = self.placed.partition_point(|placed| key(placed) < (epoch, seq));
        let rest = &self.placed[from..];
        &rest[..rest.partition_point(|placed| key(placed) == (epoch, seq))]
    }

    /// The origin's report of a reading.
    pub(crate) fn publication(&self, origin: LifeId, oseq: u64) -> Option<&Publication> {
        let found = self
            .published
            .binary_search_by_key(&(origin, oseq), |known| (known.origin, known.oseq));
        found.ok().map(|at| &self.published[at])
    }

    /// Whether an origin reported any reading from that number on.
    pub(crate) fn published_from(&self, origin: LifeId, oseq: u64) -> bool {
        let at =
            self.published.partition_point(|known| (known.origin, known.oseq) < (origin, oseq));
        self.published.get(at).is_some_and(|known| known.origin == origin)
    }

    /// The groups of `placed` with one position each.
    pub(crate) fn positions(&self) -> impl Iterator<Item = &[Placed]> {
        self.placed.chunk_by(|a, b| a.entry.epoch == b.entry.epoch && a.entry.seq == b.entry.seq)
    }

    /// Whether a process lost its stored data between two of its records.
    pub(crate) fn is_wiped_between(
        &self,
        from: Option<usize>,
        to: usize,
        process: Option<&str>,
    ) -> bool {
        self.wiped.iter().any(|(at, wiped)| {
            Some(*wiped) == process && from.is_none_or(|from| from < *at) && *at < to
        })
    }

    /// Whether a process could store nothing at that record.
    pub(crate) fn is_full_at(&self, at: Option<usize>, process: Option<&str>) -> bool {
        let at = at.unwrap_or(0);
        self.full.iter().any(|(span, _, full)| Some(*full) == process && span.contains(&at))
    }

    /// The troubles that were in force, or still had effects, at some moment between the two.
    pub(crate) fn troubles_in(&self, from: u64, to: u64) -> impl Iterator<Item = &Trouble<'a>> {
        self.troubles.iter().filter(move |trouble| {
            trouble.from <= to && trouble.to.saturating_add(self.aftermath) >= from
        })
    }

    /// Whether any life reports that a reading is lost. Only lives that have not received the
    /// reading report it, and they may be gone by now.
    pub(crate) fn is_declared_lost(&self, origin: LifeId, oseq: u64) -> bool {
        self.placed.iter().any(
            |placed| matches!(placed.entry.kind, Kind::Lost { origin: whose, from, to } if whose == origin && (from..=to).contains(&oseq)),
        )
    }

    /// Whether a life gives up the place of one of its readings after that moment: it moves to
    /// another group, or takes back what it had delivered there because the rest of its group
    /// continued without it.
    pub(crate) fn gives_up(&self, life: LifeId, oseq: u64, t: u64) -> bool {
        let mut had = None;
        self.lives[life].facts.iter().filter(|fact| fact.t >= t).any(|fact| match fact.what {
            What::Merged { .. } => true,
            What::Diverged { from, to } => had.is_some_and(|seq| (from..=to).contains(&seq)),
            What::Entry(Entry { seq, kind: Kind::Data { origin, oseq: number, .. }, .. })
                if (origin, number) == (life, oseq) =>
            {
                had = Some(seq);
                false
            }
            _ => false,
        })
    }

    /// Whether a life was in trouble at a moment, or shortly before. For every other life that got
    /// into trouble meanwhile, the group gets the same time again to recover.
    pub(crate) fn excused(&self, life: LifeId, t: u64) -> bool {
        self.feels(life, t, |trouble| trouble.kind != TroubleKind::Machine)
    }

    /// Whether a life was paused for at least `span`, and may still be affected at that moment.
    pub(crate) fn stood_still(&self, life: LifeId, t: u64, span: u64) -> bool {
        self.feels(life, t, |trouble| {
            trouble.kind == TroubleKind::Paused
                && trouble.to.min(t).saturating_sub(trouble.from) >= span
        })
    }

    fn feels(&self, life: LifeId, t: u64, counts: impl Fn(&Trouble<'_>) -> bool) -> bool {
        let is_own = |trouble: &Trouble<'_>| {
            trouble.lives.contains(&life) && trouble.kind != TroubleKind::Machine
        };
        let mut own = self
            .troubles
            .iter()
            .filter(|trouble| trouble.from <= t && is_own(trouble) && counts(trouble));
        own.any(|trouble| {
            let meanwhile = self
                .troubles_in(trouble.from, t)
                .filter(|other| other.to >= trouble.from && !is_own(other))
                .count() as u64;
            t <= trouble.to.saturating_add(self.aftermath.saturating_mul(meanwhile + 1))
        })
    }

    /// Whether the links between these two were cut or degraded, or the machine late, at a moment
    /// or shortly before.
    pub(crate) fn is_cut_between(&self, [one, other]: [LifeId; 2], t: u64) -> bool {
        let names = self.lives[one].process.zip(self.lives[other].process);
        self.troubles_in(t, t).any(|trouble| match trouble.kind {
            TroubleKind::Machine => true,
            TroubleKind::Links => match trouble.table.zip(names) {
                Some((table, (one, other))) => table.has(one, other) || table.has(other, one),
                None => self.concerns(trouble, one) || self.concerns(trouble, other),
            },
            TroubleKind::Down | TroubleKind::Paused => false,
        })
    }

    /// Whether links of one of these lives were cut or degraded, or the machine late, at a moment
    /// or shortly before.
    pub(crate) fn is_stormy(&self, lives: [LifeId; 2], t: u64) -> bool {
        self.troubles_in(t, t).any(|trouble| match trouble.kind {
            TroubleKind::Machine => true,
            TroubleKind::Links => lives.iter().any(|life| self.concerns(trouble, *life)),
            TroubleKind::Down | TroubleKind::Paused => false,
        })
    }

    /// Whether a trouble concerns that life, or the process that it runs in: a cut outlasts the
    /// lives that it affected.
    fn concerns(&self, trouble: &Trouble<'_>, life: LifeId) -> bool {
        let process = self.lives[life].process;
        trouble.lives.contains(&life)
            || process.is_some_and(|process| trouble.processes.iter().any(|name| name == process))
    }

    /// When a life promised an epoch; the owner promises its epoch by claiming it.
    pub(crate) fn promise_of(&self, life: LifeId, epoch: EpochId) -> Option<&Fact<'a>> {
        self.lives[life]
            .facts
            .iter()
            .find(|fact| matches!(fact.what, What::Promised { epoch: its } if its == epoch))
    }

    pub(crate) fn life(&self, peer: &PeerId, inc: Incarnation) -> Option<LifeId> {
        self.lives.iter().position(|life| life.inc == inc && life.peer == peer)
    }

    /// The moment at which progress is demanded: the end of the quiet window. Later events, such as
    /// the shutdown, do not count.
    pub(crate) fn rest(&self) -> u64 {
        self.quiet.as_ref().map_or(self.end, |quiet| quiet.to)
    }

    /// Whether any peer was blocked at some moment between the two (mode `primary`): from its
    /// report until it leads, follows, or gets a view.
    pub(crate) fn was_blocked(&self, from: u64, to: u64) -> bool {
        (0..self.lives.len()).any(|life| self.is_blocked(life, from, to))
    }

    /// Whether one life was blocked at some moment between the two.
    pub(crate) fn is_blocked(&self, life: LifeId, from: u64, to: u64) -> bool {
        let life = &self.lives[life];
        let mut since = None;
        for fact in life.facts.iter().take_while(|fact| fact.t <= to) {
            match fact.what {
                What::Blocked => since = since.or(Some(fact.t)),
                What::Elected { .. }
                | What::Follows { .. }
                | What::Entry(Entry { kind: Kind::View(_), .. })
                    if since.is_some() =>
                {
                    if fact.t >= from {
                        return true;
                    }
                    since = None;
                }
                _ => {}
            }
        }
        since.is_some() && life.ended.is_none_or(|ended| ended >= from)
    }

    /// The peers with a life that does not report single readings.
    pub(crate) fn omitting(&self) -> Vec<PeerId> {
        let mut peers: Vec<PeerId> =
            self.lives.iter().filter(|life| life.omits).map(|life| life.peer.clone()).collect();
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    /// The lives that could all reach each other at that moment.
    pub(crate) fn core(&self) -> Vec<LifeId> {
        let rest = self.rest();
        let named = self.quiet.as_ref().map_or(&[][..], |quiet| &quiet.core);
        let within = |life: &Life<'_>| {
            named.is_empty()
                || life.process.is_some_and(|process| named.iter().any(|name| name == process))
        };
        let is_paused = |id: &LifeId| {
            let pauses = self.troubles.iter().filter(|trouble| trouble.kind == TroubleKind::Paused);
            pauses
                .into_iter()
                .any(|pause| pause.from <= rest && rest < pause.to && pause.lives.contains(id))
        };
        let lives = |life: &Life<'_>| {
            life.began.is_some_and(|began| began <= rest)
                && life.ended.is_none_or(|ended| ended > rest)
        };
        (0..self.lives.len())
            .filter(|id| lives(&self.lives[*id]) && within(&self.lives[*id]) && !is_paused(id))
            .collect()
    }

    /// The reports of a life up to that moment, newest last.
    pub(crate) fn said_by_rest(&self, life: LifeId) -> &[Fact<'a>] {
        let (facts, rest) = (&self.lives[life].facts, self.rest());
        &facts[..facts.partition_point(|fact| fact.t <= rest)]
    }

    /// The newest view of a life at that moment.
    pub(crate) fn last_view(&self, life: LifeId) -> Option<&ViewFact<'a>> {
        self.said_by_rest(life).iter().rev().find_map(|fact| match fact.what {
            What::Entry(Entry { kind: Kind::View(view), .. }) => Some(&self.views[view]),
            _ => None,
        })
    }

    /// `peer#inc`, for sentences.
    pub(crate) fn name(&self, life: LifeId) -> String {
        format!("{}#{}", self.lives[life].peer, self.lives[life].inc)
    }
}

#[cfg(test)]
mod tests {
    use super::{History, Incarnation, Index, Knobs, PeerId};

    #[test]
    fn a_place_is_given_up_where_that_is_told_of_it() {
        let says = |t: u64, what: &str| {
            format!("{{\"v\":1,\"t\":{t},\"p\":\"p1\",\"inc\":1,\"n\":{t},{what}}}\n")
        };
        let place =
            r#""epoch":"1.p2","epoch_inc":1,"seq":4,"view_id":1,"digest":"645d10bca8b03be0""#;
        let has = format!(r#""ev":"deliver",{place},"origin":"p1","origin_inc":1,"oseq":2"#);
        let other = format!(r#""ev":"deliver",{place},"origin":"p2","origin_inc":1,"oseq":2"#);
        let back = |from: u64, to: u64| format!(r#""ev":"diverged","from":{from},"to":{to}"#);
        let merged =
            r#""ev":"merged","into":"p2","from":9,"to":9,"new_from":9,"new_to":9"#.to_owned();
        for (first, then, is_given_up) in [
            (&has, back(4, 4), true),
            (&has, back(3, 9), true),
            (&has, back(5, 9), false),
            (&has, back(1, 3), false),
            (&other, back(3, 9), false),
            (&has, has.clone(), false),
            (&other, merged, true),
        ] {
            let history =
                History::read([("p1", format!("{}{}", says(1, first), says(2, &then)).as_str())]);
            let index = Index::of(&history, &[], &Knobs::fast());
            let life = index
                .life(&PeerId::new("p1").expect("a name"), Incarnation(1))
                .expect("it has spoken");
            assert_eq!(
                (index.gives_up(life, 2, 1), index.gives_up(life, 2, 3)),
                (is_given_up, false),
                "{first}, then {then}"
            );
        }
    }
}
