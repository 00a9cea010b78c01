//! What has been handed to the sinks, and what comes next.
//!
//! The position is the log's; what was handed over is this peer's own (see `handed`). It is never
//! rolled back and never shipped, so a reading that comes again in another log is told apart and
//! not handed over twice. One that comes too late to be handed over in its origin's order is told
//! as a gap. Views come into force here, at their place among the readings (virtual synchrony).

pub(crate) mod handed;
pub(crate) mod handing;
pub(crate) mod outbox;

use crate::delivery::handed::{Handed, Standing};
use crate::guarantee::Guarantee;
use crate::id::{Epoch, Incarnation, Member, Oseq, PeerId, Seq, ViewId};
use crate::io::{self, Delivery, Output, Run};
use crate::log::Log;
use crate::log::entry::Entry;
use crate::log::log_id::LogId;
use crate::log::readings::Readings;
use crate::log::view::View;
use crate::report::note::Note;

/// How far this peer's sinks are.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Sinks {
    delivered: Seq,
    /// Whether nothing of this log was handed over yet.
    is_new: bool,
    handed: Handed,
    /// The view in force at `delivered`.
    in_force: ViewId,
    /// Views below this are not told: they came into force while this peer was away.
    tell_from: Seq,
    /// Nor those of an absence after that, if it was let in twice before it told any view.
    away: Absence,
    /// The last view that named this peer, as it was told.
    told: Option<View>,
}

/// The time between two admissions of a peer, as positions of its log.
#[derive(Clone, Copy, Debug, Hash)]
struct Absence {
    /// The last position that it held when it was let in again.
    held: Seq,
    /// Where the view stands that let it in again.
    back: Seq,
}

impl Absence {
    const NONE: Self = Self { held: Seq::ZERO, back: Seq::ZERO };

    fn covers(self, seq: Seq) -> bool {
        self.held < seq && seq < self.back
    }
}

impl Sinks {
    pub(crate) fn new() -> Self {
        let (delivered, tell_from, away) = (Seq::ZERO, Seq::ZERO, Absence::NONE);
        Self {
            delivered,
            is_new: true,
            handed: Handed::default(),
            in_force: ViewId::ZERO,
            tell_from,
            away,
            told: None,
        }
    }

    pub(crate) fn delivered(&self) -> Seq {
        self.delivered
    }

    /// How many rows its table has.
    pub(crate) fn rows(&self) -> usize {
        self.handed.rows()
    }

    /// Hands over everything up to `limit` that the log holds.
    pub(crate) fn deliver(
        &mut self,
        log: &Log,
        limit: Seq,
        me: (&PeerId, Incarnation),
        out: &mut Vec<Output>,
    ) {
        // Whatever stands together was numbered in one epoch; but that is another peer's word.
        while self.delivered < limit && self.delivered < log.contiguous() {
            let first = self.delivered.next();
            let mut held = log.between(first, limit.min(log.same_epoch_up_to(first))).peekable();
            if held.peek().is_none() {
                return;
            }
            let (name, epoch) = (log.name(), log.epoch_at(first));
            for (seq, entry) in held {
                (self.delivered, self.is_new) = (seq.plus(entry.positions()).previous(), false);
                self.deliver_entry(log, (&name, &epoch, seq), entry, me, out);
            }
        }
    }

    fn deliver_entry(
        &mut self,
        log: &Log,
        at: (&LogId, &Epoch, Seq),
        entry: Entry,
        me: (&PeerId, Incarnation),
        out: &mut Vec<Output>,
    ) {
        let (name, _, seq) = at;
        match entry {
            Entry::Readings { origin, first, guarantee, ordered, readings } => {
                self.deliver_readings(at, (&origin, first), (guarantee, ordered), &readings, out);
            }
            Entry::Lost { origin, from, to } => {
                self.deliver_loss(at, origin, (from, to), me, out);
            }
            Entry::Change(_) => unreachable!("a log holds whole views"),
            Entry::View(view) => {
                self.in_force = view.view_id;
                // Another log may still bring those back who are gone, so the bound is generous.
                self.handed.forget(HANDED_MOST, |id| log.remembers(id));
                out.push(Output::Deliver(Delivery::View(Box::new(standing(
                    log, name, seq, &view,
                )))));
                let was_away = seq < self.tell_from || self.away.covers(seq);
                if !was_away && view.incarnation(me.0) == Some(me.1) {
                    self.tell(log, &view, seq, out);
                }
            }
        }
    }

    /// Readings of one origin: those that are new, and for the others what became of them.
    fn deliver_readings(
        &mut self,
        at: (&LogId, &Epoch, Seq),
        (origin, first): (&Member, Oseq),
        (guarantee, ordered): (Guarantee, Option<u64>),
        readings: &Readings,
        out: &mut Vec<Output>,
    ) {
        let (name, epoch, seq) = at;
        let (last, mut past) = (first.plus(readings.len()).previous(), 0);
        while past < readings.len() {
            let (standing, end) = self.handed.standing(origin, first.plus(past), last);
            let next = end.next().above(first);
            let (seq, oseq) = (seq.plus(past), first.plus(past));
            let to = seq.plus(next - past).previous();
            match standing {
                Standing::Repeat => {
                    (past..next).for_each(|at| {
                        let (log, epoch, view_id, origin_inc) =
                            (name.clone(), epoch.clone(), self.in_force, origin.inc);
                        let (seq, oseq, origin) =
                            (seq.plus(at - past), oseq.plus(at - past), origin.id.clone());
                        out.push(Output::Note(Note::DupSuppressed {
                            log,
                            epoch,
                            seq,
                            view_id,
                            origin,
                            origin_inc,
                            oseq,
                        }));
                    });
                    out.push(repeat((name, epoch, seq), to, origin, (oseq, end)));
                }
                Standing::Late => pass_over(name, seq, to, out),
                Standing::Fresh => {
                    self.handed.add(origin, oseq, end);
                    let readings = readings.slice(past..next);
                    let (log, epoch, view_id, origin) =
                        (name.clone(), epoch.clone(), self.in_force, origin.clone());
                    let run = Run {
                        log,
                        epoch,
                        view_id,
                        first: seq,
                        origin,
                        oseq,
                        guarantee,
                        ordered,
                        readings,
                    };
                    out.push(Output::Deliver(Delivery::Run(run)));
                }
            }
            past = next;
        }
    }

    /// Readings that no peer retains any more.
    fn deliver_loss(
        &mut self,
        at: (&LogId, &Epoch, Seq),
        origin: Member,
        (from, to): (Oseq, Oseq),
        me: (&PeerId, Incarnation),
        out: &mut Vec<Output>,
    ) {
        let (name, epoch, seq) = at;
        let had = self.handed.has_all(&origin, from, to);
        // Its origin says it in any case: whoever else could may be gone.
        if !had || (&origin.id, origin.inc) == me {
            let (log, epoch, view_id) = (name.clone(), epoch.clone(), self.in_force);
            let (origin, origin_inc) = (origin.id.clone(), origin.inc);
            out.push(Output::Note(Note::Lost {
                log,
                epoch,
                seq,
                view_id,
                origin,
                origin_inc,
                from,
                to,
            }));
        }
        if had {
            out.push(repeat(at, seq, &origin, (from, to)));
        } else {
            self.handed.add(&origin, from, to);
            let (log, epoch) = (name.clone(), epoch.clone());
            out.push(Output::Deliver(Delivery::Lost { log, epoch, seq, origin, from, to }));
        }
    }

    /// The log has become another one that agrees with the old one up to `fork`; deliveries go on
    /// after `resume`. After an admission, `let_in` is the position of the view that admitted this
    /// peer, and views are told from there on. After a cut it is nothing: the cut's views are told.
    pub(crate) fn on_log_replaced(
        &mut self,
        log: &Log,
        old: &LogId,
        fork: Seq,
        (resume, let_in): (Seq, Option<Seq>),
        out: &mut Vec<Output>,
    ) {
        if let Some(let_in) = let_in {
            // Let in again before it was told of the view that let it in first, and which stands:
            // that one is its first still.
            let first = if (Seq(1)..=fork).contains(&self.away.back) {
                self.away.back
            } else {
                self.tell_from
            };
            let joined_before = self.told.is_none() && (Seq(1)..=fork).contains(&first);
            self.away =
                if joined_before { Absence { held: fork, back: let_in } } else { Absence::NONE };
            self.tell_from = if joined_before { first.min(let_in) } else { let_in };
        } else {
            self.tell_from = self.tell_from.min(fork.next());
            self.away.back = self.away.back.min(fork.next());
        }
        // Sinks that were given nothing yet take nothing back, and miss nothing.
        if self.delivered > fork {
            let (from, to) = (fork.next(), self.delivered);
            if !self.is_new {
                out.push(Output::Deliver(Delivery::Diverged { log: old.clone(), from, to }));
                out.push(Output::Note(Note::Diverged { log: old.clone(), from, to }));
            }
            self.delivered = fork;
        }
        // A newcomer has no past to miss: its first delivery is where it joined. The same is true
        // of a peer that comes to a log of which its sinks have had nothing.
        self.is_new |= self.delivered == Seq::ZERO;
        if !self.is_new && self.delivered < resume {
            let (from, to) = (self.delivered.next(), resume);
            let why = "the entries had been discarded".to_owned();
            out.push(Output::Note(Note::Gap { log: log.name(), from, to, why: why.clone() }));
            out.push(Output::Deliver(Delivery::Gap { log: log.name(), from, to, why }));
        }
        self.delivered = self.delivered.max(resume);
        self.in_force = log.view_in_force(self.delivered).map_or(ViewId::ZERO, |view| view.view_id);
    }

    fn tell(&mut self, log: &Log, view: &View, seq: Seq, out: &mut Vec<Output>) {
        // In another log views may come that are older than those told; they are history, not news.
        if self
            .told
            .as_ref()
            .is_some_and(|told| (&view.epoch, view.view_id) <= (&told.epoch, told.view_id))
        {
            return;
        }
        let before = self.told.replace(view.clone());
        let before = before.as_ref();
        for contact in view
            .members
            .iter()
            .filter(|contact| before.is_none_or(|old| !old.names(&contact.member)))
        {
            out.push(Output::Note(Note::PeerAdded {
                peer: contact.id().clone(),
                peer_inc: contact.member.inc,
                view_id: view.view_id,
            }));
        }
        for contact in before
            .iter()
            .flat_map(|old| old.members.iter())
            .filter(|contact| !view.names(&contact.member))
        {
            out.push(Output::Note(Note::PeerRemoved {
                peer: contact.id().clone(),
                peer_inc: contact.member.inc,
                view_id: view.view_id,
            }));
        }
        out.push(Output::Note(Note::View {
            view_id: view.view_id,
            epoch: view.epoch.clone(),
            seq,
            leader: view.leader.clone(),
            members: view.ids(),
            incs: view.members.iter().map(|contact| contact.member.inc).collect(),
            log: log.name(),
        }));
    }
}

/// What stands there is nothing new.
fn repeat(
    (log, epoch, seq): (&LogId, &Epoch, Seq),
    last: Seq,
    origin: &Member,
    (from, to): (Oseq, Oseq),
) -> Output {
    Output::Deliver(Delivery::Repeat {
        log: log.clone(),
        epoch: epoch.clone(),
        seq,
        last,
        origin: origin.clone(),
        from,
        to,
    })
}

/// A view at its place, beside the one before it in the log.
fn standing(log: &Log, name: &LogId, seq: Seq, view: &View) -> io::Standing {
    let before = log.view_in_force(seq.previous());
    let has = |view: Option<&View>, member: &Member| view.is_some_and(|view| view.names(member));
    let members = |view: Option<&View>| -> Vec<Member> {
        view.into_iter()
            .flat_map(|view| view.members.iter())
            .map(|contact| contact.member.clone())
            .collect()
    };
    let (mut joined, mut left) = (members(Some(view)), members(before));
    joined.retain(|member| !has(before, member));
    left.retain(|member| !has(Some(view), member));
    io::Standing { log: name.clone(), seq, view: view.clone(), joined, left }
}

/// Tells that what stands there will not be handed over, together with what stands before it where
/// that was just told.
fn pass_over(log: &LogId, from: Seq, to: Seq, out: &mut Vec<Output>) {
    if let [
        ..,
        Output::Note(Note::Gap { to: told, why, .. }),
        Output::Deliver(Delivery::Gap { to: handed, .. }),
    ] = &mut out[..]
        && told.next() == from
        && why == LATE
    {
        (*told, *handed) = (to, to);
        return;
    }
    out.push(Output::Note(Note::Gap { log: log.clone(), from, to, why: LATE.to_owned() }));
    out.push(Output::Deliver(Delivery::Gap { log: log.clone(), from, to, why: LATE.to_owned() }));
}

/// Why a reading is passed over that its origin's order has no place for any more.
const LATE: &str = "later readings of the same origin were handed over before";

/// Peers of which it is known what was handed over, beyond those that the log remembers.
const HANDED_MOST: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::{HANDED_MOST, Sinks};
    use crate::guarantee::Guarantee;
    use crate::id::{Contact, Epoch, Incarnation, Member, Oseq, PeerId, Seq, ViewId};
    use crate::io::{Delivery, Output};
    use crate::log::Log;
    use crate::log::entry::Entry;
    use crate::log::view::View;
    use crate::report::note::Note;
    use bytes::Bytes;

    fn member(name: &str, inc: u64) -> Member {
        Member { id: PeerId::new(name).expect("a valid name"), inc: Incarnation(inc) }
    }

    fn epoch(round: u64) -> Epoch {
        Epoch { round, owner: member("p1", 1) }
    }

    fn data(origin: &Member, oseq: u64) -> Entry {
        Entry::one(origin.clone(), Oseq(oseq), Guarantee::Agreed, Bytes::from_static(b"x"), 0)
    }

    fn view(id: u64, members: &[Member]) -> Entry {
        let address = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 5_001);
        let contact =
            |member: &Member| Contact { member: member.clone(), birth: 1, address, explicit: 0 };
        Entry::View(View::new(
            ViewId(id),
            epoch(1),
            member("p1", 1).id,
            members.iter().map(contact).collect(),
        ))
    }

    fn log(entries: Vec<Entry>) -> Log {
        let mut log = Log::empty();
        log.push_row(epoch(1));
        for entry in entries {
            log.append(entry);
        }
        log
    }

    /// Hands over all of a log to the sinks of `p1`.
    fn deliver(sinks: &mut Sinks, log: &Log) -> Vec<Output> {
        let (mut out, me) = (Vec::new(), member("p1", 1));
        sinks.deliver(log, log.contiguous(), (&me.id, me.inc), &mut out);
        out
    }

    #[test]
    fn a_view_tells_who_came_and_who_went() {
        let (p1, p2, p3) = (member("p1", 1), member("p2", 1), member("p3", 1));
        let later = member("p2", 2);
        let log = log(vec![
            view(1, &[p1.clone(), p2]),
            view(2, &[p1.clone(), later, p3.clone()]),
            view(3, &[p3]),
            view(4, &[p1]),
        ]);
        let said: Vec<String> = deliver(&mut Sinks::new(), &log)
            .iter()
            .filter_map(|output| match output {
                Output::Note(Note::PeerAdded { peer, peer_inc, view_id }) => {
                    Some(format!("{view_id} +{peer}#{peer_inc}"))
                }
                Output::Note(Note::PeerRemoved { peer, peer_inc, view_id }) => {
                    Some(format!("{view_id} -{peer}#{peer_inc}"))
                }
                Output::Note(Note::View { view_id, .. }) => Some(format!("view {view_id}")),
                _ => None,
            })
            .collect();
        // The third one does not name this peer, and is none of its business.
        let wanted = [
            "1 +p1#1", "1 +p2#1", "view 1", "2 +p2#2", "2 +p3#1", "2 -p2#1", "view 2", "4 -p2#2",
            "4 -p3#1", "view 4",
        ];
        assert_eq!(said, wanted);
    }

    #[test]
    fn a_declaration_is_handed_over_once_and_its_origin_tells_it_each_time() {
        let check = |origin: &Member, told: usize| {
            let lost = |from: u64, to: u64| Entry::Lost {
                origin: origin.clone(),
                from: Oseq(from),
                to: Oseq(to),
            };
            let lost_once = lost(1, 3);
            let out = deliver(
                &mut Sinks::new(),
                &log(vec![
                    data(origin, 1),
                    lost(2, 3),
                    lost(2, 3),
                    data(origin, 3),
                    data(origin, 4),
                ]),
            );
            let notes = out
                .iter()
                .filter(|output| matches!(output, Output::Note(Note::Lost { .. })))
                .count();
            let lost = out
                .iter()
                .filter(|output| matches!(output, Output::Deliver(Delivery::Lost { .. })))
                .count();
            let readings = out
                .iter()
                .filter(|output| matches!(output, Output::Deliver(Delivery::Run(_))))
                .count();
            let again = out
                .iter()
                .filter(|output| matches!(output, Output::Note(Note::DupSuppressed { .. })))
                .count();
            assert_eq!((notes, lost, readings, again), (told, 1, 2, 1), "{origin}");
            let first = deliver(&mut Sinks::new(), &log(vec![lost_once]));
            assert!(
                matches!(&first[..], [Output::Note(Note::Lost { .. }), Output::Deliver(_)]),
                "the first time"
            );
        };
        check(&member("p1", 1), 2);
        check(&member("p2", 1), 1);
    }

    #[test]
    fn of_very_many_who_are_gone_the_oldest_are_forgotten() {
        let mut sinks = Sinks::new();
        let gone = |n: u64| member(&format!("gone{n}"), n);
        for n in 1..=HANDED_MOST as u64 + 2 {
            sinks.handed.add(&gone(n), Oseq(1), Oseq(1));
        }
        let keeps = |sinks: &Sinks, n: u64| sinks.handed.has_all(&gone(n), Oseq(1), Oseq(1));
        // The log remembers the first: only another one may go in its place.
        deliver(&mut sinks, &log(vec![view(1, &[gone(1)])]));
        assert!(keeps(&sinks, 1) && !keeps(&sinks, 2) && !keeps(&sinks, 3) && keeps(&sinks, 4));
    }

    /// What becomes of readings: `1` is delivered, `=1` repeats, and what is passed over stands in
    /// brackets, by position.
    fn fate(out: &[Output]) -> Vec<String> {
        let fate = |output: &Output| match output {
            Output::Deliver(Delivery::Run(run)) => Some(format!("{}", run.oseq)),
            Output::Note(Note::DupSuppressed { oseq, .. }) => Some(format!("={oseq}")),
            Output::Deliver(Delivery::Gap { from, to, .. }) => Some(format!("[{from}-{to}]")),
            _ => None,
        };
        out.iter().filter_map(fate).collect()
    }

    #[test]
    fn what_a_later_life_has_published_says_nothing_of_an_earlier_one() {
        let (early, late, mut sinks) = (member("p4", 1), member("p4", 2), Sinks::new());
        assert_eq!(
            fate(&deliver(&mut sinks, &log(vec![data(&late, 1), data(&late, 2)]))),
            ["1", "2"]
        );
        let other = log(vec![
            data(&early, 1),
            data(&early, 2),
            data(&late, 1),
            data(&late, 2),
            data(&late, 3),
        ]);
        sinks.on_log_replaced(&other, &other.name(), Seq::ZERO, (Seq::ZERO, None), &mut Vec::new());
        assert_eq!(fate(&deliver(&mut sinks, &other)), ["1", "2", "=1", "=2", "3"]);
    }

    #[test]
    fn what_stands_behind_its_own_followers_is_told_as_a_gap() {
        let (p3, p2, mut sinks) = (member("p3", 1), member("p2", 1), Sinks::new());
        // It came in late: 1 to 3 were ordered before.
        assert_eq!(fate(&deliver(&mut sinks, &log(vec![data(&p3, 4), data(&p3, 5)]))), ["4", "5"]);
        let mut resent: Vec<Entry> = vec![data(&p3, 1), data(&p3, 2)];
        resent.extend([data(&p2, 1), data(&p3, 3), data(&p3, 4), data(&p3, 5), data(&p3, 6)]);
        let other = log(resent);
        sinks.on_log_replaced(&other, &other.name(), Seq::ZERO, (Seq::ZERO, None), &mut Vec::new());
        let out = deliver(&mut sinks, &other);
        assert_eq!(fate(&out), ["[1-2]", "1", "[4-4]", "=4", "=5", "6"]);
        let told =
            out.iter().filter(|output| matches!(output, Output::Note(Note::Gap { .. }))).count();
        assert_eq!(told, 2, "each range is told once, and handed over");
    }

    #[test]
    fn what_only_the_old_log_had_is_told_and_what_is_gone_is_a_gap() {
        let p2 = member("p2", 1);
        let log = log((1..=6).map(|n| data(&p2, n)).collect());
        let check = |delivered: u64,
                     fork: u64,
                     resume: u64,
                     diverged: Option<(u64, u64)>,
                     gap: Option<(u64, u64)>| {
            let (mut sinks, mut out) = (Sinks::new(), Vec::new());
            (sinks.delivered, sinks.is_new) = (Seq(delivered), delivered == 0);
            sinks.on_log_replaced(&log, &log.name(), Seq(fork), (Seq(resume), None), &mut out);
            let said = out.iter().find_map(|output| match output {
                Output::Note(Note::Diverged { from, to, .. }) => Some((from.0, to.0)),
                _ => None,
            });
            let missed = out.iter().find_map(|output| match output {
                Output::Deliver(Delivery::Gap { from, to, .. }) => Some((from.0, to.0)),
                _ => None,
            });
            assert_eq!(
                (said, missed),
                (diverged, gap),
                "delivered {delivered}, fork {fork}, resume {resume}"
            );
        };
        check(0, 0, 4, None, None);
        check(3, 3, 3, None, None);
        check(3, 4, 0, None, None);
        check(3, 2, 0, Some((3, 3)), None);
        check(3, 3, 5, None, Some((4, 5)));
        check(4, 2, 5, Some((3, 4)), Some((3, 5)));
    }

    #[test]
    fn sinks_that_were_given_nothing_take_nothing_back_and_miss_nothing() {
        let log = log((1..=6).map(|n| data(&member("p2", 1), n)).collect());
        let (mut sinks, mut out) = (Sinks::new(), Vec::new());
        let name = log.name();
        for (fork, resume, delivered) in [(0, 4, 4), (2, 3, 3), (3, 5, 5), (1, 0, 1)] {
            sinks.on_log_replaced(&log, &name, Seq(fork), (Seq(resume), None), &mut out);
            assert_eq!(
                (out.len(), sinks.delivered),
                (0, Seq(delivered)),
                "fork {fork}, resume {resume}"
            );
        }
        deliver(&mut sinks, &log);
        sinks.on_log_replaced(&log, &name, Seq(2), (Seq::ZERO, None), &mut out);
        assert!(
            matches!(
                out[..],
                [Output::Deliver(Delivery::Diverged { from: Seq(3), to: Seq(6), .. }), _]
            ),
            "{out:?}"
        );
        // Of a log that shares nothing with the old one they have had nothing, whatever a snapshot
        // stands for.
        sinks.on_log_replaced(&log, &name, Seq::ZERO, (Seq(4), None), &mut out);
        out.clear();
        sinks.on_log_replaced(&log, &name, Seq(2), (Seq::ZERO, None), &mut out);
        assert_eq!((out.len(), sinks.delivered), (0, Seq(2)));
        // Back where they began they have a past all the same.
        sinks.on_log_replaced(&log, &name, Seq::ZERO, (Seq::ZERO, None), &mut out);
        sinks.deliver(&log, Seq(1), (&member("p1", 1).id, Incarnation(1)), &mut out);
        out.clear();
        sinks.on_log_replaced(&log, &name, Seq::ZERO, (Seq::ZERO, None), &mut out);
        assert!(
            matches!(
                out[..],
                [Output::Deliver(Delivery::Diverged { from: Seq(1), to: Seq(1), .. }), _]
            ),
            "{out:?}"
        );
    }

    #[test]
    fn views_of_an_absence_are_not_told_before_or_after_a_cut() {
        let me = member("p1", 1);
        let log = log((1..=6).map(|id| view(id, std::slice::from_ref(&me))).collect());
        let told = |replaced: &[(u64, Option<u64>)]| -> Vec<u64> {
            let (mut sinks, mut out) = (Sinks::new(), Vec::new());
            for (fork, let_in) in replaced {
                sinks.on_log_replaced(
                    &log,
                    &log.name(),
                    Seq(*fork),
                    (Seq::ZERO, let_in.map(Seq)),
                    &mut out,
                );
            }
            let told = deliver(&mut sinks, &log);
            told.iter()
                .filter_map(|output| {
                    if let Output::Note(Note::View { seq, .. }) = output {
                        Some(seq.0)
                    } else {
                        None
                    }
                })
                .collect()
        };
        assert_eq!(told(&[(0, Some(2))]), [2, 3, 4, 5, 6]);
        assert_eq!(
            told(&[(0, Some(2)), (3, Some(5))]),
            [2, 3, 5, 6],
            "4 came into force while it was away"
        );
        assert_eq!(told(&[(0, Some(2)), (3, Some(5)), (6, None)]), [2, 3, 5, 6]);
        assert_eq!(
            told(&[(0, Some(2)), (3, Some(5)), (3, None)]),
            [2, 3, 4, 5, 6],
            "the cut goes on from what it held"
        );
        assert_eq!(told(&[(0, Some(2)), (3, Some(4)), (4, Some(6))]), [4, 6]);
        assert_eq!(told(&[(0, Some(4)), (5, None)]), [4, 5, 6]);
        assert_eq!(told(&[(0, Some(4)), (2, None)]), [3, 4, 5, 6]);
    }

    #[test]
    fn views_are_told_from_the_first_that_let_it_in_and_still_stands() {
        let check = |told: bool, before: u64, fork: u64, let_in: u64, from: u64| {
            let log = log(vec![view(1, &[member("p1", 1)])]);
            let (mut sinks, mut out) = (Sinks::new(), Vec::new());
            if told {
                deliver(&mut sinks, &log);
            }
            sinks.tell_from = Seq(before);
            sinks.on_log_replaced(
                &log,
                &log.name(),
                Seq(fork),
                (Seq::ZERO, Some(Seq(let_in))),
                &mut out,
            );
            assert_eq!(
                sinks.tell_from,
                Seq(from),
                "told {told}, let in at {before} and {let_in}, fork {fork}"
            );
        };
        check(false, 2, 3, 5, 2);
        check(false, 2, 2, 5, 2);
        check(false, 2, 1, 5, 5);
        check(true, 2, 3, 5, 5);
        check(false, 0, 3, 5, 5);
        check(false, 4, 4, 2, 2);
    }
}
