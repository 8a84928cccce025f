//! What came of a message, in one line that can be compared and written down.
//!
//! ```text
//! sign a.example/s                     signed (defaults: simple/simple, rsa-sha256, h=From:To:Subject:Date)
//! sign a.example/s c=relaxed/simple    what is not the default is told: a= c= i= h= x=t+N bh=
//! -Authentication-Results[2], AR mx.test.example: pass a.example/s
//! tempfail @N                          the reply, if it is not accept, and the stage, if not the message's end
//! accept @C                            accepted before the end
//! nothing                              accepted at the end without a change
//! ```

use harness::message::tag;
use harness::milter_client::{Edit, Outcome, Reply};

/// One line for an outcome. With `body_hash` the beginning of `bh=` is told.
pub fn describe(outcome: &Outcome, body_hash: bool) -> String {
    let mut parts: Vec<String> = outcome.edits.iter().map(|edit| one_edit(edit, body_hash)).collect();
    let stage = if outcome.stage == 'E' { String::new() } else { format!(" @{}", outcome.stage) };
    match &outcome.reply {
        Reply::Continue | Reply::Accept if stage.is_empty() => {
            if parts.is_empty() {
                parts.push("nothing".to_owned());
            }
        }
        Reply::ReplyCode(text) => parts.push(format!("{text}{stage}")),
        reply => parts.push(format!("{}{stage}", format!("{reply:?}").to_lowercase())),
    }
    parts.join(", ")
}

fn one_edit(edit: &Edit, body_hash: bool) -> String {
    match edit {
        Edit::InsertHeader { index, name, value } => {
            let value = unfold(value);
            let place = if *index > 1 { format!(" at {index}") } else { String::new() };
            match name.as_str() {
                "DKIM-Signature" => format!("{}{place}", signature(&value, body_hash)),
                "Authentication-Results" => format!("{}{place}", results(&value)),
                // The program's name in it is each one's own.
                _ => format!("+{name}{place}"),
            }
        }
        Edit::ChangeHeader { index, name, value } if value.is_empty() => format!("-{name}[{index}]"),
        Edit::Quarantine(reason) => format!("hold {reason}"),
        other => format!("{other:?}"),
    }
}

fn signature(value: &str, body_hash: bool) -> String {
    let tag = |name: &str| tag(value, name);
    let mut text = format!("sign {}/{}", tag("d"), tag("s"));
    for (name, usual) in
        [("a", "rsa-sha256"), ("c", "simple/simple"), ("i", ""), ("h", "From:To:Subject:Date"), ("l", "")]
    {
        let value = tag(name);
        if value != usual {
            text.push_str(&format!(" {name}={value}"));
        }
    }
    let number = |name: &str| tag(name).parse::<i64>().ok();
    match (number("t"), number("x")) {
        (Some(made), Some(ends)) => text.push_str(&format!(" x=t+{}", ends - made)),
        (Some(_), None) => {}
        (None, _) => text.push_str(" without t"),
    }
    if tag("v") != "1" || tag("b").is_empty() || tag("bh").len() != 44 {
        text.push_str(" broken");
    }
    if body_hash {
        text.push_str(&format!(" bh={}", &tag("bh")[..8]));
    }
    text
}

/// The authserv-id and each DKIM result with `d=` and `s=`; `b` is told when it is not there.
fn results(value: &str) -> String {
    let mut segments = segments(value).into_iter();
    let id = segments.next().unwrap_or_default();
    let mut found = Vec::new();
    for segment in segments {
        let Some(rest) = segment.strip_prefix("dkim=") else {
            // Debian's build tells of ATPS too (D45).
            if !segment.starts_with("dkim-atps=") {
                found.push(segment);
            }
            continue;
        };
        let word = |name: &str| {
            rest.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)).unwrap_or_default()
        };
        let result = rest.split([' ', '\t']).next().unwrap_or_default();
        let (domain, selector) = (word("header.d="), word("header.s="));
        match (domain, selector) {
            ("", "") => found.push(result.to_owned()),
            _ if word("header.b=").is_empty() => {
                found.push(format!("{result} {domain}/{selector} without b"))
            }
            _ => found.push(format!("{result} {domain}/{selector}")),
        }
    }
    format!("AR {id}: {}", found.join(" + "))
}

/// The parts between semicolons that stand neither in quotes nor in comments, trimmed.
fn segments(value: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut quoted, mut depth) = (false, 0);
    for c in value.chars() {
        match c {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            ';' if !quoted && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(c);
    }
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn unfold(value: &[u8]) -> String {
    String::from_utf8_lossy(value).replace(['\r', '\n'], "").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_read_alike() {
        let debian = "mx;\tdkim=fail reason=\"a; b\" (2048-bit key) header.d=a.b header.i=@a.b header.s=s \
                      header.b=XX;\tdkim=pass header.d=c header.s=t;\tdkim-atps=neutral";
        assert_eq!(results(debian), "AR mx: fail a.b/s + pass c/t without b");
        assert_eq!(results("mx; dkim=none; dkim-atps=neutral"), "AR mx: none");
        assert_eq!(results("mx/4; dkim=permerror (bad message/signature format)"), "AR mx/4: permerror");
    }
}
