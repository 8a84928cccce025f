//! What stands after `check_policy_service`: where it leads, and by which time limits.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::restrictions::words;

/// `unix:path`, `inet:host:port`, or `{ one of these, name = value, ... }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// The whole text: Postfix has a connection for each different one.
    pub(super) text: String,
    /// Where it leads.
    pub(super) target: Target,
    /// `timeout`.
    pub(super) timeout: Option<String>,
    /// `default_action`.
    pub(super) default_action: Option<String>,
    /// `try_limit`.
    pub(super) try_limit: Option<String>,
}

/// Where an endpoint leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A UNIX socket; a relative path is below the queue directory.
    Unix(PathBuf),
    /// Host and port.
    Inet(String, String),
    /// Nothing that Postfix knows.
    Unknown,
}

impl Endpoint {
    /// Reads the argument of `check_policy_service`.
    pub(super) fn read(argument: &str) -> Self {
        let inner = argument.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let mut parts = match inner {
            // After the first comma or blank stand attributes; blanks around `=` are allowed.
            Some(inner) => split_attributes(inner).into_iter(),
            None => vec![argument.to_owned()].into_iter(),
        };
        let address = parts.next().unwrap_or_default();
        let mut endpoint = Self {
            text: argument.to_owned(),
            target: target(&address),
            timeout: None,
            default_action: None,
            try_limit: None,
        };
        for part in parts {
            let Some((name, value)) = part.split_once('=') else { continue };
            let value = value.trim();
            let value =
                value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(value).trim();
            let slot = match name.trim() {
                "timeout" => &mut endpoint.timeout,
                "default_action" => &mut endpoint.default_action,
                "try_limit" => &mut endpoint.try_limit,
                _ => continue,
            };
            *slot = Some(value.to_owned());
        }
        endpoint
    }

    /// Where Postfix looks when it runs in a chroot, or not: both from outside.
    pub(super) fn path(&self, queue_directory: &Path, chroot: bool) -> Option<PathBuf> {
        let Target::Unix(path) = &self.target else { return None };
        Some(match path.strip_prefix("/") {
            Ok(below) if chroot => queue_directory.join(below),
            Ok(_) => path.clone(),
            // Without a chroot it is relative to the process' folder, which is the queue directory as well.
            Err(_) => queue_directory.join(path),
        })
    }
}

/// Parts by comma or blank; ` = ` holds together, and `{ ... }` is one part (`default_action = { 451 text }`).
fn split_attributes(text: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for word in words(text) {
        match parts.last_mut() {
            Some(last) if last.trim_end().ends_with('=') || word.starts_with('=') => {
                last.push_str(&word);
            }
            _ => match word.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                // `{ default_action = 451 text }`, as a whole in braces.
                Some(inner) if !parts.is_empty() => parts.push(inner.trim().to_owned()),
                _ => parts.push(word),
            },
        }
    }
    parts
}

fn target(address: &str) -> Target {
    if let Some(path) = address.strip_prefix("unix:") {
        return Target::Unix(path.into());
    }
    let inet = address.strip_prefix("inet:").unwrap_or(address);
    match inet.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() => Target::Inet(
            host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase(),
            port.to_owned(),
        ),
        _ if address.starts_with("inet:") && !inet.is_empty() => {
            Target::Inet("localhost".into(), inet.to_owned())
        }
        _ => Target::Unknown,
    }
}

/// A time of Postfix: a number with `s`, `m`, `h`, `d` or `w`; seconds without (postconf(5)).
pub(super) fn time(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    Some(Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(unit)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read() {
        let plain = Endpoint::read("unix:postrider/policyd");
        assert_eq!(plain.target, Target::Unix("postrider/policyd".into()));
        let full =
            Endpoint::read("{ inet:127.0.0.1:10040, timeout=5s, default_action = DUNNO policy_context=x }");
        assert_eq!(full.target, Target::Inet("127.0.0.1".into(), "10040".into()));
        assert_eq!((full.timeout.as_deref(), full.default_action.as_deref()), (Some("5s"), Some("DUNNO")));
        let braces = Endpoint::read("{ unix:/a, { default_action = 451 4.3.5 later }, try_limit=1 }");
        assert_eq!(braces.default_action.as_deref(), Some("451 4.3.5 later"));
        assert_eq!(braces.try_limit.as_deref(), Some("1"));
        let braces = Endpoint::read("{ unix:/a, default_action = { 451 4.3.5 later } }");
        assert_eq!(braces.default_action.as_deref(), Some("451 4.3.5 later"));
        assert_eq!(Endpoint::read("nonsense").target, Target::Unknown);
        assert_eq!(Endpoint::read("inet:10040").target, Target::Inet("localhost".into(), "10040".into()));
        assert_eq!(Endpoint::read("[::1]:10040").target, Target::Inet("::1".into(), "10040".into()));
    }

    #[test]
    fn paths_depend_on_the_chroot() {
        let queue = Path::new("/var/spool/postfix");
        let of = |text: &str, chroot| Endpoint::read(text).path(queue, chroot).unwrap().display().to_string();
        assert_eq!(of("unix:postrider/policyd", true), "/var/spool/postfix/postrider/policyd");
        assert_eq!(of("unix:postrider/policyd", false), "/var/spool/postfix/postrider/policyd");
        assert_eq!(of("unix:/run/p", true), "/var/spool/postfix/run/p");
        assert_eq!(of("unix:/run/p", false), "/run/p");
    }

    #[test]
    fn times() {
        assert_eq!(time("100s"), Some(Duration::from_secs(100)));
        assert_eq!(time("2m"), Some(Duration::from_secs(120)));
        assert_eq!(time("7"), Some(Duration::from_secs(7)));
        assert_eq!(time("x"), None);
        assert_eq!(time("5ms"), None);
    }
}
