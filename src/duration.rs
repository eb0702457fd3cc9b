//! Durations and times as people write them: `90s`, `5m`, `1h30m`, `2d`, where a bare number is in seconds; `2026-11-28
//! 03:00`.

use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::clock::Timestamp;

/// Reads a duration; absent where the text is not one or is over 100 years.
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text.chars().all(|c| c.is_ascii_digit()) {
        return bounded(text.parse().ok()?);
    }
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
        let seconds = match &rest[digits..unit_end] {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(seconds)?)?;
        rest = &rest[unit_end..];
    }
    bounded(total)
}

fn bounded(seconds: u64) -> Option<Duration> {
    const CENTURY_SECS: u64 = 100 * 365 * 86_400;
    (seconds <= CENTURY_SECS).then(|| Duration::from_secs(seconds))
}

/// Reads a moment: so long before `now`, a time with its offset (RFC 3339), or a date or a date and time in `zone`:
/// `2026-11-28`, `2026-11-28 03:00`. A time that a clock change skips is read as if the clock had not been changed, and of two
/// equal ones the first is meant. Returns `None` for any other text.
pub fn parse_time(text: &str, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let text = text.trim();
    let local = || zone.to_ambiguous_timestamp(local_time(text)?).compatible().ok();
    text.parse().ok().or_else(local).or_else(|| now.checked_sub(parse(text)?).ok())
}

/// Reads a date, which begins at midnight, or a date and time, without an offset.
fn local_time(text: &str) -> Option<DateTime> {
    let (date, time) = text.split_at_checked("2026-11-28".len())?;
    let date: Date = date.parse().ok()?;
    if time.is_empty() {
        return Some(date.to_datetime(jiff::civil::Time::midnight()));
    }
    let time = time.strip_prefix([' ', 'T', 't'])?;
    // The parser of the library passes over an offset.
    let is_time = time.len() >= "03:00".len() && time.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b':' | b'.'));
    is_time.then(|| time.parse().ok()).flatten().map(|time| date.to_datetime(time))
}

/// Writes a duration so that [`parse`] reads it back, in the largest unit that fits: `90s`, `5m`.
pub fn format(duration: Duration) -> String {
    let seconds = duration.as_secs();
    for (unit, size) in [("d", 86_400), ("h", 3_600), ("m", 60)] {
        if seconds >= size && seconds.is_multiple_of(size) {
            return format!("{}{unit}", seconds / size);
        }
    }
    format!("{seconds}s")
}

/// Writes a duration for people, in its largest unit and rounded down: `58m` for 3528 seconds.
pub fn format_rounded(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [("d", 86_400), ("h", 3_600), ("m", 60)];
    // One and a half of a unit would lose too much.
    let fits = |size: u64| seconds >= 2 * size || seconds == size;
    let (unit, size) = units.into_iter().find(|(_, size)| fits(*size)).unwrap_or(("s", 1));
    format!("{}{unit}", seconds / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rounded_duration_has_one_unit() {
        let rounded = |seconds| format_rounded(Duration::from_secs(seconds));
        assert_eq!(
            [0, 60, 90, 119, 120, 3528, 3600, 7199, 7200, 90_000, 200_000].map(rounded),
            ["0s", "1m", "90s", "119s", "2m", "58m", "1h", "119m", "2h", "25h", "2d"]
        );
    }

    #[test]
    fn reads_what_people_write() {
        let seconds = |text| parse(text).map(|duration| duration.as_secs());
        assert_eq!(seconds("90"), Some(90));
        assert_eq!(seconds("5m"), Some(300));
        assert_eq!(seconds("1h30m"), Some(5400));
        for bad in ["", "m", "5x", "-1s", "1.5h", "99999999999999999999s", "9999999999d"] {
            assert_eq!(seconds(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn reads_times_as_people_write_them() {
        let now: Timestamp = "2026-11-28T10:00:00Z".parse().unwrap();
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let time = |text: &str| parse_time(text, now, &berlin).map(|time| time.to_string());
        for (text, moment) in [
            ("2h", "2026-11-28T08:00:00Z"),
            ("2026-11-28T03:00:00Z", "2026-11-28T03:00:00Z"),
            ("2026-11-28 03:00Z", "2026-11-28T03:00:00Z"),
            ("2026-11-28T03:00:00.5+05:30", "2026-11-27T21:30:00.5Z"),
            ("2026-11-28", "2026-11-27T23:00:00Z"),
            ("2026-11-28 03:00", "2026-11-28T02:00:00Z"),
            (" 2026-11-28T03:00 ", "2026-11-28T02:00:00Z"),
            ("2026-11-28 03:00:07", "2026-11-28T02:00:07Z"),
            ("2026-07-01 00:30", "2026-06-30T22:30:00Z"),
            // The clock goes from 02:00 to 03:00, and from 03:00 back to 02:00.
            ("2026-03-29 02:30", "2026-03-29T01:30:00Z"),
            ("2026-10-25 02:30", "2026-10-25T00:30:00Z"),
        ] {
            assert_eq!(time(text).as_deref(), Some(moment), "{text}");
        }
        for bad in [
            "",
            "soon",
            "2026-11-28 3",
            "2026-11-28 25:00",
            "2026-02-30",
            "2026-11-28 03:00+99:00",
            "2026-11-28 03:00 CET",
            "28.11.2026",
            "2026-11-28  03:00",
            "2026-11-2\u{e9}",
        ] {
            assert_eq!(time(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn show_and_parse_agree() {
        for seconds in [0, 1, 59, 60, 90, 3600, 5400, 86_400, 86_401] {
            let duration = Duration::from_secs(seconds);
            assert_eq!(parse(&format(duration)), Some(duration));
        }
    }
}
