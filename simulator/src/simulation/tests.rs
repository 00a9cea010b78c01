//! The kernels and the network of this simulation, seen through the inputs of real nodes.

use std::time::Duration;

use promises::fault::Identity;
use protocol::config::{Config, Knobs};
use protocol::id::{LinkId, PeerId};
use protocol::io::{Down, Input};
use protocol::message::Message;
use protocol::time::Time;

use super::{Settings, Simulation};
use crate::watch::Watch;
use crate::weather::{OneIn, Weather};

/// Keeps every input, with its time, its receiver and its sender.
#[derive(Default)]
struct Ledger(Vec<(Time, String, Option<String>, Input)>);

impl Watch for Ledger {
    fn input(&mut self, now: Time, who: &PeerId, from: Option<&PeerId>, input: &Input) {
        self.0.push((now, who.to_string(), from.map(ToString::to_string), input.clone()));
    }
}

impl Ledger {
    /// The inputs of one peer that came from another one, from `since` on.
    fn between(&self, from: &str, to: &str, since: Time) -> Vec<&Input> {
        let wanted = self.0.iter().filter(|(at, who, whom, _)| {
            *at >= since && who == to && whom.as_deref() == Some(from)
        });
        wanted.map(|(.., input)| input).collect()
    }
}

/// This many peers, all started, that have become a group.
fn group(peers: usize, change: impl Fn(&mut Settings)) -> Simulation<Ledger> {
    let mut settings = Settings::calm(1, Config::try_from(Knobs::fast()).unwrap());
    change(&mut settings);
    let mut simulation = Simulation::new(settings, Ledger::default());
    for n in 1..=peers {
        let host = simulation.add_host(PeerId::new(&format!("p{n}")).unwrap(), 0);
        simulation.start(host);
    }
    run(&mut simulation, 2_000);
    assert!(
        (0..peers).all(|host| simulation.status(host).unwrap().members.len() == peers),
        "they are one group"
    );
    simulation
}

fn run(simulation: &mut Simulation<Ledger>, millis: u64) {
    let end = simulation.now() + Duration::from_millis(millis);
    simulation.run_until(end);
}

fn heartbeats(inputs: &[&Input]) -> usize {
    let messages = inputs.iter().filter_map(|input| {
        if let Input::Received { messages, .. } = input { Some(messages) } else { None }
    });
    messages.flatten().filter(|message| matches!(message, Message::Heartbeat(_))).count()
}

/// The link of the last input.
fn last_link(inputs: &[&Input]) -> LinkId {
    let link =
        |input: &&Input| if let Input::Received { link, .. } = input { Some(*link) } else { None };
    inputs.iter().rev().find_map(link).expect("something came")
}

/// The inputs on that link.
fn on(wanted: LinkId, mut inputs: Vec<&Input>) -> Vec<&Input> {
    inputs.retain(|input| matches!(input, Input::Received { link, .. } if *link == wanted));
    inputs
}

#[test]
fn a_stopped_process_is_connected_to_and_reads_everything_when_it_goes_on() {
    let mut simulation = group(2, |_| {});
    let newcomer = simulation.add_host(PeerId::new("p0").unwrap(), 0);
    let stopped = simulation.now();
    simulation.pause(1);
    simulation.start(newcomer);
    run(&mut simulation, 100);
    let ledger = &simulation.watch.0;
    assert!(
        !ledger.iter().any(|(at, who, ..)| *at > stopped && who == "p2"),
        "who is stopped handles nothing"
    );
    let connected = simulation.watch.between("p2", "p0", stopped);
    assert!(
        connected.iter().any(|input| matches!(input, Input::LinkUp { .. })),
        "its kernel takes the connection all the same"
    );
    let goes_on = simulation.now();
    simulation.resume(1);
    run(&mut simulation, 1);
    let accepted = simulation.watch.between("p0", "p2", goes_on);
    assert!(
        accepted.iter().any(|input| matches!(input, Input::LinkUp { .. })),
        "and hands it over when the process goes on"
    );
    assert!(
        accepted.iter().any(|input| matches!(input, Input::Received { .. })),
        "with what was sent meanwhile"
    );
}

#[test]
fn a_one_way_cut_holds_frames_back_and_lets_them_all_through_when_it_is_mended() {
    let mut simulation = group(2, |_| {});
    run(&mut simulation, 150);
    let since = simulation.now();
    let old = last_link(&simulation.watch.between("p2", "p1", Time::ZERO));
    let cut = simulation.cut(&[(1, 0)]);
    // Too short for the leader to give up the connection.
    run(&mut simulation, 190);
    assert_eq!(
        heartbeats(&simulation.watch.between("p2", "p1", since + Duration::from_millis(1))),
        0,
        "p1 hears nothing"
    );
    let mended = simulation.now();
    simulation.mend(cut);
    // TCP tries again after twice the pause each time, so after the same time again at the latest.
    run(&mut simulation, 350);
    let flood = on(old, simulation.watch.between("p2", "p1", mended));
    assert!(heartbeats(&flood) >= 1, "what stood still comes: {flood:?}");
}

#[test]
fn a_stall_holds_back_one_direction_for_its_time() {
    let mut simulation = group(2, |_| {});
    run(&mut simulation, 150);
    let since = simulation.now();
    let stalled = last_link(&simulation.watch.between("p2", "p1", Time::ZERO));
    simulation.stall(1, 0, Duration::from_millis(300));
    run(&mut simulation, 299);
    // Meanwhile the leader continues on another connection, which is not stalled.
    assert_eq!(heartbeats(&on(stalled, simulation.watch.between("p2", "p1", since))), 0);
    run(&mut simulation, 2);
    assert!(heartbeats(&on(stalled, simulation.watch.between("p2", "p1", since))) >= 1);
}

#[test]
fn the_connections_of_a_dead_process_end_and_new_ones_are_refused() {
    let mut simulation = group(2, |_| {});
    let since = simulation.now();
    simulation.kill(1);
    run(&mut simulation, 50);
    let seen = simulation.watch.between("p2", "p1", since);
    assert!(
        seen.iter().any(|input| matches!(input, Input::LinkDown { how: Down::Closed, .. })),
        "{seen:?}"
    );
    assert!(
        seen.iter().any(|input| matches!(input, Input::DialFailed { refused: true, .. })),
        "{seen:?}"
    );
}

#[test]
fn a_reset_is_seen_at_both_ends_and_a_new_connection_stands_soon_after() {
    let mut simulation = group(2, |_| {});
    let since = simulation.now();
    simulation.reset(0, 1);
    run(&mut simulation, 50);
    for (from, to) in [("p1", "p2"), ("p2", "p1")] {
        let seen = simulation.watch.between(from, to, since);
        assert!(
            seen.iter().any(|input| matches!(input, Input::LinkDown { how: Down::Reset, .. })),
            "{to}: {seen:?}"
        );
        assert!(seen.iter().any(|input| matches!(input, Input::LinkUp { .. })), "{to}: {seen:?}");
    }
}

#[test]
fn nothing_can_be_dialled_across_a_cut_and_nobody_takes_that_for_a_refusal() {
    let mut simulation = group(2, |_| {});
    let since = simulation.now();
    simulation.cut(&[(0, 1), (1, 0)]);
    simulation.reset(0, 1);
    run(&mut simulation, 3_000);
    for (from, to) in [("p1", "p2"), ("p2", "p1")] {
        let refused = |input: &&Input| matches!(input, Input::DialFailed { refused: true, .. });
        assert!(!simulation.watch.between(from, to, since).iter().any(refused));
    }
    assert!(
        [0, 1].iter().all(|&host| simulation.status(host).unwrap().role == "leader"),
        "both sides go on alone"
    );
}

#[test]
fn datagrams_are_lost_and_repeated_for_each_receiver_on_its_own() {
    let beacons = |weather: Weather| {
        let mut simulation = group(3, |_| {});
        let since = simulation.now();
        simulation.set_weather(weather);
        run(&mut simulation, 10_000);
        let heard = |to| {
            simulation
                .watch
                .between("p3", to, since)
                .iter()
                .filter(|input| matches!(input, Input::Heard { .. }))
                .count()
        };
        (heard("p1"), heard("p2"))
    };
    assert_eq!(beacons(Weather::calm()), (100, 100), "a beacon every 100 ms");
    assert_eq!(beacons(Weather { loss: OneIn(1), ..Weather::calm() }), (0, 0));
    assert_eq!(beacons(Weather { repeat: OneIn(1), ..Weather::calm() }), (200, 200));
    let (one, two) = beacons(Weather { loss: OneIn(2), ..Weather::calm() });
    assert!((30..70).contains(&one) && (30..70).contains(&two), "{one} {two}");
}

#[test]
fn bytes_cut_anywhere_say_the_same_as_messages() {
    let view = |bytes| {
        let mut simulation = group(3, |settings| settings.bytes = bytes);
        simulation.publish(0, bytes::Bytes::from_static(b"a reading"), None);
        run(&mut simulation, 500);
        assert_eq!(simulation.tally().cut_at_byte > 0, bytes);
        (0..3).map(|host| simulation.status(host).unwrap().delivered).collect::<Vec<_>>()
    };
    let delivered = view(true);
    assert!(delivered.iter().all(|seq| *seq == delivered[0]));
    assert_eq!(delivered, view(false));
}

#[test]
fn a_process_that_starts_again_has_a_later_incarnation_with_or_without_its_disk() {
    let mut simulation = group(2, |_| {});
    let mut last = simulation.status(0).unwrap().incarnation;
    for identity in [Identity::Same, Identity::Fresh] {
        simulation.kill(0);
        run(&mut simulation, 50);
        simulation.restart(0, identity);
        let incarnation = simulation.status(0).unwrap().incarnation;
        assert!(incarnation > last, "{incarnation} after {last}");
        last = incarnation;
        run(&mut simulation, 1_000);
        assert_eq!(simulation.status(1).unwrap().members.len(), 2, "and is let in again");
    }
}
