//! Hostile or unlucky clients of the local socket: the peer answers in one clear line, and
//! continues.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::{Bench, until};
use crate::talk::{Talk, alone, assert_whole, pair, socket, ticks};

/// Sends a line, and returns the error that is the answer.
#[track_caller]
fn fault(talk: &mut Talk, line: &[u8]) -> (Value, String, String) {
    talk.say_bytes(&[line, b"\n"].concat());
    let answer = talk.hear();
    let text = |key: &str| {
        answer["error"][key].as_str().unwrap_or_else(|| panic!("no error: {answer}")).to_owned()
    };
    (answer["id"].clone(), text("code"), text("say"))
}

#[test]
fn what_cannot_be_understood_is_answered_in_words_and_costs_nobody_else_anything() {
    let bench = Bench::new();
    let mut group = pair(&bench, &[]);
    let mut talk = Talk::with(&bench, "peer1");
    let deep =
        [b"{\"id\":1,\"do\":".as_slice(), &b"[".repeat(100_000), &b"]".repeat(100_000), b"}"]
            .concat();
    let long_id = format!("{{\"id\":\"{}\",\"do\":\"status\"}}", "x".repeat(1 << 20));
    let long_do = format!("{{\"id\":1,\"do\":\"{}\"}}", "\\u0001".repeat(100_000));
    let long_pattern =
        format!("{{\"id\":1,\"do\":\"subscribe\",\"sensor\":\"{}\"}}", "?".repeat(1 << 20));
    let kinds = format!(
        "{{\"id\":1,\"do\":\"subscribe\",\"kinds\":[{}\"x\"]}}",
        "\"view\",".repeat(200_000)
    );
    let lines: [(&[u8], &str); 22] = [
        (b"hello", "no JSON object"),
        (b"\0\0\0", "no JSON object"),
        (b"\xff\xfe{}", "no UTF-8"),
        (b"[1,2]", "no JSON object"),
        (b"{}", "id: there is none"),
        (b"{\"id\":null}", "id: give a number or a text"),
        (b"{\"id\":1}", "do: there is none"),
        (b"{\"id\":1e999,\"do\":\"status\"}", "number out of range"),
        (b"{\"id\":1,\"do\":\"fly\"}", "unknown variant"),
        (b"{\"id\":1,\"do\":\"status\",\"loud\":true}", "unknown field"),
        (b"{\"id\":1,\"do\":\"publish\"}", "payload: there is none"),
        (
            b"{\"id\":1,\"do\":\"publish\",\"payload\":\"x\",\"payload_base64\":\"eA==\"}",
            "give one of them",
        ),
        (b"{\"id\":1,\"do\":\"publish\",\"payload_base64\":\"%\"}", "payload_base64"),
        (
            b"{\"id\":1,\"do\":\"publish\",\"payload\":\"x\",\"token\":\"\"}",
            "token: it has 0 bytes",
        ),
        (b"{\"id\":1,\"do\":\"subscribe\",\"from\":\"then\"}", "is none of"),
        (b"{\"id\":1,\"do\":\"subscribe\",\"from\":{\"log\":\"x\",\"seq\":1}}", "from"),
        (b"{\"id\":1,\"do\":\"subscribe\",\"from\":{\"log\":\"1.a#1\",\"seq\":-1}}", "from"),
        (&deep, "recursion limit"),
        (long_id.as_bytes(), "64 are the most"),
        (long_do.as_bytes(), "unknown variant"),
        (long_pattern.as_bytes(), "256 are the most"),
        (kinds.as_bytes(), "unknown variant"),
    ];
    for (line, words) in lines {
        let (_, code, say) = fault(&mut talk, line);
        assert_eq!(code, "bad_request", "{say}");
        assert!(say.contains(words) && say.len() < 1_000, "{words}: {say}");
    }
    // Of a duplicate key the last one counts, as nearly everywhere.
    let answer = talk.ask(&json!({"id": 2, "do": "status"}));
    assert_eq!(answer["ok"]["peer_id"], "peer1", "{answer}");
    talk.say_bytes(b"\n  \n{\"id\":3,\"id\":4,\"do\":\"fly\",\"do\":\"status\"}\r\n");
    assert_eq!(talk.hear()["id"], 4);
    assert_whole(&bench, &mut group);
}

#[test]
fn a_request_of_a_hundred_megabytes_is_counted_and_not_kept() {
    let bench = Bench::new();
    let mut group = [alone(&bench, "peer1", &[])];
    let before = memory(group[0].child.id());
    let mut talk = Talk::with(&bench, "peer1");
    let chunk = [b'x'; 1 << 20];
    (0..100).for_each(|_| talk.say_bytes(&chunk));
    let (id, code, say) = fault(&mut talk, b"");
    assert_eq!((id, code.as_str()), (Value::Null, "too_long"), "{say}");
    assert!(say.contains("104857600 bytes; 2097152 are the most"), "{say}");
    assert_eq!(
        talk.ask(&json!({"id": 1, "do": "status"}))["id"],
        1,
        "the connection is as good as before"
    );
    let grown = memory(group[0].child.id()).saturating_sub(before);
    assert!(grown < 20 << 10, "{grown} KiB more than before");
    assert_whole(&bench, &mut group);
}

/// The memory of a process, in KiB.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn half_a_request_waits_and_is_dropped_with_its_client() {
    let bench = Bench::new();
    let mut group = [alone(&bench, "peer1", &[])];
    let half = b"{\"id\":1,\"do\":\"publish\",\"payload\":\"half\"";
    let mut waiting = Talk::with(&bench, "peer1");
    waiting.say_bytes(half);
    // It costs no processor time, and delays no other client.
    let before = ticks(&group[0]);
    assert!(waiting.is_silent_for(Duration::from_millis(500)));
    assert_eq!(Talk::with(&bench, "peer1").ask(&json!({"id": 1, "do": "status"}))["id"], 1);
    let used = ticks(&group[0]) - before;
    assert!(used < 20, "{used} ticks in half a second");
    // A client that still reads is told.
    let mut polite = Talk::with(&bench, "peer1");
    polite.say_bytes(b"{\"id\":7,\"do\":\"status\"}\n");
    polite.say_bytes(half);
    polite.hush();
    let answers = [polite.hear(), polite.hear()];
    assert!(
        answers.iter().any(|answer| answer["id"] == 7 && answer["ok"]["peer_id"] == "peer1"),
        "{answers:?}"
    );
    assert!(answers.iter().any(|answer| answer["error"]["code"] == "cut_off"), "{answers:?}");
    assert_eq!(polite.next(), None);
    let mut dying = Talk::with(&bench, "peer1");
    dying.say_bytes(half);
    drop(dying);
    until("the half to be told", || group[0].log().contains("ended in the middle of a request"));
    drop(waiting);
    let (records, _) = {
        let mut talk = Talk::with(&bench, "peer1");
        talk.say(&json!({"id": 1, "do": "subscribe", "from": "start", "until": "now", "kinds": ["reading"]}));
        talk.until_end(1)
    };
    assert!(records.is_empty(), "{records:?}");
    assert_whole(&bench, &mut group);
}

#[test]
fn what_was_said_whole_is_done_however_its_client_dies() {
    let bench = Bench::new();
    let mut group = [alone(&bench, "peer1", &[])];
    // It reads nothing at all, not even the greeting, and disconnects at once.
    for burst in [1, 1_000, 20_000_u32] {
        let mut stream = UnixStream::connect(socket(&bench, "peer1")).unwrap();
        let lines: String = (0..burst)
            .map(|id| format!("{{\"id\":{id},\"do\":\"publish\",\"payload\":\"{burst}\"}}\n"))
            .collect();
        let mut bytes = lines.into_bytes();
        bytes.extend_from_slice(b"{\"id\":\"half\",\"do\":\"publish\",\"payload\":\"half\"");
        // While the peer waits for its answers to be read, it reads no more; the error reports
        // that.
        stream.set_write_timeout(Some(Duration::from_millis(1_000))).unwrap();
        let mut said = 0;
        while said < bytes.len() {
            match stream.write(&bytes[said..]) {
                Ok(count) => said += count,
                Err(_) => break,
            }
        }
        drop(stream);
        let whole = bytes[..said].iter().filter(|byte| **byte == b'\n').count();
        assert!(whole >= 1_000.min(burst as usize), "{whole} of {burst}");
        let mut counted = 0;
        until(&format!("{whole} readings of {burst}"), || {
            let mut talk = Talk::with(&bench, "peer1");
            talk.say(&json!({"id": 1, "do": "subscribe", "from": "start", "until": "now", "kinds": ["reading"]}));
            let (records, _) = talk.until_end(1);
            counted = records
                .iter()
                .filter(|record| record["payload"].as_str() == Some(burst.to_string().as_str()))
                .count();
            counted >= whole
        });
        assert_eq!(counted, whole, "and no half of one");
    }
    assert_whole(&bench, &mut group);
}
