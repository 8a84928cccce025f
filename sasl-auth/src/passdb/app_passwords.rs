//! The companion file of a passwd-file: further passwords of a user, each for one device.
//!
//! One password a line, several lines a user, `#` begins a comment line:
//!
//! ```text
//! # user:password:label:services:expires
//! joe@example.com:{SHA512-CRYPT}$6$…:laptop:smtp,imap:2027-01-31
//! joe@example.com:{SHA512-CRYPT}$6$…:phone::
//! ```
//!
//! `services` are separated by commas, none means all. `expires` is a second of UNIX time or a date
//! (`2027-01-31`, or with a time `2027-01-31T12:00Z`), both UTC; from that moment the password no
//! longer opens; empty means never. Lines may stop after the password. The user needs a line in the
//! passwd-file as well. A missing file is an empty one.

use base::passwd_file;
use base::secret::Secret;

use super::StoredPassword;
use crate::user_file::Kind;

/// How such files are read.
pub(crate) const KIND: Kind = Kind {
    name: "app passwords",
    several: true,
    optional: true,
    public: false,
    check: |line| read(line).map(|found| found.is_some()),
};

/// A line as a stored password; `None` for blank and comment lines.
///
/// # Errors
/// What is wrong with the line; such a line opens nothing.
pub(crate) fn read(line: &[u8]) -> Result<Option<StoredPassword>, &'static str> {
    match passwd_file::line(line) {
        passwd_file::Line::Nothing => return Ok(None),
        passwd_file::Line::Bad(reason) => return Err(reason),
        passwd_file::Line::User(_) => {}
    }
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut fields = line.splitn(5, |byte| *byte == b':').skip(1);
    let password = fields.next().unwrap_or_default();
    if password.is_empty() {
        return Err("an app password without a password");
    }
    let mut text = || std::str::from_utf8(fields.next().unwrap_or_default()).map_err(|_not_utf8| "not UTF-8");
    let label = text()?;
    let services = text()?;
    let expires = text()?.trim();
    Ok(Some(StoredPassword {
        text: Secret::new(password),
        // Without a label it is still an app password.
        label: Some(if label.is_empty() { "app" } else { label }.to_owned()),
        services: services
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
        expires: if expires.is_empty() { None } else { Some(moment(expires).ok_or("`expires` is no date")?) },
    }))
}

/// Seconds since 1970 of `1767225600`, `2026-01-01`, `2026-01-01T12:00`, `2026-01-01T12:00:00Z`.
fn moment(text: &str) -> Option<u64> {
    let number = |text: &str| {
        (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse::<u64>().ok())
            .flatten()
    };
    if let Some(seconds) = number(text) {
        return Some(seconds);
    }
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let mut parts = date.splitn(3, '-').map(number);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let mut parts = time.splitn(3, ':').map(number);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 60
    {
        return None;
    }
    let leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let length = |month: u64| match month {
        2 => 28 + u64::from(leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if day == 0 || day > length(month) {
        return None;
    }
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let years = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
    let days = years + (1..month).map(length).sum::<u64>() + day - 1;
    Some(days * 86400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let full = read(b"joe@x:{PLAIN}s:laptop:smtp, imap:1800000000\r").unwrap().unwrap();
        assert_eq!(full.text, Secret::from("{PLAIN}s"));
        assert_eq!(full.label.as_deref(), Some("laptop"));
        assert_eq!(full.services, ["smtp", "imap"]);
        assert_eq!(full.expires, Some(1_800_000_000));
        let short = read(b"joe@x:{PLAIN}s").unwrap().unwrap();
        assert_eq!((short.label.as_deref(), short.services.len(), short.expires), (Some("app"), 0, None));
        assert_eq!(read(b"joe:p:l::2027-01-31T12:30:05Z").unwrap().unwrap().expires, Some(1_801_398_605));
        assert_eq!(read(b"# joe:p"), Ok(None));
        for bad in ["joe", "joe:", ":p", "joe:p:l::soon", "joe:p:l::2027-02-29", "joe:p:l::-5"] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn dates_are_counted_as_date_1_does() {
        for (text, want) in [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400),
            ("2024-02-29T23:59:59", 1_709_251_199),
            ("2026-11-22", 1_795_305_600),
            ("2100-03-01", 4_107_542_400),
            ("9999-12-31", 253_402_214_400),
        ] {
            assert_eq!(moment(text), Some(want), "{text}");
        }
        for text in [
            "",
            "2026-1",
            "1969-12-31",
            "2026-13-01",
            "2026-00-01",
            "2026-01-00",
            "2023-02-29",
            "+1",
            "2026-01-01T24:00",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_read_or_refused(line in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80), date in "[0-9TZ: +-]{0,20}") {
            if let Ok(Some(password)) = read(&line) {
                proptest::prop_assert!(!password.text.is_empty() && password.label.is_some());
            }
            let is_date = date.contains('-');
            proptest::prop_assert!(!is_date || moment(&date).is_none_or(|second| second < 253_402_300_800));
        }
    }
}
