//! Dovecot's connections to SQL databases as URLs.

use super::draft::{Section, Value};

/// The parts of a connection, by the names of `connect` (2.3): host, port, dbname, user, password and
/// what else stands there.
#[derive(Debug, Default, Clone)]
pub(super) struct Connection {
    /// `mysql`, `pgsql`, `sqlite` or something else.
    pub(super) driver: String,
    /// Each host is tried in turn.
    pub(super) hosts: Vec<String>,
    pub(super) port: String,
    pub(super) name: String,
    pub(super) user: String,
    pub(super) password: String,
    /// `sslmode` of PostgreSQL.
    pub(super) ssl_mode: String,
    /// CA certificates.
    pub(super) ca_file: String,
    /// Connections at most.
    pub(super) connections: String,
    /// What there is no place for.
    pub(super) others: Vec<String>,
}

impl Connection {
    /// Reads the `connect` setting of 2.3.
    pub(super) fn parse(driver: &str, connect: &str) -> Self {
        let mut connection = Self { driver: driver.to_owned(), ..Self::default() };
        for (number, word) in split(connect).into_iter().enumerate() {
            match word.split_once('=') {
                None if number == 0 && driver == "sqlite" => connection.name = word,
                None => connection.others.push(word),
                Some((name, value)) => connection.set(name, value),
            }
        }
        connection
    }

    /// Sets one part by its name in 2.3.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        let slot = match name {
            "host" | "hostaddr" => {
                self.hosts.push(value.to_owned());
                return;
            }
            "port" => &mut self.port,
            "dbname" => &mut self.name,
            "user" => &mut self.user,
            "password" => &mut self.password,
            "sslmode" => &mut self.ssl_mode,
            "ssl_ca" | "sslrootcert" => &mut self.ca_file,
            "maxconns" => &mut self.connections,
            _ => {
                self.others.push(format!("{name}={value}"));
                return;
            }
        };
        value.clone_into(slot);
    }

    /// One URL for each host; empty when the database is of another kind.
    pub(super) fn urls(&self) -> Vec<String> {
        match self.driver.as_str() {
            "sqlite" if self.name.starts_with('/') => vec![format!("sqlite://{}", encode(&self.name, b"/"))],
            "mysql" => self.each_host(|host| self.url("mysql", host, "socket")),
            "pgsql" => self.each_host(|host| self.url("postgres", host, "host")),
            _ => Vec::new(),
        }
    }

    fn each_host(&self, url: impl Fn(&str) -> String) -> Vec<String> {
        if self.hosts.is_empty() {
            return vec![url("localhost")];
        }
        self.hosts.iter().map(|host| url(host)).collect()
    }

    /// A host that begins with a slash is a socket, or its folder.
    fn url(&self, scheme: &str, host: &str, socket: &str) -> String {
        let user = match (self.user.is_empty(), self.password.is_empty()) {
            (true, _) => String::new(),
            (false, true) => format!("{}@", encode(&self.user, b"")),
            (false, false) => format!("{}:{}@", encode(&self.user, b""), encode(&self.password, b"")),
        };
        let mut options = Vec::new();
        let place = if host.starts_with('/') {
            options.push(format!("{socket}={}", encode(host, b"/")));
            "localhost".to_owned()
        } else if host.contains(':') {
            format!("[{host}]")
        } else {
            encode(host, b"")
        };
        let port = if self.port.is_empty() { String::new() } else { format!(":{}", self.port) };
        if !self.ssl_mode.is_empty() {
            options.push(format!("sslmode={}", encode(&self.ssl_mode, b"")));
        }
        let options = if options.is_empty() { String::new() } else { format!("?{}", options.join("&")) };
        format!("{scheme}://{user}{place}{port}/{}{options}", encode(&self.name, b""))
    }

    /// Writes the connection's lines.
    pub(super) fn write(&self, section: &mut Section) {
        let urls = self.urls();
        match urls.as_slice() {
            [] => section.turn_off(format!("No URL could be made of the {} database.", self.driver)),
            [url] => section.text("url", url),
            _ => section.set("url", &Value::Texts(urls)),
        }
        if let Ok(count) = self.connections.parse::<u64>()
            && count > 0
        {
            section.set("connections", &Value::Integer(count));
        }
        section.text("tls_ca_file", &self.ca_file);
        for other in &self.others {
            let name = other.split('=').next().unwrap_or("");
            section.note(format!("Not carried over from the connection: {name}"));
        }
    }
}

/// Words of a `connect` value; quotes hold a word together.
fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (None, '\'' | '"') if word.ends_with('=') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, c) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            (_, c) => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Percent-encoding (RFC 3986 §2.1) of all but unreserved characters and those of `also`.
fn encode(text: &str, also: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also.contains(&byte) {
            out.push(char::from(byte));
        } else {
            let digit =
                |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0').to_ascii_uppercase();
            out.push('%');
            out.push(digit(byte >> 4));
            out.push(digit(byte & 15));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_become_urls() {
        for (driver, connect, want) in [
            ("mysql", "host=db dbname=mail user=m password=p@ss/w:rd", "mysql://m:p%40ss%2Fw%3Ard@db/mail"),
            (
                "mysql",
                "host=/run/mysqld/s.sock dbname=m user=u",
                "mysql://u@localhost/m?socket=/run/mysqld/s.sock",
            ),
            ("pgsql", "host=/run/postgresql dbname=m", "postgres://localhost/m?host=/run/postgresql"),
            (
                "pgsql",
                "host=::1 port=5433 dbname=m sslmode=require",
                "postgres://[::1]:5433/m?sslmode=require",
            ),
            ("pgsql", "host=h user=u password='a b' dbname=m", "postgres://u:a%20b@h/m"),
            ("mysql", "dbname=m user=u password=ü", "mysql://u:%C3%BC@localhost/m"),
            ("sqlite", "/var/lib/mail users.db", "sqlite:///var/lib/mail"),
        ] {
            assert_eq!(Connection::parse(driver, connect).urls(), [want], "{connect}");
        }
        assert_eq!(Connection::parse("pgsql", "host=a host=b dbname=m").urls().len(), 2);
        assert!(Connection::parse("cassandra", "host=a dbname=m").urls().is_empty());
        assert!(Connection::parse("sqlite", "relative.db").urls().is_empty());
    }
}
