//! The story of one authentication: from the client's line to our answer.
//!
//! [`Exchange::open`] takes an AUTH line, [`Exchange::go_on`] a CONT line. Then the mechanism says what it
//! needs ([`Step`]), and [`Exchange::drive`] does it until there is an [`Answer`]: the passdbs are asked, the
//! verdict is logged and counted, and a failure waits its time.

mod attempt;

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::clock;
use base::secret::Secret;

use crate::active::{Active, Shared, lock};
use crate::authenticate::{Found, OURSELVES, Proof};
use crate::mechanism::{Environment, Mechanism, Refusal, Step};
use crate::outcome::{Answer, Login, Outcome, Rejection, Why};
use crate::request::{Options, Request};

/// One authentication between its first line and its last.
#[derive(Debug)]
pub struct Exchange {
    active: Arc<Active>,
    shared: Arc<Shared>,
    mechanism: Mechanism,
    request: Box<Request>,
    /// The client can take the mechanism's last words inside OK.
    final_resp_ok: bool,
    /// Skip the counting of failures (`no-penalty`).
    no_penalty: bool,
    /// What is known once the passdbs were asked, and the mechanism has not spoken its last word.
    outcome: Option<Outcome>,
    /// Where the passdbs' word is for a mechanism that checks the proof itself.
    pending: Option<Pending>,
    /// The mechanism's last words went out as a challenge; the client's empty answer is awaited.
    accepted: Option<Login>,
    /// A failure that is logged and has waited its time; the mechanism's last words went out as a
    /// challenge (the bearer mechanisms').
    told: Option<Rejection>,
    /// The name that failures are counted under.
    tried: String,
}

/// Names, and what the passdbs said of a user whose proof the mechanism checks.
#[derive(Debug)]
struct Pending {
    names: Names,
    found: Found,
}

/// Who is who in a login.
#[derive(Debug, Clone, Default)]
struct Names {
    /// The user whose mailbox it is.
    user: String,
    /// As the client sent it.
    original: String,
    /// The master user who acts for him.
    master: Option<String>,
}

/// What comes of a step: the answer, and the exchange when it goes on.
pub type Turn = (Answer, Option<Box<Exchange>>);

impl Exchange {
    /// An AUTH line, [`Self::open`] and [`Self::drive`] in one, for those who need not save the larger future.
    pub async fn begin(
        active: Arc<Active>,
        shared: Arc<Shared>,
        request: Box<Request>,
        options: Options,
        initial: Option<Vec<u8>>,
        arrived: Instant,
    ) -> Turn {
        match Self::open(active, shared, request, options, initial.as_deref()) {
            Some((exchange, step)) => exchange.drive(step, arrived).await,
            None => (Answer::TemporaryFailure { user: String::new() }, None),
        }
    }

    /// An AUTH line: the exchange, and what its mechanism asks for first; [`Self::drive`] does it. `None`,
    /// with a line in the log, when nothing can be begun now.
    #[must_use]
    pub fn open(
        active: Arc<Active>,
        shared: Arc<Shared>,
        request: Box<Request>,
        options: Options,
        initial: Option<&[u8]>,
    ) -> Option<(Box<Self>, Step)> {
        let mut random = [0; 24];
        let challenges = request.mechanism.starts_with("SCRAM-") || request.mechanism == "CRAM-MD5";
        if challenges && aws_lc_rs::rand::fill(&mut random).is_err() {
            log::error!("no random bytes; the login is deferred");
            return None;
        }
        let environment = Environment {
            random: &random,
            now_unix: clock::unix_now(),
            hostname: &active.settings.names.hostname,
            decoy_secret: &shared.decoy_secret,
            valid_client_cert: request.valid_client_cert,
            cert_username: request.cert_username.as_deref(),
            anonymous_username: &active.settings.names.anonymous_username,
        };
        let Some(mechanism) = Mechanism::new(request.mechanism, &environment) else {
            log::error!("mechanism {} was offered and is not there", request.mechanism);
            return None;
        };
        let mut exchange = Box::new(Self {
            mechanism,
            request,
            final_resp_ok: options.final_resp_ok,
            no_penalty: options.no_penalty,
            outcome: None,
            pending: None,
            accepted: None,
            told: None,
            tried: String::new(),
            active,
            shared,
        });
        let step = exchange.mechanism.start(initial);
        Some((exchange, step))
    }

    /// A CONT line.
    pub async fn go_on(mut self: Box<Self>, data: Vec<u8>, arrived: Instant) -> Turn {
        if let Some(login) = self.accepted.take() {
            // Whatever the client says to the mechanism's last words, it has been authenticated.
            return (Answer::Ok(login, None), None);
        }
        if let Some(rejection) = self.told.take() {
            return (Answer::Fail(rejection), None);
        }
        // A proof is a guess like any other: it takes its turn as well.
        let _held = match self.pending.as_ref().map(|pending| pending.names.clone()) {
            None => None,
            Some(names) => {
                let deadline = arrived + self.active.settings.limits.reply_within;
                match Box::pin(self.turn(&names, None, deadline)).await {
                    Ok((_, held)) => held,
                    Err(outcome) => {
                        self.outcome = Some(outcome);
                        return Box::pin(self.end(arrived)).await;
                    }
                }
            }
        };
        let step = self.mechanism.respond(&data);
        drop(Secret::new(data));
        self.drive(step, arrived).await
    }

    /// Does what the mechanism asks for until it waits for the client or is at its end. `arrived` is when the line came:
    /// the answer's time counts from there.
    pub async fn drive(mut self: Box<Self>, mut step: Step, arrived: Instant) -> Turn {
        let deadline = arrived + self.active.settings.limits.reply_within;
        loop {
            step = match step {
                Step::Challenge(data) => return (Answer::Challenge(data), Some(self)),
                Step::Verify(identity, password) => {
                    let end = self.latest(arrived).into();
                    // In pieces: malloc(3) has small ones at hand.
                    let check = Box::pin(self.check(&identity, Proof::Password(&password), deadline));
                    let checked = tokio::time::timeout_at(end, check).await;
                    let ok = checked.unwrap_or_else(|_elapsed| self.give_up(&identity.authentication));
                    self.mechanism.checked(ok)
                }
                Step::Trusted(identity) => {
                    let end = self.latest(arrived).into();
                    let checked =
                        tokio::time::timeout_at(end, Box::pin(self.trust(&identity, deadline))).await;
                    let ok = checked.unwrap_or_else(|_elapsed| self.give_up(&identity.authentication));
                    self.mechanism.checked(ok)
                }
                Step::Token { user, token } => {
                    let end = self.latest(arrived).into();
                    let check = Box::pin(self.check_token(&user, &token, deadline));
                    let checked = tokio::time::timeout_at(end, check).await;
                    let ok = checked.unwrap_or_else(|_elapsed| self.give_up(&user));
                    let step = self.mechanism.token_checked(ok);
                    if let Some(Outcome::Rejected(rejection)) = &self.outcome
                        && let Step::Challenge(data) = step
                    {
                        // Said in a challenge, and a client need not answer that: this is the moment to
                        // log, to count and to wait.
                        let rejection = rejection.clone();
                        drop(Box::pin(self.conclude(arrived)).await);
                        self.told = Some(rejection);
                        return (Answer::Challenge(data), Some(self));
                    }
                    step
                }
                Step::Credentials(identity, kind) => {
                    let end = self.latest(arrived).into();
                    let find = Box::pin(self.find(&identity, kind, deadline));
                    let found = tokio::time::timeout_at(end, find).await.unwrap_or_else(|_elapsed| {
                        self.give_up(&identity.authentication);
                        None
                    });
                    if let Some(Outcome::Unavailable { .. } | Outcome::Postponed { .. }) = &self.outcome {
                        return Box::pin(self.end(arrived)).await;
                    }
                    self.mechanism.credentials(found)
                }
                Step::Success { data } => {
                    if let Some(until) = self.settle() {
                        Box::pin(self.wait_until(until, arrived)).await;
                    }
                    return match self.outcome.take() {
                        Some(Outcome::Accepted(login)) => self.succeed(login, data, arrived),
                        other => {
                            self.outcome = other;
                            Box::pin(self.end(arrived)).await
                        }
                    };
                }
                Step::Failure(refusal) => return Box::pin(self.fail(&refusal, arrived)).await,
            };
            if let Some(Outcome::Unavailable { .. } | Outcome::Postponed { .. }) = &self.outcome {
                return Box::pin(self.end(arrived)).await;
            }
        }
    }

    /// The mechanism is satisfied. Where it has checked the proof itself, the passdbs' word follows. What
    /// comes back is the moment that a login has to wait for (`delay_until`).
    fn settle(&mut self) -> Option<String> {
        if let Some(pending) = self.pending.take() {
            self.outcome = Some(self.concluded(pending.names, pending.found));
        }
        match &self.outcome {
            Some(Outcome::Accepted(login)) if login.fields.has("delay_until") => {
                Some(login.fields.value("delay_until").unwrap_or_default().to_owned())
            }
            _ => None,
        }
    }

    fn succeed(mut self: Box<Self>, login: Login, data: Option<Vec<u8>>, arrived: Instant) -> Turn {
        self.record_login(&login, arrived);
        match data {
            Some(data) if !self.final_resp_ok => {
                self.accepted = Some(login);
                (Answer::Challenge(data), Some(self))
            }
            data => (Answer::Ok(login, data), None),
        }
    }

    /// The mechanism has given up: for what the passdbs said, or for what the client sent.
    async fn fail(mut self: Box<Self>, refusal: &Refusal, arrived: Instant) -> Turn {
        if matches!(self.outcome, None | Some(Outcome::Accepted(_))) {
            let (names, source) = match self.pending.take() {
                Some(Pending { names, found: Found::Yes { source, .. } | Found::No { source, .. } }) => {
                    (names, source.to_string())
                }
                _ => (self.claimed(), OURSELVES.to_owned()),
            };
            let why = match refusal {
                Refusal::InvalidInput(text) => Why::InvalidInput(text),
                Refusal::Mismatch => Why::Mismatch(String::new()),
            };
            self.outcome = Some(Outcome::Rejected(self.rejection(why, &names, &source, false, None)));
        }
        self.end(arrived).await
    }

    /// The name that the client's bytes held when the mechanism gave them up.
    fn claimed(&self) -> Names {
        let Some(claimed) = self.mechanism.claimed_user() else { return Names::default() };
        let user =
            self.active.usernames.normalise(claimed).map_or_else(|_bad| claimed.to_owned(), |name| name.user);
        Names { user, original: claimed.to_owned(), master: None }
    }

    /// The end with anything but success.
    async fn end(mut self: Box<Self>, arrived: Instant) -> Turn {
        (self.conclude(arrived).await, None)
    }

    /// The verdict, logged at once, answered in its time.
    async fn conclude(&mut self, arrived: Instant) -> Answer {
        let outcome = self.outcome.take().unwrap_or_else(|| Outcome::Unavailable {
            source: OURSELVES.to_owned(),
            user: String::new(),
            detail: "the exchange ended without a verdict".to_owned(),
        });
        self.record(&outcome, arrived);
        match outcome {
            Outcome::Accepted(login) => Answer::Ok(login, None),
            Outcome::Unavailable { user, .. } | Outcome::Postponed { user } => {
                Answer::TemporaryFailure { user }
            }
            Outcome::Rejected(rejection) => {
                let delay = self.delay(&rejection);
                if !delay.is_zero() {
                    tokio::time::sleep_until((arrived + delay).min(self.latest(arrived)).into()).await;
                }
                Answer::Fail(rejection)
            }
        }
    }

    /// How long after the client's line a failure is answered; wrong passwords are counted here.
    fn delay(&self, rejection: &Rejection) -> Duration {
        let mut throttle = lock(&self.shared.throttle);
        // Also those whose password is right: the time must not tell that it is.
        let counts = !matches!(rejection.why, Why::InvalidInput(_) | Why::BadName(_));
        let delay = if counts && !self.no_penalty {
            let who = if self.tried.is_empty() { &rejection.user } else { &self.tried };
            throttle.failed(self.request.remote_ip, who, clock::monotonic_now())
        } else {
            throttle.plain_delay()
        };
        if rejection.at_once { Duration::ZERO } else { delay }
    }

    /// A login: one line in the log, one in the figures, and its failures are forgotten.
    fn record_login(&self, login: &Login, arrived: Instant) {
        let now = clock::monotonic_now();
        lock(&self.shared.throttle).succeeded(self.request.remote_ip, &self.tried, now);
        let took = now.saturating_duration_since(arrived);
        self.shared.metrics.attempt(self.request.mechanism, "ok", &login.source, took);
        self.shared.seen(&login.user, &self.request);
        log::info!("{}", crate::report::accepted(login, &self.request));
    }

    /// Everything else: one line in the log, one in the figures.
    fn record(&self, outcome: &Outcome, arrived: Instant) {
        let took = clock::monotonic_now().saturating_duration_since(arrived);
        let attempt =
            |result, source| self.shared.metrics.attempt(self.request.mechanism, result, source, took);
        match outcome {
            Outcome::Accepted(login) => self.record_login(login, arrived),
            Outcome::Rejected(rejection) => {
                attempt(rejection.why.word(), &rejection.source);
                log::info!("{}", crate::report::rejected(rejection, &self.request));
            }
            Outcome::Postponed { user } => {
                attempt("postponed", OURSELVES);
                log::warn!("{}", crate::report::postponed(OURSELVES, user, &self.request));
            }
            Outcome::Unavailable { source, user, detail } => {
                attempt("unavailable", source);
                log::error!("{}", crate::report::unavailable(source, user, detail, &self.request));
            }
        }
    }

    /// The last moment for an answer: a little before the connection's own deadline.
    fn latest(&self, arrived: Instant) -> Instant {
        let within = self.active.settings.limits.reply_within;
        arrived + within.saturating_sub(Duration::from_millis(100))
    }

    /// `delay_until`: a UNIX second, with an optional `+seconds` that we leave out; never past our time.
    async fn wait_until(&self, field: String, arrived: Instant) {
        let until = field.split('+').next().and_then(|text| text.parse::<u64>().ok());
        let Some(until) = until else { return };
        let wait = Duration::from_secs(until.saturating_sub(clock::unix_now()));
        let latest = self.latest(arrived);
        let end = clock::monotonic_now().checked_add(wait).unwrap_or(latest);
        tokio::time::sleep_until(end.min(latest).into()).await;
    }
}
