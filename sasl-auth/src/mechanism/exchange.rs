//! One exchange of any mechanism: keeps the turns, bounds the input, and ends for good.

use super::anonymous::Anonymous;
use super::bearer::{BearerExchange, Dialect};
use super::cram_md5::CramMd5;
use super::crypto::Sha;
use super::external::External;
use super::login::Login;
use super::offer::{Description, offered};
use super::plain::Plain;
use super::scram::Scram;
use super::{Credentials, Refusal, Step};

/// The longest message of a client, in bytes; what fits on one line of the auth protocol is less.
const MESSAGE_LIMIT: usize = 16 * 1024;

/// What an exchange needs from outside. The same values must not serve two exchanges: `random` is new
/// each time.
#[derive(Debug, Clone, Copy)]
pub struct Environment<'a> {
    /// Random bytes for SCRAM's nonce and CRAM-MD5's challenge.
    pub random: &'a [u8; 24],
    /// Seconds since 1970, for CRAM-MD5's challenge.
    pub now_unix: u64,
    /// The host's name, for CRAM-MD5's challenge.
    pub hostname: &'a str,
    /// A secret of this process that stays the same: unknown users get salts made from it.
    pub decoy_secret: &'a [u8],
    /// `valid-client-cert` was given: the client has shown a certificate that the server trusts.
    pub valid_client_cert: bool,
    /// `cert_username=`, the name in that certificate.
    pub cert_username: Option<&'a str>,
    /// The name that anonymous users get.
    pub anonymous_username: &'a str,
}

/// A mechanism's own part. The calls come in the order that its [`Step`]s name, or else it fails.
pub(super) trait Machine: Send + Sync {
    /// The initial response, which a mechanism that lets the client begin always gets.
    fn begin(&mut self, initial: Option<&[u8]>) -> Step;

    /// The answer to a challenge.
    fn respond(&mut self, _response: &[u8]) -> Step {
        out_of_turn()
    }

    /// The outcome of [`Step::Verify`], [`Step::Trusted`] or [`Step::Token`].
    fn checked(&mut self, ok: bool) -> Step {
        if ok { Step::Success { data: None } } else { Step::Failure(Refusal::Mismatch) }
    }

    /// The outcome of [`Step::Credentials`].
    fn credentials(&mut self, _found: Option<Credentials>) -> Step {
        out_of_turn()
    }

    /// A name that was read before the message turned out to be no good.
    fn claimed(&self) -> Option<&str> {
        None
    }

    /// ANONYMOUS's trace.
    fn trace(&self) -> Option<&str> {
        None
    }
}

pub(super) fn invalid(why: &'static str) -> Step {
    Step::Failure(Refusal::InvalidInput(why))
}

pub(super) fn out_of_turn() -> Step {
    invalid("unexpected continuation")
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Start,
    /// The client was asked for the initial response that it left out.
    Initial,
    Response,
    Checked,
    TokenChecked,
    Credentials,
    Over,
}

/// One exchange. Cheap in time and memory; holds what the client has sent so far.
pub struct Mechanism {
    description: &'static Description,
    machine: Box<dyn Machine>,
    turn: Turn,
    claimed: Option<String>,
}

impl Mechanism {
    /// An exchange of the mechanism `name` (any case); `None` when there is no such mechanism.
    #[must_use]
    pub fn new(name: &str, environment: &Environment<'_>) -> Option<Self> {
        let description = offered(name)?;
        let machine: Box<dyn Machine> = match description.name {
            "PLAIN" => Box::new(Plain),
            "LOGIN" => Box::new(Login::default()),
            "CRAM-MD5" => Box::new(CramMd5::new(environment)),
            "SCRAM-SHA-1" => Box::new(Scram::new(Sha::Sha1, environment)),
            "SCRAM-SHA-256" => Box::new(Scram::new(Sha::Sha256, environment)),
            "OAUTHBEARER" => Box::new(BearerExchange::new(Dialect::OauthBearer)),
            "XOAUTH2" => Box::new(BearerExchange::new(Dialect::Xoauth2)),
            "ANONYMOUS" => Box::new(Anonymous::new(environment)),
            "EXTERNAL" => Box::new(External::new(environment)),
            _ => return None,
        };
        Some(Self { description, machine, turn: Turn::Start, claimed: None })
    }

    /// Name, flags and needs of this mechanism.
    #[must_use]
    pub fn description(&self) -> &'static Description {
        self.description
    }

    /// Begins. `initial` is the decoded initial response; `None` when the client sent none, which is
    /// not the same as an empty one (RFC 4422 §3). A mechanism in which the server begins and which
    /// has no use for an initial response ignores it, as Dovecot does.
    pub fn start(&mut self, initial: Option<&[u8]>) -> Step {
        if self.turn != Turn::Start {
            return self.settle(out_of_turn());
        }
        if initial.is_none() && self.description.client_first {
            self.turn = Turn::Initial;
            return Step::Challenge(Vec::new());
        }
        self.take(initial, |machine, initial| machine.begin(initial))
    }

    /// Goes on with the client's decoded answer to a [`Step::Challenge`].
    pub fn respond(&mut self, response: &[u8]) -> Step {
        match self.turn {
            Turn::Initial => self.take(Some(response), |machine, initial| machine.begin(initial)),
            Turn::Response => {
                self.take(Some(response), |machine, response| machine.respond(response.unwrap_or_default()))
            }
            Turn::Start | Turn::Checked | Turn::TokenChecked | Turn::Credentials | Turn::Over => {
                self.settle(out_of_turn())
            }
        }
    }

    /// Goes on after [`Step::Verify`] or [`Step::Trusted`].
    pub fn checked(&mut self, ok: bool) -> Step {
        let step = if self.turn == Turn::Checked { self.machine.checked(ok) } else { out_of_turn() };
        self.settle(step)
    }

    /// Goes on after [`Step::Credentials`]. `None` when the user is unknown or there is no password of
    /// that kind; the client cannot tell this from a wrong password.
    pub fn credentials(&mut self, found: Option<Credentials>) -> Step {
        let step =
            if self.turn == Turn::Credentials { self.machine.credentials(found) } else { out_of_turn() };
        self.settle(step)
    }

    /// Goes on after [`Step::Token`].
    pub fn token_checked(&mut self, ok: bool) -> Step {
        let step = if self.turn == Turn::TokenChecked { self.machine.checked(ok) } else { out_of_turn() };
        self.settle(step)
    }

    /// Who the client says it is, as far as it has said so, as sent; for the log, for `user=` in FAIL,
    /// and for counting failures also where no [`Step`] has given an identity.
    #[must_use]
    pub fn claimed_user(&self) -> Option<&str> {
        self.claimed.as_deref().or_else(|| self.machine.claimed())
    }

    /// What an anonymous client said of itself (RFC 4505 §2), for the log; at most 255
    /// characters, none of them a control character.
    #[must_use]
    pub fn trace(&self) -> Option<&str> {
        self.machine.trace()
    }

    fn take(
        &mut self,
        message: Option<&[u8]>,
        call: impl FnOnce(&mut dyn Machine, Option<&[u8]>) -> Step,
    ) -> Step {
        let step = if message.is_some_and(|message| message.len() > MESSAGE_LIMIT) {
            invalid("message is too long")
        } else {
            call(&mut *self.machine, message)
        };
        self.settle(step)
    }

    fn settle(&mut self, step: Step) -> Step {
        match &step {
            Step::Verify(who, _) | Step::Credentials(who, _) | Step::Trusted(who) => {
                self.claimed = Some(who.authentication.clone());
            }
            Step::Token { user, .. } if !user.is_empty() => self.claimed = Some(user.clone()),
            Step::Token { .. } | Step::Challenge(_) | Step::Success { .. } | Step::Failure(_) => {}
        }
        self.turn = match &step {
            Step::Success { .. } | Step::Failure(_) => Turn::Over,
            Step::Challenge(_) => Turn::Response,
            Step::Verify(..) | Step::Trusted(_) => Turn::Checked,
            Step::Token { .. } => Turn::TokenChecked,
            Step::Credentials(..) => Turn::Credentials,
        };
        step
    }
}

impl std::fmt::Debug for Mechanism {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mechanism")
            .field("name", &self.description.name)
            .field("turn", &self.turn)
            .finish_non_exhaustive()
    }
}
