//! HTTP from programs and strangers: each request has one clear answer, and the group is
//! unaffected.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::bench::{Bench, Running, until};
use crate::http::{connect, get, hear, say};
use crate::page::base;
use crate::talk::{Talk, alone, assert_whole, descriptors, pair, ticks};

const HTTP: [&str; 2] = ["--http", "127.0.0.1:0"];

/// A stream of events, one after the other.
struct Follower(BufReader<TcpStream>);

impl Follower {
    fn begin(base: &str, query: &str, header: &str) -> Self {
        let mut stream = connect(base);
        let host = base.strip_prefix("http://").unwrap();
        stream
            .write_all(
                format!("GET /events{query} HTTP/1.1\r\nHost: {host}\r\n{header}\r\n").as_bytes(),
            )
            .unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
        Self(reader)
    }

    /// The next event of that name: its id and its data.
    #[track_caller]
    fn next(&mut self, name: &str) -> (String, Value) {
        let (mut id, mut event, mut data) = (String::new(), String::new(), String::new());
        loop {
            let mut line = String::new();
            assert!(
                self.0.read_line(&mut line).unwrap() > 0,
                "the stream has ended; waited for {name}"
            );
            match line.trim_end().split_once(": ") {
                Some(("id", value)) => id = value.to_owned(),
                Some(("event", value)) => event = value.to_owned(),
                Some(("data", value)) => data = value.to_owned(),
                _ if line == "\n" && event == name => {
                    return (id, serde_json::from_str(&data).unwrap());
                }
                _ if line == "\n" => (id, event, data) = Default::default(),
                _ => {}
            }
        }
    }

    /// The next reading with that payload.
    #[track_caller]
    fn reading(&mut self, payload: &str) -> (String, Value) {
        loop {
            let (id, record) = self.next("record");
            if record["payload"] == payload {
                return (id, record);
            }
        }
    }
}

fn memory(one: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", one.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn health_is_whether_the_loop_turns_and_readiness_whether_it_is_in_a_view() {
    let bench = Bench::new();
    let mut group =
        pair(&bench, &[&HTTP[..], &["--mode", "primary", "--bootstrap", "peer1,peer2"]].concat());
    let base = base(&group[0]);
    assert_eq!(get(&base, "/healthz").status, 200);
    let ready = get(&base, "/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\n"));
    group[1].signal(Signal::SIGKILL);
    group[1].wait();
    until("it to be blocked", || get(&base, "/readyz").status == 503);
    let words = get(&base, "/readyz").body;
    let output = bench.command(&["status", "--id", "peer1", "--ready"]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    let cut = |text: &str| {
        text.split(':').nth(1).unwrap().split_whitespace().take(4).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(cut(&words), cut(told.split_once("is not ready").unwrap().1), "{words} {told}");
    assert_eq!(get(&base, "/healthz").status, 200, "blocked is not dead");
    assert_eq!(
        get(&base, "/metrics").body.lines().find(|line| line.starts_with("sensor_peers_blocked ")),
        Some("sensor_peers_blocked 1")
    );
}

#[test]
fn health_is_denied_while_the_loop_stands_still_and_given_again_when_it_turns() {
    let bench = Bench::new();
    let mut group = [alone(&bench, "peer1", &HTTP)];
    let base = base(&group[0]);
    assert_eq!(get(&base, "/healthz").status, 200);
    // The loop is the first thread of the process. A tracer of this thread stops it, and none of
    // the others.
    let thread = Pid::from_raw(i32::try_from(group[0].child.id()).unwrap());
    if let Err(error) = ptrace::attach(thread) {
        eprintln!("NOT RUN: this user may not stop a single thread (ptrace: {error})");
        return;
    }
    waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
    let begun = Instant::now();
    let answers = ["/healthz", "/readyz", "/metrics"].map(|path| {
        let base = base.clone();
        std::thread::spawn(move || get(&base, path))
    });
    for answer in answers.map(|answer| answer.join().unwrap()) {
        assert_eq!(answer.status, 503);
        let silent = answer
            .body
            .strip_prefix("the loop has not turned for ")
            .and_then(|rest| rest.strip_suffix(" s\n"));
        let silent: u64 = silent.unwrap_or_else(|| panic!("{}", answer.body)).parse().unwrap();
        assert!((2..=begun.elapsed().as_secs() + 1).contains(&silent), "{silent} s");
    }
    assert!(begun.elapsed() >= Duration::from_secs(2), "a loop that is only slow is given 2 s");
    ptrace::detach(thread, None).unwrap();
    until("the loop to turn", || get(&base, "/healthz").status == 200);
    assert_eq!(get(&base, "/readyz").status, 200);
    assert_whole(&bench, &mut group);
}

#[test]
fn everything_has_headers_that_keep_it_here() {
    let bench = Bench::new();
    let group = [alone(&bench, "peer1", &HTTP)];
    let base = base(&group[0]);
    for path in ["/", "/app.js", "/style.css", "/icon.svg", "/metrics", "/healthz", "/none"] {
        let answer = get(&base, path);
        assert_eq!(answer.status, if path == "/none" { 404 } else { 200 });
        assert!(
            answer.header("content-security-policy").unwrap().starts_with("default-src 'self'"),
            "{path}"
        );
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(
            (answer.header("referrer-policy"), answer.header("cache-control")),
            (Some("no-referrer"), Some("no-store"))
        );
        assert_eq!(answer.header("content-length").unwrap(), answer.body.len().to_string());
        let head = say(
            &base,
            format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        );
        assert_eq!(
            (head.status, head.body.as_str(), head.header("content-length")),
            (answer.status, "", answer.header("content-length"))
        );
    }
    // One connection serves many requests, also where they come at once.
    let mut stream = connect(&base);
    let one = b"GET /healthz HTTP/1.1\r\nHost: [::1]\r\n\r\n";
    stream.write_all(&one.repeat(40)).unwrap();
    let mut bytes = Vec::new();
    until("forty answers", || {
        let mut chunk = [0; 4_096];
        let count = stream.read(&mut chunk).unwrap();
        assert!(count > 0, "closed");
        bytes.extend_from_slice(&chunk[..count]);
        String::from_utf8_lossy(&bytes).matches("the loop turns").count() == 40
    });
    drop(group);
}

#[test]
fn hostile_requests_have_one_clear_answer_each() {
    let bench = Bench::new();
    let mut group = pair(&bench, &HTTP);
    let base = base(&group[0]);
    let before = descriptors(&group[0]);
    let check = |bytes: &[u8], status: u16, words: &str| {
        let answer = say(&base, bytes);
        let asked = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        assert_eq!(answer.status, status, "{asked:?}: {answer:?}");
        assert!(answer.body.contains(words), "{asked:?}: {answer:?}");
        assert_eq!(answer.header("connection"), Some("close"));
    };
    let request = |line: &str, headers: &str| {
        format!("{line} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n").into_bytes()
    };
    let local = "Host: localhost\r\n";
    check(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03garbage\r\n\r\n", 400, "no HTTP request");
    check(b"\0\xff\xfe\r\n\r\n", 400, "no HTTP request");
    check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP/1.1");
    check(&request("GET /", "Host: evil.example\r\n"), 421, "--http-host");
    check(&request("GET /metrics", "Host: 127.0.0.1.evil.example:80\r\n"), 421, "--http-host");
    check(&request("GET /", ""), 400, "Host");
    check(
        &request("GET /", "Host: localhost\r\nHost: evil.example\r\n"),
        400,
        "more than one host",
    );
    check(&request("GET /../../../etc/passwd", local), 404, "no such page");
    check(&request("GET /..%2f..%2fetc/passwd", local), 404, "no such page");
    check(&request("GET //etc/passwd", local), 404, "no such page");
    check(&request("GET file:///etc/passwd", local), 404, "no such page");
    check(
        &request("GET /events", "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n"),
        403,
        "another site",
    );
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        let answer = say(&base, &request(&format!("{method} /"), local));
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
    }
    check(&request("GET /", &format!("{local}X: {}\r\n", "a".repeat(9_000))), 431, "8192 bytes");
    check(&request("GET /", &format!("{local}{}", "A: b\r\n".repeat(100))), 431, "headers");

    // A body of 100 MB is not read, nor is it kept.
    let rest = memory(&group[0]);
    let mut stream = connect(&base);
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 104857600\r\n\r\n")
        .unwrap();
    let chunk = vec![b'x'; 1 << 20];
    let sent = (0..100).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    eprintln!("{sent} MB of the body were taken off the wire before the connection was closed");
    drop(stream);
    let mut endless = connect(&base);
    endless.write_all(b"GET /").unwrap();
    let _closed = (0..100).try_for_each(|_| endless.write_all(&chunk));
    drop(endless);
    assert!(memory(&group[0]) < rest + 8_192, "{} KiB after {rest}", memory(&group[0]));
    until("the descriptors to be given back", || descriptors(&group[0]) <= before);
    assert_whole(&bench, &mut group);
}

#[test]
fn half_a_request_is_told_so_and_closed() {
    let bench = Bench::new();
    let mut group = [alone(&bench, "peer1", &HTTP)];
    let base = base(&group[0]);
    let before = descriptors(&group[0]);
    let begun = Instant::now();
    let mut half = connect(&base);
    half.write_all(b"GET / HTTP/1.1\r\nHost: local").unwrap();
    let mut silent = connect(&base);
    // One byte at a time does not hold the place any longer.
    let mut slow = connect(&base);
    let drip = std::thread::spawn(move || {
        let text = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
        for byte in text.iter().copied().chain(std::iter::repeat(b'a')) {
            if slow.write_all(&[byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        begun.elapsed()
    });
    let answer = hear(&mut half);
    assert_eq!(answer.status, 408, "{answer:?}");
    assert!(answer.body.contains("not whole after 10 s"), "{answer:?}");
    let mut nothing = Vec::new();
    assert_eq!(
        silent.read_to_end(&mut nothing).unwrap(),
        0,
        "whoever says nothing is told nothing"
    );
    let took = begun.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(15)).contains(&took), "{took:?}");
    assert!(drip.join().unwrap() < Duration::from_secs(16));
    // Half a request whose client goes is forgotten at once.
    let mut gone = connect(&base);
    gone.write_all(b"GET / HT").unwrap();
    gone.shutdown(Shutdown::Both).unwrap();
    until("the descriptors to be given back", || descriptors(&group[0]) <= before);
    assert_whole(&bench, &mut group);
}

#[test]
fn of_a_thousand_connections_each_is_served_or_told_that_there_is_no_room() {
    let bench = Bench::new();
    let mut group = pair(&bench, &HTTP);
    let base = base(&group[0]);
    let before = descriptors(&group[0]);
    let mut open: Vec<TcpStream> = (0..1_000).map(|_| connect(&base)).collect();
    let mut told = 0;
    for stream in &mut open[64..] {
        let mut text = String::new();
        let _reset = stream.read_to_string(&mut text);
        told += u32::from(
            text.starts_with("HTTP/1.1 503")
                && text.contains("64 connections stand")
                && text.contains("Retry-After: 10"),
        );
    }
    assert_eq!(told, 936);
    assert_eq!(Talk::with(&bench, "peer1").publish("meanwhile")["ok"]["is"], "safe");
    assert!(descriptors(&group[0]) <= before + 66);
    drop(open);
    until("the descriptors to be given back", || descriptors(&group[0]) <= before);
    assert_eq!(get(&base, "/readyz").status, 200);
    assert_whole(&bench, &mut group);
}

#[test]
fn sixteen_pages_are_open_at_a_time_and_one_that_is_never_read_is_cut_off() {
    let bench = Bench::new();
    let mut group = [alone(
        &bench,
        "peer1",
        &[&HTTP[..], &["--sensor", "load", "--load-rate", "2000", "--load-bytes", "2000"]].concat(),
    )];
    let base = base(&group[0]);
    let before = descriptors(&group[0]);
    let host = base.strip_prefix("http://").unwrap().to_owned();
    let open = || {
        let mut stream = connect(&base);
        stream
            .write_all(format!("GET /events HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
            .unwrap();
        stream
    };
    // They are never read, but for the head, by which it is known that they are served.
    let pages: Vec<TcpStream> = (0..16)
        .map(|_| {
            let stream = open();
            until("a page to be served", || stream.peek(&mut [0; 15]).unwrap() == 15);
            stream
        })
        .collect();
    let answer = hear(&mut open());
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("10")), "{answer:?}");
    assert!(answer.body.contains("16 pages are open"), "{answer:?}");
    let begun = Instant::now();
    assert_eq!(Talk::with(&bench, "peer1").publish("meanwhile")["ok"]["is"], "safe");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    until("those that are not read to be cut off", || descriptors(&group[0]) <= before);
    assert!(memory(&group[0]) < 250 << 10, "{}", memory(&group[0]));
    let mut last = pages.into_iter().next_back().unwrap();
    let mut text = Vec::new();
    let _reset = last.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(
        text.contains("event: hello") && text.contains("event: record"),
        "{}",
        &text[..text.len().min(400)]
    );
    assert_whole(&bench, &mut group);
}

#[test]
fn events_go_on_behind_the_last_one_that_was_had() {
    let bench = Bench::new();
    let mut group = pair(&bench, &HTTP);
    let bases = [base(&group[0]), base(&group[1])];
    let publish =
        |words: &str| assert_eq!(Talk::with(&bench, "peer2").publish(words)["ok"]["is"], "safe");
    let mut one = Follower::begin(&bases[0], "", "");
    let (_, hello) = one.next("hello");
    assert_eq!((&hello["peer"], &hello["apart_ms"]), (&json!("peer1"), &json!(0)));
    let (_, state) = one.next("state");
    assert_eq!(state["verdict"]["level"], "well", "{state}");
    assert_eq!(state["members"]["members"].as_array().unwrap().len(), 2, "{state}");
    let (_, happened) = one.next("happened");
    assert!(happened["say"].is_string(), "{happened}");
    publish("first");
    let (id, first) = one.reading("first");
    assert_eq!(
        id,
        format!(
            "{}/{}/{}",
            first["log"].as_str().unwrap(),
            first["seq"],
            first["epoch"].as_str().unwrap()
        )
    );
    drop(one);
    publish("second");
    // By the header, as browsers do; by the query, as the page does; and at another member, where
    // it is the same place.
    for (base, query, header) in [
        (&bases[0], String::new(), format!("Last-Event-ID: {id}\r\n")),
        (&bases[0], format!("?behind={}", id.replace('#', "%23")), String::new()),
        (&bases[1], String::new(), format!("Last-Event-ID: {id}\r\n")),
    ] {
        let (_, record) = Follower::begin(base, &query, &header).next("record");
        assert_eq!(
            (&record["payload"], record["seq"].as_u64()),
            (&json!("second"), first["seq"].as_u64().map(|seq| seq + 1))
        );
    }
    // If the log is unknown, the client is told so; nothing is guessed.
    let (_, gap) =
        Follower::begin(&bases[0], "", "Last-Event-ID: 1.nobody#7/12\r\n").next("record");
    assert_eq!((&gap["kind"], &gap["from"]), (&json!("gap"), &json!(13)), "{gap}");
    // State comes again and again, and says what is wrong.
    let mut watch = Follower::begin(&bases[0], "?thin=1", "");
    watch.next("state");
    let begun = Instant::now();
    watch.next("state");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // A peer that stops says so.
    group[0].signal(Signal::SIGTERM);
    let (_, end) = watch.next("end");
    assert_eq!(end["code"], "stopping", "{end}");
    assert!(group[0].wait().success());
}

#[test]
fn a_page_is_not_sent_a_hundred_times_what_it_draws() {
    let bench = Bench::new();
    let mut group = [alone(&bench, "peer1", &HTTP)];
    let mut talk = Talk::with(&bench, "peer1");
    for n in 0..6_000 {
        talk.say(&json!({"id": 1, "do": "publish", "payload": format!("DATA|s{}|t|n={n}", n % 3), "wait": "accepted"}));
        talk.hear();
    }
    talk.publish("last");
    let count = |query: &str| {
        let mut follower = Follower::begin(&base(&group[0]), query, "");
        let mut readings = 0;
        loop {
            let (_, record) = follower.next("record");
            readings += u32::from(record["kind"] == "reading");
            if record["payload"] == "last" {
                return readings;
            }
        }
    };
    assert_eq!(count(""), 6_001);
    let thin = count("?thin=1");
    assert!(thin < 1_000, "{thin}");
    assert_whole(&bench, &mut group);
}

#[test]
fn who_has_no_token_is_told_so_and_the_file_is_heeded_while_it_runs() {
    let bench = Bench::new();
    let path = bench.path("token");
    let write = |token: &str, mode: u32| {
        fs::write(&path, token).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let flags = |address: &'static str| {
        ["run", "--http", address, "--http-token-file", path.to_str().unwrap()]
            .map(ToOwned::to_owned)
    };
    let refused = |flags: &[String], code: i32, words: &str| {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let output = bench.command(&flags).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(words) && told.lines().count() == 1, "{told}");
    };
    refused(&["run", "--http", "0.0.0.0:0"].map(ToOwned::to_owned), 64, "--http-token-file");
    refused(&flags("0.0.0.0:0"), 65, "No such file");
    write("0123456789abcdef", 0o644);
    refused(&flags("0.0.0.0:0"), 65, "everybody on this machine");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    refused(&["run", "--http", &at].map(ToOwned::to_owned), 69, "choose another port");
    refused(&["run", "--http", "8080"].map(ToOwned::to_owned), 64, "127.0.0.1:8080");

    write("0123456789abcdef", 0o600);
    let mut group = [alone(
        &bench,
        "peer1",
        &["--http", "127.0.0.1:0", "--http-token-file", path.to_str().unwrap()],
    )];
    let base = base(&group[0]);
    let with = |path: &str, header: &str| {
        say(
            &base,
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n")
                .as_bytes(),
        )
        .status
    };
    for endpoint in ["/", "/metrics", "/healthz", "/readyz", "/events"] {
        assert_eq!(with(endpoint, ""), 401, "{endpoint}");
        assert_eq!(with(&format!("{endpoint}?token=0123456789abcdeg"), ""), 401, "{endpoint}");
    }
    assert_eq!(with("/app.js", ""), 200, "it is the same for everybody");
    assert_eq!(with("/metrics?token=0123456789abcdef", ""), 200);
    assert_eq!(with("/metrics", "Authorization: Bearer 0123456789abcdef\r\n"), 200);
    assert_eq!(with("/metrics", "Authorization: Basic 0123456789abcdef\r\n"), 401);
    write("another-token-0123", 0o600);
    assert_eq!(
        (
            with("/metrics?token=0123456789abcdef", ""),
            with("/metrics?token=another-token-0123", "")
        ),
        (401, 200)
    );
    fs::remove_file(&path).unwrap();
    assert_eq!(with("/metrics?token=another-token-0123", ""), 503);
    assert_whole(&bench, &mut group);
}

#[test]
fn it_costs_next_to_nothing_while_nobody_looks() {
    let bench = Bench::new();
    let one = alone(&bench, "peer1", &[]);
    let other = bench.start("peer2", &[&HTTP[..], &["--cluster", "other"]].concat());
    until("it to be alone", || other.members() == 1);
    let base = base(&other);
    assert_eq!(get(&base, "/metrics").status, 200);
    std::thread::sleep(Duration::from_secs(1));
    let begin = [ticks(&one), ticks(&other)];
    std::thread::sleep(Duration::from_secs(5));
    let used = [ticks(&one) - begin[0], ticks(&other) - begin[1]];
    eprintln!(
        "5 s idle: {} ms and {} KiB without, {} ms and {} KiB with",
        used[0] * 10,
        memory(&one),
        used[1] * 10,
        memory(&other)
    );
    assert!(used[1] <= used[0] + 5, "{used:?}");
    assert!(memory(&other) < memory(&one) + 2_048, "{} {}", memory(&one), memory(&other));
}
