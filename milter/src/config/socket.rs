//! Where the milter listens: the notations of OpenDKIM and of Postrider.

use std::{fmt, path::PathBuf};

/// A place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Socket {
    /// A UNIX socket.
    Unix(PathBuf),
    /// A TCP port.
    Inet {
        /// The port, never 0.
        port: u16,
        /// A name or an address without brackets; `None` for all interfaces.
        host: Option<String>,
        /// Whether it was written `inet6:`: a name is resolved to IPv6, all interfaces are those of
        /// IPv6. Without it they are IPv4, unless the host is an IPv6 address itself.
        ipv6: bool,
    },
}

impl Socket {
    /// Reads `local:PATH`, `unix:PATH`, a bare path, `inet:PORT[@HOST]`, `inet6:PORT[@HOST]`
    /// (OpenDKIM), and `inet:HOST:PORT` (Postrider). An IPv6 address as host has brackets when a
    /// port follows it.
    ///
    /// # Errors
    /// What is wrong and what to write, each as a sentence part.
    pub fn parse(text: &str) -> Result<Self, (String, &'static str)> {
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) if !kind.contains('/') => (kind, rest),
            _ => ("", text),
        };
        match kind.to_ascii_lowercase().as_str() {
            "inet" => inet(rest, false),
            "inet6" => inet(rest, true),
            "local" | "unix" | "" => unix(rest),
            _ => Err((format!("unknown kind of socket '{kind}'"), NOTATIONS)),
        }
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "local:{}", path.display()),
            Self::Inet { port, host, ipv6 } => {
                let kind = if *ipv6 { "inet6" } else { "inet" };
                match host {
                    Some(host) if host.contains(':') => write!(f, "{kind}:{port}@[{host}]"),
                    Some(host) => write!(f, "{kind}:{port}@{host}"),
                    None => write!(f, "{kind}:{port}"),
                }
            }
        }
    }
}

fn unix(path: &str) -> Result<Socket, (String, &'static str)> {
    if path.is_empty() {
        return Err(("the socket's path is missing".to_owned(), NOTATIONS));
    }
    if path.bytes().all(|byte| byte.is_ascii_digit())
        || path.split_once('@').is_some_and(|(port, _)| port.parse::<u16>().is_ok())
    {
        return Err(("a port needs inet: before it".to_owned(), NOTATIONS));
    }
    if path.len() > MAX_PATH {
        return Err((
            format!("the socket's path is longer than {MAX_PATH} bytes"),
            "the system allows no longer one",
        ));
    }
    Ok(Socket::Unix(PathBuf::from(path)))
}

fn inet(text: &str, ipv6: bool) -> Result<Socket, (String, &'static str)> {
    let (port, host) = if let Some((port, host)) = text.split_once('@') {
        (port, Some(host))
    } else if let Some((host, port)) = text.rsplit_once(':') {
        if host.contains(':') && !host.starts_with('[') {
            let help = "write [ADDRESS]:PORT, or PORT@ADDRESS";
            return Err(("an IPv6 address before a port needs brackets".to_owned(), help));
        }
        (port, Some(host))
    } else {
        (text, None)
    };
    let port = match port.parse::<u16>() {
        Ok(port) if port > 0 && !text.starts_with('+') => port,
        _ => return Err((format!("'{port}' is not a port"), NOTATIONS)),
    };
    let host = host.map(|host| host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host));
    if host.is_some_and(|host| {
        host.is_empty() || host.contains(|c: char| c.is_whitespace() || "[]@/".contains(c))
    }) {
        return Err(("the socket's host is not a name or an address".to_owned(), NOTATIONS));
    }
    Ok(Socket::Inet { port, host: host.map(str::to_owned), ipv6 })
}

const NOTATIONS: &str = "write local:/path, inet:PORT@HOST, inet6:PORT@HOST or inet:HOST:PORT";
/// `sun_path` without its final NUL.
const MAX_PATH: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16, host: Option<&str>, ipv6: bool) -> Socket {
        Socket::Inet { port, host: host.map(str::to_owned), ipv6 }
    }

    #[test]
    fn all_notations_are_read() {
        let unix = |path: &str| Socket::Unix(PathBuf::from(path));
        for (text, want, printed) in [
            ("local:/run/x.sock", unix("/run/x.sock"), "local:/run/x.sock"),
            ("unix:/run/x.sock", unix("/run/x.sock"), "local:/run/x.sock"),
            ("/run/x.sock", unix("/run/x.sock"), "local:/run/x.sock"),
            ("/run/a:b", unix("/run/a:b"), "local:/run/a:b"),
            ("LOCAL:x.sock", unix("x.sock"), "local:x.sock"),
            ("inet:8891", at(8891, None, false), "inet:8891"),
            ("inet:8891@localhost", at(8891, Some("localhost"), false), "inet:8891@localhost"),
            ("inet:12301@[127.0.0.1]", at(12301, Some("127.0.0.1"), false), "inet:12301@127.0.0.1"),
            ("inet6:8891", at(8891, None, true), "inet6:8891"),
            ("inet6:8891@[::1]", at(8891, Some("::1"), true), "inet6:8891@[::1]"),
            ("inet6:8891@::1", at(8891, Some("::1"), true), "inet6:8891@[::1]"),
            ("inet:localhost:8891", at(8891, Some("localhost"), false), "inet:8891@localhost"),
            ("inet:[::1]:8891", at(8891, Some("::1"), false), "inet:8891@[::1]"),
        ] {
            assert_eq!(Socket::parse(text).as_ref(), Ok(&want), "{text}");
            assert_eq!(want.to_string(), printed);
            let again = Socket::parse(printed).unwrap();
            assert_eq!(again, want, "{printed}");
        }
    }

    #[test]
    fn what_is_no_socket_is_refused() {
        for text in [
            "",
            "local:",
            "8891",
            "8891@localhost",
            "inet:",
            "inet:0",
            "inet:65536",
            "inet:x@localhost",
            "inet:8891@",
            "inet:8891@a b",
            "inet:::1:8891",
            "tcp:8891",
            "inet:+1",
            "inet:localhost:",
        ] {
            assert!(Socket::parse(text).is_err(), "{text}");
        }
        assert!(Socket::parse(&format!("/{}", "x".repeat(107))).is_err());
        assert!(Socket::parse(&format!("/{}", "x".repeat(106))).is_ok());
    }
}
