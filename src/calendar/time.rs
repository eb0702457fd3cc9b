//! Parses times as people write them for events. Pure.
//!
//! A local time that a clock change skips or repeats is refused with the instants that may be meant: an event at the wrong
//! hour is worse than a question.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{SignedDuration, Zoned};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::model::calendar::{EventTime, Interval};
use crate::near::closest;

/// Why a text is not a time of an event.
#[derive(Debug, Error)]
pub enum TimeError {
    #[error("invalid time {text:?}")]
    Invalid { text: String },
    #[error("unknown time zone {name:?}")]
    UnknownZone { name: String, suggestion: Option<String> },
    #[error(
        "{local} does not exist in {zone}: the clock is set from {} to {} at that moment; {earlier} or {later} may be meant",
        skipped.0, skipped.1
    )]
    Nonexistent {
        local: DateTime,
        zone: String,
        /// The local times between which the clock jumps.
        skipped: (jiff::civil::Time, jiff::civil::Time),
        earlier: Box<Zoned>,
        later: Box<Zoned>,
    },
    #[error("{local} happens twice in {zone}: {earlier} or {later} may be meant")]
    Ambiguous { local: DateTime, zone: String, earlier: Box<Zoned>, later: Box<Zoned> },
    #[error("the offset of {text:?} is not that of {zone} at that time")]
    WrongOffset { text: String, zone: String },
    #[error("the time range is empty: {from} is not before {to}")]
    EmptyWindow { from: String, to: String },
    #[error("{text:?} is outside of the years that can be represented")]
    OutOfRange { text: String },
}

impl Remedy for TimeError {
    fn diagnostic(&self) -> Diagnostic {
        let forms = "write 2026-12-01T09:00:00+01:00, 2026-12-01T09:00[Europe/Berlin], a local time such as \
                     2026-12-01T09:00, a date such as 2026-12-01, or +45m from now";
        match self {
            Self::Invalid { .. } | Self::OutOfRange { .. } => {
                Diagnostic::new(Kind::Usage, "invalid_time").hint(Hint::text(forms))
            }
            Self::UnknownZone { suggestion, .. } => {
                Diagnostic::new(Kind::Usage, "unknown_time_zone").hint(Hint::text(match suggestion {
                    Some(name) => format!("did you mean {name}?"),
                    None => "use a name of the IANA database, such as Europe/Berlin".to_owned(),
                }))
            }
            Self::Nonexistent { earlier, later, .. } => Diagnostic::new(Kind::Usage, "nonexistent_time")
                .hint(Hint::text(format!("write {} or {}", with_offset(earlier), with_offset(later)))),
            Self::Ambiguous { earlier, later, .. } => Diagnostic::new(Kind::Usage, "ambiguous_time")
                .hint(Hint::text(format!("write {} or {}", with_offset(earlier), with_offset(later)))),
            Self::EmptyWindow { .. } => Diagnostic::new(Kind::Usage, "empty_window"),
            Self::WrongOffset { .. } => {
                Diagnostic::new(Kind::Usage, "wrong_offset").hint(Hint::text("leave out the offset or the time zone"))
            }
        }
    }
}

/// Returns the time between two moments. Days begin in `zone`.
///
/// # Errors
/// [`TimeError::EmptyWindow`] if the first is not before the second; [`TimeError::OutOfRange`].
pub fn window_of(from: &EventTime, to: &EventTime, zone: &TimeZone) -> Result<Interval, TimeError> {
    let instant = |time: &EventTime| time.instant(zone).map_err(|_| TimeError::OutOfRange { text: time.to_string() });
    let window = Interval::new(instant(from)?, instant(to)?);
    window.ok_or_else(|| TimeError::EmptyWindow { from: from.to_string(), to: to.to_string() })
}

/// RFC 3339, without the name of the zone.
pub fn with_offset(time: &Zoned) -> String {
    time.timestamp().display_with_offset(time.offset()).to_string()
}

/// Returns the time zone of an IANA name.
///
/// # Errors
/// [`TimeError::UnknownZone`] with the likely name.
pub fn zone(name: &str) -> Result<TimeZone, TimeError> {
    TimeZone::get(name).map_err(|_| {
        let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        // The city alone is what people remember.
        let city = |known: &&String| {
            known.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(&name.trim().replace(' ', "_")))
        };
        let suggestion = names.iter().find(city).map(String::as_str);
        let suggestion = suggestion.or_else(|| closest(name, names.iter().map(String::as_str)));
        TimeError::UnknownZone { name: name.to_owned(), suggestion: suggestion.map(str::to_owned) }
    })
}

/// Reads a time: RFC 3339, a local date and time with or without a time zone in brackets (RFC 9557), a date, or `+45m` from
/// `now`. What names no zone is in `default_zone`, and a time with an offset is shown in it.
///
/// # Errors
/// [`TimeError`].
pub fn parse(text: &str, now: Timestamp, default_zone: &TimeZone) -> Result<EventTime, TimeError> {
    let text = text.trim();
    let invalid = || TimeError::Invalid { text: text.to_owned() };
    let out_of_range = || TimeError::OutOfRange { text: text.to_owned() };
    if let Some(later) = text.strip_prefix('+') {
        let by = SignedDuration::try_from(crate::duration::parse(later).ok_or_else(invalid)?);
        let time = now.checked_add(by.map_err(|_| out_of_range())?).map_err(|_| out_of_range())?;
        return Ok(EventTime::At(time.to_zoned(default_zone.clone())));
    }
    let (written, named) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
        Some((written, name)) => (written, Some(zone(name)?)),
        None => (text, None),
    };
    let (date, rest) = written.split_at_checked("2026-12-01".len()).ok_or_else(invalid)?;
    let date: Date = date.parse().map_err(|_| invalid())?;
    if rest.is_empty() {
        return if named.is_none() { Ok(EventTime::Date(date)) } else { Err(invalid()) };
    }
    let rest = rest.strip_prefix(['T', 't', ' ']).ok_or_else(invalid)?;
    let clock_end = rest.find(|c: char| !(c.is_ascii_digit() || matches!(c, ':' | '.'))).unwrap_or(rest.len());
    let (clock, offset) = rest.split_at(clock_end);
    if clock.len() < "09:00".len() {
        return Err(invalid());
    }
    let local = date.to_datetime(clock.parse().map_err(|_| invalid())?);
    let zone = named.as_ref().unwrap_or(default_zone);
    if offset.is_empty() {
        return Ok(EventTime::At(resolve(local, zone)?));
    }
    let time: Timestamp = written.replacen(' ', "T", 1).parse().map_err(|_| invalid())?;
    let time = time.to_zoned(zone.clone());
    if named.is_some() && time.datetime() != local {
        return Err(TimeError::WrongOffset { text: text.to_owned(), zone: zone_name(zone) });
    }
    Ok(EventTime::At(time))
}

/// Returns the moment of a local time.
///
/// # Errors
/// [`TimeError::Nonexistent`] and [`TimeError::Ambiguous`].
pub fn resolve(local: DateTime, zone: &TimeZone) -> Result<Zoned, TimeError> {
    let ambiguous = zone.to_ambiguous_zoned(local);
    let out_of_range = || TimeError::OutOfRange { text: local.to_string() };
    let at = |offset: Offset| {
        let time = offset.to_timestamp(local).map_err(|_| out_of_range())?;
        Ok::<_, TimeError>(time.to_zoned(zone.clone()))
    };
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { offset } => at(offset),
        AmbiguousOffset::Gap { before, after } => {
            // Read with the offset from after the jump it is a time before it, and the other way round.
            let (earlier, later) = (at(after)?, at(before)?);
            let jump = zone.following(earlier.timestamp()).next().map(|change| change.timestamp());
            let jump = jump.unwrap_or_else(|| later.timestamp());
            let skipped = (before.to_datetime(jump).time(), after.to_datetime(jump).time());
            let (earlier, later) = (Box::new(earlier), Box::new(later));
            Err(TimeError::Nonexistent { local, zone: zone_name(zone), skipped, earlier, later })
        }
        AmbiguousOffset::Fold { before, after } => {
            let (earlier, later) = (Box::new(at(before)?), Box::new(at(after)?));
            Err(TimeError::Ambiguous { local, zone: zone_name(zone), earlier, later })
        }
    }
}

/// The name of a time zone; its present offset, if it has none.
pub fn zone_name(zone: &TimeZone) -> String {
    zone.iana_name().map_or_else(|| "the local time zone".to_owned(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let zone = zone("Europe/Berlin").unwrap();
        let now = "2026-11-28T03:00:00Z".parse().unwrap();
        parse(text, now, &zone).map(|time| time.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_form_is_read_and_echoed_with_offset_and_zone() {
        for (text, echoed) in [
            ("2026-12-01T09:00:00+01:00", "2026-12-01T09:00:00+01:00[Europe/Berlin]"),
            ("2026-12-01T08:00:00Z", "2026-12-01T09:00:00+01:00[Europe/Berlin]"),
            ("2026-12-01T09:00", "2026-12-01T09:00:00+01:00[Europe/Berlin]"),
            ("2026-07-01 09:00:30", "2026-07-01T09:00:30+02:00[Europe/Berlin]"),
            ("2026-12-01T09:00[America/New_York]", "2026-12-01T09:00:00-05:00[America/New_York]"),
            ("2026-12-01T09:00-05:00[America/New_York]", "2026-12-01T09:00:00-05:00[America/New_York]"),
            ("+45m", "2026-11-28T04:45:00+01:00[Europe/Berlin]"),
            ("2026-12-24", "2026-12-24"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(echoed), "{text}");
        }
        for text in [
            "",
            "soon",
            "2026-12-01T9",
            "2026-13-01",
            "2026-12-01T25:00",
            "+",
            "45m",
            "2026-12-01X09:00",
            "é",
            "2026-12-24[Europe/Berlin]",
        ] {
            assert_eq!(read(text), Err(format!("invalid time {text:?}")), "{text}");
        }
        assert!(read("2026-12-01T09:00+02:00[Europe/Berlin]").unwrap_err().contains("is not that of Europe/Berlin"));
        assert!(read("+100000000d").is_err());
    }

    #[test]
    fn a_skipped_time_names_the_two_instants_that_may_be_meant() {
        assert_eq!(
            read("2026-03-29T02:30").unwrap_err(),
            "2026-03-29T02:30:00 does not exist in Europe/Berlin: the clock is set from 02:00:00 to 03:00:00 at that \
             moment; 2026-03-29T01:30:00+01:00[Europe/Berlin] or 2026-03-29T03:30:00+02:00[Europe/Berlin] may be meant"
        );
        // Half an hour, at Lord Howe Island.
        let error = read("2026-10-04T02:15[Australia/Lord_Howe]").unwrap_err();
        assert!(error.contains("from 02:00:00 to 02:30:00"), "{error}");
    }

    #[test]
    fn a_repeated_time_names_both_instants() {
        assert_eq!(
            read("2026-10-25T02:30").unwrap_err(),
            "2026-10-25T02:30:00 happens twice in Europe/Berlin: 2026-10-25T02:30:00+02:00[Europe/Berlin] or \
             2026-10-25T02:30:00+01:00[Europe/Berlin] may be meant"
        );
        assert_eq!(read("2026-10-25T02:30+01:00").as_deref(), Ok("2026-10-25T02:30:00+01:00[Europe/Berlin]"));
    }

    #[test]
    fn zones_are_suggested_by_city_and_by_likeness() {
        let hint = |name: &str| zone(name).unwrap_err().diagnostic().hint.unwrap().text;
        assert_eq!(hint("berlin"), "did you mean Europe/Berlin?");
        assert_eq!(hint("Europe/Berln"), "did you mean Europe/Berlin?");
        assert_eq!(hint("new york"), "did you mean America/New_York?");
    }
}
