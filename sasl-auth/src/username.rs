//! Names as clients send them, turned into the names that databases hold.

use std::fmt;

use crate::config::settings::Names;
use crate::request::Request;
use crate::variables::{Template, TemplateError, Values};

/// The longest name in bytes, before and after `username_format`. Longer ones are no mail user's.
const LONGEST: usize = 1024;

/// The rules of `[names]`, compiled.
#[derive(Debug, Clone)]
pub struct Usernames {
    format: Format,
    chars: Chars,
    /// Pairs of from and to; the last pair of a character counts, as in Dovecot.
    translation: Vec<(char, char)>,
    default_realm: String,
    delimiters: String,
    separator: Option<char>,
}

/// A normalised name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Whose password it is.
    pub user: String,
    /// With a master user separator: whom that user wants to act for.
    pub login: Option<String>,
}

/// A name that no user can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadName {
    /// Nothing is left of it.
    Empty,
    /// `*master`: nobody is named before the separator.
    EmptyLogin,
    /// A character that `username_chars` does not have, or a control character.
    Character(char),
    /// More than 1024 bytes.
    TooLong,
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty username"),
            Self::EmptyLogin => f.write_str("Empty login username"),
            Self::Character(letter) => {
                write!(f, "Username character disallowed by username_chars: 0x{:02x}", u32::from(*letter))
            }
            Self::TooLong => f.write_str("Username is too long"),
        }
    }
}

impl std::error::Error for BadName {}

/// `username_format`.
#[derive(Debug, Clone)]
enum Format {
    /// Names stay as they are.
    Keep,
    /// `%Lu`, the default: worth a way of its own, since every request takes it.
    Lower,
    /// Any other.
    Template(Template),
}

impl Format {
    fn parse(text: &str) -> Result<Self, TemplateError> {
        let template = Template::parse(text)?;
        Ok(if text.is_empty() || template == Template::parse("%u")? {
            Self::Keep
        } else if template == Template::parse("%Lu")? {
            Self::Lower
        } else {
            Self::Template(template)
        })
    }
}

/// What `username_chars` allows.
#[derive(Debug, Clone)]
struct Chars {
    /// For ASCII; `None` allows all.
    ascii: Option<[bool; 128]>,
}

impl Chars {
    /// A range needs two letters of one case, or two digits: `.-_` is three characters.
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self { ascii: None });
        }
        let mut ascii = [false; 128];
        let letters: Vec<char> = text.chars().collect();
        let mut rest = letters.as_slice();
        while let Some((&first, after)) = rest.split_first() {
            let range = match after {
                ['-', last, ..] if same_kind(first, *last) => Some(*last),
                _ => None,
            };
            rest = match range {
                Some(last) if last < first => {
                    return Err(format!("username_chars: the range `{first}-{last}` is empty"));
                }
                Some(_) => after.get(2..).unwrap_or_default(),
                None => after,
            };
            if first.is_control() {
                return Err("username_chars: control characters are never allowed in names".into());
            }
            for allowed in first..=range.unwrap_or(first) {
                if let Some(slot) = ascii.get_mut(allowed as usize) {
                    *slot = true;
                }
            }
        }
        Ok(Self { ascii: Some(ascii) })
    }

    fn allows(&self, letter: char) -> bool {
        !letter.is_control()
            && self.ascii.as_ref().is_none_or(|ascii| ascii.get(letter as usize).copied().unwrap_or(true))
    }
}

fn same_kind(a: char, b: char) -> bool {
    (a.is_ascii_lowercase() && b.is_ascii_lowercase())
        || (a.is_ascii_uppercase() && b.is_ascii_uppercase())
        || (a.is_ascii_digit() && b.is_ascii_digit())
}

impl Names {
    /// Makes the rules ready for use.
    ///
    /// # Errors
    /// The setting and what is wrong with it: an unreadable template, a range that is empty, a
    /// translation with a character that has no partner.
    pub fn compile(&self) -> Result<Usernames, String> {
        let format =
            Format::parse(&self.username_format).map_err(|error| format!("username_format: {error}"))?;
        let letters: Vec<char> = self.username_translation.chars().collect();
        let (pairs, odd) = letters.as_chunks::<2>();
        if let Some(letter) = odd.first() {
            return Err(format!("username_translation: `{letter}` has no partner"));
        }
        Ok(Usernames {
            format,
            chars: Chars::parse(&self.username_chars)?,
            translation: pairs.iter().rev().map(|[from, to]| (*from, *to)).collect(),
            default_realm: self.default_realm.clone(),
            delimiters: self.recipient_delimiter.clone(),
            separator: self.master_user_separator,
        })
    }
}

impl Usernames {
    /// The name for a request that holds nothing else yet; see [`Self::normalise_for`].
    ///
    /// # Errors
    /// As [`Self::normalise_for`].
    pub fn normalise(&self, raw: &str) -> Result<Name, BadName> {
        self.normalise_for(raw, &Request::default())
    }

    /// The name that stands for `raw`, in Dovecot's order of steps: the master user's name is taken
    /// off at the first separator; the default realm is added to a name without `@`; characters are
    /// translated, then compared with `username_chars`; then, which Dovecot does not do, what stands
    /// behind a recipient delimiter goes; last `username_format` is applied, whose other variables
    /// come from `request`.
    ///
    /// # Errors
    /// A name that breaks the rules, or is empty, or has a control character in the end.
    pub fn normalise_for(&self, raw: &str, request: &Request) -> Result<Name, BadName> {
        let (login, raw) = match self.separator.and_then(|separator| raw.split_once(separator)) {
            Some((login, master)) => (Some(login), master),
            None => (None, raw),
        };
        let user = self.one(raw, request)?;
        let login = match login {
            None => None,
            Some("") => return Err(BadName::EmptyLogin),
            // Somebody who acts for himself just logs in.
            Some(login) => Some(self.one(login, request)?).filter(|login| *login != user),
        };
        Ok(Name { user, login })
    }

    /// A name without a separator, e.g. an authzid or the argument of a look-up.
    ///
    /// # Errors
    /// As [`Self::normalise_for`].
    pub fn one(&self, raw: &str, request: &Request) -> Result<String, BadName> {
        if raw.len() > LONGEST {
            return Err(BadName::TooLong);
        }
        if raw.is_empty() {
            return Err(BadName::Empty);
        }
        let realm =
            (!self.default_realm.is_empty() && !raw.contains('@')).then_some(["@", &self.default_realm]);
        let letters = raw.chars().chain(realm.iter().flatten().flat_map(|text| text.chars()));
        let mut name = String::with_capacity(raw.len());
        for letter in letters {
            let letter =
                self.translation.iter().find(|(from, _)| *from == letter).map_or(letter, |(_, to)| *to);
            if !self.chars.allows(letter) {
                return Err(BadName::Character(letter));
            }
            name.push(letter);
        }
        self.strip_detail(&mut name);
        match &self.format {
            Format::Keep => {}
            Format::Lower => name.make_ascii_lowercase(),
            Format::Template(template) => {
                let filled = Request { user: name, original_user: raw.to_owned(), ..request.clone() };
                name = template.expand(&Values::of(&filled));
            }
        }
        match name.chars().find(|letter| letter.is_control()) {
            Some(letter) => Err(BadName::Character(letter)),
            None if name.is_empty() => Err(BadName::Empty),
            None if name.len() > LONGEST => Err(BadName::TooLong),
            None => Ok(name),
        }
    }

    /// Takes `+detail` out of `user+detail@domain`. A name that begins with the delimiter keeps it.
    fn strip_detail(&self, name: &mut String) {
        let end = name.find('@').unwrap_or(name.len());
        let start = name.get(..end).and_then(|local| local.find(|letter| self.delimiters.contains(letter)));
        if let Some(start) = start.filter(|start| *start > 0) {
            name.drain(start..end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names {
            username_format: "%{user|lower}".into(),
            username_chars: "a-zA-Z0-9.-_@+".into(),
            username_translation: String::new(),
            default_realm: String::new(),
            recipient_delimiter: String::new(),
            master_user_separator: None,
            anonymous_username: "anonymous".into(),
            hostname: "mx".into(),
        }
    }

    fn user(names: &Names, raw: &str) -> Result<String, BadName> {
        names.compile().unwrap().normalise(raw).map(|name| name.user)
    }

    #[test]
    fn the_default_rules() {
        let names = names();
        assert_eq!(user(&names, "Joe@Example.COM").as_deref(), Ok("joe@example.com"));
        assert_eq!(user(&names, "joe.x_y-z+1").as_deref(), Ok("joe.x_y-z+1"));
        assert_eq!(user(&names, "jörg").as_deref(), Ok("jörg"));
        assert_eq!(user(&names, "a b"), Err(BadName::Character(' ')));
        for not in ["a/b", "a:b", "a<b", "a=b", "a\\b", "a[b", "a\tb", "a\u{85}b", "a\u{7f}"] {
            assert!(user(&names, not).is_err(), "{not:?}");
        }
        assert_eq!(user(&names, ""), Err(BadName::Empty));
        assert_eq!(user(&names, &"a".repeat(1025)), Err(BadName::TooLong));
        assert_eq!(
            BadName::Character(' ').to_string(),
            "Username character disallowed by username_chars: 0x20"
        );
    }

    #[test]
    fn the_steps_have_dovecot_2_3_19s_order() {
        // The realm is added before translation, so `%` turned into `@` gets one, and is itself translated.
        let rules = Names { username_translation: "%@AB".into(), default_realm: "Re.alm".into(), ..names() };
        assert_eq!(user(&rules, "a%b").as_deref(), Ok("a@b@re.alm"));
        assert_eq!(user(&rules, "Axy").as_deref(), Ok("bxy@re.alm"));
        assert_eq!(user(&rules, "x@").as_deref(), Ok("x@"));
        let rules = Names { default_realm: "re alm".into(), ..names() };
        assert_eq!(user(&rules, "a"), Err(BadName::Character(' ')));
        let rules = Names { username_format: "%d".into(), ..names() };
        assert_eq!(user(&rules, "joe"), Err(BadName::Empty));
        let rules = Names { username_format: String::new(), username_chars: String::new(), ..names() };
        assert_eq!(user(&rules, "A b").as_deref(), Ok("A b"));
        assert_eq!(user(&rules, "A\nb"), Err(BadName::Character('\n')));
    }

    #[test]
    fn short_ways_and_templates_give_the_same() {
        for (format, want) in [
            ("", "JöÖ@X"),
            ("%u", "JöÖ@X"),
            ("%Lu", "jöÖ@x"),
            ("%{user | lower}", "jöÖ@x"),
            ("%LTu", "jöÖ@x"),
        ] {
            let rules = Names { username_format: format.into(), ..names() };
            assert_eq!(user(&rules, "JöÖ@X").as_deref(), Ok(want), "{format}");
        }
        let rules = Names { username_format: "%{orig_user}-%s".into(), ..names() };
        let request = Request { service: "smtp".into(), ..Request::default() };
        assert_eq!(rules.compile().unwrap().normalise_for("a", &request).unwrap().user, "a-smtp");
    }

    #[test]
    fn a_delimiter_ends_the_user() {
        let rules = Names { recipient_delimiter: "+-".into(), ..names() };
        for (raw, want) in [
            ("joe+tag@example.com", "joe@example.com"),
            ("joe-a+b@example.com", "joe@example.com"),
            ("joe+tag", "joe"),
            ("joe@ex+ample.com", "joe@ex+ample.com"),
            ("+tag@example.com", "+tag@example.com"),
        ] {
            assert_eq!(user(&rules, raw).as_deref(), Ok(want), "{raw}");
        }
        assert_eq!(user(&names(), "joe+tag@x").as_deref(), Ok("joe+tag@x"));
    }

    #[test]
    fn a_master_user_stands_behind_the_separator() {
        let rules = Names { master_user_separator: Some('*'), default_realm: "r".into(), ..names() };
        let normalise = |raw| rules.compile().unwrap().normalise(raw);
        let name =
            |user: &str, login: Option<&str>| Ok(Name { user: user.into(), login: login.map(Into::into) });
        assert_eq!(normalise("Joe@X*Boss"), name("boss@r", Some("joe@x")));
        assert_eq!(normalise("joe"), name("joe@r", None));
        assert_eq!(normalise("joe*JOE"), name("joe@r", None));
        assert_eq!(normalise("joe*"), Err(BadName::Empty));
        assert_eq!(normalise("*boss"), Err(BadName::EmptyLogin));
        assert_eq!(normalise("joe*b*c"), Err(BadName::Character('*')));
        assert_eq!(normalise("j oe*b"), Err(BadName::Character(' ')));
    }

    #[test]
    fn bad_rules_are_named() {
        for (rules, part) in [
            (Names { username_format: "%{usr}".into(), ..names() }, "username_format"),
            (Names { username_chars: "z-a".into(), ..names() }, "z-a"),
            (Names { username_translation: "abc".into(), ..names() }, "`c`"),
        ] {
            assert!(rules.compile().unwrap_err().contains(part));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_name_has_control_characters(raw in "\\PC*|(?s).{0,40}", format in "%u|%Ru|%7\\.3u|%\\{domain\\}|x%n") {
            let rules = Names { username_chars: String::new(), username_format: format, ..names() };
            if let Ok(name) = rules.compile().unwrap().normalise(&raw) {
                proptest::prop_assert!(!name.user.is_empty() && !name.user.chars().any(char::is_control));
            }
        }
    }
}
