//! Values that order records by age: times and numbers in the vendors' formats. Pure.

use std::cmp::Ordering;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::connector::CursorFormat;

const NANOS: i128 = 1_000_000_000;

/// A place in the order of a stream's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CursorValue {
    /// Nanoseconds of Unix time, or the number itself.
    Number(i128),
    Text(String),
}

impl CursorValue {
    /// What a text says; absent where it is not of the format.
    pub fn parse(format: &CursorFormat, text: &str) -> Option<Self> {
        let time = |time: Timestamp| Self::Number(time.as_nanosecond());
        match format {
            // Some write the offset without its colon.
            CursorFormat::Rfc3339 => text.parse().or_else(|_| colonless(text).parse()).map(time).ok().or_else(|| {
                let civil: DateTime = text.parse().ok()?;
                Some(time(civil.to_zoned(TimeZone::UTC).ok()?.timestamp()))
            }),
            CursorFormat::Rfc2822 => Some(time(jiff::fmt::rfc2822::parse(text).ok()?.timestamp())),
            CursorFormat::Date => {
                let date: jiff::civil::Date = text.get(..10)?.parse().ok()?;
                Some(time(date.to_zoned(TimeZone::UTC).ok()?.timestamp()))
            }
            CursorFormat::Unix => decimal(text).map(Self::Number),
            CursorFormat::UnixMs => Some(Self::Number(text.parse::<i64>().ok().map(i128::from)? * (NANOS / 1_000))),
            CursorFormat::Integer => text.parse().ok().map(Self::Number),
            CursorFormat::Text => Some(Self::Text(text.to_owned())),
            CursorFormat::Strftime(_) => None,
        }
    }

    /// What a value of a record says.
    pub(super) fn from_json(format: &CursorFormat, value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Self::parse(format, text),
            Value::Number(number) => Self::parse(format, &number.to_string()),
            _ => None,
        }
    }

    pub(super) fn from_timestamp(time: Timestamp) -> Self {
        Self::Number(time.as_nanosecond())
    }

    /// So much earlier: in seconds, or in numbers.
    #[must_use]
    pub(super) fn minus_lookback(self, format: &CursorFormat, lookback: u32) -> Self {
        match self {
            Self::Number(number) if *format == CursorFormat::Integer => Self::Number(number - i128::from(lookback)),
            Self::Number(nanos) => Self::Number(nanos - i128::from(lookback) * NANOS),
            text @ Self::Text(_) => text,
        }
    }

    /// As a vendor reads it; absent for a time that the format cannot say. What a format cannot say of a time, its
    /// seconds' parts or the hours of a day, is cut off: it then says an earlier time.
    pub(super) fn format(&self, format: &CursorFormat) -> Option<String> {
        let nanos = match self {
            Self::Text(text) => return Some(text.clone()),
            Self::Number(number) if *format == CursorFormat::Integer => return Some(number.to_string()),
            Self::Number(nanos) => *nanos,
        };
        let time = Timestamp::from_nanosecond(nanos).ok()?;
        let seconds = nanos.div_euclid(NANOS);
        Some(match format {
            CursorFormat::Rfc3339 => time.to_string(),
            CursorFormat::Rfc2822 => jiff::fmt::rfc2822::to_string(&time.to_zoned(TimeZone::UTC)).ok()?,
            CursorFormat::Date => time.strftime("%Y-%m-%d").to_string(),
            CursorFormat::Unix => match nanos.rem_euclid(NANOS) / 1_000 {
                0 => seconds.to_string(),
                micros => format!("{seconds}.{micros:06}"),
            },
            CursorFormat::UnixMs => nanos.div_euclid(NANOS / 1_000).to_string(),
            CursorFormat::Strftime(pattern) => time.strftime(pattern).to_string(),
            CursorFormat::Integer | CursorFormat::Text => return None,
        })
    }

    /// Whole seconds of Unix time.
    pub(super) fn as_time(&self) -> Option<Timestamp> {
        match self {
            Self::Number(nanos) => Timestamp::from_nanosecond(*nanos).ok(),
            Self::Text(_) => None,
        }
    }
}

impl PartialOrd for CursorValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(one), Self::Number(other)) => Some(one.cmp(other)),
            (Self::Text(one), Self::Text(other)) => Some(one.cmp(other)),
            _ => None,
        }
    }
}

/// `+0100` at the end as `+01:00`.
fn colonless(text: &str) -> String {
    match text.len().checked_sub(5).and_then(|at| text.split_at_checked(at)) {
        Some((time, offset))
            if offset.starts_with(['+', '-']) && offset[1..].bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            format!("{time}{}:{}", &offset[..3], &offset[3..])
        }
        _ => text.to_owned(),
    }
}

/// Seconds with decimals, as nanoseconds.
fn decimal(text: &str) -> Option<i128> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 9 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = i128::from(whole.parse::<i64>().ok()?);
    let part: i128 = format!("{part:0<9}").parse().ok()?;
    Some(seconds * NANOS + if whole.starts_with('-') { -part } else { part })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn through(format: &CursorFormat, text: &str) -> String {
        CursorValue::parse(format, text).unwrap().format(format).unwrap()
    }

    #[test]
    fn every_format_is_read_and_written() {
        assert_eq!(through(&CursorFormat::Rfc3339, "2026-11-20T10:00:00+01:00"), "2026-11-20T09:00:00Z");
        assert_eq!(through(&CursorFormat::Rfc3339, "2026-11-20T10:00:00.000+0100"), "2026-11-20T09:00:00Z");
        assert_eq!(through(&CursorFormat::Rfc3339, "2026-11-20T10:00:00.123"), "2026-11-20T10:00:00.123Z");
        assert_eq!(
            through(&CursorFormat::Rfc2822, "Fri, 20 Nov 2026 10:00:00 +0000"),
            "Fri, 20 Nov 2026 10:00:00 +0000"
        );
        assert_eq!(through(&CursorFormat::Date, "2026-11-20"), "2026-11-20");
        assert_eq!(through(&CursorFormat::Unix, "1700000000.000100"), "1700000000.000100");
        assert_eq!(through(&CursorFormat::Unix, "1700000000"), "1700000000");
        assert_eq!(through(&CursorFormat::UnixMs, "1700000000123"), "1700000000123");
        assert_eq!(through(&CursorFormat::Integer, "1234567890123456789"), "1234567890123456789");
        assert_eq!(through(&CursorFormat::Text, "b"), "b");
        let time = CursorValue::parse(&CursorFormat::Rfc3339, "2026-11-20T10:07:59Z").unwrap();
        let pattern = CursorFormat::Strftime("%Y-%m-%d %H:%M".to_owned());
        assert_eq!(time.format(&pattern).unwrap(), "2026-11-20 10:07");
        let earlier = time.minus_lookback(&CursorFormat::Rfc3339, 60);
        assert_eq!(earlier.format(&CursorFormat::Rfc3339).unwrap(), "2026-11-20T10:06:59Z");
    }

    #[test]
    fn numbers_are_compared_as_numbers_and_times_as_times() {
        let read = |format: &CursorFormat, text: &str| CursorValue::parse(format, text).unwrap();
        assert!(read(&CursorFormat::Integer, "9") < read(&CursorFormat::Integer, "10"));
        assert!(
            read(&CursorFormat::Rfc3339, "2026-01-01T00:00:00+02:00")
                < read(&CursorFormat::Rfc3339, "2026-01-01T00:00:00Z")
        );
        assert_eq!(CursorValue::parse(&CursorFormat::Unix, "1.5e3"), None);
        assert_eq!(CursorValue::parse(&CursorFormat::Rfc3339, "yesterday"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            for format in [CursorFormat::Rfc3339, CursorFormat::Rfc2822, CursorFormat::Date, CursorFormat::Unix,
                           CursorFormat::UnixMs, CursorFormat::Integer, CursorFormat::Text] {
                if let Some(moment) = CursorValue::parse(&format, &text) {
                    let _ = moment.minus_lookback(&format, u32::MAX).format(&format);
                }
            }
        }
    }
}
