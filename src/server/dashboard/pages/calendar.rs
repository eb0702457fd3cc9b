//! A week of all calendars, with the events that overlap marked.

use std::collections::BTreeSet;

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use maud::{Markup, html};
use serde_json::Value;
use url::form_urlencoded;

use super::super::DashboardPage;
use super::super::components::{StateTone, badge, empty, heading};
use super::super::context::DashboardContext;
use super::super::fix::fix;
use super::super::form::Field;
use super::super::icons::Icon;
use super::super::problem_page::sentence;
use super::super::values::Fields;
use super::appointment::CREATE;
use super::{PageHandler, page};
use crate::calendar::time::{self, zone_name};
use crate::error::Error;
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] = &[page!("/dashboard/calendar", week)];

pub(super) const SECTION: &str = "/dashboard/calendar";

/// The code of a workspace without calendars.
const NO_CALENDAR: &str = "no_calendar";

/// The hours that are shown though nothing happens in them.
const DAY_HOURS: (i8, i8) = (8, 18);

/// The calendars of all connections, and the time zone of the page.
pub(super) struct Calendars {
    pub(super) list: Value,
    pub(super) zone: TimeZone,
}

impl Calendars {
    /// Reads them; none if no connection has one.
    pub(super) async fn read(context: &DashboardContext) -> Result<Option<Self>, Problem> {
        let list = match context.get("/v1/calendars", &[], &[]).await {
            Err(problem) if problem.view.code == NO_CALENDAR => return Ok(None),
            list => list?,
        };
        Ok(Some(Self::of(context, list)?))
    }

    fn of(context: &DashboardContext, list: Value) -> Result<Self, Error> {
        let own = list.items("calendars").iter().find_map(|one| one.maybe("time_zone"));
        let name = Some(context.query("zone")).filter(|name| !name.is_empty());
        let zone = match (name, own) {
            (Some(name), _) => time::zone(name)?,
            (None, Some(name)) => time::zone(name).unwrap_or(TimeZone::UTC),
            (None, None) => TimeZone::UTC,
        };
        Ok(Self { list, zone })
    }
}

/// The name of a calendar in the API: `CONNECTION/CALENDAR`.
pub(super) fn calendar_of(one: &Value) -> String {
    match one.maybe("calendar") {
        Some(id) => format!("{}/{id}", one.text("connection")),
        None => one.text("connection").to_owned(),
    }
}

/// What a calendar is called in a list of them.
pub(super) fn label_of(one: &Value) -> String {
    format!("{} · {}", one.maybe("title").unwrap_or("Calendar"), one.text("connection"))
}

/// The page that a workspace without calendars has.
pub(super) fn no_calendars(context: &DashboardContext) -> DashboardPage {
    let body = html! {
        (heading("Calendar", "", &html! {}))
        (empty("No calendars yet", &html! {
            p { "Connect accounts with calendars to see them as one week, with the appointments that overlap." }
            p .actions {
                a .button .primary href=(context.href("/dashboard/connect/google-calendar")) { "Connect Google Calendar" }
                a .button href=(context.href("/dashboard/connect/outlook-calendar")) { "Connect Outlook" }
            }
        }))
    };
    DashboardPage { title: "Calendar".to_owned(), section: SECTION, body }
}

/// An event in the time zone of the page.
pub(super) struct Placed<'v> {
    pub(super) event: &'v Value,
    pub(super) start: DateTime,
    pub(super) end: DateTime,
}

impl<'v> Placed<'v> {
    pub(super) fn new(event: &'v Value, zone: &TimeZone) -> Option<Self> {
        let at = |name: &str| {
            let text = event.text(name);
            match event.is("show_without_time") {
                true => text.parse::<Date>().ok().map(|date| date.at(0, 0, 0, 0)),
                false => text.parse::<Timestamp>().ok().map(|time| time.to_zoned(zone.clone()).datetime()),
            }
        };
        Some(Self { event, start: at("start")?, end: at("end")? })
    }

    fn is_all_day(&self) -> bool {
        self.event.is("show_without_time")
    }

    /// Whether some of it is on a day.
    fn is_on(&self, day: Date) -> bool {
        let (begin, end) = (day.at(0, 0, 0, 0), day.saturating_add(1.day()).at(0, 0, 0, 0));
        self.start < end && (self.end > begin || self.start >= begin)
    }

    /// The half hours of a day that it takes up: the first, and the one after the last.
    fn half_hours(&self, day: Date) -> (i8, i8) {
        let of = |time: DateTime| match time.date().cmp(&day) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Greater => 24 * 60,
            std::cmp::Ordering::Equal => i16::from(time.hour()) * 60 + i16::from(time.minute()),
        };
        let (first, last) = (of(self.start) / 30, (of(self.end) + 29) / 30);
        let narrow = |value: i16| i8::try_from(value).unwrap_or(48);
        (narrow(first), narrow(last.max(first + 1)))
    }

    /// The page of the event.
    fn href(&self, context: &DashboardContext, zone: &TimeZone) -> String {
        let moment = |time: DateTime| zone.to_ambiguous_timestamp(time).compatible().unwrap_or_default().to_string();
        let pairs = [
            ("calendar", calendar_of(self.event)),
            ("event", self.event.text("id").to_owned()),
            ("from", moment(self.start)),
            ("to", moment(self.end)),
            ("zone", zone_name(zone)),
        ];
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        format!("{}?{query}", context.href("/dashboard/calendar/event"))
    }
}

/// Returns the title of an event.
pub(super) fn title_of(event: &Value) -> &str {
    event.maybe("title").unwrap_or("Busy")
}

/// `9:00 – 9:30`, in the time zone of the page.
pub(super) fn hours(placed: &Placed<'_>) -> String {
    if placed.is_all_day() {
        return "All day".to_owned();
    }
    let at = |time: DateTime| format!("{}:{:02}", time.hour(), time.minute());
    format!("{} – {}", at(placed.start), at(placed.end))
}

/// What identifies an occurrence among the events of all calendars.
fn identity(event: &Value) -> (&str, &str, &str, &str) {
    (event.text("connection"), event.text("calendar"), event.text("id"), event.text("start"))
}

async fn week(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    // One account whose calendars cannot be listed hides nothing of the others.
    let (calendars, unlisted) = match Calendars::read(context).await {
        Ok(Some(calendars)) => (calendars, None),
        Ok(None) => return Ok(no_calendars(context)),
        Err(problem) => (Calendars::of(context, Value::Null)?, Some(problem)),
    };
    let zone = calendars.zone.clone();
    let today = context.now.to_zoned(zone.clone()).date();
    let monday = monday_of(context.query("week").parse().unwrap_or(today));
    let moment = |date: Date| zone.to_ambiguous_timestamp(date.at(0, 0, 0, 0)).compatible().unwrap_or_default();
    let (from, to) = (moment(monday).to_string(), moment(monday.saturating_add(7.days())).to_string());
    let name = zone_name(&zone);
    // The default calendar of each account, unless one calendar is chosen: an account may have dozens.
    let chosen = context.query("calendar");
    let query = [("from", from.as_str()), ("to", to.as_str()), ("zone", name.as_str()), ("calendar", chosen)];
    let (events, conflicts) = tokio::join!(
        context.get("/v1/calendar/events", &[], &query),
        context.get("/v1/calendar/conflicts", &[], &query),
    );
    let events = events?;
    // Conflicts are unknown where a calendar cannot be read; the week shows why.
    let conflicts = conflicts.unwrap_or_default();
    let overlapping: BTreeSet<_> =
        conflicts.items("conflicts").iter().flat_map(|one| one.items("events")).map(identity).collect();
    let placed: Vec<Placed<'_>> = events.items("events").iter().filter_map(|one| Placed::new(one, &zone)).collect();
    let create = html! {
        @if context.may(&CREATE) {
            a .button .primary href=(context.href(&format!("/dashboard/calendar/new?zone={}", encoded(&name)))) { "New appointment" }
        }
    };
    let grid = Grid { context, zone: &zone, today, monday, placed: &placed, overlapping: &overlapping };
    let body = html! {
        (heading("Calendar", &format!("The calendars of all accounts as one, in {name}"), &create))
        (toolbar(context, &calendars, monday, &name))
        @if let Some(problem) = unlisted {
            div .callout .bad {
                p { "The calendars of an account cannot be listed. " (sentence(&problem.view.detail)) }
                @if let Some(hint) = &problem.view.hint { (fix(context, hint)) }
            }
        }
        @for one in events.items("unread") { (unread(context, one)) }
        @if !overlapping.is_empty() {
            p { (badge(StateTone::Warn, &counted(conflicts.items("conflicts").len()))) " " span .dim { "Appointments that overlap are marked." } }
        }
        (grid.markup())
    };
    Ok(DashboardPage { title: "Calendar".to_owned(), section: SECTION, body })
}

fn counted(conflicts: usize) -> String {
    if conflicts == 1 { "1 conflict".to_owned() } else { format!("{conflicts} conflicts") }
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn monday_of(date: Date) -> Date {
    date.saturating_sub(i64::from(date.weekday().to_monday_zero_offset()).days())
}

fn unread(context: &DashboardContext, one: &Value) -> Markup {
    html! {
        div .callout .bad {
            p { (calendar_of(one)) " cannot be read. " (sentence(one.text("message"))) }
            @if let Some(hint) = one.maybe("hint") { (fix(context, hint)) }
        }
    }
}

fn toolbar(context: &DashboardContext, calendars: &Calendars, monday: Date, zone: &str) -> Markup {
    let week = |date: Date| context.with_query(&[("week", &date.to_string())]);
    let sunday = monday.saturating_add(6.days());
    let label = format!("{} – {}", monday.strftime("%-d %b"), sunday.strftime("%-d %b %Y"));
    let mut choices = vec![(String::new(), "Each account's own".to_owned())];
    choices.extend(calendars.list.items("calendars").iter().map(|one| (calendar_of(one), label_of(one))));
    html! {
        div .toolbar {
            nav .actions aria-label="Week" {
                a .button rel="prev" href=(week(monday.saturating_sub(7.days()))) { "Previous" }
                a .button href=(context.with_query(&[("week", "")])) { "Today" }
                a .button rel="next" href=(week(monday.saturating_add(7.days()))) { "Next" }
                strong { (label) }
            }
            form .filters .flush method="get" action=(context.href(SECTION)) {
                input type="hidden" name="week" value=(monday);
                (Field::new("calendar", "Calendar").value(context.query("calendar")).select(&choices))
                (Field::new("zone", "Time zone").value(zone).text())
                button type="submit" { "Show" }
            }
        }
    }
}

/// A week of events.
struct Grid<'g> {
    context: &'g DashboardContext,
    zone: &'g TimeZone,
    today: Date,
    monday: Date,
    placed: &'g [Placed<'g>],
    overlapping: &'g BTreeSet<(&'g str, &'g str, &'g str, &'g str)>,
}

impl Grid<'_> {
    fn markup(&self) -> Markup {
        let days: Vec<Date> = (0..7).map(|day| self.monday.saturating_add(i64::from(day).days())).collect();
        let (first, last) = self.shown_hours(&days);
        let hours = usize::try_from(last - first).unwrap_or(24);
        html! {
            div .week {
                div .hours aria-hidden="true" {
                    div .dayname {}
                    div .alldays {}
                    div class={ "slots hours" (hours) } { @for hour in first..last { span class={ "s" ((hour - first) * 2) " n2" } { (hour) ":00" } } }
                }
                @for day in days { (self.day(day, first, hours)) }
            }
        }
    }

    /// The hours that are shown: the first, and the one after the last.
    fn shown_hours(&self, days: &[Date]) -> (i8, i8) {
        let timed = self.placed.iter().filter(|placed| !placed.is_all_day());
        let spans = timed.flat_map(|one| days.iter().filter(|day| one.is_on(**day)).map(|day| one.half_hours(*day)));
        spans.fold(DAY_HOURS, |(first, last), (start, end)| (first.min(start / 2), last.max((end + 1) / 2)))
    }

    fn day(&self, day: Date, first: i8, hours: usize) -> Markup {
        let on_day = || self.placed.iter().filter(move |placed| placed.is_on(day));
        let is_weekend = matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday);
        html! {
            section .day .weekend[is_weekend] .today[day == self.today] aria-label=(day.strftime("%A %-d %B")) {
                h2 .dayname { (day.strftime("%a")) " " span { (day.day()) } }
                div .alldays { @for placed in on_day().filter(|placed| placed.is_all_day()) { (self.event(placed, "allday")) } }
                div class={ "slots hours" (hours) } {
                    @for placed in on_day().filter(|placed| !placed.is_all_day()) {
                        @let (start, end) = placed.half_hours(day);
                        (self.event(placed, &format!("s{} n{}", start - first * 2, end - start)))
                    }
                }
            }
        }
    }

    fn event(&self, placed: &Placed<'_>, place: &str) -> Markup {
        let event = placed.event;
        let is_conflict = self.overlapping.contains(&identity(event));
        let kind = match (is_conflict, event.text("free_busy_status")) {
            (true, _) => "event conflict",
            (false, "free") => "event free",
            _ => "event",
        };
        html! {
            a class={ (kind) " " (place) } href=(placed.href(self.context, self.zone)) {
                strong {
                    @if is_conflict { (Icon::Warning.svg()) span .visually-hidden { "Conflict: " } }
                    (title_of(event))
                }
                @if !placed.is_all_day() { " " span .when { (hours(placed)) } }
                " " span .of { (event.text("connection")) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_week_begins_on_monday() {
        let monday = |text: &str| monday_of(text.parse().unwrap()).to_string();
        assert_eq!(monday("2026-11-30"), "2026-11-30");
        assert_eq!(monday("2026-12-06"), "2026-11-30");
    }

    #[test]
    fn an_event_takes_up_its_half_hours_of_each_day() {
        let event = json!({ "start": "2026-12-01T23:15:00+01:00", "end": "2026-12-02T00:45:00+01:00" });
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let placed = Placed::new(&event, &zone).unwrap();
        let day = |text: &str| text.parse::<Date>().unwrap();
        assert!(!placed.is_on(day("2026-11-30")) && placed.is_on(day("2026-12-01")) && placed.is_on(day("2026-12-02")));
        assert_eq!(placed.half_hours(day("2026-12-01")), (46, 48));
        assert_eq!(placed.half_hours(day("2026-12-02")), (0, 2));
        assert_eq!(hours(&placed), "23:15 – 0:45");
        let whole = json!({ "start": "2026-12-01", "end": "2026-12-02", "show_without_time": true });
        let whole = Placed::new(&whole, &zone).unwrap();
        assert!(whole.is_on(day("2026-12-01")) && !whole.is_on(day("2026-12-02")));
        let point = json!({ "start": "2026-12-01T09:00:00Z", "end": "2026-12-01T09:00:00Z" });
        assert_eq!(Placed::new(&point, &TimeZone::UTC).unwrap().half_hours(day("2026-12-01")), (18, 19));
    }
}
