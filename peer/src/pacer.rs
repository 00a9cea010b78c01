//! A timer with microseconds. The poll rounds its timeout up to whole milliseconds, which is
//! negligible for a deadline of the protocol, but not for a source of a thousand readings per
//! second.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use protocol::time::Time;

/// The timer.
#[derive(Debug)]
pub struct Pacer {
    timer: TimerFd,
    set: Option<Time>,
}

impl Pacer {
    /// A timer whose event has this token.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn start(registry: &Registry, token: Token) -> io::Result<Self> {
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?;
        registry.register(&mut SourceFd(&timer.as_fd().as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { timer, set: None })
    }

    /// Sets the timer to that moment, or to soon if it has passed.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn set(&mut self, at: Time) -> io::Result<()> {
        if self.set == Some(at) {
            return Ok(());
        }
        // Zero would stop it.
        let moment = Duration::from_micros(at.as_micros().max(1));
        self.timer.set(
            Expiration::OneShot(TimeSpec::from_duration(moment)),
            TimerSetTimeFlags::TFD_TIMER_ABSTIME,
        )?;
        self.set = Some(at);
        Ok(())
    }
}
