//! `100/hour`: a rate as an admin writes it → a level.

use crate::config::settings::{Count, RateForm};
use crate::limiter::{Algorithm, Level, Nanos, SECOND, Unit};

/// The longest period: 400 days.
const LONGEST: Nanos = 400 * 86_400 * SECOND;

/// Reads a rate.
///
/// # Errors
/// What is wrong, and what to write.
pub fn parse(text: &str, form: RateForm) -> Result<Level, (String, String)> {
    let example = if form.count == Count::Bytes { "500M/day" } else { "100/hour" };
    let write = || format!("write a number, / and a period, as in \"{example}\" or \"10/30s\"");
    let (number, period) = text.split_once('/').ok_or_else(|| (format!("'{text}' is no rate"), write()))?;
    let limit = amount(number.trim(), form.count).ok_or_else(|| {
        let help = if form.count == Count::Bytes {
            write()
        } else {
            format!("{}; k, M and G are for bytes", write())
        };
        (format!("'{}' is no number of {}", number.trim(), form.count.word()), help)
    })?;
    if limit == 0 {
        let help = "to refuse all, write a condition in smtpd_recipient_restrictions of main.cf";
        return Err(("a limit of 0 lets nothing pass".to_owned(), help.to_owned()));
    }
    if limit >= 1 << 47 {
        return Err((format!("{limit} is too great"), format!("{} is the most", (1_u64 << 47) - 1)));
    }
    let period = period.trim();
    if form.algorithm == "calendar" && !form.count.is_distinct() {
        let unit = unit(period).ok_or_else(|| {
            let text = format!("'{period}' is no period of a calendar");
            (text, "it may be hour, day, week or month; or set algorithm = \"window\"".to_owned())
        })?;
        return Ok(Level {
            algorithm: Algorithm::Calendar(unit),
            limit,
            period: length(period).unwrap_or(SECOND),
        });
    }
    let length = length(period).ok_or_else(|| (format!("'{period}' is no period"), write()))?;
    if !(SECOND..=LONGEST).contains(&length) {
        return Err((format!("a period of {period}"), "it may be one second to 400 days".to_owned()));
    }
    let algorithm = match form.count {
        Count::NewRecipients => Algorithm::Distinct { memory: form.memory.max(length) },
        count if count.is_distinct() => Algorithm::Distinct { memory: 0 },
        _ if form.algorithm == "gcra" => Algorithm::Gcra { burst: form.burst.unwrap_or(limit) },
        _ => Algorithm::Window,
    };
    Ok(Level { algorithm, limit, period: length })
}

/// The levels of an override: rates with commas between them, or `unlimited` for none.
///
/// # Errors
/// As of [`parse`].
pub fn parse_all(text: &str, form: RateForm) -> Result<Vec<Level>, (String, String)> {
    if text.trim().eq_ignore_ascii_case("unlimited") {
        return Ok(Vec::new());
    }
    text.split(',').map(|one| parse(one.trim(), form)).collect()
}

fn amount(text: &str, count: Count) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default().to_ascii_lowercase();
    let shift = match unit.as_str() {
        "" => 0,
        _ if count != Count::Bytes => return None,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return None,
    };
    let digits = digits.trim_end();
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse::<u64>().ok()).flatten()?.checked_mul(1 << shift)
}

/// A calendar's unit.
fn unit(text: &str) -> Option<Unit> {
    match text.to_ascii_lowercase().as_str() {
        "hour" | "h" | "1h" => Some(Unit::Hour),
        "day" | "d" | "1d" => Some(Unit::Day),
        "week" | "w" | "1w" => Some(Unit::Week),
        "month" | "1month" => Some(Unit::Month),
        _ => None,
    }
}

/// The length of `hour`, `2h`, `30 days`.
fn length(text: &str) -> Option<Nanos> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = text.get(..text.len() - unit.len()).unwrap_or_default();
    let number: u64 = if digits.is_empty() { 1 } else { digits.parse().ok()? };
    let secs: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" if !digits.is_empty() => 1,
        "s" | "sec" | "second" | "seconds" => 1,
        "m" | "min" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3600,
        "d" | "day" | "days" => 86_400,
        "w" | "week" | "weeks" => 604_800,
        "month" | "months" => 30 * 86_400,
        _ => return None,
    };
    number.checked_mul(secs)?.checked_mul(SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(algorithm: &'static str, count: Count) -> RateForm {
        RateForm { algorithm, burst: None, count, memory: 0 }
    }

    #[test]
    fn rates_are_read() {
        let window = form("window", Count::Messages);
        for (text, limit, secs) in [
            ("100/hour", 100, 3600),
            ("10 / 30s", 10, 30),
            ("1/2h", 1, 7200),
            ("5000/month", 5000, 2_592_000),
            ("7/3600", 7, 3600),
        ] {
            let level = parse(text, window).unwrap();
            assert_eq!((level.limit, level.period), (limit, secs * SECOND), "{text}");
        }
        for text in
            ["100", "/hour", "0/hour", "1k/hour", "5/fortnight", "-1/h", "1/", "1/500d", "1/0s", "+1/h"]
        {
            assert!(parse(text, window).is_err(), "{text}");
        }
        assert_eq!(parse("1k/day", form("window", Count::Bytes)).unwrap().limit, 1024);
        let calendar = parse("5/month", form("calendar", Count::Messages)).unwrap();
        assert_eq!(calendar.algorithm, Algorithm::Calendar(Unit::Month));
        assert!(parse("5/2h", form("calendar", Count::Messages)).is_err());
        let gcra = parse("5/h", form("gcra", Count::Messages)).unwrap();
        assert_eq!(gcra.algorithm, Algorithm::Gcra { burst: 5 });
    }
}
