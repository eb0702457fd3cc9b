//! `integ api`.

use std::ops::ControlFlow;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::backend::Backend;
use super::input_file::read_input_file;
use super::ui::Ui;
use crate::api::ApiError;
use crate::connector::HttpMethod;
use crate::error::{Diagnostic, Kind, Remedy, Result};
use crate::http::Response;
use crate::json::{self, Json};
use crate::ops::calls::CallPathRequest;

/// Call any path of a service's API with a connection's credentials
///
/// PATH is relative to the API's base URL: `integ api github /user/repos`. With fields or input the method is POST,
/// otherwise GET.
#[derive(Debug, Args)]
pub(super) struct ApiArgs {
    /// Connection to call through
    #[arg(add = super::complete::connections())]
    pub connection: String,
    /// Path below the API's base, with its query
    pub path: String,
    /// Request method (default: POST with fields or input, else GET)
    #[arg(short = 'X', long, value_name = "METHOD", ignore_case = true)]
    pub method: Option<HttpMethodArg>,
    /// Add a string to the body, or to the query of a GET; `a[b]=c` for nested values, `a[]=b` for arrays
    #[arg(short = 'f', long = "raw-field", value_name = "NAME=VALUE")]
    pub raw_fields: Vec<String>,
    /// Like --raw-field, but converts true, false, null and numbers, and reads @FILE from a file
    #[arg(short = 'F', long = "field", value_name = "NAME=VALUE")]
    pub fields: Vec<String>,
    /// Add a request header
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// Send a file as the body, - for stdin; fields are then added to the query
    #[arg(long, value_name = "FILE|-")]
    pub input: Option<String>,
    /// Request all pages, and print each as it arrives
    #[arg(long)]
    pub paginate: bool,
    /// Print the status and headers of the response too
    #[arg(short, long)]
    pub include: bool,
    /// Idempotency key (default: random)
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
    Head,
}

impl From<HttpMethodArg> for HttpMethod {
    fn from(method: HttpMethodArg) -> Self {
        match method {
            HttpMethodArg::Get => Self::Get,
            HttpMethodArg::Post => Self::Post,
            HttpMethodArg::Put => Self::Put,
            HttpMethodArg::Patch => Self::Patch,
            HttpMethodArg::Delete => Self::Delete,
            HttpMethodArg::Head => Self::Head,
        }
    }
}

#[derive(Debug, Error)]
enum ApiFieldError {
    #[error("{0:?} is not NAME=VALUE")]
    Form(String),
    #[error("cannot read {path:?}")]
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

pub(super) fn run(backend: &Backend, ui: &Ui, args: &ApiArgs) -> Result<u8> {
    let connection = ui.project.resolve(&args.connection)?;
    let fields = fields(args)?;
    let body = match &args.input {
        Some(path) => Some(read_input_file(path).map_err(|source| ApiFieldError::Read { path: path.clone(), source })?),
        None => None,
    };
    let headers = args.headers.iter().map(|header| parse_header(header)).collect::<Result<Vec<_>, _>>()?;
    let request = CallPathRequest {
        connection,
        method: args.method.map(HttpMethod::from),
        path: args.path.clone(),
        fields,
        body,
        headers,
        idempotency_key: args.idempotency_key.clone(),
        paginate: args.paginate,
    };
    // The answer to a HEAD is its headers.
    let include = args.include || args.method == Some(HttpMethodArg::Head);
    backend.call_path(request, |response| show(ui, include, response))?;
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
        Ok(text) if text.is_empty() => {}
        Ok(text) if Json::validate(&text).is_ok() => ui.show_document(&text)?,
        _ => ui.show_bytes(&response.body),
    }
    // Nobody reads what further pages would say.
    Ok(if super::ui::is_reader_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
}

pub(super) fn parse_header(header: &str) -> Result<(String, String), ApiError> {
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
        let bytes = read_input_file(path).map_err(|source| ApiFieldError::Read { path: path.to_owned(), source })?;
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
