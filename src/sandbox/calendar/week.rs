//! The events of a sandbox calendar: the same every week except for exceptions, so that every week has some. Each event
//! is one occurrence, as vendors list recurring events.

use jiff::ToSpan;
use jiff::civil::{Date, DateTime, date};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::connector::{CalendarDefinition, Conditions, Pointer};
use crate::model::calendar::EventTime;
use crate::sandbox::stream::records::RecordSet;

/// Places of occurrences begin here: behind all that time brings, before all that actions create.
const FIRST_OCCURRENCE: u64 = 10_000_000;

/// The first place behind them: some 1,900 years later.
const END_OF_OCCURRENCES: u64 = FIRST_OCCURRENCE + 100_000 * SLOTS;

/// What may take place in a week.
const SLOTS: u64 = 8;

/// The first Monday that a week is counted from.
const FIRST_MONDAY: Date = date(1970, 1, 5);

/// One occurrence.
struct Occurrence {
    title: &'static str,
    /// The slot that the series is named after; the same for an occurrence that was added.
    series: u64,
    start: EventSlot,
    end: EventSlot,
    /// Where it would be by its series' rule.
    original: Option<DateTime>,
    is_free: bool,
    is_tentative: bool,
}

/// A day or a local time.
#[derive(Clone, Copy)]
enum EventSlot {
    Day(Date),
    At(DateTime),
}

/// The number of the week of a day.
pub(super) fn week_of(day: Date) -> i64 {
    i64::from(day.since(FIRST_MONDAY).map_or(0, |span| span.get_days())).div_euclid(7)
}

/// The places of what may take place in a week.
pub(super) fn places_of(week: i64) -> std::ops::Range<u64> {
    let first = FIRST_OCCURRENCE + u64::try_from(week).unwrap_or_default().min(99_999) * SLOTS;
    first..first + SLOTS
}

/// The occurrence at a place; None if nothing takes place, and for records that are none.
fn occurrence(index: u64, variant: u64) -> Option<Occurrence> {
    let number = index.checked_sub(FIRST_OCCURRENCE).filter(|_| index < END_OF_OCCURRENCES)?;
    let (week, slot) = (i64::try_from(number / SLOTS).ok()?, number % SLOTS);
    let monday = FIRST_MONDAY.checked_add((week * 7).days()).ok()?;
    let day = |after: i64| monday.checked_add(after.days()).ok();
    // Calendars differ, so that two of them are not busy at the same hours.
    let shift = i8::try_from(variant % 3).unwrap_or_default();
    let at = |after: i64, hour: i8, minute: i8| Some(EventSlot::At(day(after)?.at(hour + shift, minute, 0, 0)));
    let timed = |title, series, after: i64, (hour, minute): (i8, i8), minutes: i64| {
        let start = day(after)?.at(hour + shift, minute, 0, 0);
        let end = EventSlot::At(start.checked_add(minutes.minutes()).ok()?);
        let original = Some(start);
        Some(Occurrence {
            title,
            series,
            start: EventSlot::At(start),
            end,
            original,
            is_free: false,
            is_tentative: false,
        })
    };
    let days = |title, after: i64, count: i64| {
        let (start, end) = (EventSlot::Day(day(after)?), EventSlot::Day(day(after + count)?));
        Some(Occurrence { title, series: slot, start, end, original: None, is_free: false, is_tentative: false })
    };
    match (slot, week.rem_euclid(4)) {
        // Called off.
        (0, 3) => None,
        (0, 1) => {
            let moved = (at(1, 9, 30)?, at(1, 9, 45)?);
            timed("Stand-up", 0, 0, (9, 0), 15).map(|usual| Occurrence { start: moved.0, end: moved.1, ..usual })
        }
        (0, _) => timed("Stand-up", 0, 0, (9, 0), 15),
        (1, _) => timed("Design review", 1, 2, (10, 0), 60),
        // Added to the series.
        (2, 2) => timed("Design review", 1, 4, (15, 0), 60),
        (3, _) => timed("Lunch with the team", 3, 4, (12, 0), 60).map(|usual| Occurrence { is_free: true, ..usual }),
        (4, 0 | 2) => {
            let train = timed("Night train", 4, 3, (20, 30), 280)?;
            Some(Occurrence { is_tentative: true, original: None, ..train })
        }
        (5, 0) => days("Planning day", 1, 1),
        (6, 1) => days("Out of office", 3, 2),
        _ => None,
    }
}

impl EventSlot {
    fn in_zone(self, zone: &TimeZone) -> Option<EventTime> {
        match self {
            Self::Day(day) => Some(EventTime::Date(day)),
            Self::At(local) => zone.to_ambiguous_zoned(local).compatible().ok().map(EventTime::At),
        }
    }

    fn date(self) -> Date {
        match self {
            Self::Day(day) => day,
            Self::At(local) => local.date(),
        }
    }
}

/// The time zone of a list's calendar: the one that the file's sample names.
pub(super) fn zone_of(calendar: &CalendarDefinition, sample: &Value) -> TimeZone {
    let name = calendar.event.start.zone.as_ref().and_then(|at| at.text(sample));
    name.and_then(|name| TimeZone::get(&name).ok()).unwrap_or(TimeZone::UTC)
}

/// What distinguishes the weeks of one calendar from those of another.
fn variant(set: &RecordSet<'_>) -> u64 {
    set.hash("week", 0)
}

/// Whether something takes place at a place.
pub(super) fn is_taken(set: &RecordSet<'_>, index: u64) -> bool {
    occurrence(index, variant(set)).is_some()
}

/// The place of the occurrence with this id.
pub(super) fn find(set: &RecordSet<'_>, calendar: &CalendarDefinition, id: &str) -> Option<u64> {
    let day: Date = id.rsplit_once('_')?.1.parse().ok()?;
    let mut places = places_of(week_of(day));
    places.find(|index| {
        is_taken(set, *index) && calendar.event.id.text(&set.record(&set.row(*index))).as_deref() == Some(id)
    })
}

/// Puts the record of a place where it is in the calendar: an occurrence into its week, and what a stream lists by itself on
/// some afternoon of the weeks around the first request.
pub(in crate::sandbox) fn place_in_week(
    set: &RecordSet<'_>,
    calendar: &CalendarDefinition,
    index: u64,
    record: &mut Value,
) {
    let fields = &calendar.event;
    let sample = set.sample_row();
    let zone = zone_of(calendar, &sample);
    let found = match occurrence(index, variant(set)) {
        Some(found) => {
            let series = format!("{:016x}", set.hash("series", found.series));
            let original = found.original.map_or(found.start.date(), DateTime::date);
            fields.id.set(record, json!(format!("{series}_{}", original.strftime("%Y%m%d"))));
            if let Some(at) = &fields.title {
                at.set(record, json!(found.title));
            }
            if let (Some(original), Some(at)) = (found.original, &fields.series) {
                at.set(record, json!(series));
                let time = EventSlot::At(original).in_zone(&zone);
                if let (Some(at), Some(time)) = (&fields.original_start, time) {
                    at.write(record, &time, &sample);
                }
            }
            found
        }
        None if index < FIRST_OCCURRENCE => {
            let Some(single) = single(set, index, &zone) else { return };
            single
        }
        None => return,
    };
    let (Some(start), Some(end)) = (found.start.in_zone(&zone), found.end.in_zone(&zone)) else { return };
    set_condition(record, &fields.all_day, start.is_date());
    fields.start.write(record, &start, &sample);
    fields.end.write(record, &end, &sample);
    if found.is_free {
        set_condition(record, &fields.free, true);
    }
    if found.is_tentative {
        set_condition(record, &fields.tentative, true);
    }
}

/// A meeting on an afternoon.
fn single(set: &RecordSet<'_>, index: u64, zone: &TimeZone) -> Option<Occurrence> {
    let began = crate::clock::Timestamp::from_second(set.world.state.started_at()).ok()?.to_zoned(zone.clone()).date();
    let week = week_of(began) - 1 + i64::try_from(index / 5).ok()?;
    let day = FIRST_MONDAY.checked_add((week * 7 + i64::try_from(index % 5).ok()?).days()).ok()?;
    let hour = 13 + i8::try_from(set.hash("hour", index) % 4).ok()?;
    let start = day.at(hour, 0, 0, 0);
    let (start, end) = (EventSlot::At(start), EventSlot::At(start.checked_add(45.minutes()).ok()?));
    Some(Occurrence { title: "", series: 0, start, end, original: None, is_free: false, is_tentative: false })
}

/// Makes the first of some conditions hold, or none of them.
pub(super) fn set_condition(record: &mut Value, conditions: &Conditions, holds: bool) {
    let Some((at, values)) = conditions.first() else { return };
    if holds {
        at.set(record, values.first().cloned().unwrap_or_default());
    } else if at.find(record).is_some_and(|found| values.contains(found)) {
        let other = at.find(record).and_then(Value::as_bool).map_or(Value::Null, |truth| json!(!truth));
        at.set(record, other);
    }
}

/// An ETag that follows from all that the record says.
pub(in crate::sandbox) fn set_etag(record: &mut Value, at: &Pointer) {
    at.set(record, Value::Null);
    let digest = crate::hash::sha256(record.to_string().as_bytes());
    at.set(record, json!(format!("\"{}\"", crate::hex::encode(&digest[..8]))));
}
