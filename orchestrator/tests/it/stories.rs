//! One vocabulary, two worlds: the same twelve cuts in virtual time and on hosts of their own, and
//! the same story of each: who is with whom when the cut ends, and who is in the group in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use chaos::RunFolder;
use promises::fault::Fault;
use promises::history::Record;
use promises::shape::{Over, Shape, Who};
use promises::world::GroundTruth;
use protocol::config::{Knobs, Mode};
use protocol::id::PeerId;
use protocol::note::Note;
use protocol::time::Time;
use simulator::director::{Director, Progress};
use simulator::plan::{Act, Load, Plan, Start, Timed};
use simulator::watch::Unwatched;
use simulator::weather::{OneIn, Weather};

use crate::hosts::{can_run, run};
use crate::orphans::build_peer;

/// The cuts, as a scenario names them and as a plan does.
fn cuts() -> [(&'static str, Shape); 6] {
    [
        ("halves", Shape::Halves),
        ("minority-third", Shape::MinorityThird),
        ("isolate-peer5", Shape::Isolate(Who::Peer(4))),
        ("isolate-peer1", Shape::Isolate(Who::Peer(0))),
        ("deaf-peer2", Shape::Deaf(Who::Peer(1))),
        ("peer1, peer5 | peer2, peer3, peer4", Shape::Split(vec![0, 4])),
    ]
}

/// What is left of a history when times and numbers are left out.
#[derive(Debug, PartialEq, Eq)]
struct Story {
    /// The members of everybody's view when the cut ends.
    apart: BTreeMap<String, BTreeSet<String>>,
    /// The members of everybody's view at rest.
    together: BTreeMap<String, BTreeSet<String>>,
    /// Whether all name the same leader at rest.
    one_leader: bool,
}

impl Story {
    fn of(records: &[Record]) -> Self {
        let mut cut = None;
        let (mut views, mut leaders) = (BTreeMap::new(), BTreeMap::new());
        let (mut apart, mut together, mut one_leader) = (BTreeMap::new(), BTreeMap::new(), false);
        for record in records {
            match record {
                Record::Peer(event) => {
                    if let Note::View { members, leader, .. } = &event.note {
                        views.insert(
                            event.p.to_string(),
                            members.iter().map(PeerId::to_string).collect::<BTreeSet<String>>(),
                        );
                        leaders.insert(event.p.to_string(), leader.clone());
                    }
                }
                Record::World(event) => match &event.what {
                    GroundTruth::Fault { id, fault: Fault::Partition { .. }, .. } => {
                        cut = Some(id.clone())
                    }
                    GroundTruth::Heal { id } if cut.as_ref() == Some(id) => apart = views.clone(),
                    GroundTruth::Quiet { .. } => {
                        together = views.clone();
                        one_leader = leaders.values().collect::<BTreeSet<_>>().len() == 1;
                    }
                    _ => {}
                },
            }
        }
        Self { apart, together, one_leader }
    }
}

fn in_virtual_time(shape: &Shape, mode: Mode) -> Story {
    let names: Vec<String> = (1..=5).map(|n| format!("peer{n}")).collect();
    let mut knobs = Knobs { mode, ..Knobs::fast() };
    if mode == Mode::Primary {
        knobs.bootstrap = names.iter().map(|name| PeerId::new(name).unwrap()).collect();
    }
    let unit = u64::try_from(knobs.heartbeat_timeout.as_micros()).unwrap();
    let cut = Act::Cut { shape: shape.clone(), over: Over::All, span_us: 4 * unit, breaks: false };
    let plan = Plan {
        hearing: simulator::hearing::Hearing::default(),
        lies: None,
        seed: 7,
        chaos_us: 10 * unit,
        revive: true,
        bytes: false,
        capacity: 1 << 20,
        rude: OneIn(0),
        timer_late_us: 1_000,
        turn_us: 20,
        datagrams: 0,
        lost: vec![],
        weather: Weather::calm(),
        knobs,
        peers: names
            .iter()
            .map(|name| Start { name: name.clone(), priority: 0, at_us: 0, drift_ppm: 0 })
            .collect(),
        loads: (0..5)
            .map(|peer| Load {
                peer,
                from_us: unit,
                every_us: 50_000,
                bursts: 80,
                burst: 1,
                bytes: 50,
                otherwise: OneIn(0),
                uneven: OneIn(0),
                on: false,
            })
            .collect(),
        faults: vec![Timed::at(4 * unit, cut)],
        outside: vec![],
    };
    let mut director = Director::new(&plan, Unwatched).unwrap();
    assert_eq!(director.play(), Progress::Settled);
    let mut records = director.into_simulation().into_parts().records;
    records.sort_by_key(Record::time);
    assert!(records.iter().any(|record| record.time() > Time::ZERO));
    Story::of(&records)
}

fn on_hosts(folder: &Path, at: usize, cut: &str, mode: &str) -> Story {
    let name = format!("story_{mode}_{at}");
    let text = format!(
        "[scenario]\nname = '{name}'\n[cluster]\npeers = 5\noptions = {{ mode = '{mode}' \
         }}\n[workload]\nsensors = {{ rate = '20/s' }}\n\
         [[step]]\nwait = 'stable'\n[[step]]\nid = 'cut'\npartition = '{cut}'\nfor = '4 \
         heartbeat_timeout'\n\
         [[step]]\nwait = 'stable'\nafter = 'cut.end'\nwithin = '20s'\n"
    );
    let folder = &folder.join(mode);
    fs::create_dir_all(folder).unwrap();
    let output = run(folder, &name, &text);
    let told = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let runs = folder.join("logs").join(&name);
    let newest = fs::read_dir(runs).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    // Whether a promise was broken is what scenarios are for; here the story counts, and it has to
    // be told to its end.
    assert!(matches!(output.status.code(), Some(0..=2)), "{told}");
    Story::of(&RunFolder::open(&newest).unwrap().history().unwrap().records)
}

#[test]
fn twelve_cuts_make_the_same_stories_in_both_worlds() {
    if !can_run("twelve_cuts_make_the_same_stories_in_both_worlds") {
        return;
    }
    build_peer();
    let folder = tempfile::tempdir().unwrap();
    let tell = |mode: Mode, name: &str| {
        for (at, (cut, shape)) in cuts().into_iter().enumerate() {
            let (mut simulated, mut real) =
                (in_virtual_time(&shape, mode), on_hosts(folder.path(), at, cut, name));
            assert_eq!(simulated.together.len(), 5, "{cut}, {name}");
            if matches!(shape, Shape::Deaf(_)) {
                // Who hears nobody is still heard: it asks again and again, is let in, and is put
                // out for its silence. When the cut ends decides which of the two was last.
                simulated.apart.clear();
                real.apart.clear();
            }
            assert_eq!(real, simulated, "{cut}, {name}");
        }
    };
    // Most of the time nothing happens on hosts, so the two modes go side by side.
    std::thread::scope(|scope| {
        scope.spawn(|| tell(Mode::Available, "available"));
        scope.spawn(|| tell(Mode::Primary, "primary"));
    });
}
