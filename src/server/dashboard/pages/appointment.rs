//! Appointments: new ones, and those of calendars to move, change and delete. What they overlap is shown before they are saved.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use maud::{Markup, html};
use serde_json::Value;

use super::super::DashboardPage;
use super::super::action::FormAction;
use super::super::components::{heading, property, section, web_link};
use super::super::context::DashboardContext;
use super::super::form::{Field, checkbox, hidden};
use super::super::icons::Icon;
use super::super::values::Fields;
use super::calendar::{Calendars, Placed, SECTION, calendar_of, hours, label_of, no_calendars, title_of};
use super::{PageHandler, page};
use crate::calendar::time::zone_name;
use crate::clock::random;
use crate::hex;
use crate::server::problem::{Problem, RequestError};

pub(super) const PAGES: &[(&str, PageHandler)] =
    &[page!("/dashboard/calendar/new", new), page!("/dashboard/calendar/event", show)];

pub(super) static CREATE: FormAction = FormAction::post("/v1/calendar/events");
static UPDATE: FormAction = FormAction::patch("/v1/calendar/events");
static DELETE: FormAction = FormAction::delete("/v1/calendar/events");

/// Minutes of an appointment unless others are chosen.
const USUAL_MINUTES: i64 = 30;

/// The longest appointment, in minutes and in days.
const MAX_MINUTES: i64 = 60 * 24 * 7;
const MAX_DAYS: i64 = 365;

/// What a person fills in.
struct Draft<'d> {
    title: &'d str,
    /// A date and a time; only the date counts for whole days.
    start: String,
    minutes: i64,
    is_all_day: bool,
    days: i64,
    location: &'d str,
    description: &'d str,
    attendees: &'d str,
}

impl<'d> Draft<'d> {
    /// Reads what was filled in; None before that.
    fn of(context: &'d DashboardContext) -> Option<Self> {
        let title = context.query("title").trim();
        (!title.is_empty()).then(|| Self {
            title,
            start: context.query("start").to_owned(),
            minutes: context.query("minutes").parse().unwrap_or(USUAL_MINUTES).clamp(1, MAX_MINUTES),
            is_all_day: context.query("all_day") == "true",
            days: context.query("days").parse().unwrap_or(1).clamp(1, MAX_DAYS),
            location: context.query("location").trim(),
            description: context.query("description").trim(),
            attendees: context.query("attendees"),
        })
    }

    /// The time that it takes up.
    ///
    /// # Errors
    /// [`RequestError::Query`] for a text that is not a local time.
    fn span(&self, zone: &TimeZone) -> Result<(Timestamp, Timestamp), RequestError> {
        let invalid = |reason: &str| RequestError::Query { at: " at start".to_owned(), reason: reason.to_owned() };
        let local: DateTime = self.start.parse().map_err(|_| invalid("use a date and a time, as 2026-12-01T09:00"))?;
        let moment = |time: DateTime| {
            zone.to_ambiguous_timestamp(time).compatible().map_err(|_| invalid("the time is out of range"))
        };
        if self.is_all_day {
            let midnight = local.date().at(0, 0, 0, 0);
            return Ok((moment(midnight)?, moment(midnight.saturating_add(self.days.days()))?));
        }
        let start = moment(local)?;
        let length = jiff::SignedDuration::from_mins(self.minutes);
        Ok((start, start.saturating_add(length).unwrap_or(Timestamp::MAX)))
    }

    /// Its start and its seconds, as the API takes them: a date means whole days.
    fn time(&self) -> (&str, i64) {
        if self.is_all_day {
            (self.start.get(..10).unwrap_or(&self.start), self.days * 86_400)
        } else {
            (&self.start, self.minutes * 60)
        }
    }

    /// The fields of the draft, for the page that shows what it overlaps.
    fn fields(&self) -> Markup {
        let (minutes, days) = (self.minutes.to_string(), self.days.to_string());
        html! {
            (Field::new("title", "Title").value(self.title).required().text())
            div .pair {
                (Field::new("start", "Start").value(&self.start).required().moment())
                div .minutes { (Field::new("minutes", "Minutes").value(&minutes).required().number()) }
                div .days { (Field::new("days", "Days").value(&days).required().number()) }
                (checkbox("all_day", "Whole days, whatever the time of the start", self.is_all_day))
            }
            (Field::new("location", "Location").value(self.location).text())
            (Field::new("attendees", "Attendees").hint("An e-mail address on each line; the service invites them.").value(self.attendees).area(2))
            (Field::new("description", "Description").value(self.description).area(3))
        }
    }

    /// What is sent of it: what differs from what there is.
    fn changes(&self, zone: &TimeZone, old: Option<&Draft<'_>>) -> Option<Markup> {
        let (start, seconds) = self.time();
        let is_moved = old.is_none_or(|old| old.time() != (start, seconds));
        let differs = |own: &str, of: for<'x> fn(&'x Draft<'_>) -> &'x str| {
            !own.is_empty() && old.is_none_or(|old| of(old).trim() != own.trim())
        };
        let details = [
            ("details.title", self.title, differs(self.title, |draft| draft.title)),
            ("details.location", self.location, differs(self.location, |draft| draft.location)),
            ("details.description", self.description, differs(self.description, |draft| draft.description)),
            ("details.attendees", self.attendees, differs(self.attendees, |draft| draft.attendees)),
        ];
        if !is_moved && details.iter().all(|(_, _, differs)| !differs) {
            return None;
        }
        Some(html! {
            @if is_moved {
                (hidden("start", start))
                (hidden("duration_secs", &seconds.to_string()))
            }
            (hidden("zone", &zone_name(zone)))
            @for (name, value, differs) in details { @if differs { (hidden(name, value)) } }
        })
    }
}

/// The events that take up a time in the default calendars of all accounts and in the one of the appointment, but for one event.
async fn overlapped(
    context: &DashboardContext,
    calendars: &Calendars,
    (start, end): (Timestamp, Timestamp),
    own: Option<&Value>,
) -> Result<Vec<Value>, Problem> {
    let (from, to, name) = (start.to_string(), end.to_string(), zone_name(&calendars.zone));
    let mut query = vec![("from", from.as_str()), ("to", to.as_str()), ("zone", name.as_str())];
    let all = calendars.list.items("calendars");
    let read = all.iter().filter(|one| one.is("is_default") || calendar_of(one) == context.query("calendar"));
    let read: Vec<String> = read.map(calendar_of).collect();
    query.extend(read.iter().map(|name| ("calendar", name.as_str())));
    let events = context.get("/v1/calendar/events", &[], &query).await?;
    // Its calendar is named or not, by how it was asked for.
    let is_own = |one: &Value| own.is_some_and(|own| ["connection", "id"].iter().all(|name| own[name] == one[name]));
    let is_busy = |one: &Value| one.text("free_busy_status") != "free" && one.text("status") != "cancelled";
    Ok(events.items("events").iter().filter(|one| is_busy(one) && !is_own(one)).cloned().collect())
}

/// What is known before an appointment is saved.
fn checked(zone: &TimeZone, conflicts: &[Value], save: &Markup) -> Markup {
    section(
        "Before it is saved",
        &html! {
            @if conflicts.is_empty() {
                div .callout .good role="status" { p { (Icon::Check.svg()) " All calendars are free at this time." } }
            } @else {
                div .callout .warn role="status" {
                    p { "At this time there is also:" }
                    ul { @for one in conflicts.iter().take(20) {
                        li {
                            strong { (title_of(one)) }
                            @if let Some(placed) = Placed::new(one, zone) { ", " (hours(&placed)) }
                            ", " (one.text("connection"))
                        }
                    } }
                }
            }
            (save)
        },
    )
}

async fn new(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let Some(calendars) = Calendars::read(context).await? else { return Ok(no_calendars(context)) };
    let zone = &calendars.zone;
    let draft = Draft::of(context);
    let before = match &draft {
        None => html! {},
        Some(draft) => {
            let conflicts = overlapped(context, &calendars, draft.span(zone)?, None).await?;
            let fields = html! {
                (hidden("calendar", context.query("calendar")))
                // A form that is sent twice makes one appointment.
                (hidden("event_key", &hex::encode(&random::<12>())))
                @if let Some(fields) = draft.changes(zone, None) { (fields) }
            };
            let label = if conflicts.is_empty() { "Create" } else { "Create all the same" };
            let save = context.form(&CREATE, &[]).fields(fields).primary().or_cancel(SECTION).button(label);
            checked(zone, &conflicts, &save)
        }
    };
    let next_hour = context.now.to_zoned(zone.clone()).datetime();
    let draft = draft.unwrap_or_else(|| Draft {
        title: "",
        start: format!("{}T{:02}:00", next_hour.date(), (next_hour.hour() + 1).min(23)),
        minutes: USUAL_MINUTES,
        is_all_day: false,
        days: 1,
        location: "",
        description: "",
        attendees: "",
    });
    let writable: Vec<(String, String)> = calendars
        .list
        .items("calendars")
        .iter()
        .filter(|one| one.is("is_writable"))
        .map(|one| (calendar_of(one), label_of(one)))
        .collect();
    let body = html! {
        p .crumbs { a href=(context.href(SECTION)) { "Calendar" } }
        (heading("New appointment", &format!("Times are in {}", zone_name(zone)), &html! {}))
        (before)
        (section("Appointment", &html! {
            form .stack method="get" action=(context.href("/dashboard/calendar/new")) {
                input type="hidden" name="zone" value=(zone_name(zone));
                (Field::new("calendar", "Calendar").value(context.query("calendar")).required().select(&writable))
                (draft.fields())
                div .actions { button .primary type="submit" { "Check the time" } }
            }
        }))
    };
    Ok(DashboardPage { title: "New appointment".to_owned(), section: SECTION, body })
}

/// Reads the event of the page.
async fn event(context: &DashboardContext, zone: &TimeZone) -> Result<Value, Problem> {
    let name = zone_name(zone);
    let query = [
        ("calendar", context.query("calendar")),
        ("from", context.query("from")),
        ("to", context.query("to")),
        ("zone", name.as_str()),
    ];
    let events = context.get("/v1/calendar/events", &[], &query).await?;
    let found = events.items("events").iter().find(|one| one.text("id") == context.query("event"));
    found.cloned().ok_or_else(|| RequestError::UnknownPath.into())
}

async fn show(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let Some(calendars) = Calendars::read(context).await? else { return Ok(no_calendars(context)) };
    let zone = calendars.zone.clone();
    let event = event(context, &zone).await?;
    let title = title_of(&event);
    let attendees: Vec<&str> = event.items("participants").iter().filter_map(|one| one.maybe("email")).collect();
    let attendees = attendees.join("\n");
    let placed = Placed::new(&event, &zone);
    let is_all_day = event.is("show_without_time");
    let old = placed.as_ref().map(|placed| Draft {
        title,
        start: placed.start.strftime("%Y-%m-%dT%H:%M").to_string(),
        minutes: if is_all_day { USUAL_MINUTES } else { placed.end.duration_since(placed.start).as_mins() },
        is_all_day,
        days: if is_all_day { placed.end.duration_since(placed.start).as_hours() / 24 } else { 1 },
        location: event.text("location"),
        description: event.text("description"),
        attendees: &attendees,
    });
    let before = match (Draft::of(context), &old) {
        (Some(draft), Some(old)) => proposal(context, &calendars, &event, &draft, old).await?,
        _ => html! {},
    };
    let body = html! {
        p .crumbs { a href=(context.href(SECTION)) { "Calendar" } }
        (heading(title, &format!("Times are in {}", zone_name(&zone)), &deletion(context, &event, &zone)))
        (before)
        (details(&event, placed.as_ref()))
        @if let Some(old) = old.filter(|_| context.may(&UPDATE)) {
            (section("Move or change", &html! {
                form .stack method="get" action=(context.href("/dashboard/calendar/event")) {
                    @for name in ["calendar", "event", "from", "to", "zone"] { input type="hidden" name=(name) value=(context.query(name)); }
                    (Draft::of(context).unwrap_or(old).fields())
                    div .actions { button type="submit" { "Check the time" } }
                }
            }))
        }
    };
    Ok(DashboardPage { title: title.to_owned(), section: SECTION, body })
}

fn deletion(context: &DashboardContext, event: &Value, zone: &TimeZone) -> Markup {
    let fields = html! {
        (hidden("query.calendar", &calendar_of(event)))
        (hidden("query.event", event.text("id")))
        (hidden("query.etag", event.text("etag")))
        (hidden("query.zone", &zone_name(zone)))
    };
    context.form(&DELETE, &[]).fields(fields).danger().returns_to(SECTION).button("Delete")
}

fn details(event: &Value, placed: Option<&Placed<'_>>) -> Markup {
    section(
        "Details",
        &html! {
            dl .properties {
                @if let Some(placed) = placed {
                    (property("When", &html! { (placed.start.strftime("%A, %-d %B %Y")) ", " (hours(placed)) }))
                }
                (property("Calendar", &html! { (calendar_of(event)) }))
                @if let Some(place) = event.maybe("location") { (property("Location", &html! { (place) })) }
                @if let Some(url) = event.maybe("meeting_url") { (property("Meeting", &web_link(url, url))) }
                @if let Some(url) = event.maybe("url") { (property("At the service", &web_link(url, "Open"))) }
                @if !event.items("participants").is_empty() {
                    (property("Attendees", &html! {
                        @for one in event.items("participants").iter().take(50) {
                            div {
                                (one.maybe("name").or(one.maybe("email")).unwrap_or("Unknown")) " "
                                span .dim { (one.text("participation_status").replace('_', " ")) }
                            }
                        }
                    }))
                }
                @if let Some(text) = event.maybe("description") { (property("Description", &html! { (text) })) }
                @if event["series_id"].is_string() { (property("Repeats", &html! { "One of a series; changes are of this one." })) }
            }
        },
    )
}

/// What a change would overlap, and the button that makes it.
async fn proposal(
    context: &DashboardContext,
    calendars: &Calendars,
    event: &Value,
    draft: &Draft<'_>,
    old: &Draft<'_>,
) -> Result<Markup, Problem> {
    let zone = &calendars.zone;
    let Some(changes) = draft.changes(zone, Some(old)) else {
        return Ok(html! { div .callout .warn role="status" { p { "Nothing would change." } } });
    };
    let conflicts = overlapped(context, calendars, draft.span(zone)?, Some(event)).await?;
    let fields = html! {
        (hidden("calendar", &calendar_of(event)))
        (hidden("event", event.text("id")))
        (hidden("etag", event.text("etag")))
        (changes)
    };
    let label = if conflicts.is_empty() { "Save" } else { "Save all the same" };
    let save = context.form(&UPDATE, &[]).fields(fields).primary().returns_to(SECTION).or_cancel(SECTION).button(label);
    Ok(checked(zone, &conflicts, &save))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(start: &str, is_all_day: bool) -> Draft<'_> {
        let start = start.to_owned();
        Draft { title: "x", start, minutes: 45, is_all_day, days: 2, location: "", description: "", attendees: "" }
    }

    #[test]
    fn whole_days_begin_at_midnight_of_the_zone_and_end_after_the_last_one() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        // The clock is set back on the second day.
        let whole = draft("2026-10-24T09:00", true);
        let (start, end) = whole.span(&zone).unwrap();
        assert_eq!(
            (start.to_string().as_str(), end.to_string().as_str()),
            ("2026-10-23T22:00:00Z", "2026-10-25T23:00:00Z")
        );
        assert_eq!(whole.time(), ("2026-10-24", 172_800));
        let (start, end) = draft("2026-10-24T09:00", false).span(&zone).unwrap();
        assert_eq!(end.duration_since(start).as_mins(), 45);
        assert!(draft("tomorrow", true).span(&zone).is_err());
    }

    #[test]
    fn a_change_to_whole_days_is_a_move() {
        let (timed, whole) = (draft("2026-12-01T09:00", false), draft("2026-12-01T09:00", true));
        assert!(timed.changes(&TimeZone::UTC, Some(&timed)).is_none());
        // The time of day is not part of whole days.
        assert!(draft("2026-12-01T00:00", true).changes(&TimeZone::UTC, Some(&whole)).is_none());
        let sent = whole.changes(&TimeZone::UTC, Some(&timed)).unwrap().0;
        assert!(sent.contains("name=\"start\" value=\"2026-12-01\"") && sent.contains("value=\"172800\""), "{sent}");
    }
}
