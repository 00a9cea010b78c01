//! Links as their node uses them: what is dialled, doubted, closed, and what that proves.

use super::dialling::{REDIAL_FIRST, REDIAL_MOST};
use super::{LINKS_MOST, Links, Pace, Proof};
use std::time::Duration;

use crate::config::{Config, Knobs};
use crate::id::{Contact, Epoch, Incarnation, LinkId, Member, PeerId, Seq};
use crate::io::Output;
use crate::log::lineage::LogEnd;
use crate::report::note::Note;
use crate::time::Time;
use crate::wire::message::{Hello, Message};

const IDLE: Duration = Duration::from_secs(1);

fn at(milli: u64) -> Time {
    Time::from_micros(milli * 1_000)
}

fn contact(n: u16) -> Contact {
    let id = PeerId::new(&format!("p{n}")).expect("a valid name");
    let address = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 5_000 + n);
    Contact { member: Member { id, inc: Incarnation(1) }, birth: n.into(), address, explicit: 0 }
}

fn end() -> LogEnd {
    LogEnd { epoch: Epoch::none(), contiguous: Seq::ZERO, log_id: Epoch::none() }
}

fn links(n: u16) -> Links {
    let knobs = Knobs { link_idle: IDLE, ..Knobs::default() };
    Links::new(contact(n), 7, Pace::of(&Config::try_from(knobs).expect("sound")))
}

fn hello(from: Contact) -> Hello {
    Hello { cluster: 7, from, link: 1, end: end(), knows: None }
}

/// What is dialled, sent, told and closed.
fn dials(out: &[Output]) -> Vec<LinkId> {
    out.iter()
        .filter_map(
            |output| if let Output::Dial { link, .. } = output { Some(*link) } else { None },
        )
        .collect()
}

fn closed(out: &[Output]) -> Vec<LinkId> {
    out.iter()
        .filter_map(|output| if let Output::HangUp { link } = output { Some(*link) } else { None })
        .collect()
}

fn sent(out: &[Output]) -> Vec<Message> {
    out.iter()
        .filter_map(|output| {
            if let Output::Send { message, .. } = output { Some(message.clone()) } else { None }
        })
        .collect()
}

fn named(out: &[Output]) -> Vec<String> {
    let name = |output: &Output| match output {
        Output::Note(Note::Send { m, .. } | Note::Recv { m, .. }) => Some(m.clone()),
        _ => None,
    };
    out.iter().filter_map(name).collect()
}

/// The first dials the second; the links at both ends.
fn linked() -> (Links, Links, LinkId, LinkId) {
    let (mut one, mut two, mut out) = (links(1), links(2), Vec::new());
    one.want(at(0), vec![contact(1), contact(2)]);
    one.tend(at(0), &mut out);
    let (here, there) = (dials(&out)[0], LinkId::accepted(0));
    assert_eq!(dials(&out).len(), 1, "nobody dials itself");
    out.clear();
    one.on_up(at(1), here, end(), |_| None, &mut out);
    two.on_up(at(1), there, end(), |_| None, &mut Vec::new());
    carry(&out, &mut two, there, 2, true);
    (one, two, here, there)
}

/// Has the other end read what was sent, and answer a greeting; both ends give each frame the same
/// name.
fn carry(out: &[Output], to: &mut Links, link: LinkId, milli: u64, greets: bool) -> Vec<Output> {
    let (mut heard, mut answer) = (Vec::new(), Vec::new());
    for message in sent(out) {
        to.on_received(at(milli), link, &message, &mut heard);
        if let Message::Hello(hello) = &message {
            let proofs = to
                .on_hello(at(milli), link, hello, end(), None, &mut answer)
                .expect("a good greeting");
            assert!(matches!(&proofs[..], [Proof::Up { .. }]) == greets);
        }
    }
    assert_eq!(named(out), named(&heard));
    answer
}

#[test]
fn both_ends_give_each_frame_the_same_name() {
    let (mut one, mut two, mut out) = (links(1), links(2), Vec::new());
    one.want(at(0), vec![contact(2)]);
    one.tend(at(0), &mut out);
    let (here, there) = (dials(&out)[0], LinkId::accepted(0));
    out.clear();
    one.on_up(at(1), here, end(), |_| None, &mut out);
    two.on_up(at(1), there, end(), |_| None, &mut Vec::new());
    assert_eq!(named(&out), ["p1/1/p1:1/1"]);
    let answer = carry(&out, &mut two, there, 2, true);
    assert_eq!(named(&answer), ["p2/1/p1:1/1"]);
    assert!(carry(&answer, &mut one, here, 3, true).is_empty(), "one greeting is answered once");
    for n in 2..4 {
        out.clear();
        assert!(one.send(at(4), &contact(2).member, Message::ViewSyncRequest { ask: n }, &mut out));
        assert!(
            one.send(at(4), &contact(2).member, Message::Leave, &mut out),
            "bulk is not counted"
        );
        assert_eq!(named(&out), [format!("p1/1/p1:1/{n}")]);
        carry(&out, &mut two, there, 5, true);
    }
    assert!(!one.send(at(4), &contact(3).member, Message::Leave, &mut out));
}

#[test]
fn a_greeting_has_to_be_one_and_of_the_right_one() {
    let check = |hello: &Hello, ours: bool, known: Option<Option<Incarnation>>| {
        let (mut links, mut out) = (links(1), Vec::new());
        links.want(at(0), vec![contact(2)]);
        links.tend(at(0), &mut out);
        let link = dials(&out)[0];
        links.on_up(at(1), link, end(), |_| None, &mut out);
        let proofs = links
            .on_hello(at(2), link, hello, end(), None, &mut out)
            .expect("the dialler does not complain");
        let gone = proofs.iter().find_map(|proof| match proof {
            Proof::Gone { member, replaced_by } if *member == contact(2).member => {
                Some(*replaced_by)
            }
            _ => None,
        });
        assert_eq!(gone, known, "{hello:?}");
        assert_eq!(links.is_linked(&contact(2).member), gone.is_none());
        let up = proofs.iter().any(|proof| matches!(proof, Proof::Up { .. }));
        assert_eq!(
            (up, links.is_linked(&hello.from.member), links.has(link)),
            (ours, ours, ours),
            "{hello:?}"
        );
    };
    check(&hello(contact(2)), true, None);
    check(&hello(contact(3)), true, Some(None));
    let later =
        Contact { member: Member { inc: Incarnation(2), ..contact(2).member }, ..contact(2) };
    check(&hello(later.clone()), true, Some(Some(Incarnation(2))));
    check(&Hello { cluster: 8, ..hello(later) }, false, Some(None));
    check(&hello(contact(1)), false, Some(None));
    let (mut links, mut out) = (links(1), Vec::new());
    let mut accept = |hello: &Hello, k: u64| {
        links.on_up(at(1), LinkId::accepted(k), end(), |_| None, &mut out);
        links.on_hello(at(2), LinkId::accepted(k), hello, end(), None, &mut out).is_ok()
    };
    assert!(accept(&hello(contact(2)), 0));
    assert!(!accept(&Hello { cluster: 8, ..hello(contact(3)) }, 1));
    assert!(!accept(&hello(contact(1)), 2), "it is this very process");
    let again =
        links.on_hello(at(3), LinkId::accepted(0), &hello(contact(2)), end(), None, &mut out);
    assert_eq!(again.err().as_deref(), Some("a second HELLO"));
}

#[test]
fn who_cannot_be_reached_is_dialled_ever_less_often() {
    let (mut links, mut now, mut wait) = (links(1), at(0), Duration::ZERO);
    links.want(now, vec![contact(2)]);
    for _ in 0..8 {
        let mut out = Vec::new();
        links.tend(now, &mut out);
        let link = dials(&out)[0];
        wait = (wait * 2).clamp(REDIAL_FIRST, REDIAL_MOST);
        out.clear();
        links.tend(now + wait * 2, &mut out);
        assert!(dials(&out).is_empty(), "one dial at a time");
        assert!(links.on_down(now, link, false).is_none(), "silence proves nothing");
        assert_eq!(links.deadline(), Some(now + wait));
        now += wait;
    }
    // Wanted at another address, it is another one to dial.
    let moved = Contact { address: contact(3).address, ..contact(2) };
    links.want(now, vec![contact(2)]);
    let mut out = Vec::new();
    links.tend(now, &mut out);
    links.want(now, vec![contact(2)]);
    assert_eq!(links.dial_at, None, "it is being dialled");
    links.want(now, vec![moved]);
    assert_eq!(links.deadline(), Some(now));
    links.tend(now, &mut out);
    let link = *dials(&out).last().expect("dialled anew");
    assert!(
        matches!(links.on_down(now, link, true), Some(Proof::Gone { .. })),
        "a refusal is proof"
    );
}

/// The first, which has heard the greeting of the second at 3 ms.
fn greeted() -> (Links, LinkId) {
    let (mut one, _, here, _) = linked();
    one.on_received(at(3), here, &Message::Hello(hello(contact(2))), &mut Vec::new());
    one.on_hello(at(3), here, &hello(contact(2)), end(), None, &mut Vec::new())
        .expect("a good greeting");
    (one, here)
}

fn ask(links: &mut Links, milli: u64) {
    assert!(links.send(
        at(milli),
        &contact(2).member,
        Message::ViewSyncRequest { ask: 1 },
        &mut Vec::new()
    ));
}

fn greet(links: &mut Links, milli: u64, link: LinkId) -> Vec<Output> {
    let mut out = Vec::new();
    links.on_up(at(milli), link, end(), |_| None, &mut out);
    links.on_received(at(milli), link, &Message::Hello(hello(contact(2))), &mut out);
    links
        .on_hello(at(milli), link, &hello(contact(2)), end(), None, &mut out)
        .expect("a good greeting");
    out
}

/// What it does for what is overdue: whom it tells of, whom it dials, what it closes.
fn doubts(links: &mut Links, milli: u64) -> (usize, Vec<LinkId>, Vec<LinkId>) {
    let mut out = Vec::new();
    links.doubt(at(milli), &mut out);
    links.tend(at(milli), &mut out);
    let told =
        out.iter().filter(|output| matches!(output, Output::Note(Note::Unanswered { .. }))).count();
    (told, dials(&out), closed(&out))
}

#[test]
fn a_question_without_an_answer_is_put_on_a_new_link() {
    let (mut one, here) = greeted();
    ask(&mut one, 100);
    assert_eq!(one.deadline(), Some(at(1_000)), "the sweep");
    assert_eq!(doubts(&mut one, 1_099), (0, vec![], vec![]));
    let (told, dialled, _) = doubts(&mut one, 1_100);
    assert_eq!((told, dialled.len()), (1, 1), "a round has passed");
    let anew = dialled[0];
    assert_eq!(one.to(&contact(2).member), Some(here), "it does not stand yet");
    greet(&mut one, 1_110, anew);
    assert_eq!(
        one.to(&contact(2).member),
        Some(anew),
        "the old one has brought nothing for a round"
    );
    // Patience has doubled, and what comes on either link is an answer.
    ask(&mut one, 1_120);
    one.on_received(at(1_130), here, &Message::Ok { ask: 1 }, &mut Vec::new());
    assert_eq!(one.to(&contact(2).member), Some(anew), "the newest of those that bring something");
    ask(&mut one, 1_200);
    assert_eq!(doubts(&mut one, 2_199).1, [], "taken back by an answer in time");
    let (told, dialled, shut) = doubts(&mut one, 2_200);
    assert_eq!(
        (told, dialled.len(), shut),
        (1, 1, vec![]),
        "the first has served nobody for so long, and is closed"
    );
    assert!(!one.has(here));
}

#[test]
fn an_answer_that_comes_late_ends_the_dial() {
    let (mut one, here) = greeted();
    ask(&mut one, 100);
    let anew = doubts(&mut one, 1_100).1[0];
    let mut out = Vec::new();
    one.on_received(at(1_200), here, &Message::Ok { ask: 1 }, &mut out);
    assert_eq!(closed(&out), [anew]);
    assert_eq!(doubts(&mut one, 1_300), (0, vec![], vec![]));
    ask(&mut one, 1_300);
    assert_eq!(doubts(&mut one, 3_299).1, [], "it is waited for twice as long now");
    assert_eq!(doubts(&mut one, 3_300).1.len(), 1);
}

#[test]
fn a_dial_that_nobody_answers_is_begun_again_and_takes_its_time() {
    let (mut links, mut now) = (links(1), 0);
    links.want(at(0), vec![contact(2)]);
    let mut dialled = doubts(&mut links, 0).1;
    for patience in [1_000, 2_000, 4_000, 8_000, 10_000, 10_000] {
        assert_eq!(doubts(&mut links, now + patience - 1), (0, vec![], vec![]), "{patience} ms");
        now += patience;
        let (told, again, shut) = doubts(&mut links, now);
        assert_eq!((told, again.len(), &shut), (0, 1, &dialled), "{patience} ms");
        dialled = again;
    }
}

#[test]
fn an_old_link_that_nobody_wanted_is_not_relied_on_when_it_is_wanted() {
    for (milli, dials) in [(6_002, 0), (6_003, 1)] {
        let (_, mut two, _, there) = linked();
        two.want(at(milli), vec![contact(1)]);
        let (told, dialled, shut) = doubts(&mut two, milli);
        assert_eq!((told, dialled.len(), shut), (0, dials, vec![]), "heard {} ms ago", milli - 2);
        assert_eq!(
            two.to(&contact(1).member),
            Some(there),
            "it may live: what is asked goes out on it, too"
        );
        let mut out = Vec::new();
        two.on_received(at(milli + 1), there, &Message::Ok { ask: 1 }, &mut out);
        assert_eq!(closed(&out), dialled, "it does");
        two.want(at(milli + 20_000), vec![contact(1)]);
        assert_eq!(doubts(&mut two, milli + 20_000).1, [], "it has been wanted all the while");
    }
}

#[test]
fn whoever_dials_again_and_again_has_no_more_than_a_few_links() {
    let mut links = links(1);
    let shut: Vec<Vec<LinkId>> =
        (0..4).map(|n| closed(&greet(&mut links, 10 * n, LinkId::accepted(n)))).collect();
    assert_eq!(LINKS_MOST, 2);
    assert_eq!(shut, [vec![], vec![], vec![LinkId::accepted(0)], vec![LinkId::accepted(1)]]);
}

#[test]
fn a_refused_dial_beside_a_link_that_stands_proves_nothing() {
    let (mut one, here) = greeted();
    ask(&mut one, 100);
    let anew = doubts(&mut one, 1_100).1[0];
    assert_eq!(one.on_down(at(1_101), anew, true), None);
    assert!(one.has(here));
    assert_eq!(doubts(&mut one, 1_111).1.len(), 1, "it is dialled again");
}

#[test]
fn who_goes_by_another_name_closes_what_was_introduced() {
    let (mut one, mut two, here, there) = linked();
    let mut out = Vec::new();
    assert!(two.is_linked(&contact(1).member) && !one.is_linked(&contact(2).member));
    two.on_up(at(3), LinkId::accepted(1), end(), |_| None, &mut out);
    two.rename(contact(4), &mut out);
    assert_eq!(closed(&out), [there], "on the other one nobody has said anything");
    assert!(!two.has(there) && two.has(LinkId::accepted(1)) && !two.is_linked(&contact(1).member));
    out.clear();
    one.rename(contact(5), &mut out);
    assert_eq!(closed(&out), [here], "it has greeted, and was not answered yet");
    one.want(at(200), vec![contact(2)]);
    one.tend(at(200), &mut out);
    assert_eq!(dials(&out).len(), 1, "whom it wants it dials again");
}

#[test]
fn a_full_link_is_full_until_it_is_not() {
    let (_, mut two, _, there) = linked();
    assert!(!two.is_full(there));
    two.set_full(there, true);
    assert!(two.is_full(there) && !two.is_full(LinkId::accepted(9)));
    two.set_full(there, false);
    assert!(!two.is_full(there));
}

#[test]
fn what_serves_nobody_is_closed() {
    let (_, mut two, _, there) = linked();
    two.on_up(at(2), LinkId::accepted(1), end(), |_| None, &mut Vec::new());
    let check = |links: &mut Links, milli: u64, gone: &[LinkId]| {
        let mut out = Vec::new();
        links.tend(at(milli), &mut out);
        assert_eq!(closed(&out), gone, "at {milli} ms");
    };
    // Looked through a second after the first link, then twice a second. A stranger says nothing;
    // the dialler of the other one would have closed it long ago, if it could.
    check(&mut two, 1_000, &[]);
    check(&mut two, 1_001, &[]);
    check(&mut two, 1_501, &[LinkId::accepted(1)]);
    check(&mut two, 2_800, &[]);
    check(&mut two, 3_500, &[there]);
    assert_eq!(two.deadline(), None);
    let (_, mut two, _, there) = linked();
    two.want(at(2), vec![contact(1)]);
    check(&mut two, 9_000, &[]);
    assert!(two.has(there), "it is wanted");
}

#[test]
fn a_wanted_link_on_which_nothing_comes_is_made_anew_after_long() {
    let (mut one, link) = greeted();
    // What is asked is doubted long before; this is one on which nobody asks.
    let patience = 3 * one.pace.idle.max(one.pace.most);
    let mut tend = |moment: Time| {
        let mut out = Vec::new();
        one.tend(moment, &mut out);
        (closed(&out), dials(&out).len())
    };
    assert_eq!(tend(at(0) + patience), (vec![], 0), "a greeting came at 3 ms");
    assert_eq!(tend(at(0) + patience + IDLE), (vec![link], 0));
    assert_eq!(tend(at(0) + patience + IDLE), (vec![], 1));
}
