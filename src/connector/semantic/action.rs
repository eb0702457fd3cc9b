//! Checks the consistency of an action.

use std::collections::BTreeSet;

use serde_json::Value;

use super::names::{NameScope, defined_names};
use super::{Diagnostics, check_scopes_listed, has_base, not_a_choice};
use crate::connector::{
    Action, ActionBody, ActionParam, Connector, HttpMethod, Idempotency, Pagination, PaginationKind, ParamKind,
    ParamLocation, Pointer,
};
use crate::model::Effect;
use crate::near::did_you_mean_or_list;

/// The parts that a MIME message is made of.
pub(crate) const MESSAGE_PARTS: &[&str] =
    &["from", "to", "cc", "bcc", "reply_to", "subject", "in_reply_to", "references", "text", "html", "attach"];

pub(super) fn check_all(connector: &Connector, found: &mut Diagnostics) {
    for (name, action) in &connector.actions {
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
        if name.is_empty() || !name.chars().all(valid) {
            let message = format!("{name:?} is not a name: use letters, digits, '.' and '_'");
            found.push((format!("actions.{name}"), message));
        }
        check(connector, &format!("actions.{name}"), action, found);
    }
    // Several authentication methods find the same mistake several times.
    let mut seen = BTreeSet::new();
    found.retain(|mistake| seen.insert(mistake.clone()));
}

fn check(connector: &Connector, key: &str, action: &Action, found: &mut Diagnostics) {
    check_scopes_listed(connector, &format!("{key}.scopes"), &action.scopes, found);
    let mut say = |at: &str, message: String| found.push((format!("{key}.{at}"), message));
    for name in action.auth.iter().filter(|name| !connector.auth.contains_key(*name)) {
        let known = did_you_mean_or_list(name, connector.auth.keys().map(String::as_str));
        say("auth", format!("{name:?} is not an authentication method{known}"));
    }
    if let Some(name) = action.stream.as_ref().filter(|name| !connector.streams.contains_key(*name)) {
        let known = did_you_mean_or_list(name, connector.streams.keys().map(String::as_str));
        say("stream", format!("{name:?} is not a stream{known}"));
    }
    for name in action.one_of.iter().flatten() {
        match action.params.get(name) {
            None => {
                let known = did_you_mean_or_list(name, action.params.keys().map(String::as_str));
                say("one_of", format!("{name:?} is not a parameter of the action{known}"));
            }
            Some(param) if param.required => say("one_of", format!("{name:?} is required anyway")),
            Some(_) => {}
        }
    }
    if action.method == HttpMethod::Delete && action.effect() != Effect::Destroy {
        say("effect", "a DELETE can only be \"destroy\"".to_owned());
    }
    if !(200..300).contains(&action.status) {
        say("status", format!("{} is not a status of success: 200 to 299", action.status));
    }
    if action.idempotency.as_ref().is_some_and(|idempotency| !is_one(idempotency)) {
        say("idempotency", "takes exactly one of header, query and body".to_owned());
    }
    check_body(connector, action, &mut say);
    let body = connector.body_format(action);
    for (name, param) in &action.params {
        check_param(action, body, name, param, &mut |at, message| say(&format!("params.{name}{at}"), message));
    }
    check_templates(connector, key, action, found);
}

/// Its templates and names in each authentication method that may do it.
fn check_templates(connector: &Connector, key: &str, action: &Action, found: &mut Diagnostics) {
    let all = action.auth.is_empty();
    let ways: Vec<_> = connector
        .auth
        .iter()
        .map(|(name, auth)| (name.as_str(), auth))
        .filter(|(name, _)| all || action.auth.iter().any(|known| known == name))
        .collect();
    let given: BTreeSet<&str> = ways.iter().flat_map(|(_, auth)| defined_names(connector, auth)).collect();
    for name in action.params.keys().filter(|name| given.contains(name.as_str())) {
        let message = "is a value of the connection already: call it otherwise".to_owned();
        found.push((format!("{key}.params.{name}"), message));
    }
    let in_path: BTreeSet<&str> = action.path.placeholders().collect();
    let own: Vec<&str> = action.params.keys().map(String::as_str).filter(|name| in_path.contains(name)).collect();
    let based = ways.iter().all(|(_, auth)| has_base(connector, auth));
    let mut given = NameScope::new(connector, ways, found);
    given.add(&own);
    given.path(&format!("{key}.path"), &action.path, based);
    given.templates(&format!("{key}.query"), &action.query);
    given.templates(&format!("{key}.headers"), &action.headers);
}

pub(super) fn is_one(idempotency: &Idempotency) -> bool {
    let given = [idempotency.header.is_some(), idempotency.query.is_some(), idempotency.body.is_some()];
    given.iter().filter(|given| **given).count() == 1
}

fn check_body(connector: &Connector, action: &Action, say: &mut impl FnMut(&str, String)) {
    let body = connector.body_format(action);
    if action.method == HttpMethod::Get && action.body.is_some() {
        say("body", "a GET has none".to_owned());
    }
    if matches!(body, ActionBody::Query | ActionBody::None) && !action.fixed.is_empty() {
        say("fixed", "the request has no body: use query".to_owned());
    }
    let in_message = |param: &ActionParam| param.place == Some(ParamLocation::Message);
    match &action.message {
        Some(_) if body != ActionBody::Json => {
            say("message", "a message needs a JSON body".to_owned());
        }
        Some(_) if !action.params.values().any(in_message) => {
            say("message", "no parameter is in = \"message\"".to_owned());
        }
        _ => {}
    }
    let files = action.params.values().filter(|param| param.kind == ParamKind::File).count();
    if body == ActionBody::Related && files != 1 {
        say("body", format!("multipart/related takes exactly one file, not {files}"));
    }
}

fn check_param(action: &Action, body: ActionBody, name: &str, param: &ActionParam, say: &mut dyn FnMut(&str, String)) {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || !name.chars().all(valid) {
        say("", format!("{name:?} is not a name: use lower-case letters, digits and '_'"));
    }
    let in_path = action.path.placeholders().any(|known| known == name);
    if in_path && !param.required && param.default.is_none() {
        say("", "is part of the path: it must be required or have a default".to_owned());
    }
    if in_path && (param.place.is_some() || param.to.is_some()) {
        say("", "is part of the path and cannot be sent elsewhere".to_owned());
    }
    let list = param.kind == ParamKind::Array;
    if !list && (param.each.is_some() || param.join.is_some() || param.repeat) {
        say("", "each, join and repeat are for the type array".to_owned());
    }
    if param.repeat && body != ActionBody::Form {
        say(".repeat", "is for a form".to_owned());
    }
    let whole_name = |to: &Pointer| to.to_string().matches('/').count() == 1;
    if matches!(param.place, Some(ParamLocation::Query | ParamLocation::Header))
        && param.to.as_ref().is_some_and(|to| !whole_name(to))
    {
        say(".to", "in a query or a header it is a name: \"/name\"".to_owned());
    }
    if param.place == Some(ParamLocation::Body) && !in_path && matches!(body, ActionBody::Query | ActionBody::None) {
        let message = match action.method {
            HttpMethod::Get => "a GET has no body: leave it to the query",
            _ => "the action has no body: leave it to the query, or say body",
        };
        say(".in", message.to_owned());
    }
    if param.place == Some(ParamLocation::Message) {
        if action.message.is_none() {
            say(".in", "the action does not say how the message is sent: add message".to_owned());
        }
        if !MESSAGE_PARTS.contains(&name) {
            say("", format!("is not a part of a message; expected one of: {}", MESSAGE_PARTS.join(", ")));
        }
    }
    let sends_files = matches!(body, ActionBody::Multipart | ActionBody::Related);
    if matches!(param.kind, ParamKind::File | ParamKind::Files)
        && !sends_files
        && param.place != Some(ParamLocation::Message)
    {
        say(".type", "a file needs a multipart body, a related body or a message".to_owned());
    }
    for (at, template) in [(".wrap", &param.wrap), (".each", &param.each)] {
        if template.as_ref().is_some_and(|template| !holds_value(template)) {
            say(at, "holds no \"{value}\", and would lose what the user gives".to_owned());
        }
    }
    if let Some(default) = &param.default {
        check_default(param, default, say);
    }
}

/// Whether what the user gives has a place in it.
fn holds_value(template: &Value) -> bool {
    match template {
        Value::String(text) => text.contains("{value}"),
        Value::Array(items) => items.iter().any(holds_value),
        Value::Object(members) => members.values().any(holds_value),
        _ => false,
    }
}

fn check_default(param: &ActionParam, default: &Value, say: &mut dyn FnMut(&str, String)) {
    let fits = match param.kind {
        ParamKind::String => default.is_string(),
        ParamKind::Integer => default.is_i64() || default.is_u64(),
        ParamKind::Number => default.is_number(),
        ParamKind::Boolean => default.is_boolean(),
        ParamKind::Array => default.is_array(),
        ParamKind::Object => default.is_object(),
        ParamKind::File | ParamKind::Files => false,
    };
    if !fits {
        say(".default", format!("is not of the type {}", param.kind.as_str()));
    }
    if let Value::String(text) = default
        && !param.choices.is_empty()
        && !param.choices.contains(text)
    {
        say(".default", not_a_choice(text, &param.choices));
    }
    if param.required {
        say(".default", "a required parameter cannot have a default".to_owned());
    }
}

pub(super) fn check_pages(key: &str, pages: &Pagination, found: &mut Diagnostics) {
    let mut need = |name: &str, there: bool| {
        if !there {
            found.push((format!("{key}.{name}"), "is missing: this kind of pagination needs it".to_owned()));
        }
    };
    match pages.kind {
        PaginationKind::None | PaginationKind::LinkHeader | PaginationKind::Page | PaginationKind::Offset => {}
        PaginationKind::NextUrl | PaginationKind::Links => need("next", pages.next.is_some()),
        PaginationKind::Cursor => {
            need("next", pages.next.is_some());
            need("param", pages.param.is_some());
        }
        PaginationKind::LastRecord | PaginationKind::MaxRecord => {
            need("param", pages.param.is_some());
            need("id", pages.id.is_some());
        }
    }
    if pages.size.is_none() && pages.size_param.is_some() {
        found.push((format!("{key}.size"), "is missing: size_param needs it".to_owned()));
    }
}
