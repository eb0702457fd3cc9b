//! `integ api`.

use std::ops::ControlFlow;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::ui::Ui;
use crate::api::{ApiError, PathCall, fetch, form};
use crate::connector::{ActionBody, HttpMethod};
use crate::error::{Diagnostic, Kind, Remedy, Result};
use crate::files;
use crate::http::Response;
use crate::json::{self, Json};
use crate::runtime::App;

/// No file that is sent is larger.
const MAX_FILE_SIZE: u64 = 100 * 1024 * 1024;

/// Call any path of a service's API with a connection's credentials
///
/// PATH follows the API's base, as in `integ api github /user/repos`. With fields or input it is a POST, else a GET.
#[derive(Debug, Args)]
pub(super) struct ApiArgs {
    #[arg(add = super::complete::connections())]
    pub connection: String,
    pub path: String,
    #[arg(short = 'X', long, value_name = "METHOD", ignore_case = true)]
    pub method: Option<HttpMethodArg>,
    /// A text for the body, or for the query of a GET; `a[b]=c` is nested, `a[]=b` an array
    #[arg(short = 'f', long = "raw-field", value_name = "NAME=VALUE")]
    pub raw_fields: Vec<String>,
    /// The same for true, false, null, numbers, and @FILE for a file's content
    #[arg(short = 'F', long = "field", value_name = "NAME=VALUE")]
    pub fields: Vec<String>,
    /// A header
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// The body from a file, or from stdin with -; fields then go into the query
    #[arg(long, value_name = "FILE|-")]
    pub input: Option<String>,
    /// Follow the pages to the last; each is printed as it comes
    #[arg(long)]
    pub paginate: bool,
    /// Print the answer's status and headers too
    #[arg(short, long)]
    pub include: bool,
    /// By which the service knows a repetition; a random one where absent
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum HttpMethodArg {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl From<HttpMethodArg> for HttpMethod {
    fn from(method: HttpMethodArg) -> Self {
        match method {
            HttpMethodArg::Get => Self::Get,
            HttpMethodArg::Post => Self::Post,
            HttpMethodArg::Put => Self::Put,
            HttpMethodArg::Patch => Self::Patch,
            HttpMethodArg::Delete => Self::Delete,
        }
    }
}

#[derive(Debug, Error)]
enum ApiFieldError {
    #[error("{0:?} is not NAME=VALUE")]
    Form(String),
    #[error("{path:?} cannot be read")]
    Read { path: String, source: std::io::Error },
}

impl Remedy for ApiFieldError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Form(_) => Diagnostic::new(Kind::Usage, "invalid_field"),
            Self::Read { .. } => Diagnostic::new(Kind::Usage, "io"),
        }
        .run("integ help api")
    }
}

pub(super) fn run(app: &App, ui: &Ui, args: &ApiArgs) -> Result<u8> {
    let name = ui.project.resolve(&args.connection)?;
    let fields = fields(args)?;
    let input = match &args.input {
        Some(path) => Some(read_file(path).map_err(|source| ApiFieldError::Read { path: path.clone(), source })?),
        None => None,
    };
    let writes = input.is_some() || !fields.is_empty();
    let usual = if writes { HttpMethod::Post } else { HttpMethod::Get };
    let method = args.method.map_or(usual, HttpMethod::from);
    let headers = args.headers.iter().map(|header| parse_header(header)).collect::<Result<Vec<_>, _>>()?;
    let connection = app.connection(&name)?;
    let written = app.catalogue.get(connection.name.connector())?.api.body;
    let in_query = input.is_some() || method == HttpMethod::Get || written == ActionBody::Query;
    let document = Value::Object(fields);
    let query: Vec<(String, String)> =
        if in_query { url::form_urlencoded::parse(&form(&document)).into_owned().collect() } else { Vec::new() };
    let body = match input {
        Some(bytes) => Some(("application/json".to_owned(), bytes)),
        None if in_query || !writes => None,
        None if written == ActionBody::Form => Some(("application/x-www-form-urlencoded".to_owned(), form(&document))),
        None => Some(("application/json".to_owned(), document.to_string().into_bytes())),
    };
    let ask = PathCall {
        connection: &name,
        method,
        path: &args.path,
        query: &query,
        headers: &headers,
        body,
        idempotency_key: args.idempotency_key.as_deref(),
        paginate: args.paginate,
    };
    app.run(fetch(app, &ask, |response| show(ui, args.include, response)))?;
    Ok(0)
}

fn show(ui: &Ui, include: bool, response: &Response) -> Result<ControlFlow<()>> {
    if include {
        let mut head = format!("HTTP {}\n", response.status);
        for (name, value) in response.headers() {
            head.push_str(&format!("{name}: {}\n", super::ui::escape(value)));
        }
        ui.raw(&format!("{head}\n"));
    }
    match response.text() {
        Ok(text) if Json::validate(&text).is_ok() => ui.show_document(&text)?,
        _ => ui.show_bytes(&response.body),
    }
    // Nobody reads what further pages would say.
    Ok(if super::ui::is_reader_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
}

/// A file's content, or stdin's for `-`.
pub(super) fn read_file(path: &str) -> std::io::Result<Vec<u8>> {
    if path == "-" {
        files::read_limited(std::io::stdin().lock(), MAX_FILE_SIZE)
    } else {
        files::read_user_file(std::path::Path::new(path), MAX_FILE_SIZE)
    }
}

fn parse_header(header: &str) -> Result<(String, String), ApiError> {
    let wrong = || ApiError::InvalidHeader { header: header.to_owned() };
    let (name, value) = header.split_once(':').ok_or_else(wrong)?;
    let valid = !name.trim().is_empty() && !header.contains(['\r', '\n']);
    if valid { Ok((name.trim().to_owned(), value.trim().to_owned())) } else { Err(wrong()) }
}

fn fields(args: &ApiArgs) -> Result<Map<String, Value>, ApiFieldError> {
    let mut document = json!({});
    for (field, typed) in args.raw_fields.iter().map(|f| (f, false)).chain(args.fields.iter().map(|f| (f, true))) {
        let (name, text) = field.split_once('=').ok_or_else(|| ApiFieldError::Form(field.clone()))?;
        let value = if typed { typed_value(text)? } else { Value::String(text.to_owned()) };
        let (first, rest) = name.split_at(name.find('[').unwrap_or(name.len()));
        let brackets = rest.split('[').skip(1).map(|part| part.trim_end_matches(']'));
        insert_nested(&mut document, &std::iter::once(first).chain(brackets).collect::<Vec<_>>(), value);
    }
    match document {
        Value::Object(members) => Ok(members),
        _ => Ok(Map::new()),
    }
}

fn typed_value(text: &str) -> Result<Value, ApiFieldError> {
    if let Some(path) = text.strip_prefix('@') {
        let bytes = read_file(path).map_err(|source| ApiFieldError::Read { path: path.to_owned(), source })?;
        return Ok(Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    }
    let plain = json::parse(text).ok();
    let plain = plain.filter(|value: &Value| value.is_null() || value.is_boolean() || value.is_number());
    Ok(plain.unwrap_or_else(|| Value::String(text.to_owned())))
}

fn insert_nested(at: &mut Value, names: &[&str], value: Value) {
    let Some((name, rest)) = names.split_first() else {
        *at = value;
        return;
    };
    if name.is_empty() {
        if !at.is_array() {
            *at = json!([]);
        }
        let Value::Array(items) = at else { return };
        items.push(Value::Null);
        if let Some(last) = items.last_mut() {
            insert_nested(last, rest, value);
        }
        return;
    }
    if !at.is_object() {
        *at = json!({});
    }
    let Value::Object(members) = at else { return };
    insert_nested(members.entry((*name).to_owned()).or_insert(Value::Null), rest, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_nest_by_brackets_and_have_types() {
        let mut document = json!({});
        for (names, value) in [
            (vec!["a"], json!(1)),
            (vec!["m", "x"], json!("y")),
            (vec!["list", ""], json!("p")),
            (vec!["list", ""], json!("q")),
        ] {
            insert_nested(&mut document, &names, value);
        }
        assert_eq!(document, json!({"a": 1, "m": {"x": "y"}, "list": ["p", "q"]}));
        assert_eq!(typed_value("true").unwrap(), json!(true));
        assert_eq!(typed_value("12").unwrap(), json!(12));
        assert_eq!(typed_value("[1]").unwrap(), json!("[1]"));
        assert!(parse_header("X: a\r\nY: b").is_err());
    }
}
