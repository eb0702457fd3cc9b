//! Times: from texts and numbers to moments, and back.

use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;

use super::shown;
use crate::clock::Timestamp;
use crate::json::{Json, JsonType};

/// How a text says a moment.
#[derive(Clone, Debug)]
pub(crate) enum TimeSource {
    /// RFC 3339 or RFC 2822, with an offset.
    Absolute,
    /// The same, or a date and time without an offset, which is in this zone.
    Local(TimeZone),
    /// A `strptime` format; without an offset in the text it is in this zone.
    Formatted { format: String, zone: TimeZone },
}

/// The zone of a name such as `Europe/Berlin`.
pub(super) fn zone(name: &str) -> Result<TimeZone, String> {
    if name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(name).map_err(|_| format!("unknown time zone {name:?}"))
}

/// Reads the moment that a value says.
pub(super) fn parse(value: Json<'_>, source: &TimeSource) -> Result<Timestamp, String> {
    let text = value.string().ok_or_else(|| format!("{} is not a time", shown(value)))?;
    let wrong = || format!("{} is not a time", shown(value));
    match source {
        TimeSource::Absolute => absolute(&text).ok_or_else(wrong),
        TimeSource::Local(zone) => match absolute(&text) {
            Some(time) => Ok(time),
            None => local(text.parse().map_err(|_| wrong())?, zone).ok_or_else(wrong),
        },
        TimeSource::Formatted { format, zone } => {
            let parsed = BrokenDownTime::parse(format, text.as_bytes())
                .map_err(|_| format!("{} is not a time as {format:?} writes it", shown(value)))?;
            if let Ok(time) = parsed.to_timestamp() {
                return Ok(time);
            }
            let date = parsed.to_date().map_err(|_| format!("{format:?} does not say the date"))?;
            // A date alone is its first moment.
            let time = parsed.to_time().unwrap_or_default();
            local(date.to_datetime(time), zone).ok_or_else(wrong)
        }
    }
}

fn absolute(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| {
        let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
        Some(zoned.timestamp())
    })
}

/// A moment that the clocks of the zone show exactly once.
fn local(time: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    zone.to_ambiguous_zoned(time).unambiguous().ok().map(|zoned| zoned.timestamp())
}

/// The moment of a number of Unix time, of which there are so many in a second.
pub(super) fn from_unix(value: Json<'_>, per_second: i64) -> Result<Timestamp, String> {
    let wrong = || format!("{} is not a number of Unix time", shown(value));
    let text = match value.kind() {
        JsonType::Number => value.as_str().to_owned(),
        JsonType::String => value.string().unwrap_or_default().into_owned(),
        _ => return Err(wrong()),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let whole: i64 = whole.parse().map_err(|_| wrong())?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let nanos_of_unit = 1_000_000_000 / i128::from(per_second);
    let digits = format!("{fraction:0<9}");
    let part: i128 = digits[..9].parse().map_err(|_| wrong())?;
    let part = part * nanos_of_unit / 1_000_000_000;
    let part = if text.starts_with('-') { -part } else { part };
    Timestamp::from_nanosecond(i128::from(whole) * nanos_of_unit + part).map_err(|_| wrong())
}

/// Whole seconds or parts of them, rounded down.
pub(super) fn to_unix(time: Timestamp, per_second: i64) -> i128 {
    time.as_nanosecond().div_euclid(1_000_000_000 / i128::from(per_second))
}

/// RFC 3339 with the offset of a zone.
pub(super) fn with_offset(time: Timestamp, zone: &TimeZone) -> String {
    time.display_with_offset(zone.to_offset(time)).to_string()
}

/// A `strftime` format that can be written.
pub(super) fn checked_format(format: String) -> Result<String, String> {
    self::format(Timestamp::UNIX_EPOCH, &format, &TimeZone::UTC).map(|_| format)
}

/// A time as a `strftime` format writes it.
pub(super) fn format(time: Timestamp, format: &str, zone: &TimeZone) -> Result<String, String> {
    let zoned = time.to_zoned(zone.clone());
    jiff::fmt::strtime::format(format, &zoned).map_err(|error| format!("invalid time format {format:?}: {error}"))
}
