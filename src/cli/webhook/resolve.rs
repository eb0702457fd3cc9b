//! `integ webhook resolve`.

use std::str::FromStr;

use clap::Args;
use serde::Serialize;

use super::super::ui::{Ui, View};
use super::ArgumentError;
use crate::error::Result;
use crate::runtime::App;
use crate::store::{EventId, Holding};

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
    keep: Keep,
}

#[derive(Clone, Copy, Debug)]
struct Keep(Holding);

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self(Holding::All)),
            "stored" => Ok(Self(Holding::Stored)),
            number => match number.parse() {
                Ok(number @ 1..) => Ok(Self(Holding::Other(number))),
                _ => Err(format!("{text:?} is neither `all`, `stored` nor the number of a body")),
            },
        }
    }
}

#[derive(Serialize)]
struct Resolved {
    id: i64,
    /// The events that were made.
    events: Vec<i64>,
}

impl View for Resolved {
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
    let missing = || ArgumentError::NoEvent { id: args.id };
    if !app.has_vault() {
        return Err(missing().into());
    }
    let (events, id) = (app.store()?.events(), EventId(args.id));
    let event = events.get(id)?.ok_or_else(missing)?;
    if event.conflicts == 0 {
        return Err(ArgumentError::NoConflict { id: args.id }.into());
    }
    let made = events.resolve(id, args.keep.0, app.clock.precise())?;
    let made = made.ok_or(ArgumentError::NoBody { id: args.id, bodies: event.conflicts })?;
    ui.show(&Resolved { id: args.id, events: made.iter().map(|id| id.0).collect() })?;
    Ok(0)
}
