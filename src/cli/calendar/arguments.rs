//! Arguments shared by commands of `integ calendar`.

use std::time::Duration;

use clap::Args;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{ToSpan, Zoned};

use super::error::CalendarArgumentError;
use crate::calendar::change::{end_after, span_between};
use crate::calendar::time::{self, TimeError};
use crate::cli::ui::Ui;
use crate::cli::value_parser;
use crate::clock;
use crate::error::Result;
use crate::model::calendar::{CalendarName, EventSpan, EventTime, Interval};
use crate::ops::calendar::{CalendarQuery, DailyHours};
use crate::runtime::Workspace;

/// Which calendars to look at, and over which time.
#[derive(Debug, Args)]
pub(super) struct QueryArgs {
    /// Connections or their calendars (default: the default calendar of each connection that has one)
    #[arg(value_name = "CONNECTION[/CALENDAR]", add = crate::cli::complete::calendars())]
    targets: Vec<String>,
    /// Include every calendar of the accounts
    #[arg(long)]
    all_calendars: bool,
    /// Start of the time range (default: now)
    #[arg(long, value_name = "TIME", conflicts_with_all = ["week", "day"])]
    from: Option<String>,
    /// End of the time range (default: 7 days after its start)
    #[arg(long, value_name = "TIME", conflicts_with_all = ["week", "day"])]
    to: Option<String>,
    /// The week of a date, from Monday (default: this week)
    #[arg(long, value_name = "DATE", num_args = 0..=1, require_equals = true, default_missing_value = "today")]
    week: Option<String>,
    /// One day (default: today)
    #[arg(
        long,
        value_name = "DATE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "today",
        conflicts_with = "week"
    )]
    day: Option<String>,
    /// Time zone for input and output, such as Europe/Berlin (default: this machine's)
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Time limit for each calendar
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = value_parser::duration)]
    timeout: Duration,
}

/// A time that is proposed.
#[derive(Debug, Args)]
pub(super) struct TimeSpanArgs {
    /// Start of the time to check
    #[arg(long, value_name = "TIME", conflicts_with_all = ["from", "to", "week", "day"])]
    start: Option<String>,
    /// End of the time
    #[arg(long, value_name = "TIME", requires = "start", conflicts_with = "duration")]
    end: Option<String>,
    /// Length of the time
    #[arg(long, value_name = "DURATION", requires = "start", value_parser = value_parser::duration)]
    duration: Option<Duration>,
}

/// The time zone of this name, or this machine's.
pub(super) fn zone(name: Option<&str>) -> Result<TimeZone, TimeError> {
    name.map_or_else(|| Ok(clock::local_zone()), time::zone)
}

/// The word CONNECTION[/CALENDAR].
pub(super) fn calendar(ui: &Ui, word: &str) -> Result<CalendarName> {
    let (connection, id) = match word.split_once('/') {
        Some((connection, id)) if !id.is_empty() => (connection, Some(id.to_owned())),
        Some((connection, _)) => (connection, None),
        None => (word, None),
    };
    Ok(CalendarName { connection: ui.project.resolve(connection)?, id })
}

/// The query that lists calendars, which has no time.
pub(super) fn list_query(ui: &Ui, connections: &[String], limit: Duration) -> Result<CalendarQuery> {
    let calendars = connections.iter().map(|word| calendar(ui, word)).collect::<Result<_>>()?;
    let window = Interval { start: clock::Timestamp::UNIX_EPOCH, end: clock::Timestamp::UNIX_EPOCH };
    Ok(CalendarQuery { calendars, every_calendar: true, window, zone: clock::local_zone(), limit })
}

impl QueryArgs {
    pub(super) fn parse(&self, workspace: &Workspace, ui: &Ui) -> Result<CalendarQuery> {
        self.parse_in(workspace, ui, None)
    }

    /// The same over another time, if one is given.
    pub(super) fn parse_in(&self, workspace: &Workspace, ui: &Ui, window: Option<Interval>) -> Result<CalendarQuery> {
        let zone = self.zone()?;
        let window = match window {
            Some(window) => window,
            None => self.window(&workspace.clock.now().to_zoned(zone.clone()))?,
        };
        let calendars = self.targets.iter().map(|word| calendar(ui, word)).collect::<Result<_>>()?;
        Ok(CalendarQuery { calendars, every_calendar: self.all_calendars, window, zone, limit: self.timeout })
    }

    fn zone(&self) -> Result<TimeZone, TimeError> {
        zone(self.zone.as_deref())
    }

    fn window(&self, now: &Zoned) -> Result<Interval> {
        let zone = now.time_zone().clone();
        let today = now.date();
        let days = |first: Date, count: i64| {
            let last = first.checked_add(count.days()).map_err(|_| TimeError::OutOfRange { text: first.to_string() });
            Ok(time::window_of(&EventTime::Date(first), &EventTime::Date(last?), &zone)?)
        };
        if let Some(day) = &self.day {
            return days(date(day, today)?, 1);
        }
        if let Some(day) = &self.week {
            let day = date(day, today)?;
            let monday = day.checked_sub(i64::from(day.weekday().to_monday_zero_offset()).days());
            return days(monday.map_err(|_| TimeError::OutOfRange { text: day.to_string() })?, 7);
        }
        let read = |text: &str| time::parse(text, now.timestamp(), &zone);
        let from = self.from.as_deref().map_or_else(|| Ok(EventTime::At(now.clone())), read)?;
        let later = || from.plus(7.days()).ok_or_else(|| TimeError::OutOfRange { text: from.to_string() });
        let to = self.to.as_deref().map_or_else(later, read)?;
        Ok(time::window_of(&from, &to, &zone)?)
    }
}

impl TimeSpanArgs {
    /// The time that is proposed, if one is.
    pub(super) fn parse(&self, workspace: &Workspace, query: &QueryArgs) -> Result<Option<Interval>> {
        let Some(start) = &self.start else { return Ok(None) };
        let zone = query.zone()?;
        let now = workspace.clock.now();
        let span = span(start, self.end.as_deref(), self.duration, now, &zone)?;
        Ok(Some(time::window_of(&span.start, &span.end, &zone)?))
    }
}

/// From when to when something is, by its start and either its end or its length.
pub(super) fn span(
    start: &str,
    end: Option<&str>,
    length: Option<Duration>,
    now: clock::Timestamp,
    zone: &TimeZone,
) -> Result<EventSpan> {
    let start = time::parse(start, now, zone)?;
    let end = match (end, length) {
        (Some(end), _) => time::parse(end, now, zone)?,
        (None, Some(length)) => end_after(&start, length)?,
        (None, None) => return Err(CalendarArgumentError::NoEnd.into()),
    };
    span_between(start, end, zone)
}

fn date(text: &str, today: Date) -> Result<Date, CalendarArgumentError> {
    match text {
        "today" => Ok(today),
        text => text.parse().map_err(|_| CalendarArgumentError::Date { text: text.to_owned() }),
    }
}

/// Parses `09:00-17:00`.
pub(super) fn daily_hours(text: &str) -> Result<DailyHours, String> {
    let wrong = || format!("{text:?} is not such as 09:00-17:00");
    let (start, end) = text.split_once('-').ok_or_else(wrong)?;
    let time = |text: &str| {
        let (hour, minute) = text.trim().split_once(':')?;
        let time = (hour.parse().ok()?, minute.parse().ok()?);
        // Midnight at the end of a day.
        if time == (24, 0) { Some(Time::midnight()) } else { Time::new(time.0, time.1, 0, 0).ok() }
    };
    let hours = DailyHours { start: time(start).ok_or_else(wrong)?, end: time(end).ok_or_else(wrong)? };
    if hours.start < hours.end || hours.end == Time::midnight() { Ok(hours) } else { Err(wrong()) }
}
