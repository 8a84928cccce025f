//! ANONYMOUS (RFC 4505): anyone, under one name, with a trace for the log.

use super::exchange::{Environment, Machine, invalid};
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
        let Ok(trace) = std::str::from_utf8(initial.unwrap_or_default()) else {
            return invalid("trace is not UTF-8");
        };
        if trace.chars().count() > TRACE_LIMIT || trace.chars().any(char::is_control) {
            return invalid("trace is too long or holds control characters");
        }
        self.trace = Some(trace.to_owned()).filter(|trace| !trace.is_empty());
        Step::Trusted(Identity { authentication: self.username.clone(), authorization: None })
    }

    fn trace(&self) -> Option<&str> {
        self.trace.as_deref()
    }
}
