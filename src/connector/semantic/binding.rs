//! Whether the templates of bindings are for something that the connector has, and compile.

use super::Diagnostics;
use crate::connector::Connector;
use crate::error::on_one_line;
use crate::mapping::Mapper;

pub(super) fn check_all(connector: &Connector, found: &mut Diagnostics) {
    for (name, template) in &connector.templates {
        let mut say = |key: &str, message: String| found.push((format!("templates.{name}{key}"), message));
        match (&template.stream, &template.event) {
            (Some(stream), None) if !connector.streams.contains_key(stream) => {
                say(".stream", format!("unknown stream {stream:?}"));
            }
            (None, Some(event)) if !connector.events.contains_key(event) => {
                say(".event", format!("unknown event {event:?}"));
            }
            (Some(_), Some(_)) | (None, None) => say("", "takes exactly one of stream and event".to_owned()),
            _ => {}
        }
        if let Err(error) = Mapper::new(&template.text) {
            say(".text", on_one_line(&error));
        }
    }
}
