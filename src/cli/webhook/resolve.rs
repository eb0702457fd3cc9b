//! `integ webhook resolve`.

use std::str::FromStr;

use clap::Args;

use super::super::ui::{Render, Ui};
use crate::cli::value_parser::event_number;
use crate::error::Result;
use crate::model::EventId;
use crate::model::event::ConflictResolution;
use crate::ops::webhooks::{self, ResolveConflictRequest};
use crate::runtime::Workspace;
use crate::view::webhook::ConflictResolutionView;

/// Decide which bodies are events, if several were received under one delivery ID
///
/// `webhook events --conflicts` lists such events, and `webhook show ID` the bodies with their numbers. A body that
/// becomes an event is handled by `webhook listen` like any other, and can be replayed with `webhook replay`.
#[derive(Debug, Args)]
pub(super) struct ResolveArgs {
    /// The event that was received first
    #[arg(value_name = "ID", value_parser = event_number, add = crate::cli::complete::events())]
    id: i64,
    /// `all` makes each body an event, `stored` keeps only the first one, and a number keeps only that body
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

impl Render for ConflictResolutionView {
    fn text(&self, _ui: &Ui) -> String {
        let ids: Vec<String> = self.events.iter().map(ToString::to_string).collect();
        match ids.as_slice() {
            [] => format!("Event {} holds; the other bodies were removed.", self.id),
            [one] => format!("Event {one} was made; it will be handled by `integ webhook listen`."),
            many => format!("Events {} were made; they will be handled by `integ webhook listen`.", many.join(", ")),
        }
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &ResolveArgs) -> Result<u8> {
    let request = ResolveConflictRequest { id: EventId(args.id), resolution: args.keep.0 };
    ui.show(&workspace.run(webhooks::resolve_conflict(workspace, request))?)?;
    Ok(0)
}
