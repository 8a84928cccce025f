//! Whose Authentication-Results field is this? Only the first token counts (RFC 8601 §5).
//!
//! A field that carries our own authserv-id and comes from outside is a forgery, whatever the rest
//! of it says and whether or not the rest can be read. The comparison errs on the side of removal:
//! what any reader could take for our id is taken for it.

use crate::address::after_comment;

/// Whether the field's value could be read as carrying an authserv-id for which `is_ours` says
/// yes. `is_ours` gets lower-case text without a final dot.
#[must_use]
pub fn could_be_ours(value: &[u8], is_ours: impl Fn(&str) -> bool) -> bool {
    let text = String::from_utf8_lossy(value);
    let candidates = candidates(&text);
    candidates.iter().any(|candidate| {
        let plain = candidate.trim_end_matches('.').to_lowercase();
        !plain.is_empty() && is_ours(&plain)
    })
}

/// Every reading of the first segment: its first word, that word up to a slash, all of it with
/// blanks and comments taken out, and each word when a comment or quote is left open.
fn candidates(text: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let open_comments = open_comments(text);
    let mut chars = text.chars();
    let mut closed = true;
    while let Some(c) = chars.next() {
        match c {
            ';' => break,
            '(' => {
                let at = text.len() - chars.as_str().len() - 1;
                let is_open = open_comments.binary_search(&at).is_ok();
                match text.get(at..).filter(|_| !is_open).and_then(after_comment) {
                    Some(rest) => {
                        chars = rest.chars();
                        next_word(&mut words);
                    }
                    None => closed = false,
                }
            }
            '"' => closed &= take_quoted(&mut chars, &mut words),
            '\\' => words.last_mut().into_iter().for_each(|word| word.extend(chars.next())),
            c if c.is_whitespace() || c.is_control() => next_word(&mut words),
            c => words.last_mut().into_iter().for_each(|word| word.push(c)),
        }
    }
    words.retain(|word| !word.is_empty());
    let mut all: Vec<String> = if closed {
        words.first().cloned().into_iter().collect()
    } else {
        // Readers differ on where such a field begins; any of its words may be the id.
        text.split(|c: char| c.is_whitespace() || "();\"\\".contains(c))
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .chain(words.clone())
            .collect()
    };
    all.push(words.concat());
    let before_slash: Vec<String> =
        all.iter().filter_map(|word| word.split_once('/')).map(|(id, _)| id.to_owned()).collect();
    all.extend(before_slash);
    all
}

fn next_word(words: &mut Vec<String>) {
    if words.last().is_none_or(|word| !word.is_empty()) {
        words.push(String::new());
    }
}

/// Where the comments begin that are never closed, in order. Found in one pass: to search for the
/// end of each would take time with the square of the length, which a sender chooses.
fn open_comments(text: &str) -> Vec<usize> {
    let mut open = Vec::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '(' => open.push(at),
            ')' => drop(open.pop()),
            '\\' => drop(chars.next()),
            _ => {}
        }
    }
    open
}

/// Takes a quoted string whose opening quote is already taken; false when it is left open.
fn take_quoted(chars: &mut std::str::Chars<'_>, words: &mut [String]) -> bool {
    while let Some(c) = chars.next() {
        let kept = match c {
            '"' => return true,
            '\\' => chars.next(),
            '\r' | '\n' => None,
            c => Some(c),
        };
        words.last_mut().into_iter().for_each(|word| word.extend(kept));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(value: &str) -> bool {
        could_be_ours(value.as_bytes(), |id| id == "mx.test.example")
    }

    #[test]
    fn every_spelling_of_our_id_is_ours() {
        for value in [
            " mx.test.example; dkim=pass",
            "mx.test.example; dkim=pass",
            " MX.Test.Example; dkim=pass",
            " mx.test.example 1; dkim=pass",
            " mx.test.example/1; dkim=pass",
            " mx.test.example/4XqJob; dkim=pass",
            " \"mx.test.example\"; dkim=pass",
            " \"mx\\.test.example\"; dkim=pass",
            " \"mx.\"test.example; dkim=pass",
            " mx.test.example.; dkim=pass",
            " (a (b) c) mx.test.example; dkim=pass",
            " mx.test.example(x); dkim=pass",
            "\r\n\tmx.test.example;\r\n\tdkim=pass",
            " mx.test.example ; dkim=pass",
            " mx . test . example; dkim=pass",
            " mx.test.example",
            " mx.test.example;; dkim/1=pass",
            " mx.test.example; none",
            " (open mx.test.example; dkim=pass",
            " \"open mx.test.example; dkim=pass",
            " \u{0}mx.test.example; dkim=pass",
            " mx.test.example\u{a0}; dkim=pass",
        ] {
            assert!(ours(value), "{value:?}");
        }
    }

    #[test]
    fn long_fields_take_no_more_than_one_look() {
        // With a look for each parenthesis these would take minutes.
        let many = 300_000;
        assert!(!ours(&"(".repeat(many)));
        assert!(!ours(&"()".repeat(many)));
        assert!(!ours(&"\"(".repeat(many)));
        assert!(ours(&format!("{}mx.test.example", "( ".repeat(many))));
        assert!(ours(&format!("{}mx.test.example; dkim=pass", "(a)".repeat(many))));
        assert!(!ours(&format!("other.example; {}mx.test.example", "(".repeat(many))));
    }

    #[test]
    fn other_ids_are_not_ours() {
        for value in [
            " a.mx.test.example; dkim=pass",
            " test.example; dkim=pass",
            " mx.test.example.evil.example; dkim=pass",
            " xmx.test.example; dkim=pass",
            " mx.other.example (mx.test.example); dkim=pass",
            " mx.other.example; spf=pass smtp.mailfrom=mx.test.example",
            " mx.test.example1; dkim=pass",
            "",
            " ; dkim=pass",
            " .; dkim=pass",
        ] {
            assert!(!ours(value), "{value:?}");
        }
    }
}
