//! Durations as people write them: `90s`, `5m`, `1h30m`, `2d`; a bare number is seconds.

use std::time::Duration;

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

/// Reads a moment: so long ago, or a date (RFC 3339); absent where the text is neither.
pub fn parse_time(text: &str, now: Timestamp) -> Option<Timestamp> {
    let day = || format!("{text}T00:00:00Z").parse().ok();
    text.parse().ok().or_else(day).or_else(|| now.checked_sub(parse(text)?).ok())
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn show_and_parse_agree() {
        for seconds in [0, 1, 59, 60, 90, 3600, 5400, 86_400, 86_401] {
            let duration = Duration::from_secs(seconds);
            assert_eq!(parse(&format(duration)), Some(duration));
        }
    }
}
