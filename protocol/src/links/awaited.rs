//! What a member has been asked and has not answered: when that is reason to doubt the connection.
//!
//! A connection can die without a word: a firewall forgets it, an address moves, a cable is pulled.
//! The kernel then repeats what was written for minutes, each time after twice the pause, and a
//! frame that was *sent* proves nothing. Only what is *heard* proves a connection. So each question
//! has a time at which its answer is overdue, and what is overdue is put again on a new connection
//! (see `links`).
//!
//! A round may honestly take long: the link is slow, or the machine is. Each question that had to
//! be put again doubles the patience, up to `heartbeat_timeout`, and an answer within one round
//! takes it back. The same patience ends a dial that nobody answers.

use std::time::Duration;

use crate::config::Config;
use crate::id::Member;
use crate::time::Time;
use crate::wire::message::Message;

/// How long what is waited for.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Pace {
    /// A link that nobody needs is closed after this.
    pub(crate) idle: Duration,
    /// An answer that takes longer than this is overdue at first.
    pub(crate) round: Duration,
    /// The longest patience.
    pub(crate) most: Duration,
    /// Between two heartbeats.
    pub(crate) interval: Duration,
    /// How long somebody may take who has to ask another one first.
    verdict: Duration,
    /// How long a leader may take to admit somebody.
    admission: Duration,
    /// How long a claimant collects promises.
    outcome: Duration,
}

impl Pace {
    pub(crate) fn of(config: &Config) -> Self {
        let knobs = config.knobs();
        Self {
            idle: knobs.link_idle,
            round: config.round(),
            most: knobs.heartbeat_timeout.max(config.round()),
            interval: knobs.heartbeat_interval,
            verdict: config.witness_timeout(),
            admission: knobs.join_timeout,
            outcome: knobs.sync_timeout,
        }
    }

    /// How long whoever is sent this may take before its answer comes, besides the way there and
    /// back; nothing where none comes.
    pub(crate) fn allows(&self, me: &Member, message: &Message) -> Option<Duration> {
        match message {
            Message::Heartbeat(_)
            | Message::ViewSyncRequest { .. }
            | Message::MissingSeqRequest(_) => Some(Duration::ZERO),
            // A candidate claims after `election_timeout`, which may be the verdict and one round.
            // Its question is put again before that, so that the answer to the second one is heard.
            Message::Election(_) => Some(self.verdict / 2),
            Message::SeqSyncRequest(_) => Some(self.verdict),
            // On behalf of another peer it is a hint, and that one is answered.
            Message::NewPeerRequest(join) => (join.from.member == *me).then_some(self.admission),
            // Whoever has promised waits to hear who leads.
            Message::SeqSyncResponse(_) => Some(self.outcome),
            // The next word comes with the next heartbeat at the latest.
            Message::HeartbeatAck(_)
            | Message::OrderedAck { .. }
            | Message::SequencerRequest(_) => Some(self.interval),
            Message::Hello(_)
            | Message::Added(_)
            | Message::Ok { .. }
            | Message::Clear { .. }
            | Message::Coordinator(_)
            | Message::SeqSyncFinal(_)
            | Message::Ordered(_)
            | Message::MissingSeqNotFound(_)
            | Message::Rejected(_)
            | Message::Leave
            | Message::Handover { .. }
            | Message::Query { .. }
            | Message::Answer { .. } => None,
        }
    }
}

/// The open questions to one member.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Awaited {
    patience: Duration,
    /// When the first of them was put, and when the first answer is overdue.
    open: Option<(Time, Time)>,
}

impl Awaited {
    pub(crate) fn new(pace: &Pace) -> Self {
        Self { patience: pace.round, open: None }
    }

    /// How long is waited for an answer that comes at once.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// A question is put that may take so long to answer.
    pub(crate) fn ask(&mut self, now: Time, allowance: Duration) {
        let due = now + allowance + self.patience;
        self.open = Some(self.open.map_or((now, due), |(since, first)| (since, first.min(due))));
    }

    /// When the first answer is overdue.
    pub(crate) fn due(&self) -> Option<Time> {
        self.open.map(|(_, due)| due)
    }

    /// Something has come from it.
    pub(crate) fn hear(&mut self, now: Time, pace: &Pace) {
        if let Some((since, _)) = self.open.take()
            && now.since(since) <= pace.round
        {
            self.patience = pace.round;
        }
    }

    /// It has greeted on a new link, on which everything is asked again.
    pub(crate) fn begin_anew(&mut self) {
        self.open = None;
    }

    /// What is overdue is put again; for how long it was waited for.
    pub(crate) fn put_again(&mut self, now: Time, pace: &Pace) -> Duration {
        let waited = self.open.take().map_or(Duration::ZERO, |(since, _)| now.since(since));
        self.patience = (self.patience * 2).min(pace.most);
        waited
    }
}

#[cfg(test)]
mod tests {
    use super::{Awaited, Pace};
    use crate::config::{Config, Knobs};
    use crate::time::Time;
    use std::time::Duration;

    fn at(milli: u64) -> Time {
        Time::from_micros(milli * 1_000)
    }

    #[test]
    fn patience_doubles_and_an_answer_in_time_takes_it_back() {
        let pace = Pace::of(&Config::try_from(Knobs::fast()).expect("sound"));
        let milli = Duration::from_millis;
        assert_eq!((pace.round, pace.most), (milli(100), milli(500)));
        let mut awaited = Awaited::new(&pace);
        awaited.ask(at(0), milli(100));
        awaited.ask(at(50), Duration::ZERO);
        awaited.ask(at(60), Duration::ZERO);
        assert_eq!(awaited.due(), Some(at(150)), "the first answer that is overdue");
        let mut patience = Vec::new();
        for _ in 0..4 {
            awaited.put_again(at(150), &pace);
            patience.push(awaited.patience());
        }
        assert_eq!((patience, awaited.due()), ([200, 400, 500, 500].map(milli).to_vec(), None));
        awaited.ask(at(1_000), Duration::ZERO);
        awaited.hear(at(1_101), &pace);
        assert_eq!((awaited.patience(), awaited.due()), (milli(500), None), "it was late");
        awaited.ask(at(2_000), Duration::ZERO);
        awaited.hear(at(2_100), &pace);
        assert_eq!(awaited.patience(), milli(100));
    }
}
