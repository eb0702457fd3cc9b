//! `integ calendar create`, `update` and `delete`.

use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};

use super::arguments::{calendar, span, zone};
use super::error::CalendarArgumentError;
use crate::calendar::time;
use crate::cli::ui::{Render, Ui};
use crate::cli::value_parser;
use crate::error::Result;
use crate::model::Entity;
use crate::model::calendar::{EventChanges, FreeBusyStatus, Privacy};
use crate::ops::calendar::{
    self as operations, DeleteEventRequest, EventSelector, EventUpdate, NewCalendarEvent, TimeChange,
};
use crate::runtime::Workspace;
use crate::view::calendar::{CalendarEventView, ChangeOutcome, ChangedEventView, DeletedEventView};

/// What an event is beside its title and its time.
#[derive(Debug, Args)]
struct DetailArgs {
    /// Description of the event
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Location of the event
    #[arg(long, value_name = "TEXT")]
    location: Option<String>,
    /// E-mail address of an attendee; the service sends the invitation
    #[arg(long = "attendee", value_name = "EMAIL")]
    attendees: Vec<String>,
    /// Whether the event blocks time
    #[arg(long, value_name = "STATUS")]
    show_as: Option<ShowAs>,
    /// Who can see the details of the event
    #[arg(long, value_name = "PRIVACY")]
    privacy: Option<PrivacyArg>,
    /// Add an online meeting (Google Meet, Microsoft Teams)
    #[arg(long)]
    meet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ShowAs {
    Busy,
    Free,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PrivacyArg {
    Public,
    Private,
    Secret,
}

impl DetailArgs {
    fn changes(&self, title: Option<&String>) -> EventChanges {
        EventChanges {
            title: title.cloned(),
            description: self.description.clone(),
            location: self.location.clone(),
            time: None,
            attendees: Some(self.attendees.clone()).filter(|attendees| !attendees.is_empty()),
            free_busy: self.show_as.map(|show_as| match show_as {
                ShowAs::Busy => FreeBusyStatus::Busy,
                ShowAs::Free => FreeBusyStatus::Free,
            }),
            privacy: self.privacy.map(|privacy| match privacy {
                PrivacyArg::Public => Privacy::Public,
                PrivacyArg::Private => Privacy::Private,
                PrivacyArg::Secret => Privacy::Secret,
            }),
            adds_meeting: self.meet,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Connection to create the event in
    #[arg(add = crate::cli::complete::calendars())]
    connection: String,
    /// Title of the event
    #[arg(long, value_name = "TEXT")]
    title: String,
    /// Start of the event; a date makes it an all-day event
    #[arg(long, value_name = "TIME")]
    start: String,
    /// End of the event; for an all-day event, the day after the last one
    #[arg(long, value_name = "TIME", conflicts_with = "duration", required_unless_present = "duration")]
    end: Option<String>,
    /// Length of the event
    #[arg(long, value_name = "DURATION", value_parser = value_parser::duration)]
    duration: Option<Duration>,
    /// Your entity to link the event to; a second run finds the event of the first
    #[arg(long, value_name = "TYPE/ID")]
    entity: Option<Entity>,
    /// Calendar to create it in (default: the account's default calendar)
    #[arg(long, value_name = "ID")]
    calendar: Option<String>,
    #[command(flatten)]
    details: DetailArgs,
    /// Time zone of times without one (default: this machine's)
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Idempotency key for an event without an entity
    #[arg(long, value_name = "KEY", conflicts_with = "entity")]
    idempotency_key: Option<String>,
}

/// The event that is meant.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["event", "entity"]))]
struct SelectorArgs {
    /// Connection or calendar that contains the event
    #[arg(value_name = "CONNECTION[/CALENDAR]", add = crate::cli::complete::calendars())]
    target: String,
    /// Id of the event
    event: Option<String>,
    /// Entity that the event is linked to
    #[arg(long, value_name = "TYPE/ID")]
    entity: Option<Entity>,
    /// ETag that the event must still have
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
    /// Time zone for input and output (default: this machine's)
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
}

impl SelectorArgs {
    fn selector(&self) -> EventSelector {
        match (&self.entity, &self.event) {
            (Some(entity), _) => EventSelector::Entity(entity.clone()),
            (None, event) => EventSelector::Id(event.clone().unwrap_or_default()),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct UpdateArgs {
    #[command(flatten)]
    which: SelectorArgs,
    /// New title
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// New start; the length stays unless an end or a duration is given
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// New end
    #[arg(long, value_name = "TIME", conflicts_with = "duration")]
    end: Option<String>,
    /// New length
    #[arg(long, value_name = "DURATION", value_parser = value_parser::duration)]
    duration: Option<Duration>,
    #[command(flatten)]
    details: DetailArgs,
}

#[derive(Debug, Args)]
pub(super) struct DeleteArgs {
    #[command(flatten)]
    which: SelectorArgs,
}

pub(super) fn create(workspace: &Workspace, ui: &Ui, args: &CreateArgs) -> Result<u8> {
    let zone = zone(args.zone.as_deref())?;
    let now = workspace.clock.now();
    let mut name = calendar(ui, &args.connection)?;
    name.id = args.calendar.clone().or(name.id);
    let event = NewCalendarEvent {
        calendar: name,
        span: span(&args.start, args.end.as_deref(), args.duration, now, &zone)?,
        changes: args.details.changes(Some(&args.title)),
        entity: args.entity.clone(),
        idempotency_key: args.idempotency_key.clone(),
    };
    ui.show(&workspace.run(operations::create_event(workspace, event))?)?;
    Ok(0)
}

pub(super) fn update(workspace: &Workspace, ui: &Ui, args: &UpdateArgs) -> Result<u8> {
    let zone = zone(args.which.zone.as_deref())?;
    let now = workspace.clock.now();
    let read = |text: &Option<String>| text.as_deref().map(|text| time::parse(text, now, &zone)).transpose();
    let time = TimeChange { start: read(&args.start)?, end: read(&args.end)?, length: args.duration };
    let changes = args.details.changes(args.title.as_ref());
    if time == TimeChange::default() && changes == EventChanges::default() {
        return Err(CalendarArgumentError::NothingToChange.into());
    }
    let update = EventUpdate {
        calendar: calendar(ui, &args.which.target)?,
        event: args.which.selector(),
        time,
        changes,
        etag: args.which.if_match.clone(),
        zone,
    };
    ui.show(&workspace.run(operations::update_event(workspace, update))?)?;
    Ok(0)
}

pub(super) fn delete(workspace: &Workspace, ui: &Ui, args: &DeleteArgs) -> Result<u8> {
    let request = DeleteEventRequest {
        calendar: calendar(ui, &args.which.target)?,
        event: args.which.selector(),
        etag: args.which.if_match.clone(),
        zone: zone(args.which.zone.as_deref())?,
    };
    ui.show(&workspace.run(operations::delete_event(workspace, request))?)?;
    Ok(0)
}

/// A title and a time with its offset.
fn describe(event: &CalendarEventView) -> String {
    let title = event.title.clone().unwrap_or_else(|| "(no title)".to_owned());
    format!("{:?} from {} to {}", title, event.start, event.end)
}

impl Render for ChangedEventView {
    fn text(&self, _ui: &Ui) -> String {
        let event = &self.event;
        let what = match (self.outcome, &self.entity) {
            (ChangeOutcome::Created, _) => "Created".to_owned(),
            (ChangeOutcome::Updated, _) => "Updated".to_owned(),
            (ChangeOutcome::Existing, Some(entity)) => format!("Nothing to do: {entity} has"),
            (ChangeOutcome::Existing, None) => "Nothing to do: there is".to_owned(),
        };
        let mut lines = vec![format!("{what} {}.", describe(event))];
        let zone = event.time_zone.as_ref().map(|zone| ("time zone", zone.clone()));
        let link = self.entity.as_ref().map(|entity| ("entity", entity.clone()));
        let meeting = event.meeting_url.as_ref().map(|url| ("meeting", url.clone()));
        let page = event.url.as_ref().map(|url| ("page", url.clone()));
        let rows = [Some(("event", event.id.clone())), zone, link, meeting, page];
        lines.extend(
            rows.into_iter().flatten().map(|(name, value)| format!("  {name:<10} {}", crate::cli::ui::escape(&value))),
        );
        lines.join("\n")
    }
}

impl Render for DeletedEventView {
    fn text(&self, _ui: &Ui) -> String {
        match &self.event {
            Some(event) => format!("Deleted {}.", describe(event)),
            None if self.deleted => "Deleted the event.".to_owned(),
            None => "The event had been deleted already; its link is removed.".to_owned(),
        }
    }
}
