//! `ordered.jsonl`: what was delivered, one JSON object a line, in the order of the log.

use protocol::seam::{Delivery, Reading};
use serde::Serialize;

use crate::clock::Stamp;

/// A reading as it stands in the file.
#[derive(Serialize)]
struct Line<'a> {
    epoch: &'a str,
    view_id: u64,
    seq: u64,
    origin: &'a str,
    inc: u64,
    oseq: u64,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

/// Positions that this peer's sinks never get.
#[derive(Serialize)]
struct Gap {
    gap: [u64; 2],
}

/// Readings that their origin has declared lost.
#[derive(Serialize)]
struct Lost<'a> {
    seq: u64,
    origin: &'a str,
    inc: u64,
    lost: [u64; 2],
}

/// Appends the line of one delivery.
pub(super) fn write(delivery: &Delivery, out: &mut Vec<u8>) {
    match delivery {
        Delivery::Run(run) => {
            let epoch = run.epoch.to_string();
            run.iter().for_each(|reading| put(&line(&reading, &epoch), out));
        }
        Delivery::Gap { from, to } => write_gap(from.0, to.0, out),
        Delivery::Lost { seq, origin, from, to } => {
            put(&Lost { seq: seq.0, origin: origin.id.as_str(), inc: origin.inc.0, lost: [from.0, to.0] }, out);
        }
    }
}

/// Appends a hole.
pub(super) fn write_gap(from: u64, to: u64, out: &mut Vec<u8>) {
    put(&Gap { gap: [from, to] }, out);
}

fn line<'a>(reading: &Reading<'a>, epoch: &'a str) -> Line<'a> {
    let Reading { run, seq, oseq, time, payload } = *reading;
    let text = std::str::from_utf8(payload).ok();
    Line {
        epoch,
        view_id: run.view_id.0,
        seq: seq.0,
        origin: run.origin.id.as_str(),
        inc: run.origin.inc.0,
        oseq: oseq.0,
        time: Stamp(time).to_string(),
        payload: text,
        payload_base64: text.is_none().then(|| base64(payload)),
    }
}

fn put(object: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, object).expect("the object is made of what JSON can say");
    out.push(b'\n');
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let sextet = (group >> (18 - 6 * place) & 63) as usize;
            text.push(if place > chunk.len() { '=' } else { char::from(ALPHABET[sextet]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{base64, write};
    use bytes::Bytes;
    use protocol::id::{Epoch, Incarnation, Member, Oseq, PeerId, Seq, ViewId};
    use protocol::readings::Readings;
    use protocol::seam::{Delivery, Run};

    #[track_caller]
    fn check(delivery: &Delivery, expected: &str) {
        let mut out = Vec::new();
        write(delivery, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\n"));
    }

    #[test]
    fn the_keys_are_a_contract() {
        let origin = Member { id: PeerId::new("p2").unwrap(), inc: Incarnation(5) };
        let epoch = Epoch { round: 3, owner: Member { id: PeerId::new("p1").unwrap(), inc: Incarnation(4) } };
        let reading = |payload: &'static [u8]| {
            let readings = Readings::one(Bytes::from_static(payload), 0);
            let (view_id, first, oseq, guarantee) = (ViewId(7), Seq(18), Oseq(9), protocol::config::Guarantee::Agreed);
            Delivery::Run(Run { epoch: epoch.clone(), view_id, first, origin: origin.clone(), oseq, guarantee, readings })
        };
        let head = r#"{"epoch":"3.p1","view_id":7,"seq":18,"origin":"p2","inc":5,"oseq":9,"time":"1970-01-01T00:00:00.000000Z","#;
        check(&reading(b"a\"b"), &format!(r#"{head}"payload":"a\"b"}}"#));
        check(&reading(b"\xff\x00"), &format!(r#"{head}"payload_base64":"/wA="}}"#));
        check(&Delivery::Gap { from: Seq(3), to: Seq(9) }, r#"{"gap":[3,9]}"#);
        let lost = Delivery::Lost { seq: Seq(20), origin, from: Oseq(10), to: Oseq(12) };
        check(&lost, r#"{"seq":20,"origin":"p2","inc":5,"lost":[10,12]}"#);
    }

    #[test]
    fn base64_as_in_the_rfc() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
