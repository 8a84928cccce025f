//! ANONYMOUS (RFC 4505): anyone, under one name, with a trace for the log.

use super::exchange::{Environment, Machine};
use super::{Identity, Step};

/// The longest trace, in characters (RFC 4505 §2).
const TRACE_LIMIT: usize = 255;

#[derive(Debug)]
pub(super) struct Anonymous {
    username: String,
    trace: Option<String>,
}

impl Anonymous {
    pub(super) fn new(environment: &Environment<'_>) -> Self {
        Self { username: environment.anonymous_username.to_owned(), trace: None }
    }
}

impl Machine for Anonymous {
    fn begin(&mut self, initial: Option<&[u8]>) -> Step {
        // Only ever shown in the log, so nothing in it is a reason to refuse (Dovecot 2.3 observed).
        let trace: String = String::from_utf8_lossy(initial.unwrap_or_default())
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .take(TRACE_LIMIT)
            .collect();
        self.trace = Some(trace).filter(|trace| !trace.is_empty());
        Step::Trusted(Identity { authentication: self.username.clone(), authorization: None })
    }

    fn trace(&self) -> Option<&str> {
        self.trace.as_deref()
    }
}
