//! Builds the story: its peers, its events, and the resulting history.

use promises::disk::Disk;
use promises::{Fault, GroundTruth, History, Identity, LinkSet, Options, Record, WorldEvent};
use protocol::config::Knobs;
use protocol::digest::Digest;
use protocol::id::{Epoch, Incarnation, Member, Oseq, PeerId, Seq, ViewId};
use protocol::log_id::LogId;
use protocol::note::{Cause, EVENT_VERSION, Event, Note};
use protocol::status::Status;
use protocol::time::Time;

pub(super) const P1: (&str, u64) = ("p1", 1);
pub(super) const P2: (&str, u64) = ("p2", 1);
pub(super) const P3: (&str, u64) = ("p3", 1);
/// The third peer's second life.
pub(super) const P3B: (&str, u64) = ("p3", 2);

pub(super) type Name = (&'static str, u64);

pub(super) fn id(name: &str) -> PeerId {
    PeerId::new(name).expect("the story's names are names")
}

pub(super) fn epoch(round: u64, (owner, inc): Name) -> Epoch {
    Epoch { round, owner: Member { id: id(owner), inc: Incarnation(inc) } }
}

pub(super) fn first() -> Epoch {
    epoch(1, P3)
}

pub(super) fn log() -> LogId {
    LogId::founded_by(first())
}

pub(super) fn second() -> Epoch {
    epoch(2, P2)
}

pub(super) fn view(view_id: u64, epoch: Epoch, seq: u64, leader: &str, members: &[Name]) -> Note {
    Note::View {
        view_id: ViewId(view_id),
        epoch,
        seq: Seq(seq),
        leader: id(leader),
        members: members.iter().map(|(name, _)| id(name)).collect(),
        incs: members.iter().map(|(_, inc)| Incarnation(*inc)).collect(),
        log: log(),
    }
}

pub(super) fn deliver(
    epoch: Epoch,
    seq: u64,
    view_id: u64,
    (origin, inc): Name,
    oseq: u64,
) -> Note {
    Note::Deliver {
        log: LogId::none(),
        safe: false,
        epoch,
        seq: Seq(seq),
        view_id: ViewId(view_id),
        origin: id(origin),
        origin_inc: Incarnation(inc),
        oseq: Oseq(oseq),
        digest: Digest::of(format!("{origin} says {oseq}").as_bytes()),
        text: String::new(),
    }
}

pub(super) fn publish((origin, _): Name, oseq: u64) -> Note {
    Note::Publish {
        oseq: Oseq(oseq),
        digest: Digest::of(format!("{origin} says {oseq}").as_bytes()),
        safe: false,
    }
}

pub(super) fn acknowledged(oseq: u64, seq: u64) -> Note {
    Note::Acknowledged { log: log(), oseq: Oseq(oseq), seq: Seq(seq), epoch: first() }
}

pub(super) fn cut(epoch: Epoch, seq: u64) -> Note {
    Note::Cut { epoch, seq: Seq(seq), log: log() }
}

pub(super) fn elected(leader: &str, epoch: Epoch) -> Note {
    Note::LeaderElected { log: log(), peer: id(leader), epoch, size: 3, renewed: false }
}

pub(super) fn start() -> Note {
    Note::Start {
        pid: 0,
        pid_start: 0,
        log: None,
        address: "127.0.0.1:1".to_owned(),
        build: String::new(),
        birth: 0,
        priority: 0,
        status: None,
        omits_readings: false,
    }
}

pub(super) fn status(published: u64, ordered: u64) -> Note {
    Note::Status(Box::new(Status {
        mode: protocol::config::Mode::Available,
        blocked: None,
        peer_id: id("p1"),
        incarnation: Incarnation(1),
        address: std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 1),
        role: "member".to_owned(),
        leaving: false,
        leader: None,
        log: log(),
        epoch: "1.p3".to_owned(),
        epoch_inc: Incarnation(1),
        promised: "1.p3".to_owned(),
        promised_inc: Incarnation(1),
        view_id: ViewId(1),
        members: vec![],
        contiguous: Seq(3),
        delivered: Seq(3),
        stable: Seq(3),
        published: Oseq(published),
        ordered: Oseq(ordered),
    }))
}

/// The line of a reading in the file of p1.
pub(super) fn kept(epoch: &str, seq: u64, (origin, inc): Name, oseq: u64) -> String {
    let place = format!(r#""log":"1.p3#1","epoch":"{epoch}","seq":{seq},"view":1"#);
    let name = format!(r#""origin":"{origin}","inc":"{inc}","oseq":{oseq}"#);
    format!(r#"{{"kind":"reading",{place},{name},"time":"t","payload":"{origin} says {oseq}"}}"#)
        + "\n"
}

/// The events, in milliseconds, before they are numbered.
pub(super) struct Story {
    pub(super) told: Vec<(u64, Name, Note)>,
    pub(super) done: Vec<(u64, GroundTruth)>,
    pub(super) disk: String,
}

impl Story {
    /// Three peers start and p3 leads; p3 is killed and p2 takes over; p3 returns and the group
    /// comes to rest.
    pub(super) fn told() -> Self {
        let mut story = Self { told: vec![], done: vec![], disk: String::new() };
        let all = [P1, P2, P3];
        for peer in all {
            story.tell(0, peer, start());
            story.tell(10, peer, Note::Ready);
            story.tell(300, peer, Note::Promised { log: log(), epoch: first(), to: id("p3") });
            story.tell(310, peer, cut(first(), 0));
            story.tell(320, peer, view(1, first(), 1, "p3", &all));
            if peer != P3 {
                story.tell(
                    315,
                    peer,
                    Note::Follows { log: log(), leader: id("p3"), epoch: first() },
                );
            }
            story.tell(410, peer, deliver(first(), 2, 1, P1, 1));
            story.tell(420, peer, deliver(first(), 3, 1, P2, 1));
            story.tell(450, peer, Note::Stable { log: log(), epoch: first(), seq: Seq(3) });
        }
        story.tell(312, P3, elected("p3", first()));
        let Note::Publish { oseq, digest, .. } = publish(P1, 1) else { unreachable!("it says so") };
        story.tell(400, P1, Note::Publish { oseq, digest, safe: true });
        story.tell(455, P1, acknowledged(1, 2));
        story.tell(405, P2, publish(P2, 1));
        story.tell(460, P1, status(1, 1));
        story.done(
            2_000,
            GroundTruth::Fault {
                id: "crash".to_owned(),
                fault: Fault::Kill,
                who: vec!["p3".to_owned()],
                confirmed: true,
            },
        );
        story.done(2_001, exit("p3", None, Some(9), true));
        story.tell(
            2_010,
            P2,
            Note::ElectionStarted { cause: Cause::Connection, higher: vec![], missed: None },
        );
        for peer in [P1, P2] {
            story.tell(2_020, peer, Note::Promised { log: log(), epoch: second(), to: id("p2") });
            story.tell(2_030, peer, cut(second(), 3));
            story.tell(2_050, peer, view(2, second(), 4, "p2", &[P1, P2]));
            story.tell(2_110, peer, deliver(second(), 5, 2, P1, 2));
            story.tell(2_150, peer, Note::Stable { log: log(), epoch: second(), seq: Seq(5) });
        }
        story.tell(2_040, P2, elected("p2", second()));
        story.tell(2_045, P1, Note::Follows { log: log(), leader: id("p2"), epoch: second() });
        story.tell(2_100, P1, publish(P1, 2));
        story.done(
            6_000,
            GroundTruth::Fault {
                id: "return".to_owned(),
                fault: Fault::Restart { identity: Identity::Same },
                who: vec!["p3".to_owned()],
                confirmed: true,
            },
        );
        story.tell(6_010, P3B, start());
        story.tell(6_020, P3B, Note::Ready);
        story.tell(
            6_200,
            P3B,
            Note::StateTransfer { log: log(), at: Seq(5), resume: Seq(5), epoch: second() },
        );
        story.tell(9_000, P3B, publish(P3B, 1));
        for peer in [P1, P2, P3B] {
            story.tell(6_300, peer, view(3, second(), 6, "p2", &[P1, P2, P3B]));
            story.tell(9_010, peer, deliver(second(), 7, 3, P3B, 1));
            story.tell(12_500, peer, Note::Stable { log: log(), epoch: second(), seq: Seq(7) });
        }
        for k in 0..8 {
            story.done(
                8_000 + k * 100,
                GroundTruth::Sample {
                    process: "p1".to_owned(),
                    pid: 7,
                    descriptors: 20,
                    memory: 1 << 24,
                },
            );
        }
        story.done(
            13_000,
            GroundTruth::Quiet {
                from: Time::from_micros(8_000_000),
                to: Time::from_micros(12_000_000),
                core: vec![],
            },
        );
        for (epoch, seq, origin, inc, oseq) in [
            ("1.p3#1", 2, "p1", 1, 1),
            ("1.p3#1", 3, "p2", 1, 1),
            ("2.p2#1", 5, "p1", 1, 2),
            ("2.p2#1", 7, "p3", 2, 1),
        ] {
            story.disk += &kept(epoch, seq, (origin, inc), oseq);
        }
        story
    }

    pub(super) fn tell(&mut self, ms: u64, peer: Name, note: Note) {
        self.told.push((ms, peer, note));
    }

    pub(super) fn done(&mut self, ms: u64, what: GroundTruth) {
        self.done.push((ms, what));
    }

    /// The next event of a peer, at that moment.
    pub(super) fn at(&mut self, ms: u64, peer: Name) -> &mut Note {
        let told = self.told.iter_mut().find(|(at, who, _)| (*at, *who) == (ms, peer));
        &mut told.expect("the story has it").2
    }

    pub(super) fn untell(&mut self, ms: u64, peer: Name) {
        let before = self.told.len();
        self.told.retain(|(at, who, _)| (*at, *who) != (ms, peer));
        assert_ne!(before, self.told.len(), "the story has it");
    }

    pub(super) fn history(mut self) -> (History, Options) {
        self.told.sort_by_key(|(ms, ..)| *ms);
        let disk = self.disk_with_views();
        let mut records: Vec<Record> = vec![];
        let mut numbers: Vec<(Name, u64)> = vec![];
        for (n, (ms, what)) in (0..).zip(self.done) {
            records.push(Record::World(WorldEvent::new(
                Time::from_micros(ms * 1_000),
                "_",
                n,
                what,
            )));
        }
        for (ms, peer, note) in self.told {
            if !numbers.iter().any(|(name, _)| *name == peer) {
                numbers.push((peer, 0));
            }
            let (_, n) =
                numbers.iter_mut().find(|(name, _)| *name == peer).expect("just put there");
            *n += 1;
            let (t, p, inc) = (Time::from_micros(ms * 1_000), id(peer.0), Incarnation(peer.1));
            records.push(Record::Peer(Event { v: EVENT_VERSION, t, p, inc, n: *n, note }));
        }
        let options = Options {
            knobs: Knobs::fast(),
            settled: true,
            disks: vec![Disk::read("p1", &disk)],
            ..Options::default()
        };
        (History::new(records), options)
    }

    /// The file of p1, with its views and the readings that it took back.
    pub(super) fn disk_with_views(&self) -> String {
        let seq_of =
            |line: &str| line.split(r#""seq":"#).nth(1)?.split(',').next()?.parse::<u64>().ok();
        let mut lines: Vec<String> = self.disk.split_inclusive('\n').map(str::to_owned).collect();
        for (_, peer, note) in &self.told {
            match note {
                Note::View { view_id, epoch, seq, .. } if *peer == P1 => {
                    let epoch = protocol::log_id::full(epoch);
                    let line = format!(
                        r#"{{"kind":"view","log":"1.p3#1","epoch":"{epoch}","seq":{seq},"view":{view_id}}}"#
                    ) + "\n";
                    let above = lines
                        .iter()
                        .position(|line| seq_of(line).is_some_and(|other| other > seq.0));
                    lines.insert(above.unwrap_or(lines.len()), line);
                }
                Note::Diverged { from, to, .. } if *peer == P1 => {
                    let line =
                        format!(r#"{{"kind":"diverged","log":"1.p3#1","from":{from},"to":{to}}}"#)
                            + "\n";
                    let above = lines
                        .iter()
                        .position(|line| seq_of(line).is_some_and(|other| other > to.0));
                    lines.insert(above.unwrap_or(lines.len()), line);
                }
                _ => {}
            }
        }
        lines.concat()
    }

    /// Nothing passes from p3 to p1 for a moment, so that the group may have split.
    pub(super) fn cut_for_a_while(&mut self) {
        let table = LinkSet::directed([("p3".to_owned(), "p1".to_owned())]);
        let (id, who) = ("cut".to_owned(), vec!["p3".to_owned(), "p1".to_owned()]);
        self.done(
            1_900,
            GroundTruth::Fault {
                id: id.clone(),
                fault: Fault::Partition { table },
                who,
                confirmed: true,
            },
        );
        self.done(1_950, GroundTruth::Heal { id });
    }
}

pub(super) fn exit(
    process: &str,
    status: Option<i32>,
    signal: Option<i32>,
    expected: bool,
) -> GroundTruth {
    GroundTruth::Exit {
        peer: id(process),
        process: process.to_owned(),
        pid: 0,
        status,
        signal,
        expected,
    }
}
