//! The names of variables and where each one's value is.

use std::borrow::Cow;
use std::fmt::Display;

use super::Values;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// One of the names of the request, or a part of it.
    Name(Who, Part),
    Service,
    Mechanism,
    Home,
    Password,
    LocalIp,
    RemoteIp,
    LocalPort,
    RemotePort,
    RealLocalIp,
    RealRemoteIp,
    LocalName,
    Session,
    ClientId,
    Secured,
    Certificate,
    ProcessId,
    /// A name with a colon that a driver fills in, and what stands for it when there is none.
    Extra {
        name: String,
        default: String,
    },
}

/// Whose name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    User,
    Login,
    Original,
    Authenticated,
    Master,
}

/// Which part of a name (Dovecot 2.3.19 observed with `a@b@c`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    /// Before the first `@`.
    Local,
    /// After the first `@`; empty without one.
    Domain,
    /// After the first `@` up to the next one.
    DomainFirst,
    /// After the last `@`; empty without one.
    DomainLast,
}

use Part::{Domain, DomainFirst, DomainLast, Local, Whole};
use Source::Name;
use Who::{Authenticated, Login, Master, Original, User};

/// Every name with its short form: Dovecot 2.3's names first, then 2.4's where they differ.
const NAMES: &[(Option<char>, &str, Source)] = &[
    (Some('u'), "user", Name(User, Whole)),
    (Some('n'), "username", Name(User, Local)),
    (Some('d'), "domain", Name(User, Domain)),
    (None, "domain_first", Name(User, DomainFirst)),
    (None, "domain_last", Name(User, DomainLast)),
    (None, "login_user", Name(Login, Whole)),
    (None, "login_username", Name(Login, Local)),
    (None, "login_domain", Name(Login, Domain)),
    (None, "orig_user", Name(Original, Whole)),
    (None, "orig_username", Name(Original, Local)),
    (None, "orig_domain", Name(Original, Domain)),
    (None, "original_user", Name(Original, Whole)),
    (None, "auth_user", Name(Authenticated, Whole)),
    (None, "auth_username", Name(Authenticated, Local)),
    (None, "auth_domain", Name(Authenticated, Domain)),
    (None, "master_user", Name(Master, Whole)),
    (Some('s'), "service", Source::Service),
    (None, "protocol", Source::Service),
    (Some('m'), "mech", Source::Mechanism),
    (None, "mechanism", Source::Mechanism),
    (Some('h'), "home", Source::Home),
    (Some('w'), "password", Source::Password),
    (Some('l'), "lip", Source::LocalIp),
    (None, "local_ip", Source::LocalIp),
    (Some('r'), "rip", Source::RemoteIp),
    (None, "remote_ip", Source::RemoteIp),
    (Some('a'), "lport", Source::LocalPort),
    (None, "local_port", Source::LocalPort),
    (Some('b'), "rport", Source::RemotePort),
    (None, "remote_port", Source::RemotePort),
    (None, "real_lip", Source::RealLocalIp),
    (None, "real_local_ip", Source::RealLocalIp),
    (None, "real_rip", Source::RealRemoteIp),
    (None, "real_remote_ip", Source::RealRemoteIp),
    (None, "local_name", Source::LocalName),
    (None, "session", Source::Session),
    (None, "client_id", Source::ClientId),
    (Some('c'), "secured", Source::Secured),
    (Some('k'), "cert", Source::Certificate),
    (None, "certificate", Source::Certificate),
    (Some('p'), "pid", Source::ProcessId),
];

/// Prefixes of names that drivers fill in.
const PREFIXES: [&str; 4] = ["ldap", "passdb", "userdb", "oauth2"];

/// The variable with this one-letter name.
pub(super) fn by_letter(letter: char) -> Option<Source> {
    NAMES.iter().find(|(short, _, _)| *short == Some(letter)).map(|(_, _, source)| source.clone())
}

/// The variable with this name; with a colon, `prefix:name` or `prefix:name:default`.
pub(super) fn by_name(name: &str) -> Option<Source> {
    if let Some((prefix, rest)) = name.split_once(':') {
        let (field, default) = rest.split_once(':').unwrap_or((rest, ""));
        return (PREFIXES.contains(&prefix) && !field.is_empty())
            .then(|| Source::Extra { name: format!("{prefix}:{field}"), default: default.to_owned() });
    }
    NAMES.iter().find(|(_, long, _)| *long == name).map(|(_, _, source)| source.clone())
}

/// The name that was probably meant.
pub(super) fn suggestion(name: &str) -> Option<&'static str> {
    let wanted = name.to_ascii_lowercase();
    NAMES
        .iter()
        .map(|(_, long, _)| (distance(wanted.as_bytes(), long.as_bytes()), *long))
        .filter(|(distance, long)| *distance <= 1 + long.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, long)| long)
}

/// Insertions, deletions and replacements between two names (Levenshtein); long ones are far away.
fn distance(a: &[u8], b: &[u8]) -> usize {
    if a.len() > 32 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (to, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let best = (left + 1).min(*cell + 1).min(diagonal + usize::from(from != to));
            diagonal = *cell;
            *cell = best;
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(a.len())
}

impl Part {
    /// The part of `name`.
    fn of(self, name: &str) -> &str {
        match self {
            Whole => name,
            Local => name.split_once('@').map_or(name, |(local, _)| local),
            Domain => name.split_once('@').map_or("", |(_, domain)| domain),
            DomainFirst => name.split('@').nth(1).unwrap_or(""),
            DomainLast => name.rsplit_once('@').map_or("", |(_, domain)| domain),
        }
    }
}

fn text(value: Option<impl Display>) -> Cow<'static, str> {
    value.map_or(Cow::Borrowed(""), |value| Cow::Owned(value.to_string()))
}

fn port(value: u16) -> Cow<'static, str> {
    text((value != 0).then_some(value))
}

impl Source {
    /// The first of its names in the table.
    pub(super) fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Extra { name, .. } => Cow::Borrowed(name),
            other => Cow::Borrowed(
                NAMES.iter().find(|(_, _, source)| source == other).map_or("", |(_, long, _)| long),
            ),
        }
    }

    /// The value before filters.
    pub(super) fn value<'a>(&'a self, values: &Values<'a>) -> Cow<'a, str> {
        let request = values.request;
        match self {
            Name(who, part) => Cow::Borrowed(part.of(match who {
                User => &request.user,
                Login => request.login_user.as_deref().unwrap_or_default(),
                Original => &request.original_user,
                Authenticated => request.master_user.as_deref().unwrap_or(&request.user),
                Master => request.master_user.as_deref().unwrap_or_default(),
            })),
            Self::Service => Cow::Borrowed(&request.service),
            Self::Mechanism => Cow::Borrowed(request.mechanism),
            Self::Home => Cow::Borrowed(values.home.unwrap_or_default()),
            Self::Password => {
                values.password.map_or(Cow::Borrowed(""), |secret| String::from_utf8_lossy(secret.expose()))
            }
            Self::LocalIp => text(request.local_ip),
            Self::RemoteIp => text(request.remote_ip),
            Self::LocalPort => port(request.local_port),
            Self::RemotePort => port(request.remote_port),
            Self::RealLocalIp => text(request.real_local_ip),
            Self::RealRemoteIp => text(request.real_remote_ip),
            Self::LocalName => Cow::Borrowed(&request.local_name),
            Self::Session => Cow::Borrowed(&request.session),
            Self::ClientId => Cow::Borrowed(&request.client_id),
            Self::Secured => Cow::Borrowed(if request.secured { "secured" } else { "" }),
            Self::Certificate => Cow::Borrowed(if request.valid_client_cert { "valid" } else { "" }),
            Self::ProcessId => Cow::Owned(std::process::id().to_string()),
            Self::Extra { name, default } => Cow::Borrowed(
                values.extra.iter().find(|(key, _)| key == name).map_or(default.as_str(), |(_, value)| value),
            ),
        }
    }
}
