//! Reads and writes the times of events, as a connector's `[calendar]` says. Pure.

use jiff::civil::{Date, DateTime};
use jiff::fmt::temporal::Pieces;
use jiff::tz::{Offset, TimeZone};
use serde_json::{Value, json};

use super::{Conditions, TimeFields};
use crate::clock::Timestamp;
use crate::model::calendar::EventTime;

/// Returns whether one of the places holds one of its values; `*` matches any.
pub fn any_holds(conditions: &Conditions, document: &Value) -> bool {
    conditions.iter().any(|(at, values)| {
        at.find(document).is_some_and(|found| values.iter().any(|value| value == "*" || value == found))
    })
}

/// Returns the time zone that a service names: of the IANA database, or of Windows as Microsoft's services write them
/// (Unicode CLDR, windowsZones). None for a name that is neither.
pub fn service_zone(name: &str) -> Option<TimeZone> {
    // Exchange writes zones that have no name of Windows as URIs.
    let name = name.strip_prefix("tzone://Microsoft/").unwrap_or(name);
    TimeZone::get(name).ok().or_else(|| {
        let known: calcard::common::timezone::Tz = name.parse().ok()?;
        TimeZone::get(&known.name()?).ok()
    })
}

impl TimeFields {
    /// Reads a time; None if there is none.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn read(&self, document: &Value, is_all_day: bool) -> Result<Option<EventTime>, String> {
        if let Some(date) = self.date.as_ref().and_then(|at| at.text(document)) {
            return date.parse().map(|date| Some(EventTime::Date(date))).map_err(|_| format!("invalid date {date:?}"));
        }
        let Some(text) = self.time.text(document) else { return Ok(None) };
        let invalid = || format!("invalid time {text:?}");
        if is_all_day {
            let date = text.get(.."2026-12-01".len()).ok_or_else(invalid)?;
            let date: Date = date.parse().map_err(|_| invalid())?;
            return Ok(Some(EventTime::Date(date)));
        }
        let name = self.zone.as_ref().and_then(|at| at.text(document));
        let zone = match &name {
            Some(name) => Some(service_zone(name).ok_or_else(|| format!("unknown time zone {name:?}"))?),
            None => None,
        };
        if let Ok(time) = text.parse::<Timestamp>() {
            // Without a zone the offset is all that is known.
            let offset = || Pieces::parse(&text).ok()?.to_numeric_offset();
            let zone = zone.or_else(|| offset().filter(|offset| *offset != Offset::UTC).map(TimeZone::fixed));
            return Ok(Some(EventTime::At(time.to_zoned(zone.unwrap_or(TimeZone::UTC)))));
        }
        let local: DateTime = text.parse().map_err(|_| invalid())?;
        let zone = zone.unwrap_or(TimeZone::UTC);
        // Services that write a repeated hour without an offset mean its first pass (RFC 5545 section 3.3.5).
        let time = zone.to_ambiguous_zoned(local).compatible().map_err(|_| invalid())?;
        Ok(Some(EventTime::At(time)))
    }

    /// Writes a time as it is written in `like`: with its offset, or as the clock of its zone shows it. A date goes where
    /// dates go, else it is midnight.
    pub fn write(&self, document: &mut Value, time: &EventTime, like: &Value) {
        let has_offset = self.time.text(like).is_none_or(|text| text.parse::<Timestamp>().is_ok());
        match (time, &self.date) {
            (EventTime::Date(date), Some(at)) => {
                at.set(document, json!(date.to_string()));
                for at in std::iter::once(&self.time).chain(&self.zone) {
                    at.set(document, Value::Null);
                }
            }
            (EventTime::Date(date), None) => self.time.set(document, json!(format!("{date}T00:00:00.0000000"))),
            (EventTime::At(time), _) => {
                let text = if has_offset {
                    time.timestamp().display_with_offset(time.offset()).to_string()
                } else {
                    time.strftime("%Y-%m-%dT%H:%M:%S.0000000").to_string()
                };
                self.time.set(document, json!(text));
                if let (Some(at), Some(name)) = (&self.zone, time.time_zone().iana_name()) {
                    at.set(document, json!(name));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::Pointer;

    fn fields(date: bool) -> TimeFields {
        let at = |text: &str| Pointer::parse(text).unwrap();
        TimeFields {
            time: at("/start/dateTime"),
            date: date.then(|| at("/start/date")),
            zone: Some(at("/start/timeZone")),
        }
    }

    fn read(start: &Value, is_all_day: bool) -> Result<Option<String>, String> {
        let read = fields(true).read(&json!({ "start": start }), is_all_day)?;
        Ok(read.map(|time| time.to_string()))
    }

    #[test]
    fn times_are_read_as_services_write_them() {
        for (start, is_all_day, expected) in [
            (json!({"date": "2026-12-24"}), false, "2026-12-24"),
            (json!({"dateTime": "2026-12-24T00:00:00.0000000", "timeZone": "UTC"}), true, "2026-12-24"),
            (
                json!({"dateTime": "2026-12-01T09:00:00+01:00", "timeZone": "Europe/Berlin"}),
                false,
                "2026-12-01T09:00:00+01:00[Europe/Berlin]",
            ),
            (json!({"dateTime": "2026-12-01T08:00:00Z"}), false, "2026-12-01T08:00:00+00:00[UTC]"),
            (json!({"dateTime": "2026-12-01T09:00:00+01:00"}), false, "2026-12-01T09:00:00+01:00[+01:00]"),
            (
                json!({"dateTime": "2026-12-01T09:00:00.0000000", "timeZone": "W. Europe Standard Time"}),
                false,
                "2026-12-01T09:00:00+01:00[Europe/Berlin]",
            ),
            // The first pass of an hour that the clock repeats.
            (
                json!({"dateTime": "2026-10-25T02:30:00", "timeZone": "Europe/Berlin"}),
                false,
                "2026-10-25T02:30:00+02:00[Europe/Berlin]",
            ),
        ] {
            assert_eq!(read(&start, is_all_day), Ok(Some(expected.to_owned())), "{start}");
        }
        assert_eq!(read(&json!({}), false), Ok(None));
        for start in [
            json!({"date": "soon"}),
            json!({"dateTime": "9:00"}),
            json!({"dateTime": "2026-12-01T09:00:00", "timeZone": "Mars"}),
        ] {
            assert!(read(&start, false).is_err(), "{start}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let at = EventTime::At("2026-12-01T08:00:00Z".parse::<Timestamp>().unwrap().to_zoned(zone));
        let date = EventTime::Date("2026-12-24".parse().unwrap());
        for like in [
            json!({"start": {"dateTime": "2026-03-14T09:00:00+01:00"}}),
            json!({"start": {"dateTime": "2026-03-14T09:00:00.0000000"}}),
        ] {
            for (time, has_dates) in [(&at, true), (&date, true), (&at, false), (&date, false)] {
                let mut document = like.clone();
                fields(has_dates).write(&mut document, time, &like);
                let read = fields(has_dates).read(&document, time.is_date()).unwrap().unwrap();
                assert_eq!(read, *time, "{document}");
            }
        }
    }

    #[test]
    fn services_name_zones_as_windows_does() {
        for (name, known) in [
            ("W. Europe Standard Time", "Europe/Berlin"),
            ("Pacific Standard Time", "America/Los_Angeles"),
            ("India Standard Time", "Asia/Kolkata"),
            ("tzone://Microsoft/Utc", "UTC"),
            ("UTC", "UTC"),
            ("Europe/Paris", "Europe/Paris"),
        ] {
            let zone = service_zone(name).unwrap();
            let known = TimeZone::get(known).unwrap();
            let summer = "2026-07-01T00:00:00Z".parse().unwrap();
            assert_eq!(zone.to_offset(summer), known.to_offset(summer), "{name}");
        }
        assert!(service_zone("tzone://Microsoft/Custom").is_none());
    }
}
