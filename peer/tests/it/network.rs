//! A peer and the networks of its machine: they appear late, change, are several, or carry only
//! some traffic.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::Signal;
use protocol::note::Note;

use crate::bench::{Bench, PEER, until};
use crate::lan::Lan;

fn address(bench: &Bench, id: &str) -> Option<SocketAddrV4> {
    Some(bench.report(id)?.status.address)
}

/// The addresses of the others in the newest view of a peer, from its file of contacts.
fn kept(bench: &Bench, id: &str) -> String {
    std::fs::read_to_string(bench.path(id).join("contacts")).unwrap_or_default()
}

#[test]
fn peers_follow_their_machines_from_network_to_network() {
    let Some(lan) = Lan::new(2) else { return };
    let bench = Bench::new();
    let [one, two] = &lan.hosts[..] else { unreachable!("two hosts") };
    assert!(
        two.sh("ip addr add 10.77.0.2/24 dev eth0"),
        "without `brd +`, as many a script does it"
    );
    let data = bench.path("p1");
    let p1 = bench.launch(one.peer(), "p1", &["--data-dir", data.to_str().unwrap()]);
    let p2 = bench.launch(two.peer(), "p2", &[]);
    until("both to lead alone", || p1.members() == 1 && p2.members() == 1);
    assert!(p1.log().contains("No network of this machine carries broadcast"), "{}", p1.log());
    assert!(one.sh("ip addr add 10.77.0.1/24 dev eth0"));
    until("one group", || p1.members() == 2 && p2.members() == 2);
    let at = |id: &str, ip: [u8; 4]| {
        address(&bench, id).is_some_and(|address| *address.ip() == Ipv4Addr::from(ip))
    };
    assert!(at("p1", [10, 77, 0, 1]), "{:?}", address(&bench, "p1"));
    // The router is replaced.
    assert!(one.sh("ip addr flush dev eth0; ip addr add 192.168.5.21/24 brd + dev eth0"));
    assert!(two.sh("ip addr flush dev eth0; ip addr add 192.168.5.22/24 brd + dev eth0"));
    until("both to have moved", || at("p1", [192, 168, 5, 21]) && at("p2", [192, 168, 5, 22]));
    until("one group there", || {
        let members = |id: &str| bench.report(id).map_or(0, |report| report.status.members.len());
        members("p1") == 2 && members("p2") == 2 && kept(&bench, "p1").contains("p2 192.168.5.22:")
    });
    assert!(
        p2.has(|note| matches!(note, Note::Moved { was, .. } if was.starts_with("10.77.0.2:")))
    );
}

#[test]
fn an_address_that_was_asked_for_may_come_later_and_a_cable_may_be_plugged_in_later() {
    let Some(lan) = Lan::new(2) else { return };
    let bench = Bench::new();
    let [one, two] = &lan.hosts[..] else { unreachable!("two hosts") };
    assert!(lan.plug(1, false) && two.sh("ip addr add 10.77.0.2/24 brd + dev eth0"));
    let p1 = bench.launch(one.peer(), "p1", &["--address", "10.77.0.1"]);
    let p2 = bench.launch(two.peer(), "p2", &["--address", "10.77.0.2"]);
    until("both to lead alone", || p1.members() == 1 && p2.members() == 1);
    assert!(p1.log().contains("has the address 10.77.0.1 of --address"), "{}", p1.log());
    assert!(p2.log().contains("eth0 (10.77.0.2) is down or has no carrier"), "{}", p2.log());
    assert!(one.sh("ip addr add 10.77.0.1/24 brd + dev eth0") && lan.plug(1, true));
    until("one group", || p1.members() == 2 && p2.members() == 2);
    // It disappears and comes back.
    assert!(one.sh("ip addr flush dev eth0"));
    until("the other to be alone", || p2.members() == 1);
    assert!(one.sh("ip addr add 10.77.0.1/24 brd + dev eth0"));
    until("one group again", || p1.members() == 2 && p2.members() == 2);
}

#[test]
fn a_tunnel_with_the_default_route_hides_nobody() {
    let Some(lan) = Lan::new(2) else { return };
    let bench = Bench::new();
    let [one, two] = &lan.hosts[..] else { unreachable!("two hosts") };
    assert!(
        one.sh("ip addr add 10.77.0.1/24 brd + dev eth0")
            && two.sh("ip addr add 10.77.0.2/24 brd + dev eth0")
    );
    // Once without broadcast, like a tunnel, and once with it, like the uplink of another router.
    assert!(one.sh(
        "ip link add vpn0 type veth peer name far0; ip addr add 10.8.0.6/32 dev vpn0; \
                    ip link set far0 up; \
                    ip link set vpn0 up; ip route add default dev vpn0"
    ));
    assert!(two.sh("ip link add up0 type veth peer name far0; ip addr add 10.9.0.6/24 brd + dev \
                    up0; ip link set far0 up; \
                    ip link set up0 up; ip route add default via 10.9.0.1"));
    let p1 = bench.launch(one.peer(), "p1", &[]);
    let p2 = bench.launch(two.peer(), "p2", &[]);
    until("one group", || p1.members() == 2 && p2.members() == 2);
    // p2 leads, is known at the address of its default route first, and follows the group to its
    // network.
    until("the leader to be known where it is dialled", || {
        address(&bench, "p2").is_some_and(|address| *address.ip() == Ipv4Addr::new(10, 77, 0, 2))
    });
    assert!(
        p2.log().contains("Looks for others on up0 (10.9.0.6), eth0 (10.77.0.2)"),
        "{}",
        p2.log()
    );
}

#[test]
fn two_peers_of_one_machine_meet_without_a_flag_with_a_network_and_without() {
    let Some(lan) = Lan::new(1) else { return };
    let bench = Bench::new();
    let host = &lan.hosts[0];
    let p1 = bench.launch(host.peer(), "p1", &[]);
    let p2 = bench.launch(host.peer(), "p2", &[]);
    until("one group", || p1.members() == 2 && p2.members() == 2);
    assert!(host.sh("ip addr add 10.77.0.1/24 brd + dev eth0"));
    until("both to have moved", || {
        ["p1", "p2"].iter().all(|id| {
            address(&bench, id).is_some_and(|address| *address.ip() == Ipv4Addr::new(10, 77, 0, 1))
        })
    });
    let p3 = bench.launch(host.peer(), "p3", &[]);
    until("one group of three", || [&p1, &p2, &p3].iter().all(|peer| peer.members() == 3));
}

#[test]
fn who_is_heard_and_not_reached_is_named() {
    let Some(lan) = Lan::new(2) else { return };
    let bench = Bench::new();
    let mut peers = Vec::new();
    for (number, host) in lan.hosts.iter().enumerate() {
        assert!(host.sh(&format!("ip addr add 10.77.0.{}/24 brd + dev eth0", number + 1)));
        // Incoming TCP is dropped silently. A routing rule needs no further program.
        let deaf = "ip rule add pref 10 lookup local; ip rule add pref 1 iif eth0 ipproto tcp \
                    blackhole; ip rule del pref 0";
        if !host.sh(deaf) {
            eprintln!("not run: the kernel has no routing rules by protocol");
            return;
        }
        peers.push(bench.launch(host.peer(), &format!("p{}", number + 1), &[]));
    }
    let told = |note: &Note| matches!(note, Note::Unreachable { why, .. } if why.contains("does not answer TCP"));
    until("both to say so", || peers.iter().all(|peer| peer.has(told)));
    until("`peer status` to say so", || {
        bench.report("p1").is_some_and(|report| !report.unreachable.is_empty())
    });
    assert!(bench.report("p1").unwrap().links <= 2, "one attempt at a time");
    assert!(peers[0].log().contains("Peer p2 at 10.77.0.2:"), "{}", peers[0].log());
}

#[test]
fn whoever_was_everybodys_seed_finds_the_others_from_another_port() {
    let bench = Bench::new();
    // Without broadcast: each has a discovery port of its own.
    let ports: Vec<String> = (0..3).map(|_| Bench::new().port.to_string()).collect();
    let folders: Vec<String> =
        ["p1", "p2", "p3"].map(|id| bench.path(id).display().to_string()).to_vec();
    let start = |number: usize, seeds: &[&str]| {
        let flags =
            [&["--broadcast-port", &ports[number], "--data-dir", &folders[number]], seeds].concat();
        bench.start(&format!("p{}", number + 1), &flags)
    };
    let mut seed = start(2, &[]);
    until("the seed to lead", || seed.members() == 1);
    let at = address(&bench, "p3").unwrap().to_string();
    let others = [start(0, &["--seeds", &at]), start(1, &["--seeds", &at])];
    until("one group", || others.iter().chain([&seed]).all(|peer| peer.members() == 3));
    until("the contacts to be kept", || kept(&bench, "p3").lines().count() == 2);
    seed.signal(Signal::SIGKILL);
    seed.wait();
    until("the others to be two", || others.iter().all(|peer| peer.members() == 2));
    let seed = start(2, &[]);
    assert_ne!(address(&bench, "p3").map(|now| now.to_string()), Some(at), "another port");
    until("one group again", || others.iter().chain([&seed]).all(|peer| peer.members() == 3));
}

#[test]
fn a_peer_behind_a_published_port_is_dialled_there() {
    let bench = Bench::new();
    let outside = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let published = outside.local_addr().unwrap().to_string();
    let inside = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let passed = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&passed);
    // The effect of a container runtime's published port. The threads end with the sockets of the
    // peers.
    std::thread::spawn(move || {
        for stream in outside.incoming().flatten() {
            counted.fetch_add(1, Ordering::Relaxed);
            let Ok(to) = TcpStream::connect((Ipv4Addr::LOCALHOST, inside)) else { continue };
            for (mut from, mut to) in
                [(stream.try_clone().unwrap(), to.try_clone().unwrap()), (to, stream)]
            {
                std::thread::spawn(move || {
                    let _ended = io::copy(&mut from, &mut to);
                    let _closed = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    let inner = bench.start("inner", &["--port", &inside.to_string(), "--advertise", &published]);
    until("it to lead", || inner.members() == 1);
    let data = bench.path("outer");
    let outer = bench.start("outer", &["--data-dir", data.to_str().unwrap()]);
    until("one group", || inner.members() == 2 && outer.members() == 2);
    assert_eq!(
        address(&bench, "inner").map(|address| address.to_string()),
        Some(published.clone())
    );
    until("the view to say so", || kept(&bench, "outer") == format!("inner {published}\n"));
    // Only the other one can dial now: the first connection breaks, and it looks for the leader.
    inner.signal(Signal::SIGKILL);
    until("it to be dialled there", || passed.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_running_peer_is_not_denied() {
    let bench = Bench::new();
    let peer = bench.start("p1", &[]);
    until("it to lead", || peer.members() == 1);
    // The file of its socket is removed: it creates another one.
    let socket = peer
        .events()
        .into_iter()
        .find_map(|event| if let Note::Start { status, .. } = event.note { status } else { None });
    std::fs::remove_file(socket.unwrap()).unwrap();
    until("it to be found again", || bench.report("p1").is_some());
    // It is elsewhere: in a folder of a session, and the client has none.
    let session = tempfile::Builder::new().prefix("sensor-peers-").tempdir_in("/tmp").unwrap();
    let elsewhere = session.path().join("sensor-peers");
    let name = format!("away{}", std::process::id());
    let mut command = Command::new(PEER);
    command.env("XDG_RUNTIME_DIR", session.path());
    let away = bench.launch_elsewhere(command, &name);
    until("it to have a socket there", || {
        std::fs::read_dir(&elsewhere).is_ok_and(|folder| folder.count() > 0)
    });
    let ask = || {
        Command::new(PEER)
            .args(["status", "--id", &name])
            .env_remove("PEER_SOCKETS")
            .env_remove("XDG_RUNTIME_DIR")
            .output()
            .unwrap()
    };
    until("it to be found", || ask().status.success());
    // It is paused: that is reported within seconds, and not that there is no peer.
    away.signal(Signal::SIGSTOP);
    let output = ask();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    away.signal(Signal::SIGCONT);
    assert_eq!(output.status.code(), Some(69));
    assert!(
        words.contains(&format!("The peer {name} said nothing for 2s")) && words.contains("/tmp"),
        "{words}"
    );
}
