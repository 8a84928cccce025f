//! Users in an LDAP directory: found by a search, checked by their stored password or by binding as them.
//!
//! Searching and binding have connections of their own, since a bind changes whose connection it is. The
//! files in this folder are the only ones that know ldap3.

mod attributes;
mod filter;
mod server;

use std::fmt;
use std::time::Duration;

use base::secret::Secret;
use base::servers::{Held, Servers};
use ldap3::Scope;
use tokio::time::timeout;

use crate::config::settings;
use crate::fields::Fields;
use crate::passdb::{Lookup, Unavailable, Verdict};
use crate::request::Request;
use crate::userdb;
use crate::variables::Values;

use attributes::{Attributes, Entry};
use filter::{Filter, Name};
use server::{Failure, Purpose, SIZE_LIMIT_EXCEEDED, Search, Server};

/// How long one search or bind may take, connecting included, whatever the caller allows.
const ASK_LIMIT: Duration = Duration::from_secs(8);
/// How long listing all users may take.
const LIST_LIMIT: Duration = Duration::from_secs(60);
/// Users in one list.
const LISTED_USERS: usize = 1_000_000;

/// A directory as a passdb or userdb.
pub struct Directory {
    name: String,
    /// For searches, signed on as `bind_dn`.
    searching: Servers<Server>,
    /// For binds as the user.
    binding: Servers<Server>,
    base: Name,
    scope: Scope,
    filter: Filter,
    attributes: Attributes,
    auth: Auth,
    iterate: Option<(Filter, String)>,
}

/// How passwords are checked.
#[derive(Debug)]
enum Auth {
    /// By whoever reads the stored password.
    Stored,
    /// By a bind as the entry that a search finds.
    BindAsFound,
    /// By a bind as this name.
    BindAs(Name),
}

impl Directory {
    /// Reads the URIs, names and filters; connects to nothing yet. `name` is what the log calls this directory.
    ///
    /// Where users are searched and bound as, each has half of `connections`, but at least one.
    ///
    /// # Errors
    /// What is wrong with a URI, a filter or a certificate, for the admin.
    pub fn new(settings: &settings::Ldap, name: &str) -> Result<Self, String> {
        let template =
            |setting: &str, text: &str| Name::parse(text).map_err(|error| format!("{setting}: {error}"));
        let filter =
            |setting: &str, text: &str| Filter::parse(text).map_err(|error| format!("{setting}: {error}"));
        let auth = match &settings.auth_bind_dn {
            Some(dn) => Auth::BindAs(template("auth_bind_dn", dn)?),
            None if settings.auth_bind => Auth::BindAsFound,
            None => Auth::Stored,
        };
        let iterate = match &settings.iterate_filter {
            Some(text) => Some((filter("iterate_filter", text)?, settings.iterate_attribute.clone())),
            None => None,
        };
        let (searching, binding) = match auth {
            Auth::BindAsFound => (settings.connections / 2, settings.connections.div_ceil(2)),
            Auth::Stored | Auth::BindAs(_) => (settings.connections, settings.connections),
        };
        // With auth_bind_dn nothing is searched, and then no filter is needed.
        let searched = match auth {
            Auth::BindAs(_) if settings.filter.is_empty() => "(objectClass=*)",
            _ => &settings.filter,
        };
        Ok(Self {
            name: name.to_owned(),
            base: template("base", &settings.base)?,
            scope: server::scope(&settings.scope)?,
            filter: filter("filter", searched)?,
            attributes: Attributes::parse(&settings.attributes)
                .map_err(|error| format!("attributes: {error}"))?,
            searching: Servers::new(server::servers(settings, Purpose::Search)?, bounded(searching)),
            binding: Servers::new(server::servers(settings, Purpose::Bind)?, bounded(binding)),
            auth,
            iterate,
        })
    }

    /// The entry of `request.user` by `filter`, with the passwords that its attributes hold, but with none where
    /// `auth_bind` checks them; [`Lookup::OnlyVerifies`] for all with `auth_bind_dn`, which finds nobody.
    ///
    /// # Errors
    /// [`Unavailable`] when no server answers, a search fails or finds more than one entry.
    pub async fn lookup(&self, request: &Request, _: Option<&Secret>) -> Result<Lookup, Unavailable> {
        if matches!(self.auth, Auth::BindAs(_)) {
            return Ok(Lookup::OnlyVerifies);
        }
        Ok(match self.entry(request).await? {
            None => Lookup::Unknown,
            Some(entry) => {
                let mut known = self.attributes.record(&entry, request).into_passdb_entry(request);
                if matches!(self.auth, Auth::BindAsFound) {
                    known.passwords.clear();
                }
                Lookup::Found(known)
            }
        })
    }

    /// Whether `password` is right, by a bind as the user. An empty password is wrong: a bind with it would
    /// succeed without a check (RFC 4513 §5.1.2).
    ///
    /// # Errors
    /// As [`Self::lookup`], and when the server can check no passwords now.
    pub async fn verify(&self, request: &Request, password: &Secret) -> Result<Verdict, Unavailable> {
        if password.is_empty() {
            return Ok(Verdict::Wrong("empty password".into()));
        }
        if password.expose_text().is_none() {
            return Ok(Verdict::Wrong("the password is not UTF-8".into()));
        }
        let (dn, fields) = match &self.auth {
            Auth::BindAs(dn) => (dn.expand(&Values::of(request)), Fields::new()),
            Auth::BindAsFound | Auth::Stored => match self.entry(request).await? {
                None => return Ok(Verdict::Unknown),
                Some(entry) => {
                    let fields = self.attributes.record(&entry, request).into_fields(request);
                    (entry.dn, fields)
                }
            },
        };
        if dn.is_empty() {
            return Err(self.unavailable("the name to bind as is empty"));
        }
        match self.run(&self.binding, ASK_LIMIT, &Task::Bind(&dn, password)).await {
            Ok(_) => Ok(Verdict::Right(fields)),
            Err(Asked::Answer(failure)) => self.bind_verdict(&failure),
            Err(Asked::Unavailable(unavailable)) => Err(unavailable),
        }
    }

    /// The userdb entry of `request.user` by `filter`; `None` for an unknown user. `uid` and `gid` are as the
    /// directory has them.
    ///
    /// # Errors
    /// As [`Self::lookup`].
    pub async fn user(&self, request: &Request) -> Result<Option<userdb::Entry>, Unavailable> {
        let entry = self.entry(request).await?;
        Ok(entry.map(|entry| self.attributes.record(&entry, request).into_userdb_entry(request)))
    }

    /// All users by `iterate_filter`: the first value of `iterate_attribute` of each entry.
    ///
    /// # Errors
    /// As [`Self::lookup`], and when there is no `iterate_filter` or `base` has variables.
    pub async fn list(&self) -> Result<Vec<String>, Unavailable> {
        let Some((filter, attribute)) = &self.iterate else {
            return Err(self.unavailable("no iterate_filter is set"));
        };
        if self.base.has_variables() {
            return Err(self.unavailable("base has variables, so there is no place to list users from"));
        }
        let request = Request::default();
        let search = self.search(filter, &request, Vec::new());
        match self.run(&self.searching, LIST_LIMIT, &Task::List(&search, attribute)).await {
            Ok(done) => Ok(done.users),
            Err(asked) => Err(self.failed(asked)),
        }
    }

    fn search(&self, filter: &Filter, request: &Request, attributes: Vec<String>) -> Search {
        let values = Values::of(request);
        let (base, filter) = (self.base.expand(&values), filter.expand(&values));
        Search { base, scope: self.scope, filter, attributes }
    }

    /// The one entry of a user.
    async fn entry(&self, request: &Request) -> Result<Option<Entry>, Unavailable> {
        let search = self.search(&self.filter, request, self.attributes.wanted());
        let several = || self.unavailable(&format!("filter {} finds more than one entry", search.filter));
        match self.run(&self.searching, ASK_LIMIT, &Task::Find(&search)).await {
            Ok(mut done) => {
                let first = done.entries.pop();
                if done.entries.is_empty() { Ok(first) } else { Err(several()) }
            }
            Err(Asked::Answer(Failure::Result(SIZE_LIMIT_EXCEEDED, _))) => Err(several()),
            // The domain of this user has no branch in the directory, or the user has no domain.
            Err(Asked::Answer(Failure::Result(NO_SUCH_OBJECT | INVALID_DN_SYNTAX, _)))
                if self.base.has_variables() =>
            {
                Ok(None)
            }
            Err(asked) => Err(self.failed(asked)),
        }
    }

    /// What the answer to a bind says of the password and the user.
    fn bind_verdict(&self, failure: &Failure) -> Result<Verdict, Unavailable> {
        let Failure::Result(code, text) = failure else { return Err(self.unavailable(&failure.text())) };
        match code {
            // Active Directory says 49 of locked users as well, and why in the text.
            49 if is_locked(text) => Ok(Verdict::Refused(failure.text())),
            // 48 is said of entries that have no password, 34 of what auth_bind_dn makes of users without a
            // domain, for example.
            48 | 49 | &INVALID_DN_SYNTAX => Ok(Verdict::Wrong(failure.text())),
            &NO_SUCH_OBJECT => Ok(Verdict::Unknown),
            19 | 50 | 53 => Ok(Verdict::Refused(failure.text())),
            _ => Err(self.unavailable(&failure.text())),
        }
    }

    /// Does `task` on a connection. A kept connection that turns out to be dead is replaced by a fresh one once.
    async fn run(&self, servers: &Servers<Server>, limit: Duration, task: &Task<'_>) -> Result<Done, Asked> {
        let working = async {
            let mut fresh = false;
            // One attempt on a kept connection, one on a fresh one to each server.
            for _ in 0..=servers.count() {
                let held = servers.take(fresh).await;
                let mut held = held.map_err(|error| Asked::Unavailable(self.unavailable(&error)))?;
                match task.run(&mut held).await {
                    Ok(value) => {
                        held.keep();
                        return Ok(value);
                    }
                    Err(failure @ Failure::Result(..)) => {
                        held.keep();
                        return Err(Asked::Answer(failure));
                    }
                    Err(Failure::Broken(text)) => {
                        let text = format!("{}: {text}", held.server_name());
                        return Err(Asked::Unavailable(self.unavailable(&text)));
                    }
                    Err(Failure::Dead(text)) if held.is_fresh() => held.lost(&text),
                    Err(Failure::Dead(_)) => held.discard(),
                }
                fresh = true;
            }
            // Every server is left alone now: this says why.
            Err(Asked::Unavailable(match servers.take(true).await {
                Ok(_) => self.unavailable("every connection is lost at once"),
                Err(error) => self.unavailable(&error),
            }))
        };
        match timeout(limit, working).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let text = format!("no answer within {} s", limit.as_secs());
                Err(Asked::Unavailable(self.unavailable(&text)))
            }
        }
    }

    fn failed(&self, asked: Asked) -> Unavailable {
        match asked {
            Asked::Answer(failure) => self.unavailable(&failure.text()),
            Asked::Unavailable(unavailable) => unavailable,
        }
    }

    fn unavailable(&self, text: &str) -> Unavailable {
        Unavailable::new(format!("{}: {text}", self.name))
    }
}

/// An operation on a connection.
enum Task<'a> {
    /// The entries of a search, two at most.
    Find(&'a Search),
    /// A bind.
    Bind(&'a str, &'a Secret),
    /// An attribute of all entries of a search.
    List(&'a Search, &'a str),
}

/// What an operation has given, if it gives anything.
#[derive(Default)]
struct Done {
    entries: Vec<Entry>,
    users: Vec<String>,
}

impl Task<'_> {
    async fn run(&self, held: &mut Held<Server>) -> Result<Done, Failure> {
        let Some(connection) = held.connection() else {
            return Err(Failure::Dead("no connection".into()));
        };
        let mut done = Done::default();
        match self {
            Self::Find(search) => done.entries = connection.find(search, 2).await?,
            Self::Bind(dn, password) => connection.bind(dn, password).await?,
            Self::List(search, attribute) => {
                done.users = connection.list(search, attribute, LISTED_USERS).await?;
            }
        }
        Ok(done)
    }
}

/// Why an operation gave nothing.
enum Asked {
    /// A server has answered, with a result code.
    Answer(Failure),
    /// None has.
    Unavailable(Unavailable),
}

/// noSuchObject.
const NO_SUCH_OBJECT: u32 = 32;

/// invalidDNSyntax.
const INVALID_DN_SYNTAX: u32 = 34;

fn bounded(connections: usize) -> usize {
    connections.clamp(1, 1000)
}

/// Whether Active Directory names a reason beside the password: not allowed now or from here (530, 531),
/// password expired (532), disabled (533), account expired (701), password to be changed (773), locked (775).
fn is_locked(text: &str) -> bool {
    let Some((_, after)) = text.split_once(", data ") else { return false };
    let code: String = after.chars().take_while(char::is_ascii_alphanumeric).collect();
    matches!(code.as_str(), "530" | "531" | "532" | "533" | "701" | "773" | "775")
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("name", &self.name).field("servers", &self.searching).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> settings::Ldap {
        settings::Ldap {
            uris: vec!["ldap://127.0.0.1:1".into()],
            starttls: false,
            tls_ca_file: None,
            bind_dn: String::new(),
            bind_password: Secret::default(),
            base: "dc=example".into(),
            scope: "subtree".into(),
            filter: "(uid=%n)".into(),
            auth_bind: true,
            auth_bind_dn: None,
            attributes: Vec::new(),
            iterate_filter: None,
            iterate_attribute: "uid".into(),
            connections: 4,
        }
    }

    #[test]
    fn what_is_wrong_is_named_at_once() {
        let error = |change: fn(&mut settings::Ldap)| {
            let mut settings = settings();
            change(&mut settings);
            Directory::new(&settings, "ldap").expect_err("a mistake")
        };
        for (error, part) in [
            (error(|own| own.uris.clear()), "no uri"),
            (error(|own| own.uris = vec!["host".into()]), "ldaps://"),
            (error(|own| own.scope = "all".into()), "scope all"),
            (error(|own| own.filter = "(uid=%u".into()), "filter: "),
            (error(|own| own.base = "dc=%{x}".into()), "base: "),
            (error(|own| own.bind_dn = "cn=reader".into()), "bind_password is empty"),
            (error(|own| own.tls_ca_file = Some("/nowhere/ca.pem".into())), "/nowhere/ca.pem"),
            (error(|own| own.tls_ca_file = Some("/dev/null".into())), "no CA certificates"),
        ] {
            assert!(error.contains(part), "{error}");
        }
    }

    /// The server would take it for a bind without a name, and say yes.
    #[tokio::test]
    async fn an_empty_password_is_never_sent() {
        let directory = Directory::new(&settings(), "ldap").unwrap();
        let verdict = directory.verify(&Request::default(), &Secret::from("")).await;
        assert_eq!(verdict, Ok(Verdict::Wrong("empty password".into())));
        // Nobody listens there, so anything else is an error: the first would have been one as well.
        let error = directory.verify(&Request::default(), &Secret::from("x")).await.unwrap_err();
        assert!(error.detail.starts_with("ldap: ldap://127.0.0.1:1: "), "{error}");
    }

    #[test]
    fn answers_to_a_bind() {
        let directory = Directory::new(&settings(), "ldap").unwrap();
        let verdict = |code: u32, text: &str| directory.bind_verdict(&Failure::Result(code, text.into()));
        assert!(matches!(verdict(49, ""), Ok(Verdict::Wrong(_))));
        assert!(matches!(verdict(48, ""), Ok(Verdict::Wrong(_))));
        assert!(matches!(verdict(32, ""), Ok(Verdict::Unknown)));
        assert!(matches!(verdict(53, "locked"), Ok(Verdict::Refused(text)) if text.contains("locked")));
        let active_directory = |data: &str| {
            verdict(
                49,
                &format!(
                    "80090308: LdapErr: DSID-0C09, comment: AcceptSecurityContext error, data {data}, v1"
                ),
            )
        };
        assert!(matches!(active_directory("775"), Ok(Verdict::Refused(_))));
        assert!(matches!(active_directory("52e"), Ok(Verdict::Wrong(_))));
        assert!(verdict(1, "").is_err());
        assert!(verdict(13, "TLS required").unwrap_err().detail.contains("confidentialityRequired"));
    }

    #[test]
    fn look_ups_can_be_spawned() {
        fn is_send(_: impl Send) {}
        let directory = Directory::new(&settings(), "ldap").unwrap();
        let (request, password) = (Request::default(), Secret::from("x"));
        is_send(directory.lookup(&request, None));
        is_send(directory.verify(&request, &password));
        is_send(directory.user(&request));
        is_send(directory.list());
    }
}
