//! What a form has sent: the request of its route, and the page that comes next.

use hyper::body::Bytes;
use maud::{Markup, html};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::context::{DashboardContext, json as reply_json, segment};
use super::fix::link;
use super::form::{EACH, EACH_FIELD, METHOD_FIELD, QUERY_PREFIX, RETURN_FIELD, SUBMIT};
use super::pages::results::{FormOutcome, Success};
use super::session::{SignedIn, refused_form};
use super::{Dashboard, DashboardPage, DashboardRequest, layout, page_reply, problem_page, see_other};
use crate::http::serve::{FullResponse, Method, Response, StatusCode, header};
use crate::server::problem::{Problem, RequestError};
use crate::server::route::SchemaFunction;

/// Values that one form acts on at most.
const MAX_EACH: usize = 50;

/// Runs the action of a form, and leads to the page that shows what it has done.
pub(super) async fn respond(
    dashboard: &Dashboard,
    request: &DashboardRequest,
    signed_in: SignedIn,
    body: &Bytes,
) -> FullResponse {
    let fields: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
    if !signed_in.is_form_own(&fields) {
        return refused_form(dashboard);
    }
    let mut context = dashboard.context(request, signed_in, std::collections::BTreeMap::new());
    let return_to = field(&fields, RETURN_FIELD).filter(|path| is_page(path)).unwrap_or("/dashboard").to_owned();
    context.here.clone_from(&return_to);
    match run(&context, request, &fields).await {
        Ok(FormOutcome::Notice { text, to }) => {
            let to = to.as_deref().unwrap_or(&return_to);
            let response = match request.is_script {
                true => json(StatusCode::OK, &json!({ "location": context.href(to) })),
                false => see_other(to),
            };
            dashboard.cookies.with_notice(response, &text)
        }
        Ok(FormOutcome::Page(page)) => page_reply(StatusCode::OK, &layout::document(&context, &page)),
        Ok(FormOutcome::Leave { name, url }) => page_reply(StatusCode::OK, &leaving(&context, &name, &url)),
        Err(problem) if request.is_script => {
            let fix = problem.view.hint.as_deref().and_then(|hint| link(&context, hint));
            json(problem.status, &json!({ "error": problem.view.detail, "hint": problem.view.hint, "fix": fix }))
        }
        Err(problem) => problem_page::respond_to_form(&context, &problem, &return_to, &fields),
    }
}

async fn run(
    context: &DashboardContext,
    request: &DashboardRequest,
    fields: &[(String, String)],
) -> Result<FormOutcome, Problem> {
    let path = request.path.strip_prefix(SUBMIT).ok_or(RequestError::UnknownPath)?;
    let method = fields.iter().rfind(|(name, _)| name == METHOD_FIELD).map_or("POST", |(_, method)| method);
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| RequestError::UnknownPath)?;
    let chosen = fields.iter().filter(|(name, value)| name == EACH_FIELD && !value.is_empty());
    let chosen = chosen.map(|(_, value)| value.as_str());
    let left = chosen.clone().count().saturating_sub(MAX_EACH);
    let chosen = chosen.take(MAX_EACH);
    if let Some((name, _)) = request.pairs().into_iter().find(|(_, value)| value == EACH) {
        let values: Vec<(&str, &str)> = chosen.map(|value| (name.as_str(), value)).collect();
        if values.is_empty() {
            return Ok(summary(&[], left));
        }
        if left > 0 {
            let text = format!("{} were chosen, of at most {MAX_EACH}. Nothing was done.", values.len() + left);
            return Ok(FormOutcome::Notice { text, to: None });
        }
        return Ok(perform(context, &method, path, &values, fields).await?.outcome(context));
    }
    if path.split('/').all(|segment| segment != EACH) {
        return Ok(perform(context, &method, path, &[], fields).await?.outcome(context));
    }
    let mut results = Vec::new();
    for one in chosen {
        let path = path.replace(EACH, &segment(one));
        let done = perform(context, &method, &path, &[], fields).await;
        results.push((one, done.map(|success| success.outcome(context))));
    }
    Ok(summary(&results, left))
}

/// Runs the route of a form once; `values` are further ones of its query.
async fn perform<'f>(
    context: &DashboardContext,
    method: &Method,
    path: &str,
    values: &[(&str, &str)],
    fields: &'f [(String, String)],
) -> Result<Success<'f>, Problem> {
    let (index, places) = context.find(method, path)?;
    let route = context.route_at(index);
    let (query, values_of_body): (Vec<_>, Vec<_>) = fields
        .iter()
        .filter(|(name, _)| !name.starts_with('_'))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .partition(|(name, _)| name.starts_with(QUERY_PREFIX));
    let query = query.iter().map(|(name, value)| (&name[QUERY_PREFIX.len()..], *value));
    let query = query.filter(|(_, value)| !value.is_empty());
    let query = values.iter().copied().chain(query);
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    let body = match route.body {
        Some(schema) => Bytes::from(body(&schema_of(schema), &values_of_body).to_string()),
        None => Bytes::new(),
    };
    let operation = route.operation.name;
    let reply = context.request(index, places.clone(), query, body).await?;
    Ok(Success { route: route.path, operation, values: places, fields, reply: reply_json(&reply) })
}

/// Returns what an action has done for several values, and for how many it was not tried. A notice is short: what has to be
/// seen comes first, and many successes are only counted.
fn summary(results: &[(&str, Result<FormOutcome, Problem>)], left: usize) -> FormOutcome {
    let mut texts = Vec::new();
    if results.is_empty() {
        texts.push("Nothing was chosen.".to_owned());
    }
    if left > 0 {
        texts.push(format!("Only the first {MAX_EACH} were done; {left} are left."));
    }
    let failures = results.iter().filter_map(|(name, result)| Some((name, result.as_ref().err()?)));
    texts.extend(failures.map(|(name, problem)| format!("{name}: {}.", problem.view.detail)));
    let done: Vec<String> = results
        .iter()
        .filter_map(|(name, result)| match result.as_ref().ok()? {
            FormOutcome::Notice { text, .. } => Some(text.clone()),
            _ => Some(format!("{name}: done.")),
        })
        .collect();
    match done.len() {
        0..=3 => texts.extend(done),
        count => texts.push(format!("{count} succeeded.")),
    }
    FormOutcome::Notice { text: texts.join(" "), to: None }
}

fn field<'f>(fields: &'f [(String, String)], name: &str) -> Option<&'f str> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// Whether a path is one of the dashboard's pages: a browser is led nowhere else.
fn is_page(path: &str) -> bool {
    let is_plain = path.chars().all(|c| c.is_ascii_graphic() && c != '\\');
    is_plain && path.split(['?', '/']).nth(1) == Some("dashboard") && path.starts_with("/dashboard")
}

/// A response to a script.
pub(super) fn json(status: StatusCode, value: &Value) -> FullResponse {
    let mut response = Response::new(value.to_string().into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    crate::server::reply::protect(headers);
    response
}

/// A page that leads to a service. A redirect in answer to a form would be stopped by the policy of its page, which lets forms
/// go nowhere else (CSP 3, section 6.4.2).
fn leaving(context: &DashboardContext, name: &str, url: &str) -> Markup {
    let body = html! {
        h1 { "Continue at " (name) }
        p { "Sign in there and allow access. You come back here afterwards." }
        p { a .button .primary href=(url) data-continue { "Continue" } }
        p { a href=(context.href("/dashboard/connections")) { "Cancel" } }
    };
    layout::leaving(
        context,
        url,
        &DashboardPage { title: format!("Continue at {name}"), section: "/dashboard/connect", body },
    )
}

fn schema_of(schema: SchemaFunction) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    schema(&mut settings.into_generator()).to_value()
}

/// Makes the body of a request from the fields of a form. A name such as `params.subdomain` is a place in the body, whose
/// schema says what a text means there. A field that was left empty is left out.
fn body(schema: &Value, fields: &[(&str, &str)]) -> Value {
    let mut body = Map::new();
    for (name, text) in fields.iter().filter(|(_, text)| !text.is_empty()) {
        let mut place = &mut body;
        let mut schema = schema;
        let mut names = name.split('.').peekable();
        while let Some(name) = names.next() {
            schema = member(schema, name);
            if names.peek().is_some() {
                let inner = place.entry(name).or_insert_with(|| Map::new().into());
                let Value::Object(inner) = inner else { break };
                place = inner;
            } else {
                set(place, name, schema, text);
            }
        }
    }
    Value::Object(body)
}

/// Returns the schema of a member of an object.
fn member<'s>(schema: &'s Value, name: &str) -> &'s Value {
    let known = &schema["properties"][name];
    // One of several shapes of an object: the one that has the member.
    let shapes = schema["oneOf"].as_array().into_iter().chain(schema["anyOf"].as_array()).flatten();
    let of_shape = shapes.map(|shape| &shape["properties"][name]).find(|member| !member.is_null());
    let schema = match of_shape {
        Some(member) => member,
        None if known.is_null() => &schema["additionalProperties"],
        None => known,
    };
    let choices = schema["anyOf"].as_array().into_iter().flatten();
    choices.into_iter().find(|choice| choice["type"] != "null").unwrap_or(schema)
}

fn has_type(schema: &Value, wanted: &str) -> bool {
    match &schema["type"] {
        Value::String(kind) => kind == wanted,
        Value::Array(kinds) => kinds.iter().any(|kind| kind == wanted),
        _ => false,
    }
}

fn set(place: &mut Map<String, Value>, name: &str, schema: &Value, text: &str) {
    if has_type(schema, "array") {
        let list = place.entry(name).or_insert_with(|| Vec::<Value>::new().into());
        if let Value::Array(list) = list {
            let item = &schema["items"];
            // One field may hold several values, one on each line.
            let texts = text.lines().map(str::trim).filter(|text| !text.is_empty());
            list.extend(texts.map(|text| value(item, text)));
        }
        return;
    }
    place.insert(name.to_owned(), value(schema, text));
}

/// Reads a text as its schema says. What does not fit stays a text, which the route refuses with the reason.
fn value(schema: &Value, text: &str) -> Value {
    let parsed = || serde_json::from_str::<Value>(text).ok();
    let is_text = has_type(schema, "string") || !schema["enum"].is_null() || !schema["oneOf"].is_null();
    let fits = |value: &Value| match value {
        Value::Number(_) => has_type(schema, "integer") || has_type(schema, "number"),
        Value::Bool(_) => has_type(schema, "boolean"),
        Value::Object(_) => has_type(schema, "object"),
        _ => false,
    };
    let is_any =
        schema.as_bool() == Some(true) || schema.as_object().is_some_and(|schema| !schema.contains_key("type"));
    match parsed() {
        Some(value) if !is_text && (fits(&value) || is_any) => value,
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_what_the_schema_says() {
        let schema = json!({
            "type": "object",
            "properties": {
                "name": { "type": "string" },
                "count": { "type": ["integer", "null"] },
                "enabled": { "type": "boolean" },
                "scopes": { "type": "array", "items": { "type": "string" } },
                "status": { "anyOf": [{ "type": "string", "enum": ["1", "2"] }, { "type": "null" }] },
                "params": { "type": "object", "additionalProperties": { "type": "string" } },
                "data": true,
                "note": { "type": ["string", "null"] },
                "resolution": { "oneOf": [
                    { "type": "object", "properties": { "ours": { "type": "array", "items": { "type": "string" } } } },
                    { "type": "object", "properties": { "created": { "type": "object" } } },
                ] },
            },
        });
        let fields = [
            ("name", "12"),
            ("count", "3"),
            ("enabled", "true"),
            ("scopes", "a"),
            ("scopes", "b\n c \n"),
            ("status", "1"),
            ("params.subdomain", "7"),
            ("data", "{\"a\":[1]}"),
            ("note", ""),
            ("resolution.ours", "email"),
        ];
        let expected = json!({
            "name": "12", "count": 3, "enabled": true, "scopes": ["a", "b", "c"], "status": "1",
            "params": { "subdomain": "7" }, "data": { "a": [1] }, "resolution": { "ours": ["email"] },
        });
        assert_eq!(body(&schema, &fields), expected);
        assert_eq!(body(&schema, &[("count", "many"), ("other", "x")]), json!({ "count": "many", "other": "x" }));
    }

    #[test]
    fn a_summary_of_many_says_what_failed_and_what_is_left_first() {
        let done = || FormOutcome::Notice { text: "Tested.".to_owned(), to: None };
        let text = |results: &[_], left| match summary(results, left) {
            FormOutcome::Notice { text, .. } => text,
            _ => panic!("not a notice"),
        };
        assert_eq!(text(&[], 0), "Nothing was chosen.");
        assert_eq!(text(&[("a", Ok(done())), ("b", Ok(done()))], 0), "Tested. Tested.");
        let mut results: Vec<(&str, Result<FormOutcome, Problem>)> = (0..4).map(|_| ("a", Ok(done()))).collect();
        results.push(("b", Err(RequestError::UnknownPath.into())));
        let shown = text(&results, 7);
        assert!(shown.starts_with("Only the first 50 were done; 7 are left. b: "), "{shown}");
        assert!(shown.ends_with(". 4 succeeded."), "{shown}");
    }

    #[test]
    fn a_browser_returns_only_to_pages_of_the_dashboard() {
        for page in ["/dashboard", "/dashboard/connections/slack%40work?q=a", "/dashboard?q=1"] {
            assert!(is_page(page), "{page}");
        }
        for other in [
            "",
            "/",
            "//evil.example",
            "/dashboard.evil",
            "https://evil.example/dashboard",
            "/dashboardx",
            "/\\evil.example",
            "/dashboard/\r\nx",
            "/dashboard\\@evil",
        ] {
            assert!(!is_page(other), "{other:?}");
        }
    }
}
