//! Renders calendars as text.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Zoned};

use crate::cli::table::{TableCell, TableNote, fitted, table, with_notes};
use crate::cli::ui::{Render, Tone, Ui};
use crate::clock::Timestamp;
use crate::model::ConnectionName;
use crate::model::calendar::{CalendarEventStatus, FreeBusyStatus, Interval};
use crate::view::calendar::{
    CalendarEventListView, CalendarEventView, CalendarListView, CalendarView, ConflictListView, ConflictView,
    FreeBusyView, SlotListView, SpanView, UnreadCalendarView,
};

/// The longest name of a calendar in a table; the JSON has it whole.
const CALENDAR_WIDTH: usize = 24;

/// `Tue  1 Dec  09:30-09:45`, and the spaces behind.
const DAY_AND_TIME_WIDTH: usize = 25;

/// Characters of a title that are always shown.
const MIN_TITLE_WIDTH: usize = 12;

fn calendar_name(connection: &ConnectionName, calendar: Option<&str>) -> String {
    let name = calendar.map_or_else(|| connection.to_string(), |id| format!("{connection}/{id}"));
    fitted(&name, CALENDAR_WIDTH)
}

/// A title that can be read where there is none.
fn title(event: &CalendarEventView) -> String {
    event.title.clone().unwrap_or_else(|| "(no title)".to_owned())
}

/// `Europe/Berlin (UTC+01:00)`, with both offsets if the clock changes in between.
fn zone_label(interval: Interval, zone: &TimeZone, name: &str) -> String {
    let offset = |time: Timestamp| {
        let offset = zone.to_offset(time).to_string();
        // As in RFC 3339: always with minutes.
        if offset.len() == "+01".len() { format!("UTC{offset}:00") } else { format!("UTC{offset}") }
    };
    let last = interval.end.checked_sub(Span::new().seconds(1)).unwrap_or(interval.end);
    let (first, last) = (offset(interval.start), offset(last));
    if first == last { format!("{name} ({first})") } else { format!("{name} ({first}, later {last})") }
}

/// A local day of a window, and what is on it.
struct Day<'v> {
    date: Date,
    rows: Vec<(String, &'v CalendarEventView)>,
}

impl CalendarEventListView {
    /// The days of the window, each with the events that touch it.
    fn days(&self) -> Vec<Day<'_>> {
        let local = |time: Timestamp| time.to_zoned(self.zone.clone());
        let (first, end) = (local(self.interval.start).date(), local(self.interval.end));
        let mut days: Vec<Day<'_>> = Vec::new();
        let mut date = first;
        // A year of days is more than anybody reads, and what a window may be is not limited.
        while days.len() < 400 {
            if date > end.date() || (date == end.date() && end.time() == Time::midnight()) {
                break;
            }
            days.push(Day { date, rows: Vec::new() });
            let Ok(next) = date.tomorrow() else { break };
            date = next;
        }
        for event in &self.events {
            for day in &mut days {
                if let Some(time) = time_on(event, day.date, &self.zone) {
                    day.rows.push((time, event));
                }
            }
        }
        for day in &mut days {
            day.rows.sort_by_key(|(_, event)| !event.show_without_time);
        }
        days
    }

    /// Whether a busy event takes the same time as another busy one of the list.
    fn overlaps(&self, event: &CalendarEventView) -> bool {
        let Some(own) = self.interval_of(event).filter(|_| event.event.is_busy() && !event.show_without_time) else {
            return false;
        };
        self.events.iter().any(|other| {
            let is_other =
                (&other.connection, &other.calendar, &other.id) != (&event.connection, &event.calendar, &event.id);
            let is_copy = other.uid.is_some() && other.uid == event.uid && other.recurrence_id == event.recurrence_id;
            let takes_time = is_other && !is_copy && other.event.is_busy() && !other.show_without_time;
            takes_time && self.interval_of(other).is_some_and(|interval| interval.intersection(own).is_some())
        })
    }
}

/// What the time column says of an event on a day; None if it is not on that day.
fn time_on(event: &CalendarEventView, day: Date, zone: &TimeZone) -> Option<String> {
    use crate::model::calendar::EventTime;
    match (&event.event.start, &event.event.end) {
        (EventTime::Date(start), EventTime::Date(end)) => (*start <= day && day < *end).then(|| "all day".to_owned()),
        (start, end) => {
            let local = |time: &EventTime| Some(time.instant(zone).ok()?.to_zoned(zone.clone()));
            let (start, end) = (local(start)?, local(end)?);
            let ends_on = |day: Date| end.date() == day && (end.time() != Time::midnight() || start == end);
            let clock = |time: &Zoned| time.strftime("%H:%M").to_string();
            let midnight_after = end.time() == Time::midnight() && day.tomorrow().ok() == Some(end.date());
            match (start.date() == day, ends_on(day)) {
                (true, true) => Some(format!("{}-{}", clock(&start), clock(&end))),
                (true, false) if midnight_after => Some(format!("{}-24:00", clock(&start))),
                (true, false) => Some(format!("{}-", clock(&start))),
                (false, true) => Some(format!("     -{}", clock(&end))),
                (false, false) if midnight_after && start.date() < day => Some("     -24:00".to_owned()),
                (false, false) => (start.date() < day && day < end.date()).then(|| "all day".to_owned()),
            }
        }
    }
}

/// What to know of an event beside its title.
fn remarks(view: &CalendarEventListView, event: &CalendarEventView) -> Vec<&'static str> {
    let mut remarks = Vec::new();
    match event.status {
        CalendarEventStatus::Confirmed => {}
        CalendarEventStatus::Tentative => remarks.push("tentative"),
        CalendarEventStatus::Cancelled => remarks.push("cancelled"),
    }
    if event.participation_status == Some(crate::model::calendar::ParticipationStatus::Declined) {
        remarks.push("declined");
    }
    if event.free_busy_status == FreeBusyStatus::Free {
        remarks.push("free");
    }
    if view.overlaps(event) {
        remarks.push("overlaps");
    }
    remarks
}

fn unread_note(unread: &UnreadCalendarView) -> TableNote {
    TableNote {
        subject: calendar_name(&unread.connection, unread.calendar.as_deref()),
        text: format!("not read: {}", unread.message),
        command: unread.hint.clone(),
    }
}

impl Render for CalendarEventListView {
    fn text(&self, ui: &Ui) -> String {
        let mut calendars: Vec<_> = self.events.iter().map(|event| (&event.connection, &event.calendar)).collect();
        calendars.sort_unstable();
        calendars.dedup();
        let has_several = calendars.len() > 1;
        let names = calendars.iter().map(|(connection, calendar)| calendar_name(connection, calendar.as_deref()));
        let widest = names.map(|name| name.chars().count() + 2).max().filter(|_| has_several).unwrap_or_default();
        // Titles are shortened, and never the names of calendars.
        let room =
            ui.width.map_or(usize::MAX, |width| width.saturating_sub(DAY_AND_TIME_WIDTH + widest).max(MIN_TITLE_WIDTH));
        let mut rows = Vec::new();
        for day in self.days() {
            let label = day.date.strftime("%a %e %b").to_string();
            if day.rows.is_empty() {
                continue;
            }
            for (index, (time, event)) in day.rows.into_iter().enumerate() {
                let remarks = remarks(self, event);
                let remark = if remarks.is_empty() { String::new() } else { format!(" ({})", remarks.join(", ")) };
                let left = room.saturating_sub(remark.chars().count()).max(MIN_TITLE_WIDTH);
                let what = fitted(&title(event), left) + &remark;
                let tone = if remarks.contains(&"overlaps") { Some(Tone::Warn) } else { None };
                let tone = if event.event.is_busy() { tone } else { Some(Tone::Dim) };
                let day = if index == 0 { label.clone() } else { String::new() };
                let mut row = vec![day.into(), time.into(), TableCell(what, tone)];
                if has_several {
                    row.push(calendar_name(&event.connection, event.calendar.as_deref()).into());
                }
                rows.push(row);
            }
        }
        let notes: Vec<TableNote> = self.unread.iter().map(unread_note).collect();
        let (first, last) = (day_of(self.interval.start, &self.zone), last_day(self.interval.end, &self.zone));
        let days = if first == last { first } else { format!("{first} to {last}") };
        let heading = format!("{days}, {}", zone_label(self.interval, &self.zone, &self.time_zone));
        let body = if rows.is_empty() {
            "No events.".to_owned()
        } else {
            let mut headings = vec!["day", "time", "event"];
            headings.extend(has_several.then_some("calendar"));
            table(ui, &headings, rows)
        };
        with_notes(ui, format!("{heading}\n\n{body}"), &notes)
    }
}

fn day_of(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned(zone.clone()).strftime("%e %B %Y").to_string().trim_start().to_owned()
}

/// The last day of a window that ends then.
fn last_day(end: Timestamp, zone: &TimeZone) -> String {
    day_of(end.checked_sub(Span::new().seconds(1)).unwrap_or(end), zone)
}

/// RFC 3339 with a space, which is easier to read: `Tue 2026-12-01 09:00+01:00`.
fn readable(time: &str) -> String {
    let Ok(date) = time.get(..10).unwrap_or_default().parse::<Date>() else { return time.to_owned() };
    let day = date.strftime("%a");
    match time.split_once('T') {
        // Seconds only where there are any.
        Some((date, clock)) => {
            format!("{day} {date} {}", clock.replacen(":00+", "+", 1).replacen(":00-", "-", 1).replacen(":00Z", "Z", 1))
        }
        None => format!("{day} {date}"),
    }
}

/// `45m`, `1h 30m`.
fn length(span: &SpanView) -> String {
    let (Ok(start), Ok(end)) = (span.start.parse::<Timestamp>(), span.end.parse::<Timestamp>()) else {
        return String::new();
    };
    let minutes = end.duration_since(start).as_mins();
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes}m"),
        (hours, 0) => format!("{hours}h"),
        (hours, minutes) => format!("{hours}h {minutes}m"),
    }
}

/// A start and an end, the latter without its date on the same day, and what is in between.
fn span_row(span: &SpanView) -> Vec<TableCell> {
    let (start, end) = (readable(&span.start), readable(&span.end));
    let same_day = span.start.split('T').next() == span.end.split('T').next();
    let end = end.rsplit_once(' ').filter(|_| same_day).map_or(end.as_str(), |(_, clock)| clock).to_owned();
    vec![start.into(), end.into(), length(span).into()]
}

impl Render for FreeBusyView {
    fn text(&self, ui: &Ui) -> String {
        if self.busy.is_empty() {
            return format!("Free from {} to {}.", readable(&self.window.start), readable(&self.window.end));
        }
        let mut rows = Vec::new();
        for calendar in &self.calendars {
            let name = calendar_name(&calendar.connection, calendar.calendar.as_deref());
            if calendar.busy.is_empty() {
                rows.push(vec![name.clone().into(), "free".into(), "".into(), "".into()]);
            }
            for (index, span) in calendar.busy.iter().enumerate() {
                let mut row = vec![if index == 0 { name.clone() } else { String::new() }.into()];
                row.extend(span_row(span));
                rows.push(row);
            }
        }
        table(ui, &["calendar", "busy from", "to", "length"], rows)
    }
}

impl Render for SlotListView {
    fn text(&self, ui: &Ui) -> String {
        if self.slots.is_empty() {
            return format!(
                "No free time of that length from {} to {}.",
                readable(&self.window.start),
                readable(&self.window.end)
            );
        }
        table(ui, &["free from", "to", "length"], self.slots.iter().map(span_row).collect())
    }
}

impl Render for ConflictListView {
    fn text(&self, ui: &Ui) -> String {
        if self.conflicts.is_empty() {
            return format!("No conflicts from {} to {}.", readable(&self.window.start), readable(&self.window.end));
        }
        let event = |event: &CalendarEventView| {
            format!("{} ({})", title(event), calendar_name(&event.connection, event.calendar.as_deref()))
        };
        let row = |conflict: &ConflictView| {
            let mut row = span_row(&conflict.overlap);
            row.pop();
            row.push(conflict.events.iter().map(event).collect::<Vec<_>>().join(" and ").into());
            row
        };
        table(ui, &["from", "to", "events"], self.conflicts.iter().map(row).collect())
    }
}

impl Render for CalendarListView {
    fn text(&self, ui: &Ui) -> String {
        let row = |found: &CalendarView| {
            let rights = if found.is_writable { "read, write" } else { "read" };
            vec![
                found.connection.to_string().into(),
                found.title.clone().unwrap_or_default().into(),
                found.time_zone.clone().unwrap_or_default().into(),
                rights.into(),
                if found.is_default { "yes" } else { "" }.into(),
                found.calendar.clone().unwrap_or_default().into(),
            ]
        };
        table(
            ui,
            &["connection", "title", "time zone", "rights", "default", "id"],
            self.calendars.iter().map(row).collect(),
        )
    }
}
