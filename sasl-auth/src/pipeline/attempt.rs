//! What an exchange asks of the world: whose turn it is, what the passdbs say, whom a token is for.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::clock;
use base::secret::Secret;

use super::{Exchange, Names, Pending};
use crate::active::{Shared, lock};
use crate::authenticate::{self, Found, Handed, Manners, OURSELVES, Proof};
use crate::fields::Fields;
use crate::mechanism::{CredentialKind, Identity};
use crate::oauth::TokenVerdict;
use crate::outcome::{Login, Outcome, Rejection, Why, permitted};
use crate::request::Request;
use crate::throttle::Before;
use crate::username::Name;

/// Who speaks in the log and the metrics where a token decides.
const BY_TOKEN: &str = "oauth2";

/// A check that is being made; over when it is dropped.
pub(super) struct InFlight {
    shared: Arc<Shared>,
    address: Option<IpAddr>,
    who: String,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        lock(&self.shared.throttle).done(self.address, &self.who, clock::monotonic_now());
    }
}

impl Exchange {
    /// The time is over before there is a verdict: nobody gets in.
    pub(super) fn give_up(&mut self, user: &str) -> bool {
        let secs = self.active.settings.limits.reply_within.as_secs_f32();
        self.outcome = Some(Outcome::Unavailable {
            source: OURSELVES.to_owned(),
            user: user.to_owned(),
            detail: format!("the passdbs have not decided within {secs} s"),
        });
        false
    }

    /// Asks the passdbs about a clear-text password; the verdict is left in `outcome`.
    pub(super) async fn check(&mut self, identity: &Identity, proof: Proof<'_>, deadline: Instant) -> bool {
        let chosen = matches!(proof, Proof::Password(_));
        let outcome = match self.names(identity, chosen) {
            Err(rejection) => Outcome::Rejected(*rejection),
            Ok(names) => {
                let password = match proof {
                    Proof::Password(password) => Some(password),
                    Proof::Known => None,
                };
                match self.turn(&names, password, deadline).await {
                    Err(outcome) => outcome,
                    Ok((manners, _held)) => {
                        let outcome = self.ask(names, proof, manners).await;
                        if let (Outcome::Accepted(_), Some(password)) = (&outcome, password)
                            && !manners.was_good
                        {
                            lock(&self.shared.throttle).is_good(&self.tried, password.expose());
                        }
                        outcome
                    }
                }
            }
        };
        let ok = matches!(outcome, Outcome::Accepted(_));
        self.outcome = Some(outcome);
        ok
    }

    /// The user is known by other means than a password; ANONYMOUS needs no passdb at all.
    pub(super) async fn trust(&mut self, identity: &Identity, deadline: Instant) -> bool {
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
    pub(super) async fn check_token(&mut self, user: &str, token: &Secret, deadline: Instant) -> bool {
        let named = Names { user: user.to_owned(), original: user.to_owned(), master: None };
        let outcome = match self.turn(&named, Some(token), deadline).await {
            Err(outcome) => outcome,
            Ok((_, _held)) => {
                let outcome = self.judge(&named, token, deadline).await;
                if matches!(outcome, Outcome::Accepted(_)) {
                    lock(&self.shared.throttle).is_good(user, token.expose());
                }
                outcome
            }
        };
        let ok = matches!(outcome, Outcome::Accepted(_));
        self.outcome = Some(outcome);
        ok
    }

    async fn judge(&mut self, named: &Names, token: &Secret, deadline: Instant) -> Outcome {
        let active = Arc::clone(&self.active);
        let unavailable = |detail: String| Outcome::Unavailable {
            source: BY_TOKEN.to_owned(),
            user: named.user.clone(),
            detail,
        };
        let Some(tokens) = &active.tokens else { return unavailable("no [oauth2] is configured".to_owned()) };
        let end = deadline.checked_sub(Duration::from_millis(500)).unwrap_or(deadline);
        let judged = tokio::time::timeout_at(end.into(), tokens.check(token, clock::unix_now())).await;
        match judged {
            Err(_elapsed) => unavailable("the token was not judged in time".to_owned()),
            Ok(Err(away)) => unavailable(away.detail),
            Ok(Ok(TokenVerdict::Invalid(why))) => {
                Outcome::Rejected(self.rejection(Why::Mismatch(why), named, BY_TOKEN, false, None))
            }
            Ok(Ok(TokenVerdict::Valid(claimed))) => self.claim(named, &claimed.user, deadline).await,
        }
    }

    /// A token is good for `claimed`: is that who the client says, and may he log in?
    async fn claim(&mut self, named: &Names, claimed: &str, deadline: Instant) -> Outcome {
        let active = Arc::clone(&self.active);
        let identity = Identity { authentication: claimed.to_owned(), authorization: None };
        let names = match self.names(&identity, false) {
            Ok(names) => names,
            Err(rejection) => return Outcome::Rejected(*rejection),
        };
        let same = named.user.is_empty()
            || active.usernames.one(&named.user, &self.request).is_ok_and(|named| named == names.user);
        if !same {
            let why = Why::Unauthorized(format!("the token is for {claimed}"));
            return Outcome::Rejected(self.rejection(why, named, BY_TOKEN, false, None));
        }
        if active.settings.oauth2.as_ref().is_some_and(|oauth2| oauth2.require_user) {
            let mut existing = self.exists(&identity, deadline).await;
            if let Outcome::Accepted(login) = &mut existing {
                BY_TOKEN.clone_into(&mut login.source);
            }
            return existing;
        }
        self.request.user.clone_from(&names.user);
        self.request.original_user.clone_from(&names.original);
        match authenticate::denied(&active, &self.request).await {
            Some(denied) => self.concluded(names, denied),
            None => Outcome::Accepted(Login {
                user: names.user,
                original_user: names.original,
                source: BY_TOKEN.to_owned(),
                ..Login::default()
            }),
        }
    }

    /// Whether a user exists in a passdb or, where those cannot tell, in a userdb.
    async fn exists(&mut self, identity: &Identity, deadline: Instant) -> Outcome {
        self.check(identity, Proof::Known, deadline).await;
        let outcome = self.outcome.take();
        if let Some(Outcome::Rejected(rejection)) = &outcome
            && rejection.why == Why::UnknownUser
        {
            let request = Request { user: rejection.user.clone(), ..(*self.request).clone() };
            match crate::lookup::user(&self.active, &request).await {
                crate::lookup::Answer::Found(..) => {
                    return Outcome::Accepted(Login {
                        user: rejection.user.clone(),
                        original_user: rejection.original_user.clone(),
                        source: BY_TOKEN.to_owned(),
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
    pub(super) async fn find(
        &mut self,
        identity: &Identity,
        kind: CredentialKind,
        deadline: Instant,
    ) -> Option<crate::mechanism::Credentials> {
        let names = match self.names(identity, true) {
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
        let (manners, _held) = match self.turn(&names, None, deadline).await {
            Ok(turn) => turn,
            Err(outcome) => {
                self.outcome = Some(outcome);
                return None;
            }
        };
        self.request.user.clone_from(&names.user);
        self.request.original_user.clone_from(&names.original);
        if let Some(denied) = authenticate::denied(&self.active, &self.request).await {
            self.outcome = Some(self.concluded(names, denied));
            return None;
        }
        let handed = authenticate::hand_out(&self.active, &self.shared, &self.request, kind, manners);
        match handed.await {
            Handed::Credentials(credentials, found) => {
                self.pending = Some(Pending { names, found });
                Some(credentials)
            }
            Handed::Nothing(found @ Found::Unavailable { .. }) => {
                self.outcome = Some(self.concluded(names, found));
                None
            }
            Handed::Nothing(found) => {
                // The client is led on to its proof, which then fails: it does not learn who exists.
                let pretended =
                    authenticate::pretended(&self.active, &self.shared, &names.user, kind, manners).await;
                let (found, credentials) = match pretended {
                    Ok(credentials) => (found, credentials),
                    Err(detail) => (Found::Unavailable { source: Arc::from(OURSELVES), detail }, None),
                };
                self.outcome = Some(self.concluded(names, found));
                credentials
            }
        }
    }

    /// The client's names, normalised: who proves himself, and for whom. In a name that the client did
    /// not choose (a token's, a certificate's) the master user separator means nothing.
    fn names(&self, identity: &Identity, chosen: bool) -> Result<Names, Box<Rejection>> {
        let original = &identity.authentication;
        let usernames = &self.active.usernames;
        let normalise = |name: &str| {
            if chosen {
                return usernames.normalise_for(name, &self.request);
            }
            usernames.one(name, &self.request).map(|user| Name { user, login: None })
        };
        let bad = |detail: String, user: &str| {
            let names = Names { user: user.to_owned(), original: user.to_owned(), master: None };
            Box::new(self.rejection(Why::BadName(detail), &names, OURSELVES, false, None))
        };
        let own = normalise(original).map_err(|error| bad(error.to_string(), original))?;
        let wanted = match (&identity.authorization, own.login) {
            (Some(authorization), None) => {
                let wanted = usernames
                    .one(authorization, &self.request)
                    .map(|user| Name { user, login: None })
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

    /// Waits until it is this user's turn. A password that was good before goes ahead at once.
    pub(super) async fn turn(
        &mut self,
        names: &Names,
        password: Option<&Secret>,
        deadline: Instant,
    ) -> Result<(Manners, Option<InFlight>), Outcome> {
        let who = names.master.as_ref().unwrap_or(&names.user);
        who.clone_into(&mut self.tried);
        let address = self.request.remote_ip;
        let mut manners = Manners {
            deadline,
            suspect: false,
            lane: lane(&self.request),
            counts: !self.no_penalty,
            was_good: false,
        };
        if self.no_penalty {
            return Ok((manners, None));
        }
        let latest = deadline.checked_sub(Duration::from_secs(1)).unwrap_or(deadline);
        let mut mine: Option<Instant> = None;
        let mut held = None;
        loop {
            let now = clock::monotonic_now();
            {
                let mut throttle = lock(&self.shared.throttle);
                if password.is_some_and(|password| throttle.was_good(who, password.expose())) {
                    manners.was_good = true;
                    return Ok((manners, held));
                }
                manners.suspect = throttle.is_suspect(address, now);
                if mine.is_none()
                    && let Before::At(at) = throttle.before(address, who, now, latest)
                {
                    mine = Some(at);
                    let shared = Arc::clone(&self.shared);
                    held = Some(InFlight { shared, address, who: who.clone() });
                }
            }
            let soon = now + Duration::from_millis(250);
            match mine {
                Some(at) if at <= now => return Ok((manners, held)),
                Some(at) => tokio::time::sleep_until(at.min(soon).into()).await,
                None if now >= latest => return Err(Outcome::Postponed { user: names.user.clone() }),
                None => tokio::time::sleep_until(soon.min(latest).into()).await,
            }
        }
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
        let walk = authenticate::walk(chain, &active, &self.shared, &self.request, proof, manners);
        let found = Box::pin(walk).await;
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
    pub(super) fn concluded(&self, names: Names, found: Found) -> Outcome {
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
                let domain_of = |user: &str| user.split_once('@').map(|(_, domain)| domain.to_owned());
                let mut user = match (fields.value("user"), fields.value("username")) {
                    (Some(user), _) if !user.is_empty() => user.to_owned(),
                    // Without a domain of its own it stays in the user's.
                    (_, Some(local)) if !local.is_empty() => match domain_of(&names.user) {
                        Some(domain) if !local.contains('@') => format!("{local}@{domain}"),
                        _ => local.to_owned(),
                    },
                    _ => names.user,
                };
                if let Some(domain) = fields.value("domain").filter(|domain| !domain.is_empty()) {
                    let local = user.split_once('@').map_or(user.as_str(), |(local, _)| local).to_owned();
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

    pub(super) fn rejection(
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
}

/// Slow checks take turns between these: one lane per IPv4 address or IPv6 /64, so that one guesser holds up
/// himself.
fn lane(request: &Request) -> u64 {
    match request.remote_ip.map(|ip| ip.to_canonical()) {
        None => 0,
        Some(IpAddr::V4(ip)) => u64::from(ip.to_bits()),
        Some(IpAddr::V6(ip)) => u64::try_from(ip.to_bits() >> 64).unwrap_or(0),
    }
}
