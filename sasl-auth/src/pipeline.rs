//! The story of one authentication: from the client's line to our answer.
//!
//! [`Exchange::begin`] takes an AUTH line, [`Exchange::go_on`] a CONT line; both end in an [`Answer`].
//! In between the mechanism says what it needs ([`Step`]), the passdbs are asked, the verdict is
//! logged and counted, and a failure waits its time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::clock;
use base::dovecot::request::Parameters;
use base::secret::Secret;

use crate::active::{Active, Shared, lock};
use crate::authenticate::{self, Found, Handed, Manners, OURSELVES, Proof};
use crate::fields::Fields;
use crate::mechanism::{CredentialKind, Environment, Identity, Mechanism, Refusal, Step};
use crate::oauth::TokenVerdict;
use crate::outcome::{Answer, Login, Outcome, Rejection, Why, permitted};
use crate::request::Request;

/// One authentication between its first line and its last.
#[derive(Debug)]
pub struct Exchange {
    active: Arc<Active>,
    shared: Arc<Shared>,
    mechanism: Mechanism,
    request: Request,
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
    /// An AUTH line: `offered` is the mechanism's place in the greeting.
    pub async fn begin(
        active: Arc<Active>,
        shared: Arc<Shared>,
        request: Request,
        options: Options,
        initial: Option<Vec<u8>>,
        arrived: Instant,
    ) -> Turn {
        let mut random = [0; 24];
        let challenges = request.mechanism.starts_with("SCRAM-") || request.mechanism == "CRAM-MD5";
        if challenges && aws_lc_rs::rand::fill(&mut random).is_err() {
            log::error!("no random bytes; the login is deferred");
            return (Answer::TemporaryFailure { user: String::new() }, None);
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
            return (Answer::TemporaryFailure { user: String::new() }, None);
        };
        let mut exchange = Box::new(Self {
            mechanism,
            request,
            final_resp_ok: options.final_resp_ok,
            no_penalty: options.no_penalty,
            outcome: None,
            pending: None,
            accepted: None,
            active,
            shared,
        });
        let step = exchange.mechanism.start(initial.as_deref());
        exchange.drive(step, arrived).await
    }

    /// A CONT line.
    pub async fn go_on(mut self: Box<Self>, data: Vec<u8>, arrived: Instant) -> Turn {
        if let Some(login) = self.accepted.take() {
            // Whatever the client says to the mechanism's last words, it has been authenticated.
            return (Answer::Ok(login, None), None);
        }
        let step = self.mechanism.respond(&data);
        drop(Secret::new(data));
        self.drive(step, arrived).await
    }

    /// Does what the mechanism asks for until it waits for the client or is at its end.
    async fn drive(mut self: Box<Self>, mut step: Step, arrived: Instant) -> Turn {
        let deadline = arrived + self.active.settings.limits.reply_within;
        loop {
            step = match step {
                Step::Challenge(data) => return (Answer::Challenge(data), Some(self)),
                Step::Verify(identity, password) => {
                    let end = self.latest(arrived).into();
                    let check = self.check(&identity, Proof::Password(&password), deadline);
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
                    self.mechanism.token_checked(ok)
                }
                Step::Credentials(identity, kind) => {
                    let end = self.latest(arrived).into();
                    let find = Box::pin(self.find(&identity, kind, deadline));
                    let found = tokio::time::timeout_at(end, find).await.unwrap_or_else(|_elapsed| {
                        self.give_up(&identity.authentication);
                        None
                    });
                    if let Some(Outcome::Unavailable { .. } | Outcome::Postponed { .. }) = &self.outcome {
                        return self.end(arrived).await;
                    }
                    self.mechanism.credentials(found)
                }
                Step::Success { data } => return self.succeed(data, arrived).await,
                Step::Failure(refusal) => return self.fail(&refusal, arrived).await,
            };
            if let Some(Outcome::Unavailable { .. } | Outcome::Postponed { .. }) = &self.outcome {
                return self.end(arrived).await;
            }
        }
    }

    /// The time is over before there is a verdict: nobody gets in.
    fn give_up(&mut self, user: &str) -> bool {
        let secs = self.active.settings.limits.reply_within.as_secs_f32();
        self.outcome = Some(Outcome::Unavailable {
            source: OURSELVES.to_owned(),
            user: user.to_owned(),
            detail: format!("the passdbs have not decided within {secs} s"),
        });
        false
    }

    /// Asks the passdbs about a clear-text password; the verdict is left in `outcome`.
    async fn check(&mut self, identity: &Identity, proof: Proof<'_>, deadline: Instant) -> bool {
        let outcome = match self.names(identity) {
            Err(rejection) => Outcome::Rejected(*rejection),
            Ok(names) => match self.turn(&names, deadline).await {
                Err(outcome) => outcome,
                Ok(manners) => self.ask(names, proof, manners).await,
            },
        };
        let ok = matches!(outcome, Outcome::Accepted(_));
        self.outcome = Some(outcome);
        ok
    }

    /// The user is known by other means than a password; ANONYMOUS needs no passdb at all.
    async fn trust(&mut self, identity: &Identity, deadline: Instant) -> bool {
        if self.request.mechanism == "ANONYMOUS" {
            self.outcome = Some(Outcome::Accepted(Login {
                user: identity.authentication.clone(),
                original_user: identity.authentication.clone(),
                source: "anonymous".to_owned(),
                anonymous: true,
                ..Login::default()
            }));
            return true;
        }
        self.check(identity, Proof::Known, deadline).await
    }

    /// A bearer token: valid, for the user that the client named, who exists.
    async fn check_token(&mut self, user: &str, token: &Secret, deadline: Instant) -> bool {
        let active = Arc::clone(&self.active);
        let unavailable = |detail: String| Outcome::Unavailable {
            source: "oauth2".to_owned(),
            user: user.to_owned(),
            detail,
        };
        let rejected = |why: Why, user: &str| {
            Outcome::Rejected(Rejection {
                why,
                user: user.to_owned(),
                original_user: user.to_owned(),
                master_user: None,
                source: "oauth2".to_owned(),
                at_once: false,
                reason: None,
            })
        };
        let Some(tokens) = &active.tokens else {
            self.outcome = Some(unavailable("no [oauth2] is configured".to_owned()));
            return false;
        };
        let within = tokio::time::timeout_at(
            (deadline - Duration::from_millis(500)).into(),
            tokens.check(token, clock::unix_now()),
        );
        let outcome = match within.await {
            Err(_elapsed) => unavailable("the token was not judged in time".to_owned()),
            Ok(Err(away)) => unavailable(away.detail),
            Ok(Ok(TokenVerdict::Invalid(why))) => rejected(Why::Mismatch(why), user),
            Ok(Ok(TokenVerdict::Valid(claimed))) => {
                let identity = Identity { authentication: claimed.user.clone(), authorization: None };
                let same = user.is_empty()
                    || match (self.names(&identity), self.active.usernames.normalise(user)) {
                        (Ok(names), Ok(named)) => names.user == named.user,
                        _ => false,
                    };
                if !same {
                    let why = Why::Unauthorized(format!("the token is for {}", claimed.user));
                    rejected(why, user)
                } else if active.settings.oauth2.as_ref().is_some_and(|oauth2| oauth2.require_user) {
                    let existing = self.exists(&identity, deadline).await;
                    match existing {
                        Outcome::Accepted(mut login) => {
                            login.source = "oauth2".to_owned();
                            Outcome::Accepted(login)
                        }
                        other => other,
                    }
                } else {
                    match self.names(&identity) {
                        Err(rejection) => Outcome::Rejected(*rejection),
                        Ok(names) => Outcome::Accepted(Login {
                            user: names.user,
                            original_user: names.original,
                            source: "oauth2".to_owned(),
                            ..Login::default()
                        }),
                    }
                }
            }
        };
        let ok = matches!(outcome, Outcome::Accepted(_));
        self.outcome = Some(outcome);
        ok
    }

    /// Whether a user exists in a passdb or, where those cannot tell, in a userdb.
    async fn exists(&mut self, identity: &Identity, deadline: Instant) -> Outcome {
        self.check(identity, Proof::Known, deadline).await;
        let outcome = self.outcome.take();
        if let Some(Outcome::Rejected(rejection)) = &outcome
            && rejection.why == Why::UnknownUser
        {
            let request = Request { user: rejection.user.clone(), ..self.request.clone() };
            match crate::lookup::user(&self.active, &request).await {
                crate::lookup::Answer::Found(..) => {
                    return Outcome::Accepted(Login {
                        user: rejection.user.clone(),
                        original_user: rejection.original_user.clone(),
                        source: "oauth2".to_owned(),
                        ..Login::default()
                    });
                }
                crate::lookup::Answer::Unknown => {}
                crate::lookup::Answer::Unavailable { source, detail } => {
                    return Outcome::Unavailable { source, user: rejection.user.clone(), detail };
                }
            }
        }
        outcome.unwrap_or_else(|| Outcome::Unavailable {
            source: OURSELVES.to_owned(),
            user: String::new(),
            detail: "the passdbs were not asked".to_owned(),
        })
    }

    /// Looks for a stored password that CRAM-MD5 or SCRAM can work with.
    async fn find(
        &mut self,
        identity: &Identity,
        kind: CredentialKind,
        deadline: Instant,
    ) -> Option<crate::mechanism::Credentials> {
        let names = match self.names(identity) {
            Ok(names) => names,
            Err(rejection) => {
                self.outcome = Some(Outcome::Rejected(*rejection));
                return None;
            }
        };
        if names.master.is_some() {
            let why =
                Why::Unauthorized(format!("master logins by {} are not served", self.request.mechanism));
            self.outcome = Some(Outcome::Rejected(self.rejection(why, &names, OURSELVES, false, None)));
            return None;
        }
        if let Err(outcome) = self.turn(&names, deadline).await {
            self.outcome = Some(outcome);
            return None;
        }
        self.request.user.clone_from(&names.user);
        self.request.original_user.clone_from(&names.original);
        if let Some(denied) = authenticate::denied(&self.active, &self.request).await {
            self.outcome = Some(self.concluded(names, denied));
            return None;
        }
        match authenticate::hand_out(&self.active, &self.request, kind).await {
            Handed::Credentials(credentials, found) => {
                self.pending = Some(Pending { names, found });
                Some(credentials)
            }
            Handed::Nothing(found) => {
                // The client is led on to its proof, which then fails: it does not learn who exists.
                let credentials = authenticate::pretended(&self.active, &names.user, kind).await;
                self.outcome = Some(self.concluded(names, found));
                credentials
            }
        }
    }

    /// The client's names, normalised: who proves himself, and for whom.
    fn names(&self, identity: &Identity) -> Result<Names, Box<Rejection>> {
        let original = &identity.authentication;
        let bad = |detail: String, user: &str| {
            let names = Names { user: user.to_owned(), original: user.to_owned(), master: None };
            Box::new(self.rejection(Why::BadName(detail), &names, OURSELVES, false, None))
        };
        let own =
            self.active.usernames.normalise(original).map_err(|error| bad(error.to_string(), original))?;
        let wanted = match (&identity.authorization, own.login) {
            (Some(authorization), None) => {
                let wanted = self
                    .active
                    .usernames
                    .normalise(authorization)
                    .map_err(|error| bad(error.to_string(), authorization))?;
                (wanted.user != own.user).then_some((wanted.user, own.user.clone()))
            }
            (None, Some(login)) => Some((login, own.user.clone())),
            (None, None) => None,
            (Some(_), Some(_)) => return Err(bad("both a master name and an authzid".to_owned(), original)),
        };
        Ok(match wanted {
            Some((user, master)) => Names { user, original: master.clone(), master: Some(master) },
            None => Names { user: own.user, original: original.clone(), master: None },
        })
    }

    /// Waits until it is this user's turn.
    async fn turn(&mut self, names: &Names, deadline: Instant) -> Result<Manners, Outcome> {
        let who = names.master.as_ref().unwrap_or(&names.user);
        let now = clock::monotonic_now();
        let mut manners = Manners { deadline, suspect: false, lane: lane(&self.request) };
        if self.no_penalty {
            return Ok(manners);
        }
        let before = lock(&self.shared.throttle).before(self.request.remote_ip, who, now);
        manners.suspect = before.suspect;
        if before.check_at + Duration::from_secs(1) > deadline {
            return Err(Outcome::Postponed { user: names.user.clone() });
        }
        if before.check_at > now {
            tokio::time::sleep_until(before.check_at.into()).await;
        }
        Ok(manners)
    }

    /// Asks the chain that is in charge.
    async fn ask(&mut self, names: Names, proof: Proof<'_>, manners: Manners) -> Outcome {
        if let Some(master) = names.master.clone() {
            return Box::pin(self.ask_master(names, master, proof, manners)).await;
        }
        let active = Arc::clone(&self.active);
        self.request.user.clone_from(&names.user);
        self.request.original_user.clone_from(&names.original);
        if !active.denies.is_empty()
            && let Some(denied) = Box::pin(authenticate::denied(&active, &self.request)).await
        {
            return self.concluded(names, denied);
        }
        let chain = &active.passdbs;
        let found = authenticate::walk(chain, &active, &self.shared, &self.request, proof, manners).await;
        self.concluded(names, found)
    }

    /// Asks the masters' chain, and whether the user whom the master acts for may log in.
    async fn ask_master(
        &mut self,
        names: Names,
        master: String,
        proof: Proof<'_>,
        manners: Manners,
    ) -> Outcome {
        let active = Arc::clone(&self.active);
        let shared = Arc::clone(&self.shared);
        if active.masters.is_empty() {
            let why = Why::Unauthorized("there is no passdb with master = true".to_owned());
            return Outcome::Rejected(self.rejection(why, &names, OURSELVES, false, None));
        }
        self.request.user.clone_from(&master);
        self.request.original_user.clone_from(&names.original);
        self.request.login_user = Some(names.user.clone());
        let found =
            authenticate::walk(&active.masters, &active, &shared, &self.request, proof, manners).await;
        let Found::Yes { source, fields: master_fields, label } = found else {
            return self.concluded(names, found);
        };
        if let Err((why, reason)) = permitted(&master_fields, &self.request) {
            return Outcome::Rejected(self.rejection(why, &names, &source, false, reason));
        }
        self.request.user.clone_from(&names.user);
        self.request.master_user = Some(master);
        if let Some(denied) = authenticate::denied(&active, &self.request).await {
            return self.concluded(names, denied);
        }
        match Box::pin(self.acted_for(&names, manners)).await {
            Outcome::Accepted(mut login) => {
                login.source = source.to_string();
                login.label = label;
                Outcome::Accepted(login)
            }
            other => other,
        }
    }

    /// The user whom a master user acts for must exist, and his own restrictions hold.
    async fn acted_for(&mut self, names: &Names, manners: Manners) -> Outcome {
        let active = Arc::clone(&self.active);
        let shared = Arc::clone(&self.shared);
        let found =
            authenticate::walk(&active.passdbs, &active, &shared, &self.request, Proof::Known, manners).await;
        match found {
            Found::No { why: Why::UnknownUser, .. } => {
                match crate::lookup::user(&active, &self.request).await {
                    crate::lookup::Answer::Found(..) => {
                        let found =
                            Found::Yes { source: Arc::from(OURSELVES), fields: Fields::new(), label: None };
                        self.concluded(names.clone(), found)
                    }
                    crate::lookup::Answer::Unknown => {
                        let why = Why::Unauthorized("unknown user".to_owned());
                        Outcome::Rejected(self.rejection(why, names, OURSELVES, false, None))
                    }
                    crate::lookup::Answer::Unavailable { source, detail } => {
                        Outcome::Unavailable { source, user: names.user.clone(), detail }
                    }
                }
            }
            found => self.concluded(names.clone(), found),
        }
    }

    /// What the chain's word comes to, with the restrictions among the user's fields.
    fn concluded(&self, names: Names, found: Found) -> Outcome {
        match found {
            Found::Unavailable { source, detail } => {
                Outcome::Unavailable { source: source.to_string(), user: names.user, detail }
            }
            Found::No { source, why, at_once } => {
                Outcome::Rejected(self.rejection(why, &names, &source, at_once, None))
            }
            Found::Yes { source, fields, label } => {
                if let Err((why, reason)) = permitted(&fields, &self.request) {
                    let at_once = fields.has("nodelay");
                    return Outcome::Rejected(self.rejection(why, &names, &source, at_once, reason));
                }
                let mut user = ["user", "username"]
                    .into_iter()
                    .find_map(|name| fields.value(name).filter(|user| !user.is_empty()))
                    .map_or(names.user, ToOwned::to_owned);
                if let Some(domain) = fields.value("domain").filter(|domain| !domain.is_empty()) {
                    let local = user.rsplit_once('@').map_or(user.as_str(), |(local, _)| local).to_owned();
                    user = format!("{local}@{domain}");
                }
                Outcome::Accepted(Login {
                    user,
                    original_user: names.original,
                    master_user: names.master,
                    source: source.to_string(),
                    fields,
                    label,
                    anonymous: false,
                })
            }
        }
    }

    fn rejection(
        &self,
        why: Why,
        names: &Names,
        source: &str,
        at_once: bool,
        reason: Option<String>,
    ) -> Rejection {
        Rejection {
            why,
            user: names.user.clone(),
            original_user: names.original.clone(),
            master_user: names.master.clone(),
            source: source.to_owned(),
            at_once,
            reason,
        }
    }

    /// The mechanism is satisfied. Where it has checked the proof itself, the passdbs' word follows.
    async fn succeed(mut self: Box<Self>, data: Option<Vec<u8>>, arrived: Instant) -> Turn {
        if let Some(pending) = self.pending.take() {
            self.outcome = Some(self.concluded(pending.names, pending.found));
        }
        let login = match self.outcome.take() {
            Some(Outcome::Accepted(login)) => login,
            other => {
                self.outcome = other;
                return self.end(arrived).await;
            }
        };
        self.wait_until(login.fields.value("delay_until"), arrived).await;
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

    /// The end with anything but success: logged at once, answered in its time.
    async fn end(mut self: Box<Self>, arrived: Instant) -> Turn {
        let outcome = self.outcome.take().unwrap_or_else(|| Outcome::Unavailable {
            source: OURSELVES.to_owned(),
            user: String::new(),
            detail: "the exchange ended without a verdict".to_owned(),
        });
        self.record(&outcome, arrived);
        match outcome {
            Outcome::Accepted(login) => (Answer::Ok(login, None), None),
            Outcome::Unavailable { user, .. } | Outcome::Postponed { user } => {
                (Answer::TemporaryFailure { user }, None)
            }
            Outcome::Rejected(rejection) => {
                let delay = self.delay(&rejection);
                if !delay.is_zero() {
                    tokio::time::sleep_until((arrived + delay).min(self.latest(arrived)).into()).await;
                }
                (Answer::Fail(rejection), None)
            }
        }
    }

    /// How long after the client's line a failure is answered; wrong passwords are counted here.
    fn delay(&self, rejection: &Rejection) -> Duration {
        let mut throttle = lock(&self.shared.throttle);
        let counts = matches!(rejection.why, Why::UnknownUser | Why::Mismatch(_) | Why::Unauthorized(_));
        let delay = if counts && !self.no_penalty {
            let who = rejection.master_user.as_ref().unwrap_or(&rejection.user);
            throttle.failed(self.request.remote_ip, who, clock::monotonic_now())
        } else {
            throttle.plain_delay()
        };
        if rejection.at_once { Duration::ZERO } else { delay }
    }

    /// A login: one line in the log, one in the figures, and its failures are forgotten.
    fn record_login(&self, login: &Login, arrived: Instant) {
        let now = clock::monotonic_now();
        let who = login.master_user.as_ref().unwrap_or(&login.user);
        lock(&self.shared.throttle).succeeded(self.request.remote_ip, who, now);
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
    async fn wait_until(&self, field: Option<&str>, arrived: Instant) {
        let until = field.and_then(|text| text.split('+').next()).and_then(|text| text.parse::<u64>().ok());
        let Some(until) = until else { return };
        let wait = Duration::from_secs(until.saturating_sub(clock::unix_now()));
        let latest = self.latest(arrived);
        let end = clock::monotonic_now().checked_add(wait).unwrap_or(latest);
        tokio::time::sleep_until(end.min(latest).into()).await;
    }
}

/// What a client can do, from its AUTH line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// `final-resp-ok`.
    pub final_resp_ok: bool,
    /// `no-penalty`.
    pub no_penalty: bool,
}

/// Reads what an AUTH or lookup line tells about the connection. Unknown and unreadable fields are
/// passed over, as Dovecot does.
#[must_use]
pub fn described(parameters: Parameters<'_>, mechanism: &'static str) -> (Request, Options) {
    let mut request = Request { mechanism, ..Request::default() };
    let mut options = Options::default();
    for (key, value) in parameters.iter() {
        let Ok(value) = std::str::from_utf8(&value) else { continue };
        if value.contains(char::is_control) {
            continue;
        }
        match key {
            b"service" | b"protocol" => value.clone_into(&mut request.service),
            b"lip" => request.local_ip = value.parse().ok(),
            b"rip" => request.remote_ip = value.parse().ok(),
            b"lport" => request.local_port = value.parse().unwrap_or(0),
            b"rport" => request.remote_port = value.parse().unwrap_or(0),
            b"real_rip" => request.real_remote_ip = value.parse().ok(),
            b"real_lip" => request.real_local_ip = value.parse().ok(),
            b"local_name" => value.clone_into(&mut request.local_name),
            b"session" => value.clone_into(&mut request.session),
            b"client_id" => value.clone_into(&mut request.client_id),
            b"secured" => request.secured = true,
            b"valid-client-cert" => request.valid_client_cert = true,
            b"cert_username" => request.cert_username = Some(value.to_owned()),
            b"final-resp-ok" => options.final_resp_ok = true,
            b"no-penalty" => options.no_penalty = true,
            _ => {}
        }
    }
    (request, options)
}

/// Slow checks take turns between these: one lane per address, so that one guesser holds up himself.
fn lane(request: &Request) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    request.remote_ip.map(|ip| crate::throttle::prefix(ip, 32, 64)).hash(&mut hasher);
    hasher.finish()
}
