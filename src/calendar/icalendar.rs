//! Events as iCalendar (RFC 5545). Pure.
//!
//! Times are written in UTC: every program reads them, and no VTIMEZONE with rules of its own is needed. What other programs
//! are to know of a series is its occurrences.

use calcard::common::PartialDateTime;
use calcard::icalendar::{
    ICalendar, ICalendarComponent, ICalendarComponentType, ICalendarEntry, ICalendarParameter, ICalendarProperty,
    ICalendarValue, ICalendarValueType, Uri,
};
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::clock::Timestamp;
use crate::model::calendar::{
    CalendarEvent, CalendarEventStatus, EventTime, FreeBusyStatus, ParticipationStatus, Privacy,
};

/// Writes events as one calendar; `now` is when.
pub fn write(events: &[CalendarEvent], now: Timestamp) -> String {
    let mut root = ICalendarComponent::new(ICalendarComponentType::VCalendar);
    root.add_property(ICalendarProperty::Version, text("2.0"));
    root.add_property(ICalendarProperty::Prodid, text(concat!("-//integ//integ ", env!("CARGO_PKG_VERSION"), "//EN")));
    root.component_ids = (1..).take(events.len()).collect();
    let mut components = vec![root];
    components.extend(events.iter().map(|event| component(event, now)));
    ICalendar { components }.to_string()
}

fn component(event: &CalendarEvent, now: Timestamp) -> ICalendarComponent {
    let mut component = ICalendarComponent::new(ICalendarComponentType::VEvent);
    component.add_dtstamp(utc(now));
    let own = || format!("{}@{}.integ", event.id, event.calendar.connection.connector());
    component.add_uid(&event.uid.clone().unwrap_or_else(own));
    add_time(&mut component, ICalendarProperty::Dtstart, &event.start);
    add_time(&mut component, ICalendarProperty::Dtend, &event.end);
    if let (Some(time), Some(_)) = (&event.recurrence_id, &event.series_id) {
        add_time(&mut component, ICalendarProperty::RecurrenceId, time);
    }
    let texts = [
        (ICalendarProperty::Summary, &event.title),
        (ICalendarProperty::Description, &event.description),
        (ICalendarProperty::Location, &event.location),
    ];
    for (property, value) in texts {
        if let Some(value) = value {
            component.add_property(property, text(value));
        }
    }
    for (property, value) in [(ICalendarProperty::Url, &event.url), (ICalendarProperty::Conference, &event.meeting_url)]
    {
        if let Some(value) = value {
            component.add_property(property, ICalendarValue::Uri(Uri::Location(value.clone())));
        }
    }
    let status = match event.status {
        CalendarEventStatus::Confirmed => "CONFIRMED",
        CalendarEventStatus::Tentative => "TENTATIVE",
        CalendarEventStatus::Cancelled => "CANCELLED",
    };
    component.add_property(ICalendarProperty::Status, text(status));
    component.add_property(
        ICalendarProperty::Transp,
        text(if event.free_busy == FreeBusyStatus::Free { "TRANSPARENT" } else { "OPAQUE" }),
    );
    let class = match event.privacy {
        Privacy::Public => "PUBLIC",
        Privacy::Private => "PRIVATE",
        Privacy::Secret => "CONFIDENTIAL",
    };
    component.add_property(ICalendarProperty::Class, text(class));
    for attendee in &event.attendees {
        let Some(email) = &attendee.email else { continue };
        let mut entry = ICalendarEntry::new(ICalendarProperty::Attendee)
            .with_value(ICalendarValue::Uri(Uri::Location(format!("mailto:{email}"))))
            .with_param(ICalendarParameter::partstat(partstat(attendee.participation)));
        if let Some(name) = &attendee.name {
            entry.add_param(ICalendarParameter::cn(name.clone()));
        }
        component.entries.push(entry);
    }
    component
}

fn partstat(status: ParticipationStatus) -> calcard::icalendar::ICalendarParticipationStatus {
    use calcard::icalendar::ICalendarParticipationStatus as Status;
    match status {
        ParticipationStatus::NeedsAction => Status::NeedsAction,
        ParticipationStatus::Accepted => Status::Accepted,
        ParticipationStatus::Declined => Status::Declined,
        ParticipationStatus::Tentative => Status::Tentative,
    }
}

fn text(value: &str) -> ICalendarValue {
    ICalendarValue::Text(value.to_owned())
}

fn add_time(component: &mut ICalendarComponent, property: ICalendarProperty, time: &EventTime) {
    let mut entry = ICalendarEntry::new(property);
    let value = match time {
        EventTime::Date(date) => {
            entry.add_param(ICalendarParameter::value(ICalendarValueType::Date));
            day(*date)
        }
        EventTime::At(time) => utc(time.timestamp()),
    };
    component.entries.push(entry.with_value(ICalendarValue::PartialDateTime(Box::new(value))));
}

fn day(date: Date) -> PartialDateTime {
    PartialDateTime {
        year: u16::try_from(date.year()).ok(),
        month: u8::try_from(date.month()).ok(),
        day: u8::try_from(date.day()).ok(),
        ..PartialDateTime::default()
    }
}

/// With an offset of zero, which is written as `Z`.
fn utc(time: Timestamp) -> PartialDateTime {
    let local: DateTime = time.to_zoned(TimeZone::UTC).datetime();
    PartialDateTime {
        hour: u8::try_from(local.hour()).ok(),
        minute: u8::try_from(local.minute()).ok(),
        second: u8::try_from(local.second()).ok(),
        tz_hour: Some(0),
        tz_minute: Some(0),
        ..day(local.date())
    }
}
