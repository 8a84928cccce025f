//! Values: what each kind of setting takes, and what to write instead of what it does not.

use std::path::PathBuf;
use std::time::Duration;

use toml_edit::{Item, Value as Toml};

use super::Kind;
use crate::config::nearest::nearest;
use crate::secret::Secret;
use crate::service::listen::Address;

/// A value that has the form its setting asks for.
#[derive(Debug, Clone)]
pub enum Value {
    /// Of [`Kind::Text`] and [`Kind::Word`].
    Text(String),
    /// Of [`Kind::Secret`].
    Secret(Secret),
    /// Of [`Kind::Path`].
    Path(PathBuf),
    /// Of [`Kind::Boolean`].
    Boolean(bool),
    /// Of [`Kind::Integer`].
    Integer(i64),
    /// Of [`Kind::Mode`].
    Mode(u32),
    /// Of [`Kind::Duration`].
    Duration(Duration),
    /// Of [`Kind::Size`], in bytes.
    Size(u64),
    /// Of [`Kind::Texts`].
    Texts(Vec<String>),
    /// Of [`Kind::Secrets`].
    Secrets(Vec<Secret>),
    /// Of [`Kind::Fields`].
    Fields(Vec<Field>),
    /// Of [`Kind::Address`] and [`Kind::TcpAddress`].
    Address(Address),
    /// Of [`Kind::Addresses`].
    Addresses(Vec<Address>),
}

/// One field of a [`Kind::Fields`] value.
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its value; `None` when it was written as `true`.
    pub value: Option<String>,
}

/// Prints the name only: the value may be a password.
impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

/// Why a value cannot be taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// What is wrong with it; begins where "NAME: " ends. Holds nothing of a secret.
    pub(super) text: String,
    /// What to write.
    pub(super) help: String,
    /// Where it is, as bytes of the source, when it is a part of the value.
    pub(super) at: Option<std::ops::Range<usize>>,
}

impl Wrong {
    fn new(text: impl Into<String>, help: impl Into<String>) -> Self {
        Self { text: text.into(), help: help.into(), at: None }
    }

    fn at(mut self, at: Option<std::ops::Range<usize>>) -> Self {
        self.at = self.at.or(at);
        self
    }
}

/// Takes a value of the text; `raw` is how it is written there.
pub(super) fn take(kind: Kind, item: &Item, raw: &str) -> Result<Value, Wrong> {
    let found = || Wrong::new(format!("expects {}, found {}", expects(kind), type_of(item)), write(kind));
    if kind == Kind::Fields {
        return fields(item).ok_or_else(found)?.map(Value::Fields);
    }
    let value = item.as_value().ok_or_else(found)?;
    match (kind, value) {
        (Kind::Texts | Kind::Secrets, Toml::Array(array)) => {
            let texts = array
                .iter()
                .map(|element| {
                    element.as_str().map(str::to_owned).ok_or_else(|| {
                        let found = type_of(&Item::Value(element.clone()));
                        Wrong::new(format!("expects a list of texts, found {found} in it"), write(kind))
                            .at(element.span())
                    })
                })
                .collect::<Result<Vec<_>, _>>()?;
            Ok(of_texts(kind, texts))
        }
        (Kind::Addresses, Toml::Array(array)) => {
            let one = |element: &Toml| match element.as_str() {
                Some(text) => address(kind, text).map_err(|wrong| wrong.at(element.span())),
                None => {
                    let found = type_of(&Item::Value(element.clone()));
                    let text = format!("expects a list of addresses, found {found} in it");
                    Err(Wrong::new(text, write(kind)).at(element.span()))
                }
            };
            array.iter().map(one).collect::<Result<Vec<_>, _>>().map(Value::Addresses)
        }
        (Kind::Mode, Toml::Integer(number)) => mode(*number.value(), raw),
        (Kind::Boolean, Toml::Boolean(value)) => Ok(Value::Boolean(*value.value())),
        (Kind::Integer { .. }, Toml::Integer(number)) => integer(kind, *number.value()),
        (Kind::Duration { .. }, Toml::Integer(number)) => {
            let seconds = u64::try_from(*number.value())
                .map_err(|_negative| Wrong::new("is less than nothing", write(kind)))?;
            duration_within(kind, Duration::from_secs(seconds))
        }
        (Kind::Size { .. }, Toml::Integer(number)) => {
            let bytes = u64::try_from(*number.value())
                .map_err(|_negative| Wrong::new("is less than nothing", write(kind)))?;
            size_within(kind, bytes)
        }
        (Kind::Boolean | Kind::Integer { .. }, Toml::String(text)) => Err(quoted(kind, text.value())),
        (_, Toml::String(text)) => of_text(kind, text.value()),
        _ => Err(found()),
    }
}

/// Reads a value from its text without quotes: what stands in quotes in the file, or a default of
/// the table.
pub(super) fn of_text(kind: Kind, text: &str) -> Result<Value, Wrong> {
    match kind {
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::Secret => Ok(Value::Secret(Secret::from(text))),
        Kind::Path if text.starts_with('/') => Ok(Value::Path(PathBuf::from(text))),
        Kind::Path => Err(Wrong::new("is not an absolute path", write(kind))),
        Kind::Boolean => match text {
            "true" => Ok(Value::Boolean(true)),
            "false" => Ok(Value::Boolean(false)),
            _ => Err(Wrong::new("is neither true nor false", write(kind))),
        },
        Kind::Integer { .. } => text
            .parse()
            .map_err(|_not_a_number| Wrong::new("is no number", write(kind)))
            .and_then(|number| integer(kind, number)),
        Kind::Mode => octal(text),
        Kind::Duration { .. } => {
            let duration =
                duration(text).ok_or_else(|| Wrong::new(format!("'{text}' is no duration"), write(kind)))?;
            duration_within(kind, duration)
        }
        Kind::Size { .. } => {
            let bytes = size(text).ok_or_else(|| Wrong::new(format!("'{text}' is no size"), write(kind)))?;
            size_within(kind, bytes)
        }
        Kind::Texts | Kind::Secrets => Ok(of_texts(kind, vec![text.to_owned()])),
        Kind::Word(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
        Kind::Word(words) => {
            let help = match nearest(text, words.iter().copied()) {
                Some(word) => format!("did you mean {word}? It may be {}", or(words)),
                None => format!("it may be {}", or(words)),
            };
            Err(Wrong::new(format!("'{text}' is not known here"), help))
        }
        Kind::Fields => Err(Wrong::new("expects a table, found a text", write(kind))),
        Kind::Address | Kind::TcpAddress => address(kind, text).map(Value::Address),
        Kind::Addresses => address(kind, text).map(|address| Value::Addresses(vec![address])),
    }
}

fn of_texts(kind: Kind, texts: Vec<String>) -> Value {
    if kind.is_secret() {
        Value::Secrets(texts.into_iter().map(Secret::from).collect())
    } else {
        Value::Texts(texts)
    }
}

/// A number or a boolean in quotes.
fn quoted(kind: Kind, text: &str) -> Wrong {
    let text = text.trim();
    let help = match (kind, text.to_ascii_lowercase().as_str()) {
        (Kind::Boolean, "yes" | "true" | "on" | "y") => "write true, without quotes".to_owned(),
        (Kind::Boolean, "no" | "false" | "off" | "n") => "write false, without quotes".to_owned(),
        (Kind::Integer { .. }, number) if number.parse::<i64>().is_ok() => {
            format!("write {number}, without quotes")
        }
        _ => write(kind),
    };
    Wrong::new(format!("expects {}, found a text", expects(kind)), help)
}

fn integer(kind: Kind, number: i64) -> Result<Value, Wrong> {
    let Kind::Integer { min, max } = kind else { return Ok(Value::Integer(number)) };
    if number < min {
        Err(Wrong::new(format!("{number} is too small"), format!("{min} is the least")))
    } else if number > max {
        Err(Wrong::new(format!("{number} is too great"), format!("{max} is the most")))
    } else {
        Ok(Value::Integer(number))
    }
}

/// A mode as a number: 660 without `0o` is another mode than it looks.
fn mode(number: i64, raw: &str) -> Result<Value, Wrong> {
    let raw = raw.trim();
    if raw.starts_with("0o") || number == 0 {
        return match u32::try_from(number) {
            Ok(mode @ 0..=0o777) => Ok(Value::Mode(mode)),
            _ => Err(Wrong::new(format!("{raw} is no mode"), "0o777 is the most")),
        };
    }
    let digits: String = raw.chars().filter(char::is_ascii_digit).collect();
    let help = if raw.chars().all(|c| matches!(c, '0'..='7')) && digits.len() <= 3 {
        format!("modes are octal: write 0o{digits}")
    } else {
        write(Kind::Mode)
    };
    Err(Wrong::new(format!("{raw} is not octal"), help))
}

fn octal(text: &str) -> Result<Value, Wrong> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(mode @ 0..=0o777) if !digits.starts_with('+') => Ok(Value::Mode(mode)),
        _ => Err(Wrong::new(format!("'{text}' is no mode"), write(Kind::Mode))),
    }
}

/// A number and its unit: `5min` is (5, "min").
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit.trim_start()))
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let seconds = match unit.to_ascii_lowercase().as_str() {
        "ms" | "msec" | "msecs" => return Some(Duration::from_millis(number)),
        "" | "s" | "sec" | "secs" | "second" | "seconds" => 1,
        "m" | "min" | "mins" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3600,
        "d" | "day" | "days" => 86_400,
        "w" | "week" | "weeks" => 604_800,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

fn duration_within(kind: Kind, duration: Duration) -> Result<Value, Wrong> {
    let Kind::Duration { min_ms, max_ms } = kind else { return Ok(Value::Duration(duration)) };
    let (min, max) = (Duration::from_millis(min_ms), Duration::from_millis(max_ms));
    let given = duration_text(duration);
    if duration < min {
        Err(Wrong::new(format!("{given} is too short"), format!("{} is the least", duration_text(min))))
    } else if duration > max {
        Err(Wrong::new(format!("{given} is too long"), format!("{} is the most", duration_text(max))))
    } else {
        Ok(Value::Duration(duration))
    }
}

fn size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

fn size_within(kind: Kind, bytes: u64) -> Result<Value, Wrong> {
    let Kind::Size { min, max } = kind else { return Ok(Value::Size(bytes)) };
    if bytes < min {
        Err(Wrong::new(
            format!("{} is too small", size_text(bytes)),
            format!("{} is the least", size_text(min)),
        ))
    } else if bytes > max {
        Err(Wrong::new(
            format!("{} is too great", size_text(bytes)),
            format!("{} is the most", size_text(max)),
        ))
    } else {
        Ok(Value::Size(bytes))
    }
}

/// A duration in the greatest unit that it is a whole number of: `150s`, `5min`, `12h`.
#[must_use]
pub fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_millis() != 0 {
        return format!("{}ms", duration.as_millis());
    }
    for (length, unit) in [(86_400, "d"), (3600, "h"), (60, "min")] {
        if seconds != 0 && seconds.is_multiple_of(length) {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}

/// A size in the greatest unit of 1024 that it is a whole number of: `512M`.
#[must_use]
pub fn size_text(bytes: u64) -> String {
    for (shift, unit) in [(40, "T"), (30, "G"), (20, "M"), (10, "k")] {
        if bytes != 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// Of [`Kind::Address`], or of [`Kind::TcpAddress`], which is no path.
fn address(kind: Kind, text: &str) -> Result<Address, Wrong> {
    let tcp_only = matches!(kind, Kind::TcpAddress);
    if tcp_only && (text.starts_with("unix:") || text.starts_with('/')) {
        return Err(Wrong::new("is for a TCP port only", write(kind)));
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return if path.starts_with('/') {
            Ok(Address::Unix(PathBuf::from(path)))
        } else {
            Err(Wrong::new(format!("'{path}' is not an absolute path"), write(kind)))
        };
    }
    if text.starts_with('/') {
        return Err(Wrong::new("begins with neither unix: nor inet:", format!("write \"unix:{text}\"")));
    }
    let (name, only_v6) = match (text.strip_prefix("inet:"), text.strip_prefix("inet6:")) {
        (Some(name), _) => (name, false),
        (_, Some(name)) => (name, true),
        (None, None) => (text, false),
    };
    let wrong = || Wrong::new(format!("'{text}' is no address"), write(kind));
    let (host, port) = name.rsplit_once(':').ok_or_else(wrong)?;
    let digits = !port.is_empty() && port.chars().all(|c| c.is_ascii_digit());
    let port = port.parse::<u16>().ok().filter(|_| digits).ok_or_else(wrong)?;
    if port == 0 {
        return Err(Wrong::new("there is no port 0", write(kind)));
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bare {
        Some(inner) if inner.parse::<std::net::Ipv6Addr>().is_ok() => Some(inner.to_owned()),
        Some(_) => return Err(wrong()),
        None if host.is_empty() || host == "*" => None,
        None if host.contains(':') => {
            let help = format!("an IPv6 address stands in brackets: inet:[{host}]:{port}");
            return Err(Wrong::new(format!("'{text}' is no address"), help));
        }
        None if host.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/') => return Err(wrong()),
        None => Some(host.to_owned()),
    };
    Ok(Address::Inet { host, port, only_v6 })
}

/// The fields of a table; `None` when it is no table.
fn fields(item: &Item) -> Option<Result<Vec<Field>, Wrong>> {
    let table = item.as_table_like()?;
    let mut fields = Vec::new();
    for (name, item) in table.iter() {
        let at = table.get_key_value(name).and_then(|(key, _)| key.span());
        let value = match item.as_value() {
            Some(Toml::String(text)) => Some(text.value().clone()),
            Some(Toml::Integer(number)) => Some(number.value().to_string()),
            Some(Toml::Boolean(flag)) if *flag.value() => None,
            Some(Toml::Boolean(_)) => {
                let help = "leave it out, or write \"no\" if the text no is meant";
                return Some(Err(Wrong::new(format!("{name} is false"), help).at(at)));
            }
            _ => {
                let text = format!("expects texts, found {} in {name}", type_of(item));
                return Some(Err(Wrong::new(text, write(Kind::Fields)).at(at)));
            }
        };
        if name.is_empty() || name.contains(['=', '\t', '\n', '\0']) {
            let text = format!("'{name}' cannot be the name of a field");
            return Some(Err(Wrong::new(text, "a name holds neither = nor control characters").at(at)));
        }
        fields.push(Field { name: name.to_owned(), value });
    }
    Some(Ok(fields))
}

/// The value's own kind, in words.
fn type_of(item: &Item) -> &'static str {
    match item.type_name() {
        "string" => "a text",
        "integer" => "a number",
        "float" => "a fraction",
        "boolean" => "true or false",
        "datetime" => "a date",
        "array" => "a list",
        "array of tables" => "several tables",
        "inline table" | "table" => "a table",
        _ => "nothing",
    }
}

/// What a kind asks for, in words.
fn expects(kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::Secret => "a text",
        Kind::Path => "a path",
        Kind::Boolean => "true or false",
        Kind::Integer { .. } => "a number",
        Kind::Mode => "an octal mode",
        Kind::Duration { .. } => "a duration",
        Kind::Size { .. } => "a size",
        Kind::Texts | Kind::Secrets => "a list of texts",
        Kind::Word(_) => "a word",
        Kind::Fields => "a table",
        Kind::Address | Kind::TcpAddress => "an address",
        Kind::Addresses => "a list of addresses",
    }
}

/// What to write for a kind.
fn write(kind: Kind) -> String {
    match kind {
        Kind::Text | Kind::Secret => "write a text in quotes: \"text\"".to_owned(),
        Kind::Path => "write it from the root, in quotes: \"/etc/...\"".to_owned(),
        Kind::Boolean => "write true or false, without quotes".to_owned(),
        Kind::Integer { min, max } => format!("write a whole number from {min} to {max}"),
        Kind::Mode => "write it in octal, for instance 0o660".to_owned(),
        Kind::Duration { .. } => {
            "write a number of seconds, or a number with ms, s, min, h or d: \"5min\"".to_owned()
        }
        Kind::Size { .. } => "write a number of bytes, or a number with k, M or G: \"16M\"".to_owned(),
        Kind::Texts | Kind::Secrets => "write a list of texts: [\"one\", \"two\"]".to_owned(),
        Kind::Word(words) => format!("it may be {}", or(words)),
        Kind::Fields => "write a table: { name = \"value\", other = true }".to_owned(),
        Kind::Addresses => "write \"unix:/path\" or \"inet:host:port\", or a list of them".to_owned(),
        Kind::Address => "write \"unix:/path\" or \"inet:host:port\"".to_owned(),
        Kind::TcpAddress => "write a host and a port, for instance \"127.0.0.1:9154\"".to_owned(),
    }
}

/// `a, b or c`.
#[must_use]
pub fn or(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Kind = Kind::Duration { min_ms: 0, max_ms: u64::MAX };
    const SIZE: Kind = Kind::Size { min: 0, max: u64::MAX };

    #[test]
    fn durations_have_units() {
        for (text, want) in [
            ("2s", Some(2000)),
            ("150 s", Some(150_000)),
            ("5min", Some(300_000)),
            ("5 mins", Some(300_000)),
            ("1h", Some(3_600_000)),
            ("1 DAY", Some(86_400_000)),
            ("500ms", Some(500)),
            ("7", Some(7000)),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("5 fortnights", None),
            ("99999999999999999999s", None),
            ("9999999999999999999w", None),
        ] {
            let found = match of_text(ANY, text) {
                Ok(Value::Duration(duration)) => Some(duration.as_millis()),
                _ => None,
            };
            assert_eq!(found, want, "{text}");
        }
        for text in ["500ms", "0s", "90s", "5min", "12h", "1d"] {
            assert_eq!(duration_text(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, want) in [
            ("16M", Some(16 << 20)),
            ("512 MiB", Some(512 << 20)),
            ("64k", Some(64 << 10)),
            ("1G", Some(1 << 30)),
            ("100", Some(100)),
            ("1 X", None),
            ("99999999999T", None),
        ] {
            let found = match of_text(SIZE, text) {
                Ok(Value::Size(bytes)) => Some(bytes),
                _ => None,
            };
            assert_eq!(found, want, "{text}");
        }
        assert_eq!(size_text(512 << 20), "512M");
        assert_eq!(size_text(1000), "1000");
    }

    #[test]
    fn modes_are_octal() {
        let read = |number, raw| match mode(number, raw) {
            Ok(Value::Mode(mode)) => Ok(mode),
            Ok(_) => panic!("another kind"),
            Err(wrong) => Err(wrong.help),
        };
        assert_eq!(read(0o660, "0o660"), Ok(0o660));
        assert_eq!(read(660, "660"), Err("modes are octal: write 0o660".to_owned()));
        assert_eq!(read(0o7777, "0o7777"), Err("0o777 is the most".to_owned()));
        assert_eq!(read(-1, "-1"), Err(write(Kind::Mode)));
        assert!(matches!(octal("0660"), Ok(Value::Mode(0o660))));
        assert!(octal("+7").is_err() && octal("668").is_err());
    }

    #[test]
    fn addresses_are_read() {
        let inet = |host: Option<&str>, port, only_v6| {
            Some(Address::Inet { host: host.map(str::to_owned), port, only_v6 })
        };
        for (text, want) in [
            ("unix:/run/x", Some(Address::Unix("/run/x".into()))),
            ("inet:localhost:12345", inet(Some("localhost"), 12345, false)),
            ("127.0.0.1:9154", inet(Some("127.0.0.1"), 9154, false)),
            ("inet:[::1]:9", inet(Some("::1"), 9, false)),
            ("inet6:*:9", inet(None, 9, true)),
            ("inet::9", inet(None, 9, false)),
            ("inet:::1:9", None),
            ("inet:[x]:9", None),
            ("inet:host", None),
            ("inet:host:0", None),
            ("inet:host:+1", None),
            ("inet:host:65536", None),
            ("inet:a b:1", None),
            ("unix:x", None),
            ("/run/x", None),
            ("", None),
        ] {
            assert_eq!(address(Kind::Address, text).ok(), want, "{text}");
            let tcp_only = want.filter(|address| matches!(address, Address::Inet { .. }));
            assert_eq!(address(Kind::TcpAddress, text).ok(), tcp_only, "{text}");
        }
    }

    #[test]
    fn fields_print_names_only() {
        let field = Field { name: "pass".into(), value: Some("opensesame".into()) };
        assert_eq!(format!("{field:?}"), "pass");
    }
}
