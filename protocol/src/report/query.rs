//! Questions that one member puts to the leader's program, and not to the protocol: how far each
//! member is, what is known of one that is gone. The core carries them and looks into none; nothing
//! is decided by an answer.
//!
//! A question goes over the link that stands, to the leader of the view, and only a member of the
//! newest view is heard. Where there is no link, or no leader, nothing is sent; whoever asks waits
//! no longer than it can.

use bytes::Bytes;

use crate::env::Env;
use crate::id::Member;
use crate::io::Output;
use crate::node::Node;
use crate::roles::Role;
use crate::roles::follower::Follower;
use crate::roles::turn::Turn;
use crate::time::Time;
use crate::wire::message::Message;

impl Node {
    /// Puts a question to the leader; whether there is one to put it to.
    pub(crate) fn ask_leader(
        &mut self,
        now: Time,
        ask: u64,
        question: Bytes,
        out: &mut Vec<Output>,
    ) -> bool {
        let Role::Follower(follower) = &self.role else { return false };
        let leader = follower.leader.member.clone();
        question.len() <= QUESTION_MOST
            && self.env.links.is_linked(&leader)
            && self.env.send(now, &leader, Message::Query { ask, question }, out)
    }
}

impl Follower {
    /// The leader's program has answered.
    pub(crate) fn on_answer(&self, turn: &mut Turn<'_>, from: &Member, ask: u64, answer: Bytes) {
        if self.leader.member == *from {
            turn.out.push(Output::Answered { ask, answer });
        }
    }
}

impl Env {
    /// Answers a member.
    pub(crate) fn answer_query(
        &mut self,
        now: Time,
        to: &Member,
        ask: u64,
        answer: Bytes,
        out: &mut Vec<Output>,
    ) {
        if answer.len() <= QUESTION_MOST && self.links.is_linked(to) {
            self.send(now, to, Message::Answer { ask, answer }, out);
        }
    }

    /// Somebody asks this peer's program.
    pub(crate) fn on_query(&self, from: &Member, ask: u64, question: Bytes, out: &mut Vec<Output>) {
        if self.log.view().is_some_and(|view| view.names(from)) && question.len() <= QUESTION_MOST {
            out.push(Output::Asked { from: from.clone(), ask, question });
        }
    }
}

/// Bytes of a question, and of an answer; a frame of that size is read from anybody.
pub const QUESTION_MOST: usize = 48 << 10;
