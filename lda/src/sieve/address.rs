//! Mail addresses in scripts and header fields (RFC 5322 §3.4): what a script may send to, who a message is for.

/// Longest address that is sent to (RFC 5321 §4.5.3.1.3).
const MAX_ADDRESS: usize = 254;
/// Addresses looked at in one field.
const MAX_IN_FIELD: usize = 1000;

/// Reads the one address of a string, with or without a display name.
///
/// # Errors
/// Why it is none, for "address is invalid: …".
pub fn parse(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) {
        return Err("it has control characters".to_owned());
    }
    let mut found = in_field(text);
    let first = found.next();
    if found.next().is_some() {
        return Err("more than one address".to_owned());
    }
    let Some(address) = first else {
        return Err("it is empty".to_owned());
    };
    let Some((local, domain)) = address.rsplit_once('@') else {
        return Err(format!("invalid or lonely local part '{address}' (expecting '@')"));
    };
    if local.is_empty() || !is_local_part(local) {
        return Err(format!("invalid local part '{local}'"));
    }
    if !is_domain(domain) {
        return Err(format!("invalid domain '{domain}'"));
    }
    if address.len() > MAX_ADDRESS {
        return Err(format!("it is longer than {MAX_ADDRESS} bytes"));
    }
    Ok(address)
}

fn is_local_part(local: &str) -> bool {
    if let Some(inner) = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return !inner.chars().any(char::is_control);
    }
    local.split('.').all(|atom| {
        !atom.is_empty()
            && atom.chars().all(|c| !c.is_control() && !c.is_whitespace() && !"()<>[]:;@\\,\"".contains(c))
    })
}

fn is_domain(domain: &str) -> bool {
    if let Some(literal) = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return !literal.is_empty()
            && literal.bytes().all(|byte| byte.is_ascii_hexdigit() || b":.IPvip".contains(&byte));
    }
    domain.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_' || !c.is_ascii())
            && !label.chars().any(|c| c.is_control() || c.is_whitespace())
    })
}

/// The addresses in a field's value: display names, comments and names of groups are left out, and what is broken is
/// given as it stands.
pub fn in_field(value: &str) -> impl Iterator<Item = String> {
    let mut scanner = Scanner::default();
    for c in value.chars() {
        if scanner.found.len() >= MAX_IN_FIELD {
            break;
        }
        scanner.step(c);
    }
    scanner.end();
    scanner.found.into_iter()
}

#[derive(Default)]
struct Scanner {
    found: Vec<String>,
    /// What stands outside of angle brackets.
    outside: String,
    /// What stands inside of them.
    inside: Option<String>,
    /// The address in brackets has ended; what follows up to the comma is nothing.
    closed: bool,
    comment: usize,
    quoted: bool,
    escaped: bool,
}

impl Scanner {
    fn step(&mut self, c: char) {
        if self.escaped {
            self.escaped = false;
            if self.comment == 0 {
                self.push(c);
            }
        } else if self.quoted {
            self.push(c);
            match c {
                '\\' => self.escaped = true,
                '"' => self.quoted = false,
                _ => {}
            }
        } else if self.comment > 0 {
            match c {
                '\\' => self.escaped = true,
                '(' => self.comment += 1,
                ')' => self.comment -= 1,
                _ => {}
            }
        } else {
            match c {
                '(' => self.comment = 1,
                '"' => {
                    self.quoted = true;
                    self.push(c);
                }
                '<' => self.inside = Some(String::new()),
                '>' => self.closed = self.inside.is_some(),
                ',' | ';' => self.end(),
                // The name of a group (RFC 5322 §3.4); within brackets it ends an old route.
                ':' => match &mut self.inside {
                    Some(inside) if inside.starts_with('@') => inside.clear(),
                    Some(inside) => inside.push(c),
                    None if self.outside.contains('[') => self.outside.push(c),
                    None => self.outside.clear(),
                },
                c if c.is_whitespace() && self.inside.is_some() => {}
                c => self.push(c),
            }
        }
    }

    fn push(&mut self, c: char) {
        match &mut self.inside {
            Some(inside) if !self.closed => inside.push(c),
            Some(_) => {}
            None => self.outside.push(c),
        }
    }

    fn end(&mut self) {
        let outside = std::mem::take(&mut self.outside);
        let address = match self.inside.take() {
            Some(inside) => inside,
            None => outside.trim().to_owned(),
        };
        self.closed = false;
        if !address.is_empty() {
            self.found.push(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_with_or_without_a_name() {
        for (text, address) in [
            ("bob@b.example", "bob@b.example"),
            (" bob@b.example ", "bob@b.example"),
            ("Bob <bob@b.example>", "bob@b.example"),
            ("\"B, ob\" <bob@b.example>", "bob@b.example"),
            ("bob@localhost", "bob@localhost"),
            ("\"b b\"@b.example", "\"b b\"@b.example"),
            ("bob@[192.0.2.1]", "bob@[192.0.2.1]"),
            ("bob+x@b.example (Bob)", "bob+x@b.example"),
            ("jürgen@münchen.example", "jürgen@münchen.example"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(address), "{text}");
        }
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "",
            " ",
            "bob",
            "@b.example",
            "bob@",
            "bob@b..example",
            "bob@-x",
            "a@b, c@d",
            "b ob@b.example",
            "bob@b.example\r\nBcc: x@y",
            "bob@b example",
            ".bob@b.example",
            "<>",
            "-f@\u{1}",
            "a\u{85}b@c",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert!(parse(&format!("{}@b.example", "a".repeat(300))).is_err());
    }

    #[test]
    fn fields_with_groups_and_comments() {
        let found: Vec<_> = in_field(
            "Team: a@x.example, \"b, c\" <b@x.example>;, (no <c@x.example>) D <@r.example:d@x.example>, broken, <e@x.example>x",
        )
        .collect();
        assert_eq!(found, ["a@x.example", "b@x.example", "d@x.example", "broken", "e@x.example"]);
        assert_eq!(in_field(&"a@b,".repeat(5000)).count(), MAX_IN_FIELD);
    }
}
