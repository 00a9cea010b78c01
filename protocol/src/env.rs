//! What a peer knows whatever its role: who it is, its log, its links, what it has promised. A fact
//! that must be forgotten with the role lives in the role (`roles/`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::Sinks;
use crate::delivery::outbox::Outbox;
use crate::draw::{draw, draw_below};
use crate::id::{Contact, Epoch, Incarnation, Member, PeerId, ViewId};
use crate::install::Install;
use crate::io::Output;
use crate::links::Links;
use crate::links::awaited::Pace;
use crate::log::Log;
use crate::log::remarks::Suspicions;
use crate::membership::merging::MergeBackoffs;
use crate::membership::strangers::Strangers;
use crate::report::note::Note;
use crate::roles::Leaving;
use crate::time::Time;

/// What survives every change of role.
#[derive(Clone, Debug)]
pub(crate) struct Env {
    pub(crate) me: Contact,
    pub(crate) config: Config,
    pub(crate) seed: u64,
    pub(crate) draws: u64,
    pub(crate) datagrams: u64,
    /// The highest epoch promised; never falls.
    pub(crate) promised: Epoch,
    pub(crate) log: Log,
    pub(crate) sinks: Sinks,
    pub(crate) outbox: Outbox,
    pub(crate) links: Links,
    /// The log that is to replace the present one.
    pub(crate) install: Option<Install>,
    pub(crate) leaving: Option<Leaving>,
    /// How long it waits before it hands over (again) to a better one.
    pub(crate) preempted: Backoff,
    /// The other groups that it asked to take its own in.
    pub(crate) merge_backoffs: MergeBackoffs,
    /// Who is known by datagram alone.
    pub(crate) strangers: Strangers,
    /// Set while its group dissolves into another one, until it is admitted there.
    pub(crate) merging: bool,
    /// Who has said that this process is to end, and the question by which it is to say so again.
    pub(crate) doubted: Option<(Member, u64, Time)>,
    /// The incarnation that it started with.
    pub(crate) first_inc: Incarnation,
    /// Whether it has ever been in a view.
    pub(crate) been_member: bool,
    /// Whether it has been in a view, in this life or in an earlier one that it knows of (mode
    /// `primary`).
    pub(crate) has_history: bool,
    /// What it lacks to go on, while it lacks something (mode `primary`).
    pub(crate) blocked: Option<String>,
    /// Mode `primary`: since when it has waited for a group that it may not found.
    pub(crate) outside_since: Option<Time>,
    /// Whether the role or the view has changed, and with it who is wanted.
    pub(crate) wants_changed: bool,
    /// Heartbeats sent so far; never restarts, so that no late ACK is taken for one of a later
    /// beat.
    pub(crate) beats: u64,
    pub(crate) rejects: BTreeMap<&'static str, u64>,
    pub(crate) refused: u64,
    /// What the status block said last: whether this peer asks for a group or is blocked, who leads
    /// it (nobody, unless it is part of one), and the view.
    pub(crate) told: Option<(bool, bool, Option<PeerId>, ViewId)>,
    /// While it waits for answers: woken then at the latest, because only a peer that expects to be
    /// called often can tell that it was not.
    pub(crate) tick_at: Option<Time>,
    /// Set while a call has left something over that the next one is to do at once.
    pub(crate) more_at: Option<Time>,
    /// Who has been sent entries in this call because it asked for them.
    pub(crate) answered: BTreeSet<Member>,
    /// How late this node has been called at worst since it last told its leader.
    pub(crate) lag: Duration,
    pub(crate) stopped: bool,
    /// Whether it hands over as soon as somebody outranks it, because it was asked to.
    pub(crate) demoted: bool,
    /// Own time. Every moment that is stored elsewhere is of it.
    pub(crate) clock: Clock,
    /// What the wall clock shows during this call.
    pub(crate) utc: Option<u64>,
    pub(crate) suspicions: Suspicions,
}

impl Env {
    /// `seed` feeds its jitter and the names of its questions, and nothing else.
    pub(crate) fn new(me: Contact, config: Config, seed: u64, now: Time) -> Self {
        let first_inc = me.member.inc;
        let links = Links::new(me.clone(), config.cluster(), Pace::of(&config));
        Self {
            me,
            config,
            seed,
            draws: 0,
            datagrams: 0,
            promised: Epoch::none(),
            log: Log::empty(),
            sinks: Sinks::new(),
            outbox: Outbox::new(),
            links,
            install: None,
            leaving: None,
            preempted: Backoff::default(),
            merge_backoffs: MergeBackoffs::default(),
            strangers: Strangers::default(),
            merging: false,
            doubted: None,
            first_inc,
            been_member: false,
            has_history: false,
            blocked: None,
            outside_since: None,
            wants_changed: false,
            beats: 0,
            rejects: BTreeMap::new(),
            refused: 0,
            told: None,
            tick_at: None,
            more_at: None,
            answered: BTreeSet::new(),
            lag: Duration::ZERO,
            stopped: false,
            demoted: false,
            clock: Clock::new(now),
            utc: None,
            suspicions: Suspicions::default(),
        }
    }

    /// How long a member goes without a completed round trip before it misses its leader.
    pub(crate) fn patience(&self) -> Duration {
        self.config.knobs().heartbeat_timeout + self.config.knobs().heartbeat_interval
    }

    /// A name for a question that no other question has.
    pub(crate) fn fresh_ask(&mut self) -> u64 {
        self.draws += 1;
        // The top bit keeps questions apart from the rounds by which claims are named.
        draw(self.seed ^ self.me.birth, "ask", self.draws) | 1 << 63
    }

    /// A number below `bound`, another one each time.
    pub(crate) fn drawn_below(&mut self, bound: u64) -> u64 {
        self.draws += 1;
        draw_below(self.seed ^ self.me.birth, "one of", self.draws, bound)
    }

    /// Somewhere between half of `span` and all of it.
    pub(crate) fn jitter(&mut self, span: Duration) -> Duration {
        self.draws += 1;
        let half = u64::try_from(span.as_micros() / 2).unwrap_or(u64::MAX);
        span / 2
            + Duration::from_micros(draw_below(
                self.seed ^ self.me.birth,
                "jitter",
                self.draws,
                half + 1,
            ))
    }

    /// Takes a later incarnation, as long as it has never been in a view under the present one.
    pub(crate) fn renumber(&mut self, incarnation: Incarnation, out: &mut Vec<Output>) {
        self.me.member.inc = incarnation;
        self.links.rename(self.me.clone(), out);
        self.wants_changed = true;
        out.push(Output::Persist { incarnation, has_history: self.has_history });
        out.push(Output::Note(Note::Persist { incarnation }));
        // What it has published so far will be ordered under its new name.
        for (first, guarantee, readings) in self.outbox.readings() {
            out.push(Output::Accepted { first, guarantee, readings: readings.clone() });
        }
    }
}
