//! What is read of a message: its header fields, the `From ` line in front, its date of arrival (pure).

use std::borrow::Cow;

/// The most of a header that is kept in memory and looked at.
pub const LONGEST_HEADER: usize = 64 * 1024;

/// The fields of a header, walked over in their order. Lines may end in LF or CR LF.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a>(&'a [u8]);

impl<'a> Header<'a> {
    /// The header of a message, or of its beginning.
    #[must_use]
    pub fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// All fields: name, and body as it stands, folds and the last line's end included. Lines that are
    /// neither a field nor a fold are passed over; the first empty line ends it.
    pub fn fields(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            loop {
                if rest.is_empty() || rest.starts_with(b"\n") || rest.starts_with(b"\r\n") {
                    return None;
                }
                let (field, after) = rest.split_at_checked(field_length(rest))?;
                rest = after;
                let Some(colon) = memchr::memchr(b':', field) else { continue };
                let name = field.get(..colon).unwrap_or_default().trim_ascii_end();
                if !name.is_empty() && name.iter().all(|byte| (33..127).contains(byte)) {
                    return Some((name, field.get(colon + 1..).unwrap_or_default()));
                }
            }
        })
    }

    /// The body of the first field of this name.
    #[must_use]
    pub fn first(self, name: &str) -> Option<&'a [u8]> {
        self.fields().find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes())).map(|(_, body)| body)
    }

    /// The first field of this name in one line, without space around it; bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn text(self, name: &str) -> Option<Cow<'a, str>> {
        let body = self.first(name)?.trim_ascii();
        if memchr::memchr2(b'\n', b'\r', body).is_none() {
            return Some(String::from_utf8_lossy(body));
        }
        let unfolded: Vec<u8> = body.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
        Some(Cow::Owned(String::from_utf8_lossy(&unfolded).into_owned()))
    }
}

/// The length of the field at the beginning, with the lines that continue it.
fn field_length(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(end) = text.get(at..).and_then(|rest| memchr::memchr(b'\n', rest)) {
        at += end + 1;
        if !matches!(text.get(at), Some(b' ' | b'\t')) {
            return at;
        }
    }
    text.len()
}

/// Where the header ends (behind its empty line), if it does in these bytes.
#[must_use]
pub fn header_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = bytes.get(at..)?;
        let end = memchr::memchr(b'\n', line)?;
        let text = line.get(..end)?;
        at += end + 1;
        if text.is_empty() || text == b"\r" {
            return Some(at);
        }
    }
}

/// The length of a `From ` line in front of a message (mbox), and the sender that it names.
#[must_use]
pub fn from_line(bytes: &[u8]) -> Option<(usize, &[u8])> {
    if !bytes.starts_with(b"From ") {
        return None;
    }
    let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
    let sender = bytes.get(5..end)?.trim_ascii().split(|byte| *byte == b' ').next().unwrap_or_default();
    Some((end, sender))
}

/// The seconds since 1970 of a date as RFC 5322 §3.3 writes it; `None` when it is none.
#[must_use]
pub fn date(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let mut words = text
        .split(|letter: char| letter.is_ascii_whitespace() || letter == ',')
        .filter(|word| !word.is_empty());
    let mut word = words.next()?;
    if !word.starts_with(|letter: char| letter.is_ascii_digit()) {
        word = words.next()?;
    }
    let day: i64 = word.parse().ok()?;
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let name = words.next()?;
    let month = i64::try_from(MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name))?).ok()? + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next().unwrap_or(Some(0))?);
    let zone = words.next().unwrap_or("+0000");
    let offset: i64 = match zone.strip_prefix('-') {
        Some(digits) => -digits.parse::<i64>().ok()?,
        None => zone.strip_prefix('+').map_or(Some(0), |digits| digits.parse().ok())?,
    };
    let sound = (1..=31).contains(&day)
        && (1970..10_000).contains(&year)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second)
        && offset.abs() < 10_000;
    if !sound {
        return None;
    }
    // Days from 1970-01-01 of a civil date (years begin in March).
    let shifted = if month > 2 { year } else { year - 1 };
    let (era, of_era) = (shifted / 400, shifted % 400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let seconds =
        days * 86_400 + hour * 3600 + minute * 60 + second - (offset / 100 * 3600 + offset % 100 * 60);
    u64::try_from(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_folds() {
        let text = b"Subject: a\r\n b\r\nno field\nX : y\nMessage-ID:\n <1@x>\n\nBody: no\n";
        let header = Header::new(text);
        assert_eq!(header.text("subject").unwrap(), "a b");
        assert_eq!(header.text("x").unwrap(), "y");
        assert_eq!(header.text("Message-ID").unwrap(), "<1@x>");
        assert_eq!(header.first("Body"), None);
        assert_eq!(Header::new(b"").first("x"), None);
        assert_eq!(header_end(text).map(|end| &text[end..]), Some(&b"Body: no\n"[..]));
        assert_eq!(header_end(b"a: b\r\n\r\n"), Some(8));
        assert_eq!(header_end(b"a: b\n"), None);
    }

    #[test]
    fn a_line_of_mbox() {
        assert_eq!(from_line(b"From joe@x Thu Nov 26\nA: b\n"), Some((22, &b"joe@x"[..])));
        assert_eq!(from_line(b"From: joe\n"), None);
        assert_eq!(from_line(b"From "), Some((5, &b""[..])));
    }

    #[test]
    fn dates() {
        assert_eq!(date(b" Thu, 26 Nov 2026 09:53:13 +0000 (UTC)"), Some(1_795_686_793));
        assert_eq!(date(b"26 Nov 2026 10:53 +0100"), Some(1_795_686_780));
        assert_eq!(date(b"1 Jan 1970 00:00:00 +0000"), Some(0));
        assert_eq!(date(b"29 Feb 2024 12:00:00 -0500"), Some(1_709_226_000));
        for bad in [
            "",
            "x",
            "32 Nov 2026 1:1:1",
            "1 Foo 2026 1:1:1",
            "1 Nov 2026 99:1:1",
            "1 Nov 99999999999999999999 1:1:1",
        ] {
            assert_eq!(date(bad.as_bytes()), None, "{bad}");
        }
    }
}
