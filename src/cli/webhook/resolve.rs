//! `integ webhook resolve`.

use std::str::FromStr;

use clap::Args;
use serde::Serialize;

use super::super::ui::{Ui, View};
use super::WebhookArgumentError;
use crate::error::Result;
use crate::runtime::App;
use crate::store::{ConflictResolution, EventId};

/// Choose which bodies are events, if several came under one delivery id
///
/// `webhook events --conflicts` lists such events, and `webhook show ID` the bodies with their numbers. A body that becomes an
/// event is handled by `webhook listen`, as any other, and can be sent again with `webhook replay`.
///
/// Examples:
///   integ webhook resolve 17 --keep all
///   integ webhook resolve 17 --keep 1
///   integ webhook resolve 17 --keep stored
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ResolveArgs {
    /// The event that the others came after
    #[arg(value_name = "ID")]
    id: i64,
    /// `all` makes an event of each body, `stored` removes all but the first one, and a number keeps that body alone
    #[arg(long, value_name = "all|stored|N")]
    keep: ResolutionArg,
}

#[derive(Clone, Copy, Debug)]
struct ResolutionArg(ConflictResolution);

impl FromStr for ResolutionArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self(ConflictResolution::KeepAll)),
            "stored" => Ok(Self(ConflictResolution::KeepFirst)),
            number => match number.parse() {
                Ok(number @ 1..) => Ok(Self(ConflictResolution::KeepNumber(number))),
                _ => Err(format!("{text:?} is neither `all`, `stored` nor the number of a body")),
            },
        }
    }
}

#[derive(Serialize)]
struct ConflictResolutionView {
    id: i64,
    /// The events that were made.
    events: Vec<i64>,
}

impl View for ConflictResolutionView {
    fn text(&self, _ui: &Ui) -> String {
        let ids: Vec<String> = self.events.iter().map(ToString::to_string).collect();
        match ids.as_slice() {
            [] => format!("Event {} holds; the other bodies were removed.", self.id),
            [one] => format!("Event {one} was made; it will be handled by `integ webhook listen`."),
            many => format!("Events {} were made; they will be handled by `integ webhook listen`.", many.join(", ")),
        }
    }
}

pub(super) fn run(app: &App, ui: &Ui, args: &ResolveArgs) -> Result<u8> {
    let missing = || WebhookArgumentError::EventNotFound { id: args.id };
    if !app.has_vault() {
        return Err(missing().into());
    }
    let (events, id) = (app.store()?.events(), EventId(args.id));
    let event = events.get(id)?.ok_or_else(missing)?;
    if event.conflict_count == 0 {
        return Err(WebhookArgumentError::NoConflict { id: args.id }.into());
    }
    let made = events.resolve_conflict(id, args.keep.0, app.clock.now_millis())?;
    let made = made.ok_or(WebhookArgumentError::BodyNotFound { id: args.id, bodies: event.conflict_count })?;
    ui.show(&ConflictResolutionView { id: args.id, events: made.iter().map(|id| id.0).collect() })?;
    Ok(0)
}
