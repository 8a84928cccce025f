//! The beginnings of hours, days, weeks and months in a time zone. The only file that knows jiff.

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{RoundMode, Timestamp, ToSpan, Unit as JiffUnit, ZonedDateTime, ZonedDateTimeRound};

use crate::limiter::calendar::Bound;
use crate::limiter::{Bounds, Nanos, SECOND, Unit};

/// A time zone.
#[derive(Debug, Clone)]
pub struct Zone(TimeZone);

impl Zone {
    /// The zone of this name, or the system's: what `TZ` or /etc/localtime says, else UTC.
    ///
    /// # Errors
    /// A sentence when there is no such zone.
    pub fn named(name: Option<&str>) -> Result<Self, String> {
        match name {
            Some(name) => TimeZone::get(name).map(Self).map_err(|error| error.to_string()),
            None => Ok(Self(TimeZone::system())),
        }
    }

    /// The periods around a time of the wall clock. `now` is the same moment by the store's time.
    #[must_use]
    pub fn bounds(&self, wall: Nanos, now: Nanos) -> Bounds {
        let of = |unit| self.bound(unit, wall, now).unwrap_or_else(|| simple(unit, wall, now));
        Bounds([of(Unit::Hour), of(Unit::Day), of(Unit::Week), of(Unit::Month)])
    }

    fn bound(&self, unit: Unit, wall: Nanos, now: Nanos) -> Option<Bound> {
        let stamp = Timestamp::from_nanosecond(i128::from(wall)).ok()?;
        let local = stamp.to_zoned_datetime(self.0.clone());
        let (start, next) = match unit {
            Unit::Hour => {
                // Hours are counted, not read: an hour that the clock repeats is another one.
                let start = local
                    .round(ZonedDateTimeRound::new().smallest(JiffUnit::Hour).mode(RoundMode::Trunc))
                    .ok()?;
                let next = start.checked_add(1.hour()).ok()?;
                (start, next)
            }
            Unit::Day => (local.start_of_day().ok()?, local.tomorrow().ok()?.start_of_day().ok()?),
            Unit::Week => {
                let back = i64::from(local.weekday().since(Weekday::Monday));
                let monday = local.checked_sub(back.days()).ok()?;
                (monday.start_of_day().ok()?, monday.checked_add(7.days()).ok()?.start_of_day().ok()?)
            }
            Unit::Month => {
                let first = local.first_of_month().ok()?;
                (first.start_of_day().ok()?, first.checked_add(1.month()).ok()?.start_of_day().ok()?)
            }
        };
        let secs = |zoned: &ZonedDateTime| u64::try_from(zoned.timestamp().as_second()).ok();
        let (start, next) = (secs(&start)?, secs(&next)?);
        // A change of the clock within the hour may put the beginning after now.
        (start.checked_mul(SECOND)? <= wall && next.checked_mul(SECOND)? > wall)
            .then(|| bound(start, next, wall, now))
    }
}

fn bound(start: u64, next: u64, wall: Nanos, now: Nanos) -> Bound {
    let left = next.saturating_mul(SECOND).saturating_sub(wall);
    Bound { start, next, end: now.saturating_add(left) }
}

/// Periods of UTC, where the time zone gives none: years that no calendar has.
fn simple(unit: Unit, wall: Nanos, now: Nanos) -> Bound {
    let length = match unit {
        Unit::Hour => 3600,
        Unit::Day => 86_400,
        Unit::Week => 604_800,
        Unit::Month => 30 * 86_400,
    };
    let start = wall / SECOND / length * length;
    bound(start, start + length, wall, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(zone: &str, when: &str) -> [(String, String); 4] {
        let zone = Zone::named(Some(zone)).unwrap();
        let stamp: Timestamp = when.parse().unwrap();
        let wall = u64::try_from(stamp.as_nanosecond()).unwrap();
        let text = |secs: u64| Timestamp::from_second(i64::try_from(secs).unwrap()).unwrap().to_string();
        zone.bounds(wall, 0).0.map(|bound| (text(bound.start), text(bound.next)))
    }

    fn pair(start: &str, next: &str) -> (String, String) {
        (start.to_owned(), next.to_owned())
    }

    #[test]
    fn periods_are_those_of_the_zone() {
        assert_eq!(
            bounds("Europe/Berlin", "2026-03-15T12:34:56Z"),
            [
                pair("2026-03-15T12:00:00Z", "2026-03-15T13:00:00Z"),
                pair("2026-03-14T23:00:00Z", "2026-03-15T23:00:00Z"),
                pair("2026-03-08T23:00:00Z", "2026-03-15T23:00:00Z"),
                pair("2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z"),
            ]
        );
        // Half an hour off.
        let [hour, day, ..] = bounds("Asia/Kolkata", "2026-03-15T18:40:00Z");
        assert_eq!(hour, pair("2026-03-15T18:30:00Z", "2026-03-15T19:30:00Z"));
        assert_eq!(day, pair("2026-03-15T18:30:00Z", "2026-03-16T18:30:00Z"));
    }

    #[test]
    fn days_of_23_and_25_hours_are_one_day() {
        let [_, spring, ..] = bounds("Europe/Berlin", "2026-03-29T12:00:00Z");
        assert_eq!(spring, pair("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"));
        let [_, autumn, ..] = bounds("Europe/Berlin", "2026-10-25T12:00:00Z");
        assert_eq!(autumn, pair("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"));
        // Midnight itself does not exist: the day begins at one o'clock.
        let [_, day, ..] = bounds("America/Asuncion", "2024-10-06T12:00:00Z");
        assert_eq!(day.0, "2024-10-06T04:00:00Z");
    }

    #[test]
    fn every_moment_is_in_its_periods() {
        for zone in ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu"] {
            let zone = Zone::named(Some(zone)).unwrap();
            for step in 0..20_000_u64 {
                let wall = (1_700_000_000 + step * 1811) * SECOND;
                for (unit, bound) in Unit::ALL.iter().zip(zone.bounds(wall, wall).0) {
                    assert!(bound.start * SECOND <= wall && wall < bound.end, "{unit:?} {wall}");
                    assert_eq!(bound.next * SECOND, bound.end);
                }
            }
        }
    }

    #[test]
    fn an_unknown_zone_is_refused() {
        assert!(Zone::named(Some("Europe/Nowhere")).is_err());
        assert!(Zone::named(None).is_ok());
    }
}
