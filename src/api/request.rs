//! Builds the request of a call. Pure: nothing is sent, and random values are passed in.

use serde_json::Value;

use super::body::{self, MessagePart};
use super::{ApiError, Attachment, Input};
use crate::clock::Timestamp;
use crate::connector::{
    Action, ActionBody, ActionParam, HttpMethod, Idempotency, ParamKind, ParamLocation, Template, TemplateError, Values,
};
use crate::error::Result;
use crate::http::{Body, Request};
use crate::model::Grant;
use crate::runtime::Session;
use crate::secret::Secret;

/// One call of an action, ready to be made a request with any grant.
pub struct ActionRequest<'a> {
    pub session: &'a Session,
    pub name: &'a str,
    pub action: &'a Action,
    pub input: Input,
    /// By which the vendor knows a repetition; also parts multipart bodies.
    pub idempotency_key: String,
    pub now: Timestamp,
}

/// One call of a path, as `integ api` makes it.
pub struct PathRequest<'a> {
    pub session: &'a Session,
    pub method: HttpMethod,
    /// After the API's base, or a URL on a host of the connector.
    pub path: &'a str,
    pub query: &'a [(String, String)],
    pub headers: &'a [(String, String)],
    /// Content type and bytes.
    pub body: Option<(String, Vec<u8>)>,
    pub idempotency_key: &'a str,
}

impl ActionRequest<'_> {
    /// The request with a grant's credentials.
    ///
    /// # Errors
    /// [`ApiError::Template`], or what the session lacks.
    pub fn request(&self, grant: &Grant) -> Result<Request> {
        let values = self.values(grant);
        let wrong = |source: TemplateError| ApiError::from((self.session, self.name, source));
        let path = self.action.path.fill_path(&values).map_err(wrong)?;
        let method = self.action.method.as_str();
        let mut request = if self.action.anonymous {
            self.session.anonymous_request(method, &path, grant)?
        } else {
            self.session.request_to(method, &path, grant)?
        };
        for (name, value) in &self.action.query {
            let name = Template::parse(name).and_then(|name| name.fill(&values)).map_err(wrong)?;
            let value = value.fill(&values).map_err(wrong)?;
            request.url.query_pairs_mut().append_pair(&name, &value);
        }
        let mut document = Value::Null;
        if !self.action.fixed.is_empty() {
            document = Value::Object(self.action.fixed.clone().into_iter().collect());
        }
        self.add_params(&mut request, &mut document);
        let idempotency = self.action.idempotency.as_ref().or(self.session.connector.api.idempotency.as_ref());
        if self.action.method.is_non_idempotent() {
            add_idempotency_key(idempotency, &self.idempotency_key, &mut request, &mut document);
        }
        self.write_body(&mut request, &document);
        for (name, value) in &self.action.headers {
            let name = Template::parse(name).and_then(|name| name.fill(&values)).map_err(wrong)?;
            let value = value.fill(&values).map_err(wrong)?;
            match &mut request.body {
                Some(body) if name.eq_ignore_ascii_case("content-type") => body.content_type = value,
                _ => request.set_header(&name, Secret::new(value)),
            }
        }
        Ok(request)
    }

    /// Whether repeating it does no harm: the vendor knows a repetition by its key, or by the method's own meaning.
    pub fn is_repeatable(&self) -> bool {
        let keyed = self.action.idempotency.is_some() || self.session.connector.api.idempotency.is_some();
        keyed || !self.action.method.is_non_idempotent()
    }

    /// What the path, the query and the headers may name.
    fn values(&self, grant: &Grant) -> Values {
        let mut values = self.session.values(Some(grant));
        for (name, value) in &self.input.values {
            if self.action.path.placeholders().any(|known| known == name) {
                values.set(name, &body::text(value));
            }
        }
        values
    }

    fn add_params(&self, request: &mut Request, document: &mut Value) {
        let mut message = Vec::new();
        for (name, param) in &self.action.params {
            let place = self.session.connector.param_location(self.action, name, param);
            let to = self.session.connector.wire_name(name, param);
            let label = to.tokens().next().unwrap_or_default();
            if let (Some(ParamLocation::Message), Some(files)) = (place, self.input.files.get(name)) {
                message.push(MessagePart::Files(files));
            }
            let Some(value) = self.input.values.get(name) else { continue };
            let sent = shape_value(param, value);
            match place {
                None => {}
                Some(ParamLocation::Query) => match sent {
                    Value::Array(items) => {
                        let pairs = items.iter().map(|item| (label.as_str(), body::text(item)));
                        request.url.query_pairs_mut().extend_pairs(pairs);
                    }
                    value => _ = request.url.query_pairs_mut().append_pair(&label, &body::text(&value)),
                },
                Some(ParamLocation::Header) => {
                    let name = if param.to.is_some() { label } else { name.replace('_', "-") };
                    request.set_header(&name, Secret::new(body::text(&sent)));
                }
                Some(ParamLocation::Message) => {
                    let texts = match &sent {
                        Value::Array(items) => items.iter().map(body::text).collect(),
                        value => vec![body::text(value)],
                    };
                    message.push(MessagePart::Text(name, texts));
                }
                Some(ParamLocation::Body) => {
                    let mut piece = Value::Null;
                    to.set(&mut piece, sent);
                    merge(document, piece);
                }
            }
        }
        if let Some(at) = &self.action.message {
            let mut piece = Value::Null;
            at.set(&mut piece, Value::String(body::message(message, &self.idempotency_key, self.now)));
            merge(document, piece);
        }
    }

    fn write_body(&self, request: &mut Request, document: &Value) {
        let connector = &self.session.connector;
        let files: Vec<(String, &Attachment)> = self
            .action
            .params
            .iter()
            .filter(|(name, param)| connector.param_location(self.action, name, param) == Some(ParamLocation::Body))
            .flat_map(|(name, param)| {
                let label = connector.wire_name(name, param).tokens().next().unwrap_or_default();
                let files = self.input.files.get(name).into_iter().flatten();
                files.map(move |file| (label.clone(), file))
            })
            .collect();
        let (content_type, bytes) = match (connector.body_format(self.action), files.first()) {
            (ActionBody::Query | ActionBody::None, _) if document.is_null() => return,
            (ActionBody::Query | ActionBody::None | ActionBody::Json, _) => {
                let empty = || Value::Object(serde_json::Map::new());
                let document = if document.is_null() { &empty() } else { document };
                ("application/json".to_owned(), document.to_string().into_bytes())
            }
            (ActionBody::Form, _) => {
                let repeated = self.action.params.iter().filter(|(_, param)| param.repeat);
                let repeated: Vec<String> =
                    repeated.filter_map(|(name, param)| connector.wire_name(name, param).tokens().next()).collect();
                ("application/x-www-form-urlencoded".to_owned(), body::form_of(document, &repeated))
            }
            (ActionBody::Related, Some((_, file))) => body::related(document, file, &self.idempotency_key),
            (ActionBody::Multipart | ActionBody::Related, _) => {
                body::multipart(document, &files, &self.idempotency_key)
            }
        };
        request.body = Some(Body { content_type, bytes: Secret::new(bytes) });
    }
}

impl PathRequest<'_> {
    /// The request with a grant's credentials.
    ///
    /// # Errors
    /// [`ApiError::ForeignHost`] for a URL elsewhere, or what the session lacks.
    pub fn request(&self, grant: &Grant) -> Result<Request> {
        let mut request = self.session.request_to(self.method.as_str(), self.path, grant)?;
        check_own_host(self.session, &request)?;
        request.url.query_pairs_mut().extend_pairs(self.query);
        // An empty pair of them leaves a question mark behind.
        if request.url.query() == Some("") {
            request.url.set_query(None);
        }
        if let Some((content_type, bytes)) = self.body.clone() {
            request.body = Some(Body { content_type, bytes: Secret::new(bytes) });
        }
        let keyed = self.session.connector.api.idempotency.as_ref().filter(|keyed| keyed.body.is_none());
        if self.method.is_non_idempotent() {
            add_idempotency_key(keyed, self.idempotency_key, &mut request, &mut Value::Null);
        }
        for (name, value) in self.headers {
            match &mut request.body {
                Some(body) if name.eq_ignore_ascii_case("content-type") => body.content_type.clone_from(value),
                _ => request.set_header(name, Secret::from(&**value)),
            }
        }
        Ok(request)
    }

    /// Whether repeating it does no harm: the API takes an idempotency key outside the body, or the method is
    /// idempotent (RFC 9110 section 9.2.2).
    pub fn is_repeatable(&self) -> bool {
        let keyed = self.session.connector.api.idempotency.as_ref().is_some_and(|keyed| keyed.body.is_none());
        keyed || !self.method.is_non_idempotent()
    }
}

/// # Errors
/// [`ApiError::ForeignHost`] for a URL that the connector's file does not name.
pub fn check_own_host(session: &Session, request: &Request) -> Result<(), ApiError> {
    if session.is_own_host(&request.url) {
        return Ok(());
    }
    Err(ApiError::ForeignHost {
        connection: session.connection.name.clone(),
        connector: session.connector.name.clone(),
        origin: request.url.origin().ascii_serialization(),
    })
}

fn add_idempotency_key(idempotency: Option<&Idempotency>, key: &str, request: &mut Request, document: &mut Value) {
    let Some(idempotency) = idempotency else { return };
    if let Some(header) = &idempotency.header {
        request.set_header(header, Secret::from(key));
    }
    if let Some(name) = &idempotency.query {
        request.url.query_pairs_mut().append_pair(name, key);
    }
    if let Some(at) = &idempotency.body
        && at.find(document).is_none()
    {
        let mut piece = Value::Null;
        at.set(&mut piece, Value::String(key.to_owned()));
        merge(document, piece);
    }
}

/// A value in the shape that the parameter declares. JSON objects are as the user wants them.
fn shape_value(param: &ActionParam, value: &Value) -> Value {
    let value = match (&param.each, value) {
        (Some(each), Value::Array(items)) => {
            let shape = |item: &Value| if item.is_object() { item.clone() } else { fill_template(each, item) };
            Value::Array(items.iter().map(shape).collect())
        }
        _ => value.clone(),
    };
    let value = match (&param.join, &value) {
        (Some(join), Value::Array(items)) => Value::String(items.iter().map(body::text).collect::<Vec<_>>().join(join)),
        _ => value,
    };
    let plain = match param.kind {
        ParamKind::Array => value.is_array(),
        _ => !value.is_array() && !value.is_object(),
    };
    match &param.wrap {
        Some(wrap) if plain => fill_template(wrap, &value),
        _ => value,
    }
}

/// The template with every `{value}` in it replaced.
fn fill_template(template: &Value, value: &Value) -> Value {
    match template {
        Value::String(text) if text == "{value}" => value.clone(),
        Value::String(text) => Value::String(text.replace("{value}", &body::text(value))),
        Value::Array(items) => Value::Array(items.iter().map(|item| fill_template(item, value)).collect()),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, inner)| (name.clone(), fill_template(inner, value))).collect())
        }
        other => other.clone(),
    }
}

/// Lays a document over another: objects by their members, arrays by their places.
fn merge(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (name, value) in above {
                match below.get_mut(&name) {
                    Some(there) => merge(there, value),
                    None => _ = below.insert(name, value),
                }
            }
        }
        (Value::Array(below), Value::Array(above)) => {
            for (at, value) in above.into_iter().enumerate() {
                match below.get_mut(at) {
                    Some(there) => merge(there, value),
                    None => below.push(value),
                }
            }
        }
        (_, Value::Null) => {}
        (below, above) => *below = above,
    }
}
