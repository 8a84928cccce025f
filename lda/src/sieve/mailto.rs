//! Notification methods: `mailto:` addresses of resources (RFC 6068) as RFC 5436 uses them.

use super::address;

/// Recipients that a notification may have in all.
const MAX_RECIPIENTS: usize = 8;
/// Fields that a notification may set, and the longest of them.
const MAX_FIELDS: usize = 16;
const MAX_VALUE: usize = 4096;

/// A notification by mail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mailto {
    /// Who stands in To.
    pub to: Vec<String>,
    /// Who stands in Cc.
    pub cc: Vec<String>,
    /// The subject asked for.
    pub subject: Option<String>,
    /// The body asked for.
    pub body: Option<String>,
    /// Other fields, those of RFC 5436 §2.7 left out.
    pub fields: Vec<(String, String)>,
}

impl Mailto {
    /// All recipients.
    pub fn recipients(&self) -> impl Iterator<Item = &String> {
        self.to.iter().chain(&self.cc)
    }
}

/// Reads a notification method.
///
/// # Errors
/// Why it is none that can be used.
pub fn parse(method: &str) -> Result<Mailto, String> {
    let Some((scheme, rest)) = method.split_once(':') else {
        return Err(format!("invalid method '{method}' (it has no ':')"));
    };
    if !scheme.eq_ignore_ascii_case("mailto") {
        return Err(format!("invalid method '{scheme}'"));
    }
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let (to, fields) = rest.split_once('?').unwrap_or((rest, ""));
    let mut mailto = Mailto::default();
    for part in to.split(',').filter(|part| !part.is_empty()) {
        mailto.to.push(address::parse(&decode(part)?)?);
    }
    for field in fields.split('&').filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once('=').ok_or_else(|| format!("the field '{field}' has no '='"))?;
        mailto.field(&decode(name)?, &decode(value)?)?;
    }
    let recipients = mailto.recipients().count();
    if recipients == 0 {
        return Err("mailto URI specifies no recipients".to_owned());
    }
    if recipients > MAX_RECIPIENTS {
        return Err(format!("mailto URI specifies more than {MAX_RECIPIENTS} recipients"));
    }
    Ok(mailto)
}

impl Mailto {
    fn field(&mut self, name: &str, value: &str) -> Result<(), String> {
        if !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
            || name.is_empty()
            || name.len() > 70
        {
            return Err(format!("'{name}' is no name of a field"));
        }
        if value.len() > MAX_VALUE {
            return Err(format!("the field '{name}' is longer than {MAX_VALUE} bytes"));
        }
        let name = name.to_ascii_lowercase();
        if name == "body" {
            self.body = Some(value.replace("\r\n", "\n").replace('\n', "\r\n"));
            return Ok(());
        }
        if value.chars().any(char::is_control) {
            return Err(format!("the field '{name}' has control characters"));
        }
        match name.as_str() {
            "to" | "cc" => {
                let list = if name == "to" { &mut self.to } else { &mut self.cc };
                for part in address::in_field(value) {
                    list.push(address::parse(&part)?);
                }
            }
            "subject" => self.subject = Some(value.to_owned()),
            // RFC 5436 §2.7: what tells where a message comes from is not the script's. Bcc: as Pigeonhole.
            "bcc" | "from" | "sender" | "date" | "message-id" | "return-path" | "received"
            | "auto-submitted" | "mime-version" | "precedence" | "in-reply-to" | "references" => {}
            name if name.starts_with("resent-") || name.starts_with("content-") => {}
            name if name.starts_with("x-sieve") => {}
            _ if self.fields.len() < MAX_FIELDS => self.fields.push((name, value.to_owned())),
            _ => return Err(format!("mailto URI sets more than {MAX_FIELDS} fields")),
        }
        Ok(())
    }
}

/// Undoes %XX (RFC 3986 §2.1).
fn decode(text: &str) -> Result<String, String> {
    let broken = || format!("invalid % encoding in '{text}'");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
            let (high, low) = (digit(rest.next()), digit(rest.next()));
            let (Some(high), Some(low)) = (high, low) else {
                return Err(broken());
            };
            bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_not_utf8| broken())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_and_fields() {
        let mailto = parse(
            "MAILTO:a%2bx@x.example,b@x.example?subject=H%C3%A4%20y&cc=c@x.example&BODY=1%0D%0A2&X-Foo=bar&from=evil@x.example",
        )
        .unwrap();
        assert_eq!(mailto.to, ["a+x@x.example", "b@x.example"]);
        assert_eq!(mailto.cc, ["c@x.example"]);
        assert_eq!(mailto.subject.as_deref(), Some("Hä y"));
        assert_eq!(mailto.body.as_deref(), Some("1\r\n2"));
        assert_eq!(mailto.fields, [("x-foo".to_owned(), "bar".to_owned())]);
    }

    #[test]
    fn broken_ones() {
        for (method, says) in [
            ("foo:bar", "invalid method 'foo'"),
            ("bar", "no ':'"),
            ("mailto:", "no recipients"),
            ("mailto:a%2@x.example", "encoding"),
            ("mailto:a%ff@x.example", "encoding"),
            ("mailto:bob", "expecting '@'"),
            ("mailto:a@x.example?subject", "no '='"),
            ("mailto:a@x.example?subject=a%0d%0ab", "control"),
            ("mailto:a@x.example?x%0dy=1", "no name of a field"),
            ("mailto:?cc=a@x.example%0d%0abcc:b@x.example", "control"),
        ] {
            let why = parse(method).unwrap_err();
            assert!(why.contains(says), "{method}: {why}");
        }
        let many = format!("mailto:{}", ["a@x.example"; 9].join(","));
        assert!(parse(&many).unwrap_err().contains("more than 8"));
    }
}
