//! Rows of `app_password_query` as stored passwords. Pure.

use base::secret::Secret;

use crate::passdb::StoredPassword;
use crate::record::Record;

/// The app password in a row with `password`, `label`, `services` and `expires`; `None` without a password.
///
/// `services` are separated by commas or spaces; none means all. `expires` is a UNIX time or a time as SQL
/// writes it (`2026-12-31 23:59:59`, with or without a zone; without one it is UTC), or PostgreSQL's `infinity`.
///
/// # Errors
/// An `expires` that cannot be read: the password must not live forever by mistake.
pub(super) fn stored_password(row: &Record) -> Result<Option<StoredPassword>, String> {
    let Some(text) = row.bytes("password").filter(|text| !text.is_empty()) else { return Ok(None) };
    let label = row.text("label");
    let services = row.text("services").unwrap_or_default();
    let services: Vec<String> =
        services.split([',', ' ']).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let expires = match row.text("expires").filter(|text| !text.trim().is_empty()) {
        None => None,
        Some(text) if text == "infinity" => None,
        Some(text) => match unix_time(text.trim()) {
            Some(time) => Some(time),
            None => {
                let label = label.unwrap_or_default();
                return Err(format!("app password \"{label}\": expires is neither a UNIX time nor a date"));
            }
        },
    };
    Ok(Some(StoredPassword { text: Secret::new(text), label, services, expires }))
}

/// Seconds since 1970 of a number or a date; times before 1970 are 0.
fn unix_time(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let (date, time) = text.split_once([' ', 'T']).unwrap_or((text, ""));
    let days = days(date)?;
    let (time, zone) = match time.find(['Z', 'z', '+', '-']) {
        Some(at) => time.split_at_checked(at)?,
        None => (time, ""),
    };
    let seconds = days.checked_mul(86_400)? + clock(time.trim())? - offset(zone)?;
    Some(u64::try_from(seconds).unwrap_or(0))
}

/// Days since 1970-01-01 of `YYYY-MM-DD` in the Gregorian calendar.
fn days(date: &str) -> Option<i64> {
    let mut numbers = date.splitn(3, '-').map(|part| part.parse::<u32>().ok());
    let (year, month, day) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = lengths.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    if year > 9999 || day == 0 || day > *length {
        return None;
    }
    let months: u32 = lengths.iter().take(usize::try_from(month - 1).ok()?).sum();
    let before = i64::from(year) - 1;
    let since_year_one =
        before * 365 + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400);
    Some(since_year_one - 719_162 + i64::from(months + day - 1))
}

/// Seconds of `HH:MM:SS`, with or without seconds and their fraction; 0 for no text.
fn clock(time: &str) -> Option<i64> {
    if time.is_empty() {
        return Some(0);
    }
    let whole = time.split('.').next()?;
    let mut numbers = whole.splitn(3, ':').map(|part| part.parse::<u32>().ok());
    let (hours, minutes, seconds) = (numbers.next()??, numbers.next()??, numbers.next().unwrap_or(Some(0))?);
    let valid = hours < 24 && minutes < 60 && seconds < 61;
    valid.then_some(i64::from(hours * 3600 + minutes * 60 + seconds))
}

/// Seconds east of UTC of `Z`, `+01`, `+0100` or `+01:00`; 0 for no text.
fn offset(zone: &str) -> Option<i64> {
    let (sign, digits) = match zone.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, zone.strip_prefix('+').unwrap_or(zone)),
    };
    if matches!(digits, "" | "Z" | "z") {
        return Some(0);
    }
    let digits: String = digits.chars().filter(|own| *own != ':').collect();
    let number: i64 = digits.parse().ok()?;
    match digits.len() {
        2 => Some(sign * number * 3600),
        4 => Some(sign * (number / 100 * 3600 + number % 100 * 60)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_all_databases() {
        for (text, time) in [
            ("0", Some(0)),
            ("1798761599", Some(1_798_761_599)),
            ("2026-12-31 23:59:59", Some(1_798_761_599)),
            ("2026-12-31T23:59:59Z", Some(1_798_761_599)),
            ("2027-01-01 00:59:59+01", Some(1_798_761_599)),
            ("2026-12-31 18:29:59.123456-0530", Some(1_798_761_599)),
            ("2026-12-31 18:29:59-05:30", Some(1_798_761_599)),
            ("2027-01-01", Some(1_798_761_600)),
            ("2024-02-29", Some(1_709_164_800)),
            ("2000-03-01 00:00", Some(951_868_800)),
            ("1969-12-31", Some(0)),
            ("2023-02-29", None),
            ("2026-13-01", None),
            ("2026-12-31 25:00:00", None),
            ("infinity", None),
            ("tomorrow", None),
            ("-5", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(unix_time(text), time, "{text}");
        }
    }

    #[test]
    fn rows_with_and_without_everything() {
        let mut row = Record::default();
        assert_eq!(stored_password(&row), Ok(None));
        row.push("PASSWORD", "{PLAIN}app");
        let bare = stored_password(&row).unwrap().unwrap();
        assert_eq!((bare.label, bare.services, bare.expires), (None, vec![], None));
        row.push("label", "phone");
        row.push("services", "smtp, imap");
        row.push("expires", "2027-01-01");
        let full = stored_password(&row).unwrap().unwrap();
        assert_eq!(full.label.as_deref(), Some("phone"));
        assert_eq!(full.services, ["smtp", "imap"]);
        assert_eq!(full.expires, Some(1_798_761_600));
        let mut broken = Record::default();
        broken.push("password", "x");
        broken.push("expires", "soon");
        assert!(stored_password(&broken).unwrap_err().contains("expires"));
        let mut endless = Record::default();
        endless.push("password", "x");
        endless.push("expires", "infinity");
        assert_eq!(stored_password(&endless).unwrap().unwrap().expires, None);
    }
}
