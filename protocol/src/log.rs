//! The one numbered log: readings and view changes alike, with the lineage that says which epoch
//! numbered what.
//!
//! Intuition: two logs agree up to the last position that both cover by the same epoch (their
//! *fork*), because an epoch has one owner and one cut. So logs are compared by lineage, never by
//! length alone (Raft, Zab, Kafka KIP-101). The dedupe table is part of the log: it is rebuilt and
//! rolled back with it, and travels in snapshots.
//!
//! Knows nothing of who may append (see `node`), nor of what has been handed to sinks (see
//! `delivery`).

pub mod change;
pub mod dedup;
pub(crate) mod entry;
pub mod lineage;
pub mod log_id;
pub mod readings;
pub mod remarks;
pub(crate) mod tail;
pub mod view;

use std::collections::VecDeque;

use crate::guarantee::Guarantee;
use crate::id::{Epoch, Incarnation, Member, Oseq, PeerId, Seq};
use crate::log::change::Change;
use crate::log::dedup::Dedup;
use crate::log::entry::Entry;
use crate::log::lineage::{EpochStart, LogEnd, Snapshot};
use crate::log::log_id::LogId;
use crate::log::tail::Tail;
use crate::log::view::View;

/// A log, or the part of it that is retained.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Log {
    lineage: Vec<EpochStart>,
    /// The retained entries; the state at their base follows.
    tail: Tail,
    base_view: Option<View>,
    base_table: Dedup,
    table: Dedup,
    /// The view entries among the retained ones.
    views: VecDeque<(Seq, View)>,
    /// Where readings stand that are to be handed over only when they are stable, and are not:
    /// first and last positions.
    unsafe_yet: VecDeque<(Seq, Seq)>,
    stable: Seq,
}

impl Log {
    pub(crate) fn empty() -> Self {
        Self {
            lineage: Vec::new(),
            tail: Tail::new(Seq::ZERO),
            base_view: None,
            base_table: Dedup::new(),
            table: Dedup::new(),
            views: VecDeque::new(),
            unsafe_yet: VecDeque::new(),
            stable: Seq::ZERO,
        }
    }

    pub(crate) fn from_snapshot(snapshot: &Snapshot) -> Self {
        let mut log = Self::empty();
        log.lineage = snapshot
            .lineage
            .iter()
            .take_while(|row| row.first <= snapshot.seq.next())
            .cloned()
            .collect();
        log.tail = Tail::new(snapshot.seq);
        log.base_view = snapshot.view.clone();
        log.base_table = snapshot.table.clone();
        log.table = snapshot.table.clone();
        log.stable = snapshot.seq;
        log
    }

    /// Whether this peer has ever had a log.
    pub(crate) fn is_none(&self) -> bool {
        self.lineage.is_empty()
    }

    pub(crate) fn lineage(&self) -> &[EpochStart] {
        &self.lineage
    }

    /// Epoch of the last row: the one in which entries may be appended.
    pub(crate) fn epoch(&self) -> Epoch {
        self.lineage.last().map_or_else(Epoch::none, |row| row.epoch.clone())
    }

    pub(crate) fn is_in(&self, epoch: &Epoch) -> bool {
        self.lineage.last().is_some_and(|row| row.epoch == *epoch)
    }

    pub(crate) fn log_id(&self) -> Epoch {
        self.lineage.first().map_or_else(Epoch::none, |row| row.epoch.clone())
    }

    /// The same, as others read it.
    pub(crate) fn name(&self) -> LogId {
        LogId::founded_by(self.log_id())
    }

    pub(crate) fn contiguous(&self) -> Seq {
        self.tail.end()
    }

    /// How many rows its tables and lists have in all, besides the entries.
    pub(crate) fn rows(&self) -> usize {
        self.lineage.len()
            + self.base_table.len()
            + self.table.len()
            + self.views.len()
            + self.unsafe_yet.len()
    }

    /// How many bytes the retained entries weigh.
    pub(crate) fn weight(&self) -> u64 {
        self.tail.weight()
    }

    /// The position above which entries are retained.
    pub(crate) fn base(&self) -> Seq {
        self.tail.base()
    }

    pub(crate) fn stable(&self) -> Seq {
        self.stable
    }

    pub(crate) fn end(&self) -> LogEnd {
        LogEnd { epoch: self.epoch(), contiguous: self.contiguous(), log_id: self.log_id() }
    }

    /// The last of a member's numbers that stands in the log; 0 for one that the log does not know.
    pub(crate) fn last_oseq(&self, member: &Member) -> Oseq {
        match self.table.get(&member.id) {
            Some((inc, oseq)) if inc == member.inc => oseq,
            Some(_) | None => Oseq::ZERO,
        }
    }

    /// Whether whoever published an entry has been in a view: only those are numbered, and only
    /// views name new ones.
    pub(crate) fn knows_origin(&self, entry: &Entry) -> bool {
        match entry {
            Entry::Readings { origin, .. } | Entry::Lost { origin, .. } => {
                self.table.contains(&origin.id)
            }
            Entry::View(_) | Entry::Change(_) => true,
        }
    }

    /// Whether the table has a row of that name.
    pub(crate) fn remembers(&self, id: &PeerId) -> bool {
        self.table.contains(id)
    }

    /// The later incarnation of that name, where the log knows one.
    pub(crate) fn later_incarnation(&self, member: &Member) -> Option<Incarnation> {
        self.table.get(&member.id).map(|(inc, _)| inc).filter(|inc| *inc > member.inc)
    }

    /// The newest view held.
    pub(crate) fn view(&self) -> Option<&View> {
        self.views.back().map(|(_, view)| view).or(self.base_view.as_ref())
    }

    /// Where the newest view stands; the base where it stands at or below it.
    pub(crate) fn view_at(&self) -> Seq {
        self.views.back().map_or(self.base(), |(seq, _)| *seq)
    }

    /// The newest two views held and where they stand, newest first; a view that is not retained
    /// any more stands at the base.
    pub(crate) fn last_views(&self) -> Vec<(Seq, View)> {
        let below = self.base_view.iter().map(|view| (self.base(), view.clone()));
        self.views.iter().rev().cloned().chain(below).take(2).collect()
    }

    /// The view in force just after `seq` was applied.
    pub(crate) fn view_in_force(&self, seq: Seq) -> Option<&View> {
        self.views
            .iter()
            .rev()
            .find(|(at, _)| *at <= seq)
            .map(|(_, view)| view)
            .or(self.base_view.as_ref())
    }

    /// Where the first of the retained views stands that names a member.
    pub(crate) fn first_view_of(&self, member: &Member) -> Option<Seq> {
        self.views.iter().find(|(_, view)| view.names(member)).map(|(at, _)| *at)
    }

    /// Where the view stands by which a member of the newest view came in last; none where it came
    /// in before what is retained.
    pub(crate) fn came_in(&self, member: &Member) -> Option<Seq> {
        let named = self.views.iter().rev().take_while(|(_, view)| view.names(member)).last();
        let was_there = self.base_view.as_ref().is_some_and(|view| view.names(member));
        let is_first = |at: &Seq| self.views.front().is_some_and(|(first, _)| first == at);
        named.map(|(at, _)| *at).filter(|at| !(is_first(at) && was_there))
    }

    /// The epoch that covers a position.
    pub(crate) fn epoch_at(&self, seq: Seq) -> Epoch {
        self.lineage
            .iter()
            .rev()
            .find(|row| row.first <= seq)
            .map_or_else(Epoch::none, |row| row.epoch.clone())
    }

    /// The last position up to which the epoch that covers `seq` does.
    pub(crate) fn same_epoch_up_to(&self, seq: Seq) -> Seq {
        self.lineage
            .iter()
            .find(|row| row.first > seq)
            .map_or(self.contiguous(), |row| row.first.previous())
    }

    /// The retained entries that stand there, cut where the first or the last position is in the
    /// middle of one.
    pub(crate) fn between(&self, first: Seq, last: Seq) -> impl Iterator<Item = (Seq, Entry)> {
        self.tail.between(first, last)
    }

    /// Whether all entries above `seq` are still here.
    pub(crate) fn retains_above(&self, seq: Seq) -> bool {
        seq >= self.base()
    }

    /// Consecutive entries from `first` on for one frame, at most `bytes` of them but at least one
    /// position.
    pub(crate) fn run(&self, first: Seq, last: Seq, bytes: u64) -> Vec<Entry> {
        let mut run = Vec::new();
        if first <= self.base() {
            return run;
        }
        let mut left = bytes;
        for (seq, entry) in self.between(first, last).take(RUN_ENTRIES) {
            // Whoever is sent this holds everything before it, and so the view before.
            let change = |view| {
                self.view_in_force(seq.previous()).and_then(|before| Change::between(before, view))
            };
            let entry = match &entry {
                Entry::View(view) => change(view).map_or(entry, Entry::Change),
                Entry::Readings { .. } | Entry::Change(_) | Entry::Lost { .. } => entry,
            };
            let weight = entry.frame_weight();
            if weight > left {
                let fits = entry.fitting(left).max(u64::from(run.is_empty()));
                if fits > 0 {
                    run.push(entry.part(0..fits.min(entry.positions())));
                }
                break;
            }
            left -= weight;
            run.push(entry);
        }
        run
    }

    /// Appends an entry; gives its first position.
    pub(crate) fn append(&mut self, entry: Entry) -> Seq {
        assert!(!matches!(entry, Entry::Change(_)), "a log holds whole views");
        apply(&mut self.table, &entry);
        let first = self.contiguous().next();
        if let Entry::View(view) = &entry {
            self.views.push_back((first, view.clone()));
        }
        if let Entry::Readings { guarantee: Guarantee::Safe, readings, .. } = &entry {
            self.unsafe_yet.push_back((first, first.plus(readings.len()).previous()));
        }
        self.tail.push(entry)
    }

    /// From here on, entries belong to `epoch`.
    pub(crate) fn push_row(&mut self, epoch: Epoch) {
        let first = self.contiguous().next();
        // A row that covers nothing says nothing, except the first, which names the log.
        if self.lineage.len() > 1 && self.lineage.last().is_some_and(|row| row.first == first) {
            self.lineage.pop();
        }
        self.lineage.push(EpochStart { epoch, first });
    }

    /// Takes over rows that this log does not have, of a lineage that it is a prefix of up to its
    /// end.
    pub(crate) fn set_lineage(&mut self, lineage: Vec<EpochStart>) {
        self.lineage = lineage;
    }

    /// Drops everything above `seq`, and what follows from it.
    pub(crate) fn truncate(&mut self, seq: Seq) {
        assert!(seq >= self.base(), "nothing at or below the base can be taken back");
        if seq >= self.contiguous() {
            return;
        }
        self.tail.truncate(seq);
        while self.views.back().is_some_and(|(at, _)| *at > seq) {
            self.views.pop_back();
        }
        while let Some((first, last)) = self.unsafe_yet.pop_back_if(|(_, last)| *last > seq) {
            if first <= seq {
                self.unsafe_yet.push_back((first, seq.min(last)));
            }
        }
        self.table = self.table_at(seq);
        self.stable = self.stable.min(seq);
        // The first row begins with the log, so it stays.
        while self.lineage.last().is_some_and(|row| row.first > seq.next()) {
            self.lineage.pop();
        }
    }

    /// At most so many rows of the lineage, for somebody who has the log, or a part of it: the
    /// first one, which names it, the last ones, and for those between them one that names no
    /// epoch, so that none seems to cover what it did not.
    pub(crate) fn shortened(&self, most: usize) -> Vec<EpochStart> {
        let Some([first, second, ..]) = self.lineage.get(..2).filter(|_| self.lineage.len() > most)
        else {
            return self.lineage.clone();
        };
        let between = EpochStart { epoch: Epoch::none(), first: second.first };
        let last = self.lineage.iter().skip(self.lineage.len() - (most - 2));
        [first, &between].into_iter().chain(last).cloned().collect()
    }

    /// The last position up to which this log and another one agree.
    pub(crate) fn fork(&self, lineage: &[EpochStart], contiguous: Seq) -> Seq {
        let mut fork = Seq::ZERO;
        for (at, row) in self.lineage.iter().enumerate().filter(|(_, row)| !row.epoch.is_none()) {
            let end = |rows: &[EpochStart], at: usize, last: Seq| {
                rows.get(at + 1).map_or(last, |next| next.first.previous())
            };
            if let Some(there) = lineage.iter().position(|other| other == row) {
                let covered =
                    end(&self.lineage, at, self.contiguous()).min(end(lineage, there, contiguous));
                // A lineage is another peer's word: it may speak of more than there is.
                fork = fork.max(covered.min(self.contiguous()).min(contiguous));
            }
        }
        fork
    }

    /// The state of the log at a position that is retained.
    pub(crate) fn snapshot(&self, seq: Seq) -> Snapshot {
        assert!(
            self.retains_above(seq) && seq <= self.contiguous(),
            "a snapshot stands on what is retained"
        );
        let table = self.table_at(seq);
        let view = self.view_in_force(seq).cloned();
        Snapshot { seq, view, table, lineage: self.lineage.clone() }
    }

    fn table_at(&self, seq: Seq) -> Dedup {
        let mut table = self.base_table.clone();
        self.between(self.base(), seq).for_each(|(_, entry)| apply(&mut table, &entry));
        table
    }

    /// Notes that everything up to `seq` is stable; true if that is news.
    pub(crate) fn raise_stable(&mut self, seq: Seq) -> bool {
        let seq = seq.min(self.contiguous());
        let news = seq > self.stable;
        self.stable = self.stable.max(seq);
        while let Some((first, last)) =
            self.unsafe_yet.pop_front_if(|(first, _)| *first <= self.stable)
        {
            if last > self.stable {
                self.unsafe_yet.push_front((self.stable.next().max(first), last));
            }
        }
        news
    }

    /// The last position up to `limit` before which nothing waits to be safe.
    pub(crate) fn safe_up_to(&self, limit: Seq) -> Seq {
        self.unsafe_from().map_or(limit, |at| limit.min(at.previous()))
    }

    /// The first position that waits to be safe.
    pub(crate) fn unsafe_from(&self) -> Option<Seq> {
        self.unsafe_yet.front().map(|(first, _)| *first)
    }

    /// The last position that waits to be safe.
    pub(crate) fn unsafe_to(&self) -> Option<Seq> {
        self.unsafe_yet.back().map(|(_, last)| *last)
    }

    /// Forgets entries at or below `floor`, but keeps so many entries and bytes more.
    pub(crate) fn discard(&mut self, floor: Seq, entries: u64, bytes: u64) {
        // Bytes are judged over the whole log: above the floor little is held as long as everybody
        // keeps up.
        let too_many = Seq(floor.0.saturating_sub(entries));
        let to = too_many.max(self.tail.heavier_than(bytes)).min(floor);
        if to <= self.base() {
            return;
        }
        for entry in self.tail.forget(to) {
            apply(&mut self.base_table, &entry);
            if let Entry::View(view) = entry {
                self.base_view = Some(view);
                self.views.pop_front();
            }
        }
        self.merge_rows();
    }

    /// Bounds the lineage: of very many rows, the oldest below the base become one that names no
    /// epoch. The first stays, because it names the log; and the merged one keeps it from seeming
    /// to cover what it did not.
    fn merge_rows(&mut self) {
        while self.lineage.len() > LINEAGE_MOST
            && self.lineage.get(3).is_some_and(|row| row.first <= self.tail.base())
        {
            if let Some(row) = self.lineage.get_mut(1) {
                row.epoch = Epoch::none();
            }
            self.lineage.remove(2);
        }
    }
}

/// What an entry does to the dedupe table.
fn apply(table: &mut Dedup, entry: &Entry) {
    match entry {
        Entry::Readings { origin, first, readings, .. } => {
            table.set(&origin.id, (origin.inc, first.plus(readings.len()).previous()))
        }
        Entry::Lost { origin, to, .. } => table.set(&origin.id, (origin.inc, *to)),
        Entry::Change(_) => {}
        Entry::View(view) => {
            for contact in view.members.iter() {
                match table.get(contact.id()) {
                    Some((inc, _)) if inc >= contact.member.inc => {}
                    Some(_) | None => table.set(contact.id(), (contact.member.inc, Oseq::ZERO)),
                }
            }
            forget(table, view);
        }
    }
}

/// Bounds the table: names that are in no view any more go once there are many of them, oldest
/// incarnation first, at a view entry and therefore everywhere alike. A peer so forgotten comes
/// back with a new incarnation.
fn forget(table: &mut Dedup, view: &View) {
    let limit = view.size() + TABLE_ABSENT;
    if table.len() <= limit {
        return;
    }
    let mut absent: Vec<(Incarnation, PeerId)> = table
        .iter()
        .filter(|(id, _)| view.find(id).is_none())
        .map(|(id, (inc, _))| (*inc, id.clone()))
        .collect();
    absent.sort();
    for (_, id) in absent.into_iter().take(table.len() - limit) {
        table.remove(&id);
    }
}

/// Rows of a lineage; a row is one change of leader.
const LINEAGE_MOST: usize = 512;
/// Entries in one frame at most.
const RUN_ENTRIES: usize = 1_024;
/// Absent members whose numbers are remembered.
const TABLE_ABSENT: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::Log;
    use crate::guarantee::Guarantee;
    use crate::id::{Contact, Epoch, Incarnation, Member, Oseq, PeerId, Seq, ViewId};
    use crate::log::entry::Entry;
    use crate::log::lineage::EpochStart;
    use crate::log::view::View;
    use bytes::Bytes;

    fn member(name: &str) -> Member {
        Member { id: PeerId::new(name).expect("a valid name"), inc: Incarnation(1) }
    }

    fn epoch(round: u64) -> Epoch {
        Epoch { round, owner: member("p1") }
    }

    fn data(oseq: u64) -> Entry {
        Entry::one(member("p2"), Oseq(oseq), Guarantee::Agreed, Bytes::from_static(b"x"), 0)
    }

    fn log(rows: &[(u64, u64)], contiguous: u64) -> Log {
        let mut log = Log::empty();
        for seq in 1..=contiguous {
            for (round, _) in rows.iter().filter(|(_, first)| *first == seq) {
                log.push_row(epoch(*round));
            }
            log.append(data(seq));
        }
        for (round, _) in rows.iter().filter(|(_, first)| *first == contiguous + 1) {
            log.push_row(epoch(*round));
        }
        log
    }

    #[track_caller]
    fn check_fork(a: (&[(u64, u64)], u64), b: (&[(u64, u64)], u64), fork: u64) {
        let (a, b) = (log(a.0, a.1), log(b.0, b.1));
        assert_eq!(a.fork(b.lineage(), b.contiguous()), Seq(fork));
        assert_eq!(b.fork(a.lineage(), a.contiguous()), Seq(fork));
    }

    #[test]
    fn logs_fork_where_a_common_epoch_ends() {
        check_fork((&[(1, 1)], 5), (&[(1, 1)], 9), 5);
        check_fork((&[(1, 1), (2, 4)], 9), (&[(1, 1)], 9), 3);
        check_fork((&[(1, 1), (2, 4)], 9), (&[(1, 1), (3, 6)], 9), 3);
        check_fork((&[(1, 1), (2, 4)], 9), (&[(1, 1), (2, 4), (3, 6)], 5), 5);
        check_fork((&[(1, 1)], 5), (&[(2, 1)], 5), 0);
        // The same cut without entries above it: they agree up to the cut.
        check_fork((&[(1, 1), (3, 4)], 3), (&[(1, 1), (3, 4)], 8), 3);
    }

    #[test]
    fn a_lineage_is_bounded_and_never_claims_what_it_did_not_cover() {
        let rows: Vec<(u64, u64)> = (1..=600).map(|n| (n, n * 2)).collect();
        let mut long = log(&[&[(1_000, 1)], &rows[..]].concat(), 1_300);
        let short = log(&[(1_000, 1), (1, 2)], 700);
        assert_eq!(long.fork(short.lineage(), short.contiguous()), Seq(3));
        long.discard(Seq(1_250), 0, 0);
        assert_eq!(long.lineage().len(), super::LINEAGE_MOST);
        assert_eq!(long.log_id(), epoch(1_000));
        // The fork lies in what was merged: all that is still known is that they agreed before it.
        assert_eq!(long.fork(short.lineage(), short.contiguous()), Seq(1));
        assert_eq!(long.fork(&[], Seq::ZERO), Seq::ZERO);
    }

    #[test]
    fn a_shortened_lineage_names_its_log_and_agrees_with_nobody_about_what_it_leaves_out() {
        let rows: Vec<(u64, u64)> = (1..=9).map(|n| (n, n * 2 - 1)).collect();
        let (long, short) = (log(&rows, 20), log(&[(1, 1), (2, 3), (20, 5)], 9));
        assert_eq!(long.shortened(9), long.lineage());
        let sent = long.shortened(8);
        let firsts: Vec<u64> = sent.iter().map(|row| row.first.0).collect();
        assert_eq!(
            (firsts, sent[0].epoch == long.log_id(), sent[1].epoch.is_none()),
            (vec![1, 3, 7, 9, 11, 13, 15, 17], true, true)
        );
        // They agree up to 4.
        assert_eq!(short.fork(&sent, long.contiguous()), Seq(2));
        assert_eq!(log(&rows[..4], 9).fork(&sent, long.contiguous()), Seq(8));
    }

    #[test]
    fn what_is_taken_back_leaves_no_trace_in_the_table() {
        let mut log = log(&[(1, 1), (2, 4)], 6);
        assert_eq!(log.last_oseq(&member("p2")), Oseq(6));
        log.truncate(Seq(2));
        assert_eq!((log.contiguous(), log.last_oseq(&member("p2"))), (Seq(2), Oseq(2)));
        assert_eq!(log.lineage(), [EpochStart { epoch: epoch(1), first: Seq(1) }]);
    }

    #[test]
    fn a_snapshot_and_what_follows_make_the_same_log() {
        let mut full = log(&[(1, 1), (2, 4)], 9);
        let mut copy = Log::from_snapshot(&full.snapshot(Seq(5)));
        for (_, entry) in full.between(Seq(6), Seq(9)) {
            copy.append(entry);
        }
        assert_eq!(copy.end(), full.end());
        assert_eq!(copy.last_oseq(&member("p2")), Oseq(9));
        full.discard(Seq(7), 2, u64::MAX);
        assert!(full.retains_above(Seq(5)) && !full.retains_above(Seq(4)));
        assert_eq!(full.snapshot(Seq(7)).table, copy.snapshot(Seq(7)).table);
    }

    fn view(id: u64, names: &[(&str, u64)]) -> Entry {
        let contact = |(name, inc): &(&str, u64)| Contact {
            member: Member { inc: Incarnation(*inc), ..member(name) },
            birth: 1,
            address: "127.0.0.1:5001".parse().expect("an address"),
            explicit: 0,
        };
        let members = names.iter().map(contact).collect();
        Entry::View(View::new(ViewId(id), epoch(1), member("p1").id, members))
    }

    fn safe(oseq: u64) -> Entry {
        Entry::one(member("p2"), Oseq(oseq), Guarantee::Safe, Bytes::from_static(b"x"), 0)
    }

    #[test]
    fn a_run_is_bounded_and_never_empty() {
        let log = log(&[(1, 1)], 1_030);
        let one = data(1).frame_weight();
        let check = |first: u64, last: u64, bytes: u64, run: usize| {
            assert_eq!(
                log.run(Seq(first), Seq(last), bytes).len(),
                run,
                "{first}-{last} in {bytes} bytes"
            );
        };
        check(1, 5, u64::MAX, 5);
        check(1, 5, 3 * one, 3);
        check(1, 5, 3 * one - 1, 2);
        check(2, 5, 0, 1);
        check(1_029, 1_040, u64::MAX, 2);
        check(3, 2, u64::MAX, 0);
        check(1, 1_030, u64::MAX, super::RUN_ENTRIES);
    }

    #[test]
    fn a_row_that_covers_nothing_is_replaced_unless_it_names_the_log() {
        let row = |round: u64, first: u64| EpochStart { epoch: epoch(round), first: Seq(first) };
        let check = |rows: &[(u64, u64)], contiguous: u64, lineage: &[EpochStart]| {
            let mut log = log(rows, contiguous);
            log.push_row(epoch(9));
            assert_eq!(log.lineage(), lineage);
            assert!(log.is_in(&epoch(9)) && !log.is_in(&epoch(1)));
        };
        check(&[(1, 1)], 0, &[row(1, 1), row(9, 1)]);
        check(&[(1, 1), (2, 4)], 3, &[row(1, 1), row(9, 4)]);
        check(&[(1, 1), (2, 4)], 4, &[row(1, 1), row(2, 4), row(9, 5)]);
    }

    #[test]
    fn what_is_taken_back_leaves_no_trace_anywhere() {
        let mut log = log(&[(1, 1)], 0);
        for entry in
            [view(1, &[("p1", 1)]), safe(1), data(2), view(2, &[("p1", 1), ("p3", 7)]), safe(3)]
        {
            log.append(entry);
        }
        log.push_row(epoch(2));
        log.raise_stable(Seq(1));
        let weight = log.weight();
        log.truncate(Seq(5));
        assert_eq!((log.weight(), log.epoch()), (weight, epoch(2)), "nothing stood above");
        log.truncate(Seq(4));
        assert_eq!((log.view_at(), log.unsafe_to(), log.epoch()), (Seq(4), Some(Seq(2)), epoch(1)));
        log.truncate(Seq(3));
        assert_eq!(
            (log.view_at(), log.unsafe_from(), log.stable()),
            (Seq(1), Some(Seq(2)), Seq(1))
        );
        assert!(log.remembers(&member("p1").id) && !log.remembers(&member("p3").id));
        assert_eq!(
            log.weight(),
            view(1, &[("p1", 1)]).weight() + safe(1).weight() + data(2).weight()
        );
        log.truncate(Seq(2));
        assert_eq!(log.unsafe_to(), Some(Seq(2)), "it still stands");
        log.truncate(Seq(0));
        assert_eq!((log.unsafe_to(), log.stable(), log.view()), (None, Seq::ZERO, None));
    }

    #[test]
    fn what_is_stable_waits_no_more() {
        let mut log = log(&[(1, 1)], 1);
        log.append(safe(2));
        log.append(safe(3));
        assert!(log.raise_stable(Seq(1)) && !log.raise_stable(Seq(1)));
        assert_eq!((log.unsafe_from(), log.safe_up_to(Seq(3))), (Some(Seq(2)), Seq(1)));
        assert!(log.raise_stable(Seq(2)));
        assert_eq!((log.unsafe_from(), log.safe_up_to(Seq(3))), (Some(Seq(3)), Seq(2)));
        assert!(log.raise_stable(Seq(9)), "no more than there is");
        assert_eq!(
            (log.stable(), log.unsafe_from(), log.safe_up_to(Seq(3))),
            (Seq(3), None, Seq(3))
        );
    }

    #[test]
    fn as_many_are_kept_as_are_asked_for_in_entries_and_in_bytes() {
        let one = data(1).weight();
        let check = |floor: u64, entries: u64, bytes: u64, base: u64| {
            let mut log = log(&[(1, 1)], 10);
            log.discard(Seq(floor), entries, bytes);
            assert_eq!(
                (log.base(), log.weight()),
                (Seq(base), one * (10 - base)),
                "{floor} {entries} {bytes}"
            );
            assert_eq!(log.contiguous(), Seq(10));
        };
        check(6, 2, u64::MAX, 4);
        check(6, 6, u64::MAX, 0);
        check(6, 0, u64::MAX, 6);
        check(6, 9, 7 * one, 3);
        check(6, 9, 0, 6);
        check(0, 0, 0, 0);
        let mut log = log(&[(1, 1)], 0);
        log.append(view(1, &[("p1", 1)]));
        log.append(view(2, &[("p1", 1), ("p3", 1)]));
        log.append(data(1));
        log.discard(Seq(3), 0, u64::MAX);
        let view = log.view().expect("the state at the base").view_id;
        assert_eq!((view, log.view_at(), log.last_views().len()), (ViewId(2), Seq(3), 1));
    }

    #[test]
    fn a_view_brings_a_new_life_and_keeps_the_numbers_of_an_old_one() {
        let mut log = log(&[(1, 1)], 5);
        let later = Member { inc: Incarnation(2), ..member("p2") };
        log.append(view(1, &[("p2", 1)]));
        assert_eq!(
            (log.last_oseq(&member("p2")), log.later_incarnation(&member("p2"))),
            (Oseq(5), None)
        );
        log.append(view(2, &[("p2", 2)]));
        assert_eq!((log.last_oseq(&later), log.last_oseq(&member("p2"))), (Oseq::ZERO, Oseq::ZERO));
        assert_eq!(
            (log.later_incarnation(&member("p2")), log.later_incarnation(&later)),
            (Some(Incarnation(2)), None)
        );
        log.append(view(3, &[("p2", 1)]));
        assert_eq!(
            log.later_incarnation(&member("p2")),
            Some(Incarnation(2)),
            "a ghost brings nothing back"
        );
    }

    #[test]
    fn of_many_who_are_gone_the_oldest_are_forgotten() {
        let mut log = log(&[(1, 1)], 0);
        let many = super::TABLE_ABSENT as u64 + 3;
        for n in 1..=many {
            let origin = Member { inc: Incarnation(n), ..member(&format!("gone{n}")) };
            log.append(Entry::Lost { origin, from: Oseq(1), to: Oseq(1) });
        }
        let remembers = |log: &Log, n: u64| log.remembers(&member(&format!("gone{n}")).id);
        assert!((1..=many).all(|n| remembers(&log, n)), "only a view forgets");
        log.append(view(1, &[("p1", 1), ("gone1", 1)]));
        // Two are present, and three of the others were one more than two too many.
        assert!(
            remembers(&log, 1) && !remembers(&log, 2) && !remembers(&log, 3) && remembers(&log, 4),
            "{}",
            log.table.len()
        );
        assert_eq!(log.table.len(), super::TABLE_ABSENT + 2);
    }

    #[test]
    fn what_is_taken_back_takes_only_its_own_rows() {
        let mut log = log(&[(1, 1), (2, 3), (3, 5)], 6);
        for (seq, rows) in [(5, 3), (4, 3), (3, 2), (2, 2), (1, 1), (0, 1)] {
            log.truncate(Seq(seq));
            assert_eq!((log.lineage().len(), log.log_id()), (rows, epoch(1)), "{seq}");
        }
    }

    #[test]
    fn the_first_view_of_a_member_is_the_first_that_is_held() {
        let mut log = log(&[(1, 1)], 0);
        for entry in [
            view(1, &[("p1", 1)]),
            data(1),
            view(2, &[("p1", 1), ("p3", 7)]),
            view(3, &[("p3", 7)]),
        ] {
            log.append(entry);
        }
        let later = Member { inc: Incarnation(7), ..member("p3") };
        let first = |log: &Log| {
            [&member("p1"), &later, &member("p3")].map(|member| log.first_view_of(member))
        };
        assert_eq!(first(&log), [Some(Seq(1)), Some(Seq(3)), None]);
        log.discard(Seq(1), 0, 0);
        assert_eq!(first(&log), [Some(Seq(3)), Some(Seq(3)), None]);
    }
}
