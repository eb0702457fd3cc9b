//! Busy times, overlaps and free slots of events. Pure.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Span;
use jiff::civil::Time;
use jiff::tz::TimeZone;

use super::interval::{gaps, merge, overlaps};
use crate::model::calendar::{CalendarEvent, EventTime, Interval};

/// Returns the time between the start and the end of an event; None if that is none. `zone` is the one in which days begin
/// if neither the event nor its calendar says so.
pub fn interval(event: &CalendarEvent, zone: &TimeZone) -> Option<Interval> {
    let zone = event.day_zone.as_ref().unwrap_or(zone);
    Interval::new(event.start.instant(zone).ok()?, event.end.instant(zone).ok()?)
}

/// Whether an event is at least partly within a window. One without a length is where it starts.
pub fn is_within(event: &CalendarEvent, window: Interval, zone: &TimeZone) -> bool {
    match interval(event, zone) {
        Some(interval) => interval.intersection(window).is_some(),
        None => {
            let zone = event.day_zone.as_ref().unwrap_or(zone);
            event.start.instant(zone).is_ok_and(|start| window.start <= start && start < window.end)
        }
    }
}

/// Returns when events take time within a window, sorted and joined.
pub fn busy(events: &[CalendarEvent], window: Interval, zone: &TimeZone) -> Vec<Interval> {
    let busy = events.iter().filter(|event| event.is_busy());
    merge(busy.filter_map(|event| interval(event, zone)?.intersection(window)).collect())
}

/// Sorts events by their start; at the same moment those of whole days come first, then the longer ones.
pub fn sort(events: &mut [CalendarEvent], zone: &TimeZone) {
    events.sort_by_cached_key(|event| {
        let zone = event.day_zone.as_ref().unwrap_or(zone);
        let (start, end) = (event.start.instant(zone).ok(), event.end.instant(zone).ok());
        (start, !event.is_all_day(), std::cmp::Reverse(end), event.calendar.clone(), event.id.clone())
    });
}

/// Two events that take the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub first: CalendarEvent,
    pub second: CalendarEvent,
    /// The time that both take, within the window.
    pub overlap: Interval,
}

/// Returns the pairs of events that take the same time within a window, in the order of their starts. Two copies of one
/// event, in the calendars of two accounts, are no conflict.
pub fn conflicts(events: &[CalendarEvent], window: Interval, zone: &TimeZone) -> Vec<Conflict> {
    let timed = events.iter().filter(|event| event.is_busy());
    let timed: Vec<(&CalendarEvent, Interval)> =
        timed.filter_map(|event| Some((event, interval(event, zone)?.intersection(window)?))).collect();
    let intervals: Vec<Interval> = timed.iter().map(|(_, interval)| *interval).collect();
    let pairs = overlaps(&intervals).into_iter().filter_map(|(first, second)| {
        let ((first, one), (second, other)) = (timed.get(first)?, timed.get(second)?);
        let is_copy = first.uid.is_some() && first.uid == second.uid && first.recurrence_id == second.recurrence_id;
        let overlap = one.intersection(*other).filter(|_| !is_copy)?;
        Some(Conflict { first: (*first).clone(), second: (*second).clone(), overlap })
    });
    pairs.collect()
}

/// The hours of each day that count, by the local clock: from `start` up to and without `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DailyHours {
    pub start: Time,
    pub end: Time,
}

/// Returns the parts of a window that are within the hours of a day. A day is that of `zone`, whatever its length.
pub fn within_hours(window: Interval, hours: DailyHours, zone: &TimeZone) -> Vec<Interval> {
    let mut day = window.start.to_zoned(zone.clone()).date();
    let last = window.end.to_zoned(zone.clone()).date();
    let mut parts = Vec::new();
    while day <= last {
        // A time that a clock change skips is read as if the clock had not been changed, and of two equal ones the first.
        let at = |time: Time| zone.to_ambiguous_timestamp(day.to_datetime(time)).compatible().ok();
        let next = day.checked_add(Span::new().days(1)).ok();
        let end = if hours.end == Time::midnight() {
            next.and_then(|next| EventTime::Date(next).instant(zone).ok())
        } else {
            at(hours.end)
        };
        if let (Some(start), Some(end)) = (at(hours.start), end) {
            parts.extend(Interval::new(start, end).and_then(|part| part.intersection(window)));
        }
        match next {
            Some(next) => day = next,
            None => break,
        }
    }
    merge(parts)
}

/// Returns the free parts of a window that have the requested minimum length. `busy` need not be sorted.
pub fn slots(
    window: Interval,
    busy: Vec<Interval>,
    length: Duration,
    hours: Option<DailyHours>,
    zone: &TimeZone,
) -> Vec<Interval> {
    let busy = merge(busy);
    let parts = hours.map_or_else(|| vec![window], |hours| within_hours(window, hours, zone));
    let free = parts.into_iter().flat_map(|part| gaps(part, &busy));
    let is_long_enough = |slot: &Interval| slot.end.duration_since(slot.start).unsigned_abs() >= length;
    free.filter(is_long_enough).collect()
}

/// Removes events that a list gave twice.
pub(super) fn without_duplicates(events: Vec<CalendarEvent>) -> Vec<CalendarEvent> {
    let mut seen = HashSet::new();
    events.into_iter().filter(|event| seen.insert((event.calendar.clone(), event.id.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn interval(start: &str, end: &str) -> Interval {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        Interval { start: at(start), end: at(end) }
    }

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    #[test]
    fn hours_are_those_of_the_local_clock_also_on_days_with_a_clock_change() {
        let hours = DailyHours { start: Time::constant(0, 0, 0, 0), end: Time::constant(9, 0, 0, 0) };
        let length = |date: &str| {
            let day: jiff::civil::Date = date.parse().unwrap();
            let window = Interval {
                start: day.to_zoned(berlin()).unwrap().timestamp(),
                end: day.tomorrow().unwrap().to_zoned(berlin()).unwrap().timestamp(),
            };
            let parts = within_hours(window, hours, &berlin());
            assert_eq!(parts.len(), 1, "{date}");
            parts[0].end.duration_since(parts[0].start).as_hours()
        };
        assert_eq!([length("2026-03-28"), length("2026-03-29"), length("2026-10-25")], [9, 8, 10]);
    }

    #[test]
    fn a_slot_is_free_long_enough_and_within_hours() {
        let window = interval("2026-12-01T00:00:00Z", "2026-12-02T00:00:00Z");
        let busy = vec![
            interval("2026-12-01T09:00:00Z", "2026-12-01T10:00:00Z"),
            interval("2026-12-01T10:30:00Z", "2026-12-01T12:00:00Z"),
        ];
        let hours = DailyHours { start: Time::constant(9, 0, 0, 0), end: Time::constant(17, 0, 0, 0) };
        let hour = Duration::from_secs(3600);
        let found = slots(window, busy.clone(), hour, Some(hours), &berlin());
        // From nine to five in Berlin is from eight to four in UTC, and half an hour is too short.
        assert_eq!(
            found,
            [
                interval("2026-12-01T08:00:00Z", "2026-12-01T09:00:00Z"),
                interval("2026-12-01T12:00:00Z", "2026-12-01T16:00:00Z")
            ]
        );
        let half = slots(window, busy, hour / 2, Some(hours), &berlin());
        assert_eq!(half.len(), 3);
    }
}
