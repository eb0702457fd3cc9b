//! Times and numbers in the vendors' formats, in records and requests.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::connector::CursorFormat;

/// Whether it says times, and no numbers or letters.
pub(super) fn is_time(format: &CursorFormat) -> bool {
    !matches!(format, CursorFormat::Integer | CursorFormat::Text)
}

/// A time in Unix seconds, or a number, as a record holds it; `like` is what the sample has there. `part` tells records of
/// one second apart, where nothing but their time does.
pub(super) fn format_cursor_value(
    format: &CursorFormat,
    moment: i64,
    like: Option<&Value>,
    part: Option<u64>,
) -> Value {
    let time = Timestamp::from_second(moment).unwrap_or_default();
    let number = matches!(like, Some(Value::Number(_)));
    let counted = |count: i64| if number { json!(count) } else { json!(count.to_string()) };
    match format {
        CursorFormat::Unix => match part {
            Some(part) => {
                let text = format!("{moment}.{:06}", part % 1_000_000);
                if number { text.parse::<f64>().map_or(Value::Null, Value::from) } else { json!(text) }
            }
            None => counted(moment),
        },
        CursorFormat::UnixMs => {
            let part = part.map_or(0, |part| i64::try_from(part % 1000).unwrap_or_default());
            counted(moment.saturating_mul(1000).saturating_add(part))
        }
        CursorFormat::Integer => counted(moment),
        CursorFormat::Text => json!(format!("{moment:016}")),
        CursorFormat::Date => json!(time.strftime("%Y-%m-%d").to_string()),
        CursorFormat::Rfc2822 => {
            json!(jiff::fmt::rfc2822::to_string(&time.to_zoned(TimeZone::UTC)).unwrap_or_default())
        }
        CursorFormat::Rfc3339 | CursorFormat::Strftime(_) => match part {
            Some(part) => json!(time.strftime(&format!("%Y-%m-%dT%H:%M:%S.{:06}Z", part % 1_000_000)).to_string()),
            None => json!(time.to_string()),
        },
    }
}

/// The first and the last moment that a text of a request stands for: a day is all of its seconds.
pub(in crate::sandbox) fn parse_time_range(format: &CursorFormat, text: &str) -> Option<(i64, i64)> {
    let one = |moment: i64| Some((moment, moment));
    match format {
        CursorFormat::Unix => one(text.split('.').next()?.parse().ok()?),
        CursorFormat::UnixMs => one(text.parse::<i64>().ok()?.div_euclid(1000)),
        CursorFormat::Integer | CursorFormat::Text => one(text.parse().ok()?),
        CursorFormat::Date => {
            let date: jiff::civil::Date = text.parse().ok()?;
            let first = date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second();
            Some((first, first + 86_399))
        }
        CursorFormat::Rfc2822 => one(jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_second()),
        CursorFormat::Rfc3339 => {
            let civil = || Some(text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp());
            one(text.parse::<Timestamp>().ok().or_else(civil)?.as_second())
        }
        CursorFormat::Strftime(format) => {
            let broken = jiff::fmt::strtime::parse(format, text).ok()?;
            let civil = || {
                let time = broken.to_time().unwrap_or_default();
                Some(broken.to_date().ok()?.to_datetime(time).to_zoned(TimeZone::UTC).ok()?.timestamp())
            };
            let first = match broken.to_timestamp() {
                Ok(time) => time,
                Err(_) => civil()?,
            }
            .as_second();
            let says = |letters: &[&str]| letters.iter().any(|letter| format.contains(letter));
            let length = if says(&["%S", "%T", "%s", "%c"]) {
                1
            } else if says(&["%M", "%R"]) {
                60
            } else {
                86_400
            };
            Some((first, first + length - 1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let moment = 1_790_000_000;
        for format in [CursorFormat::Rfc3339, CursorFormat::Rfc2822, CursorFormat::Unix, CursorFormat::UnixMs] {
            let text = format_cursor_value(&format, moment, None, None);
            assert_eq!(parse_time_range(&format, text.as_str().unwrap()), Some((moment, moment)), "{format:?} {text}");
        }
        assert_eq!(parse_time_range(&CursorFormat::Integer, "17"), Some((17, 17)));
        assert_eq!(parse_time_range(&CursorFormat::Text, "0000000000000017"), Some((17, 17)));
    }

    #[test]
    fn a_coarse_time_is_all_of_its_seconds() {
        let day = parse_time_range(&CursorFormat::Date, "2026-09-21").unwrap();
        assert_eq!(day.1 - day.0, 86_399);
        let minute =
            parse_time_range(&CursorFormat::Strftime("%Y-%m-%d %H:%M".to_owned()), "2026-09-21 13:33").unwrap();
        assert_eq!(minute, (1_789_997_580, 1_789_997_639));
        let second =
            parse_time_range(&CursorFormat::Strftime("%Y/%m/%d %H:%M:%S".to_owned()), "2026/09/21 13:33:20").unwrap();
        assert_eq!(second, (1_789_997_600, 1_789_997_600));
        assert_eq!(
            parse_time_range(&CursorFormat::Rfc3339, "2026-09-21T13:33:20.999Z"),
            Some((1_789_997_600, 1_789_997_600))
        );
        assert_eq!(parse_time_range(&CursorFormat::Rfc3339, "yesterday"), None);
    }
}
