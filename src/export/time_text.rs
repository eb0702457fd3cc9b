//! Lossless parsing of texts that are times. Pure.

use jiff::civil::{Date, DateTime, Time};

/// A text that is a date, or a time with its date and offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeText {
    /// Days since 1970-01-01 of a full date (RFC 3339 section 5.6).
    Date(i32),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Instant(i64),
    /// A time that microseconds do not hold to the last digit.
    Finer,
}

/// Microseconds and days count from here.
const EPOCH: Date = Date::constant(1970, 1, 1);

impl TimeText {
    /// Reads a JSON string as RFC 3339 section 5.6 writes it: `2026-11-28`, `2026-11-28T10:00:00.5+01:00`. An offset may lack
    /// its colon, as Jira and Salesforce write it.
    ///
    /// Whatever could not be written back as the same moment is not a time: a leap second, a day that there is not, a year
    /// before 1 (which databases read in different ways), a local time without an offset.
    pub(super) fn read(json: &str) -> Option<Self> {
        let text = json.strip_prefix('"')?.strip_suffix('"')?;
        // Most texts are something else.
        if text.len() < 10 || text.as_bytes()[4] != b'-' || !text.is_ascii() {
            return None;
        }
        let (date, rest) = text.split_at(10);
        let date = read_date(date)?;
        if rest.is_empty() {
            return Some(Self::Date(date.duration_since(EPOCH).as_hours().checked_div(24)?.try_into().ok()?));
        }
        let rest = rest.strip_prefix(['T', 't'])?;
        let (clock, rest) = rest.split_at_checked(8)?;
        let time = read_clock(clock)?;
        let (fraction, offset) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
            None => ("0", rest),
        };
        if fraction.is_empty() {
            return None;
        }
        let since_epoch =
            DateTime::from_parts(date, time).duration_since(EPOCH.to_datetime(Time::midnight())).as_secs();
        let seconds = since_epoch - read_offset(offset)?;
        if seconds < Date::constant(1, 1, 1).duration_since(EPOCH).as_secs() {
            return None;
        }
        let digits = fraction.trim_end_matches('0');
        if digits.len() > 6 {
            return Some(Self::Finer);
        }
        let micros: i64 = format!("{digits:0<6}").parse().ok()?;
        seconds.checked_mul(1_000_000)?.checked_add(micros).map(Self::Instant)
    }
}

/// Numbers of a fixed count of digits with a separator between them.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[i16; N]> {
    let mut parts = text.split(separator);
    let mut found = [0; N];
    for (number, digits) in found.iter_mut().zip(digits) {
        let part =
            parts.next().filter(|part| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

fn read_date(text: &str) -> Option<Date> {
    let [year, month, day] = numbers(text, '-', [4, 2, 2])?;
    let date = Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    (year >= 1).then_some(date)
}

fn read_clock(text: &str) -> Option<Time> {
    let [hour, minute, second] = numbers(text, ':', [2, 2, 2])?.map(|number| i8::try_from(number).unwrap_or(i8::MAX));
    Time::new(hour, minute, second, 0).ok()
}

/// The seconds of `Z`, `+01:00` or `+0100`.
fn read_offset(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let (sign, rest) = text.split_at_checked(1)?;
    let sign = match sign {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let (hours, minutes) = rest.split_at_checked(2)?;
    let [hours, minutes] = numbers(&format!("{hours}:{}", minutes.strip_prefix(':').unwrap_or(minutes)), ':', [2, 2])?;
    (hours < 24 && minutes < 60).then(|| sign * (i64::from(hours) * 3_600 + i64::from(minutes) * 60))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;

    fn read(text: &str) -> Option<TimeText> {
        TimeText::read(&format!("\"{text}\""))
    }

    #[test]
    fn times_are_read_to_the_last_digit() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01t00:00:00.000001z", 1),
            ("1970-01-01T01:00:00.5+01:00", 500_000),
            ("1969-12-31T19:00:00-0500", 0),
            ("1969-12-31T23:59:59.999999000Z", -1),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000_000),
            // What some services write for "never".
            ("9999-12-31T23:59:59Z", 253_402_300_799_000_000),
        ] {
            assert_eq!(read(text), Some(TimeText::Instant(micros)), "{text}");
        }
        assert_eq!(read("1970-01-01T00:00:00.0000001Z"), Some(TimeText::Finer));
        assert_eq!(read("1970-01-02"), Some(TimeText::Date(1)));
        assert_eq!(read("1969-12-31"), Some(TimeText::Date(-1)));
        assert_eq!(read("2024-02-29"), Some(TimeText::Date(19_782)));
    }

    #[test]
    fn what_could_not_be_written_back_is_no_time() {
        for text in [
            "",
            "2026-11-28T10:00:00",
            "2026-11-28 10:00:00Z",
            "2026-11-28T10:00Z",
            "2026-11-28T10:00:00.Z",
            "2026-11-28T10:00:00,5Z",
            "2016-12-31T23:59:60Z",
            "2026-11-28T24:00:00Z",
            "2026-11-28T10:00:00+24:00",
            "2026-11-28T10:00:00+01",
            "2026-11-28T10:00:00+01:00[Europe/Berlin]",
            "2026-11-28T10:00:00Z ",
            "2026-02-30",
            "2026-1-28",
            "20261128",
            "+2026-11-28",
            "0000-00-00",
            "0000-01-01",
            "0001-01-01T00:00:00+01:00",
            "2026-11-2\u{0663}",
            "2026-11-28T10:00:00\\u005a",
            "12345",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        for json in ["2026", "null", "\"", "20261128101010"] {
            assert_eq!(TimeText::read(json), None, "{json}");
        }
    }

    proptest! {
        #[test]
        fn a_moment_is_the_one_that_jiff_reads(micros in -62_135_596_800_000_000_i64..253_402_200_000_000_000) {
            let text = Timestamp::from_microsecond(micros).unwrap().to_string();
            prop_assert_eq!(read(&text), Some(TimeText::Instant(micros)));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "[-+0-9:TZtz. \"é]{0,36}") {
            if let Some(TimeText::Instant(micros)) = TimeText::read(&text) {
                let parsed: Timestamp = text.trim_matches('"').parse().unwrap();
                prop_assert_eq!(parsed.as_microsecond(), micros);
            }
        }
    }
}
