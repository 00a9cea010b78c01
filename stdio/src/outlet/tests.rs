//! Outlets into pipes that are read late or never, and into outputs that fail.

#![allow(clippy::unwrap_used, reason = "a step of a test that fails is a test that fails")]

use super::{Drain, Loss, Manner, Outlet, Taken};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(1);

fn words(lines: u64) -> Vec<u8> {
    format!("({lines} lost)\n").into_bytes()
}

fn manner(lines_max: usize) -> Manner {
    Manner { bytes_max: 1 << 20, lines_max, loss: Loss::Tell(words) }
}

fn into_pipe(manner: Manner) -> (Outlet, io::PipeReader) {
    let (reader, writer) = io::pipe().unwrap();
    (Outlet::start("test", File::from(OwnedFd::from(writer)), manner).unwrap(), reader)
}

/// An output that takes each piece as it is told to.
struct Told {
    orders: Receiver<io::Result<usize>>,
    taken: Sender<Vec<u8>>,
}

impl Drain for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let order = self.orders.recv().unwrap_or(Ok(bytes.len()));
        if let Ok(count) = order {
            let count = count.min(bytes.len());
            self.taken.send(bytes[..count].to_vec()).unwrap();
            return Ok(count);
        }
        order
    }
}

fn told(manner: Manner) -> (Outlet, Sender<io::Result<usize>>, Receiver<Vec<u8>>) {
    let ((order, orders), (taken, seen)) = (channel(), channel());
    (Outlet::start("test", Told { orders, taken }, manner).unwrap(), order, seen)
}

fn full() -> io::Result<usize> {
    Err(io::ErrorKind::StorageFull.into())
}

#[test]
fn lines_come_out_in_order_and_all_of_them_when_it_closes() {
    let (outlet, reader) = into_pipe(manner(1 << 20));
    let lines: Vec<String> = (0..20_000).map(|n| format!("line {n}\n")).collect();
    let text = std::thread::spawn(move || io::read_to_string(reader).unwrap());
    assert!(lines.iter().all(|line| outlet.put(line.as_bytes())));
    assert!(outlet.settle(LONG));
    drop(outlet);
    assert_eq!(text.join().unwrap(), lines.concat());
}

#[test]
fn an_output_that_nobody_reads_holds_up_nobody_and_says_what_it_lacks() {
    let (outlet, reader) = into_pipe(manner(100));
    // More than a pipe holds, and then more than may wait.
    let line = "x".repeat(4_000) + "\n";
    let kept = (0..1_000).filter(|_| outlet.put(line.as_bytes())).count();
    assert!(kept < 200 && !outlet.settle(SHORT), "{kept}");
    let health = outlet.health();
    assert_eq!((health.dropped, health.stuck.is_some()), (1_000 - kept as u64, true));
    let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
    // How often it was full before it was full for good is up to the scheduler; each hole is told
    // where it is.
    let (mut read, mut missing) = (0, 0);
    while read + missing < 1_000 {
        let next = lines.next().unwrap();
        match next.strip_prefix('(').and_then(|rest| rest.strip_suffix(" lost)")) {
            Some(count) => missing += count.parse::<u64>().unwrap(),
            None => read += u64::from(next == line.trim_end()),
        }
    }
    assert_eq!((read, missing), (kept as u64, 1_000 - kept as u64));
    assert!(outlet.settle(LONG) && outlet.put(b"again\n"));
    assert_eq!(lines.next().unwrap(), "again");
    assert!(outlet.settle(LONG));
    assert_eq!(outlet.health().stuck, None);
}

#[test]
fn whoever_waits_in_vain_once_does_not_wait_again_before_it_has_caught_up() {
    let (outlet, order, seen) = told(manner(10));
    assert!(outlet.put(b"a\n"));
    assert_eq!(outlet.catch_up(SHORT), Taken::TooSlow);
    assert_eq!(outlet.catch_up(LONG), Taken::Behind);
    order.send(Ok(2)).unwrap();
    assert_eq!(seen.recv().unwrap(), b"a\n");
    assert!(outlet.settle(LONG));
    assert_eq!(outlet.catch_up(LONG), Taken::All);
}

#[test]
fn half_a_line_is_closed_and_the_loss_is_told_where_it_is() {
    let (outlet, order, seen) = told(manner(10));
    for answer in [Ok(1), full()] {
        order.send(answer).unwrap();
    }
    assert!(outlet.put(b"first\n") && outlet.settle(LONG));
    assert_eq!(
        outlet.health().failing.as_deref(),
        Some(io::Error::from(io::ErrorKind::StorageFull).to_string().as_str())
    );
    order.send(full()).unwrap();
    assert!(outlet.put(b"second\n") && outlet.settle(LONG));
    drop(order);
    assert!(outlet.put(b"third\n") && outlet.settle(LONG));
    drop(outlet);
    let text: Vec<u8> = seen.iter().flatten().collect();
    assert_eq!(String::from_utf8(text).unwrap(), "f\n(2 lost)\nthird\n");
}

#[test]
fn what_is_worth_nothing_with_a_hole_ends_at_the_first() {
    let (outlet, order, seen) = told(Manner { loss: Loss::End, ..manner(10) });
    order.send(full()).unwrap();
    assert!(outlet.put(b"first\n") && outlet.settle(LONG));
    drop(order);
    assert!(!outlet.put(b"second\n") && outlet.health().ended);
    drop(outlet);
    assert_eq!(seen.iter().count(), 0);
}

#[test]
fn a_writer_that_tells_losses_itself_hears_of_each_once() {
    let (outlet, order, _seen) = told(Manner { loss: Loss::Ask, ..manner(2) });
    let kept = (0..5).filter(|_| outlet.put(b"x\n")).count() as u64;
    assert_eq!(outlet.take_lost(), None, "there is no room to tell it");
    drop(order);
    assert!(outlet.settle(LONG));
    assert_eq!((outlet.take_lost(), outlet.take_lost()), (Some(5 - kept), None));
}

#[test]
fn a_reader_that_goes_away_ends_nothing() {
    let (outlet, mut reader) = into_pipe(manner(10));
    assert!(outlet.put(b"one\n") && outlet.settle(LONG));
    reader.read_exact(&mut [0; 4]).unwrap();
    drop(reader);
    assert!(outlet.put(b"two\n") && outlet.settle(LONG));
    assert!(outlet.health().failing.is_some());
    assert!(outlet.put(b"three\n") && outlet.settle(LONG), "it goes on trying");
    assert_eq!(outlet.health().dropped, 2);
}

#[test]
fn what_lies_behind_a_position_is_not_waited_for() {
    let (outlet, order, seen) = told(manner(10));
    assert!(outlet.put(b"first\n"));
    let first = outlet.position();
    assert!(outlet.reach(0, LONG) && !outlet.reach(first, SHORT));
    order.send(Ok(6)).unwrap();
    assert_eq!(seen.recv().unwrap(), b"first\n");
    assert!(outlet.put(b"second\n"));
    assert!(outlet.reach(first, LONG) && !outlet.reach(outlet.position(), SHORT));
}
