//! How long a group has no news when its leader is killed.
//!
//! Peers with the product's default settings, under load. The leader is killed with SIGKILL, again
//! and again; each survivor's wait is measured from the kill to its next delivery of a reading
//! published after the kill. Between two kills the dead peer restarts and the group becomes whole.
//! For comparison, each kill also measures how soon a bare socket reports the end of another
//! process: no design learns of it earlier.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use protocol::id::PeerId;
use thiserror::Error;

use crate::feed::Feed;
use crate::group::{Group, POLL};
use crate::observed::View;
use crate::outage::Outage;
use crate::reference;
use crate::spread::{Spread, milliseconds};

/// The parameters of the measurement.
#[derive(Clone, Debug)]
pub struct Course {
    /// How many peers.
    pub peers: u32,
    /// How many readings a second, all peers together.
    pub rate: u32,
    /// How many leaders are lost.
    pub losses: u32,
    /// How they are lost.
    pub blow: Blow,
}

/// How a leader is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL: its sockets report it. The knobs are the product's defaults.
    Kill,
    /// SIGSTOP: only its silence shows it. The knobs are those of the profile `fast`. It resumes
    /// when the others have continued.
    Freeze,
}

/// The result.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The waits of all survivors, over all kills.
    pub waits: Spread,
    /// The worst wait of each loss.
    pub worst: Spread,
    /// For comparison: how long after a SIGKILL another process reads the end of a bare stream.
    pub ends: Spread,
    /// Readings per second that were really written.
    pub rate: f64,
    /// Readings that were not written because a peer did not read.
    pub held_back: u64,
}

/// Why the measurement failed.
#[derive(Debug, Error)]
pub enum CourseError {
    /// The machine failed, or a peer ended unexpectedly.
    #[error("{doing}: {error}")]
    Io {
        /// The failed operation.
        doing: String,
        /// The error.
        error: std::io::Error,
    },
    /// The group did not become whole in time.
    #[error("the group was not whole within {within:?} ({when}): {beliefs}")]
    Unsettled {
        /// The limit.
        within: Duration,
        /// The kill that was next.
        when: String,
        /// The beliefs of the peers.
        beliefs: String,
    },
    /// A survivor went without news for too long.
    #[error("after {kill}, {waiting} had no news within {within:?}: {beliefs}")]
    Silent {
        /// The kill.
        kill: String,
        /// The survivor.
        waiting: String,
        /// The limit.
        within: Duration,
        /// The beliefs of the peers.
        beliefs: String,
    },
}

impl CourseError {
    fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |error| Self::Io { doing, error }
    }
}

impl Course {
    /// Runs it with peers of `program`, whose files go to `folder`; `tell` is called after each
    /// kill.
    /// # Errors
    /// See [`CourseError`].
    pub fn run(
        &self,
        program: &Path,
        folder: &Path,
        mut tell: impl FnMut(&str),
    ) -> Result<Measured, CourseError> {
        let flags: &[&str] = if self.blow == Blow::Freeze { &["--timing", "fast"] } else { &[] };
        let mut group = Group::new(program, folder, flags)
            .map_err(CourseError::io(folder.display().to_string()))?;
        let feed = Feed::start(self.rate).map_err(CourseError::io("the feed"))?;
        for number in 1..=self.peers {
            let id =
                PeerId::new(&format!("peer{number}")).expect("a short name of letters and digits");
            start(&mut group, &feed, &id)?;
        }
        let (mut all, mut worst, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        await_whole(&mut group, "at the start")?;
        let (begun, before) = (Instant::now(), feed.written());
        for number in 1..=self.losses {
            let kill = format!(
                "{} {number} of {}",
                if self.blow == Blow::Kill { "kill" } else { "freeze" },
                self.losses
            );
            ends.push(reference::end_of_stream().map_err(CourseError::io("a bare stream"))?);
            let view = await_whole(&mut group, &format!("before {kill}"))?;
            let waits = behead(&mut group, self.blow, &view, &kill)?;
            let words: Vec<String> = waits
                .iter()
                .map(|(peer, wait)| format!("{peer} {:.1} ms", milliseconds(*wait)))
                .collect();
            tell(&format!("{kill}: {} led; news at {}", view.leader, words.join(", ")));
            worst.extend(waits.iter().map(|(_, wait)| *wait).max());
            all.extend(waits.into_iter().map(|(_, wait)| wait));
            match self.blow {
                Blow::Kill => start(&mut group, &feed, &view.leader)?,
                Blow::Freeze => group.thaw(&view.leader).map_err(CourseError::io(kill))?,
            }
        }
        await_whole(&mut group, "at the end")?;
        let rate = (feed.written() - before) as f64 / begun.elapsed().as_secs_f64();
        let held_back = feed.held_back();
        drop(feed);
        group.stop().map_err(CourseError::io("stopping the peers"))?;
        Ok(Measured {
            waits: Spread::new(all),
            worst: Spread::new(worst),
            ends: Spread::new(ends),
            rate,
            held_back,
        })
    }
}

fn start(group: &mut Group, feed: &Feed, id: &PeerId) -> Result<(), CourseError> {
    group
        .start(id)
        .and_then(|stdin| feed.add(stdin))
        .map_err(CourseError::io(format!("starting {id}")))
}

/// Waits until every live peer is in one view and readings flow in it.
fn await_whole(group: &mut Group, when: &str) -> Result<View, CourseError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        group.read(|_, _| ()).map_err(CourseError::io("watching the peers"))?;
        if let Some(view) = group.settled(STEADY) {
            return Ok(view.clone());
        }
        if Instant::now() >= deadline {
            return Err(CourseError::Unsettled {
                within: PATIENCE,
                when: when.to_owned(),
                beliefs: group.beliefs(),
            });
        }
        thread::sleep(POLL);
    }
}

/// Kills or freezes the leader; waits until every survivor has had news.
fn behead(
    group: &mut Group,
    blow: Blow,
    view: &View,
    kill: &str,
) -> Result<Vec<(PeerId, Duration)>, CourseError> {
    let began = match blow {
        Blow::Kill => group.kill(&view.leader),
        Blow::Freeze => group.freeze(&view.leader),
    };
    let began = began.map_err(CourseError::io(kill.to_owned()))?;
    let mut outage = Outage::new(began, view.epoch.clone(), group.living().into_iter().cloned());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let was_over = outage.is_over();
        group
            .read(|peer, seen| outage.saw(peer, seen))
            .map_err(CourseError::io("watching the peers"))?;
        // One more read of all files once every survivor had news: earlier news may be in a file
        // that was read before the file of its publisher.
        if was_over {
            return Ok(outage
                .waits()
                .into_iter()
                .filter_map(|(peer, wait)| Some((peer, wait?)))
                .collect());
        }
        if Instant::now() >= deadline {
            let waiting: Vec<String> = outage
                .waits()
                .iter()
                .filter(|(_, wait)| wait.is_none())
                .map(|(peer, _)| peer.to_string())
                .collect();
            return Err(CourseError::Silent {
                kill: kill.to_owned(),
                waiting: waiting.join(", "),
                within: PATIENCE,
                beliefs: group.beliefs(),
            });
        }
        thread::sleep(POLL);
    }
}

/// How many readings each peer must have delivered in a view for it to count as steady.
const STEADY: u64 = 100;
/// More than all default deadlines together.
const PATIENCE: Duration = Duration::from_secs(60);
