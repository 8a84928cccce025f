//! One line → one command (RFC 2033, RFC 5321 §4.1, RFC 3030, RFC 1870, RFC 6531). Pure.

use super::path::{self, Mailbox};
use super::reply::Reply;

/// The longest command line that is taken, its line end included (Dovecot 2.3.19 takes as much).
pub const LONGEST_LINE: usize = 4096;

/// A command that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// `LHLO name`.
    Lhlo(&'a str),
    /// `MAIL FROM:<path> …`.
    Mail(Mail),
    /// `RCPT TO:<path>`.
    Rcpt(Mailbox),
    /// `DATA`.
    Data,
    /// `BDAT size [LAST]`: that many octets follow.
    Bdat {
        /// How many octets.
        size: u64,
        /// Whether the message ends with them.
        last: bool,
    },
    /// `RSET`.
    Rset,
    /// `NOOP`.
    Noop,
    /// `VRFY name`.
    Vrfy,
    /// `QUIT`.
    Quit,
}

/// What MAIL says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mail {
    /// The sender; `None` for the null path, and for an address so broken that no bounce could go there.
    pub sender: Option<Mailbox>,
    /// `SIZE=` (RFC 1870).
    pub size: Option<u64>,
    /// `SMTPUTF8` (RFC 6531).
    pub is_internationalized: bool,
}

/// Reads a line without its line end.
///
/// # Errors
/// The reply to a line that is no command of ours. After a `BDAT` that cannot be read the octets that follow it
/// cannot be told from commands.
pub fn parse(line: &[u8]) -> Result<Command<'_>, Reply> {
    let line = line.trim_ascii_end();
    let Ok(text) = std::str::from_utf8(line) else { return Err(Reply::INVALID_SYNTAX) };
    if text.chars().any(char::is_control) {
        return Err(Reply::INVALID_SYNTAX);
    }
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    if rest.starts_with(' ') {
        return Err(Reply::INVALID_SYNTAX);
    }
    let is = |name: &str| verb.eq_ignore_ascii_case(name);
    let bare = |command| if rest.is_empty() { Ok(command) } else { Err(Reply::INVALID_PARAMETERS) };
    match verb.len() {
        4 if is("LHLO") && rest.is_empty() => Err(Reply::NO_HOST_NAME),
        4 if is("LHLO") => Ok(Command::Lhlo(rest)),
        4 if is("MAIL") => mail(rest).map(Command::Mail),
        4 if is("RCPT") => rcpt(rest).map(Command::Rcpt),
        4 if is("DATA") => bare(Command::Data),
        4 if is("BDAT") => bdat(rest),
        4 if is("RSET") => bare(Command::Rset),
        4 if is("QUIT") => bare(Command::Quit),
        4 if is("NOOP") => Ok(Command::Noop),
        4 if is("VRFY") && rest.is_empty() => Err(Reply::INVALID_PARAMETERS),
        4 if is("VRFY") => Ok(Command::Vrfy),
        _ => Err(Reply::UNKNOWN_COMMAND),
    }
}

/// What follows `name:`, in any case.
fn after<'a>(rest: &'a str, name: &str) -> Result<&'a str, Reply> {
    let (word, path) = rest.split_once(':').ok_or(Reply::INVALID_PARAMETERS)?;
    if word.eq_ignore_ascii_case(name) { Ok(path) } else { Err(Reply::INVALID_PARAMETERS) }
}

fn mail(rest: &str) -> Result<Mail, Reply> {
    let text = after(rest, "FROM")?;
    let (sender, parameters) = match path::parse(text) {
        Ok(parsed) => (parsed.mailbox, parsed.parameters),
        // Refusing it would only bounce the mail, to an address that takes no bounce.
        Err(error) => (None, path::broken(text).ok_or_else(|| Reply::invalid("FROM", error.text()))?),
    };
    let mut mail = Mail { sender, ..Mail::default() };
    let mut has_body = false;
    for parameter in parameters.split(' ') {
        if parameters.is_empty() {
            break;
        }
        let (keyword, value) = match parameter.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (parameter, None),
        };
        if !is_keyword(keyword) {
            return Err(Reply::invalid_parameter(parameter.is_empty()));
        }
        if keyword.eq_ignore_ascii_case("SIZE") {
            let size = value.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
            let size = size.and_then(|digits| digits.parse().ok()).ok_or(Reply::INVALID_SIZE)?;
            if mail.size.replace(size).is_some() {
                return Err(Reply::DUPLICATE_SIZE);
            }
        } else if keyword.eq_ignore_ascii_case("BODY") {
            let body = value.ok_or(Reply::MISSING_BODY)?;
            if !["7BIT", "8BITMIME"].iter().any(|known| body.eq_ignore_ascii_case(known)) {
                return Err(Reply::UNSUPPORTED_BODY);
            }
            if std::mem::replace(&mut has_body, true) {
                return Err(Reply::DUPLICATE_BODY);
            }
        } else if keyword.eq_ignore_ascii_case("SMTPUTF8") && value.is_none() {
            mail.is_internationalized = true;
        } else {
            return Err(Reply::UNSUPPORTED_PARAMETERS);
        }
    }
    Ok(mail)
}

/// esmtp-keyword of RFC 5321 §4.1.2.
fn is_keyword(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric()) && text.bytes().all(is_inner)
}

fn rcpt(rest: &str) -> Result<Mailbox, Reply> {
    let parsed = path::parse(after(rest, "TO")?).map_err(|error| Reply::invalid("TO", error.text()))?;
    let mailbox = parsed.mailbox.ok_or_else(|| Reply::invalid("TO", "Null path not allowed"))?;
    if parsed.parameters.is_empty() { Ok(mailbox) } else { Err(Reply::UNSUPPORTED_PARAMETERS) }
}

fn bdat<'a>(rest: &str) -> Result<Command<'a>, Reply> {
    let mut words = rest.split(' ');
    let digits = words.next().unwrap_or_default();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Reply::INVALID_CHUNK_SIZE);
    }
    let size = digits.parse().map_err(|_too_large| Reply::INVALID_CHUNK_SIZE)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return Err(Reply::INVALID_CHUNK_END),
    };
    if words.next().is_some() { Err(Reply::INVALID_PARAMETERS) } else { Ok(Command::Bdat { size, last }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reply's code and status, or the command.
    fn of(line: &str) -> String {
        match parse(line.as_bytes()) {
            Ok(command) => format!("{command:?}"),
            Err(reply) => {
                let mut out = Vec::new();
                reply.write(&mut out);
                String::from_utf8(out).unwrap().trim_end().to_owned()
            }
        }
    }

    #[test]
    fn commands_in_any_case() {
        for (line, wanted) in [
            ("LHLO c.example", "Lhlo(\"c.example\")"),
            ("lhlo a b", "Lhlo(\"a b\")"),
            ("data", "Data"),
            ("NOOP", "Noop"),
            ("NOOP x y ", "Noop"),
            ("rset ", "Rset"),
            ("VRFY anna", "Vrfy"),
            ("QUIT", "Quit"),
            ("BDAT 0", "Bdat { size: 0, last: false }"),
            ("bdat 18446744073709551615 last", "Bdat { size: 18446744073709551615, last: true }"),
        ] {
            assert_eq!(of(line), wanted, "{line}");
        }
    }

    #[test]
    fn refused_as_dovecot_refuses() {
        for (line, wanted) in [
            ("", "500 5.5.1 Unknown command"),
            ("HELO x", "500 5.5.1 Unknown command"),
            ("EHLO x", "500 5.5.1 Unknown command"),
            ("HELP", "500 5.5.1 Unknown command"),
            (" NOOP", "500 5.5.1 Unknown command"),
            ("NOOP\rX", "500 5.5.2 Invalid command syntax"),
            ("MAIL  FROM:<>", "500 5.5.2 Invalid command syntax"),
            ("LHLO", "501 5.5.4 Missing hostname"),
            ("RSET x", "501 5.5.4 Invalid parameters"),
            ("DATA x", "501 5.5.4 Invalid parameters"),
            ("QUIT x", "501 5.5.4 Invalid parameters"),
            ("VRFY", "501 5.5.4 Invalid parameters"),
            ("MAIL", "501 5.5.4 Invalid parameters"),
            ("MAIL FROM", "501 5.5.4 Invalid parameters"),
            ("MAIL FROM :<>", "501 5.5.4 Invalid parameters"),
            ("RCPT FROM:<a>", "501 5.5.4 Invalid parameters"),
            ("MAIL FROM: <>", "501 5.5.4 Invalid FROM: Unexpected whitespace before path"),
            ("RCPT TO:a@b", "501 5.5.4 Invalid TO: Missing '<' at beginning of path"),
            ("RCPT TO:<>", "501 5.5.4 Invalid TO: Null path not allowed"),
            ("RCPT TO:<a@b> NOTIFY=NEVER", "555 5.5.4 Unsupported parameters"),
            ("MAIL FROM:<>  SIZE=1", "501 5.5.4 Invalid MAIL parameter: Parameter is empty"),
            (
                "MAIL FROM:<> =x",
                "501 5.5.4 Invalid MAIL parameter: Unexpected character in parameter keyword",
            ),
            ("MAIL FROM:<> RET=HDRS", "555 5.5.4 Unsupported parameters"),
            ("MAIL FROM:<> BODY", "501 5.5.4 Missing BODY= parameter value"),
            ("MAIL FROM:<> BODY=BINARYMIME", "555 5.5.4 Unsupported mail BODY type"),
            ("MAIL FROM:<> BODY=7BIT BODY=7BIT", "501 5.5.4 Duplicate BODY= parameter"),
            ("MAIL FROM:<> SIZE=x", "501 5.5.4 Invalid SIZE= parameter value"),
            ("MAIL FROM:<> SIZE", "501 5.5.4 Invalid SIZE= parameter value"),
            ("MAIL FROM:<> SIZE=1 SIZE=1", "501 5.5.4 Duplicate SIZE= parameter"),
            ("BDAT", "501 5.5.4 Invalid chunk size parameter"),
            ("BDAT -1", "501 5.5.4 Invalid chunk size parameter"),
            ("BDAT 99999999999999999999", "501 5.5.4 Invalid chunk size parameter"),
            ("BDAT 3 FOO", "501 5.5.4 Invalid end marker parameter"),
            ("BDAT 3 LAST LAST", "501 5.5.4 Invalid parameters"),
        ] {
            assert_eq!(of(line), wanted, "{line}");
        }
        assert!(parse(b"NOOP \xff").is_err());
    }

    #[test]
    fn mail_and_its_parameters() {
        let Ok(Command::Mail(mail)) = parse(b"mail from:<a@b> size=12 body=8bitmime smtputf8") else {
            panic!()
        };
        assert_eq!(mail.sender.unwrap().to_string(), "a@b");
        assert_eq!((mail.size, mail.is_internationalized), (Some(12), true));
        let Ok(Command::Mail(mail)) = parse(b"MAIL FROM:<x@> SIZE=3") else { panic!() };
        assert_eq!((mail.sender, mail.size), (None, Some(3)));
        let Ok(Command::Mail(mail)) = parse(b"MAIL FROM:<>") else { panic!() };
        assert_eq!(mail, Mail::default());
    }
}
