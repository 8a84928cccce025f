//! The conversation with the service manager (sd_notify(3)); silent when there is none.

use std::time::Duration;

use sd_notify::NotifyState;

/// Tells that the service is ready for connections, with a line for `systemctl status`.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells that a reload has begun; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(_) => send(&[NotifyState::Reloading]),
    }
}

/// Tells that the service is about to end.
pub fn stopping(status: &str) {
    send(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Tells that the service is alive; to be called at least every [`watchdog_period`].
pub fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// How often [`alive`] should be called: half of what the unit's `WatchdogSec=` allows, or `None`
/// when no watchdog is asked for.
#[must_use]
pub fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::debug!("the service manager cannot be told: {error}");
    }
}
