//! Signals as values: reload, stop.

use std::io;

use nix::sys::signal::SigSet;
use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the admin or the service manager asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// SIGHUP or SIGUSR1: read the configuration again.
    Reload,
    /// SIGTERM or SIGINT: finish what is in hand and end.
    Stop,
}

/// The signals that a daemon listens to, from the moment this is made.
#[derive(Debug)]
pub struct Signals {
    hangup: Signal,
    user1: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes over SIGHUP, SIGUSR1, SIGTERM and SIGINT; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the operating system refuses a handler.
    pub fn listen() -> io::Result<Self> {
        // Whoever started us may have had them blocked, and a mask is inherited.
        let mut ours = SigSet::empty();
        for signal in [SIGHUP, SIGUSR1, SIGTERM, SIGINT] {
            ours.add(signal);
        }
        ours.thread_unblock()?;
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next request.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.hangup.recv() => Request::Reload,
            _ = self.user1.recv() => Request::Reload,
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn signals_arrive_even_when_they_were_blocked_at_start() {
        let mut blocked = SigSet::empty();
        blocked.add(SIGHUP);
        blocked.thread_block().unwrap();
        let mut signals = Signals::listen().unwrap();
        assert!(!SigSet::thread_get_mask().unwrap().contains(SIGHUP));
        nix::sys::signal::raise(SIGHUP).unwrap();
        assert_eq!(signals.next().await, Request::Reload);
        nix::sys::signal::raise(SIGTERM).unwrap();
        assert_eq!(signals.next().await, Request::Stop);
    }
}
