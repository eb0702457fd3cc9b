//! Sample events: one from the connector's file, filled in, modified as requested, and signed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::connector::{Connector, Pointer, SampleRequest, TemplateError, Values, WebhookDefinition, fill_document};
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::near::closest;
use crate::signing::request::WebhookRequest;
use crate::signing::sign::{EmulatorKeys, proof_for, sign};
use crate::signing::verify::{SigningContext, VerifyError};
use crate::webhook::inbound::event;

/// One event to be made.
#[derive(Debug)]
pub struct SimulateRequest<'a> {
    /// The type, one of the connector's events.
    pub event: &'a str,
    /// Where it goes; as the vendor signs it.
    pub url: &'a str,
    /// One more for each.
    pub number: u64,
    /// Fresh for each event: 32 hexadecimal digits.
    pub id: &'a str,
    /// Places in the body and what to put there.
    pub set: &'a [(Pointer, Value)],
    /// A body in place of the sample's.
    pub data: Option<&'a [u8]>,
    pub now: Timestamp,
    /// The time in the signature; now if absent.
    pub signed_at: Option<Timestamp>,
}

/// Why a sample event cannot be made.
#[derive(Debug, Error)]
pub enum SimulateError {
    #[error("{connector} sends no webhooks")]
    NoWebhook { connector: String },
    #[error("{connector} has no event {event:?} with a sample")]
    UnknownEvent { connector: String, event: String, likely: Option<String> },
    #[error("cannot fill in the sample of {event}")]
    Template { connector: String, event: String, source: TemplateError },
    #[error("the sample of {event} is not JSON")]
    Json { connector: String, event: String, source: serde_json::Error },
    #[error("{event} cannot be signed")]
    Sign { event: String, source: VerifyError },
}

impl Remedy for SimulateError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NoWebhook { .. } => Diagnostic::new(Kind::NotFound, "no_webhooks").run("integ connector list"),
            Self::UnknownEvent { likely: Some(likely), connector, .. } => {
                Diagnostic::new(Kind::NotFound, "event_not_found").hint(Hint::new(
                    format!("did you mean {likely}? list those with a sample:"),
                    format!("integ webhook simulate {connector}"),
                ))
            }
            Self::UnknownEvent { connector, .. } => {
                Diagnostic::new(Kind::NotFound, "event_not_found").hint(list_events(connector))
            }
            Self::Template { connector, .. } => {
                Diagnostic::new(Kind::Usage, "missing_value").hint(list_events(connector))
            }
            Self::Json { connector, .. } => {
                Diagnostic::new(Kind::Failed, "invalid_sample").hint(list_events(connector))
            }
            Self::Sign { source, .. } => Diagnostic::new(Kind::Usage, "cannot_sign").maybe_hint(
                matches!(source, VerifyError::NoSecret)
                    .then(|| Hint::text("give it with --secret-file FILE, or INTEG_WEBHOOK_SECRET")),
            ),
        }
    }
}

fn list_events(connector: &str) -> Hint {
    Hint::new("list the events:", format!("integ webhook simulate {connector}"))
}

/// The webhook part of a connector's file.
///
/// # Errors
/// [`SimulateError::NoWebhook`].
fn webhook(connector: &Connector) -> Result<&WebhookDefinition, SimulateError> {
    connector.webhook.as_ref().ok_or_else(|| SimulateError::NoWebhook { connector: connector.id.clone() })
}

/// A request as the vendor would send it. Pure.
///
/// # Errors
/// [`SimulateError`].
pub fn simulate(
    connector: &Connector,
    options: &SimulateRequest<'_>,
    keys: &SigningContext,
    vendor: &EmulatorKeys,
) -> Result<WebhookRequest, SimulateError> {
    let rules = webhook(connector)?;
    let sample = sample(connector, options.event)?;
    let values = values(options, keys);
    let failed =
        |source| SimulateError::Template { connector: connector.id.clone(), event: options.event.to_owned(), source };
    let mut request = WebhookRequest {
        method: "POST".to_owned(),
        url: options.url.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    for (name, template) in rules.sample.query.iter().chain(&sample.query) {
        request.set_query(name, &template.fill(&values).map_err(failed)?);
    }
    let inner = rules.event.base64.as_ref();
    let content_type = body(&connector.id, &mut request, sample, inner, options, &values)?;
    if let Some(kind) = sample.content_type.as_deref().or(rules.sample.content_type.as_deref()).or(content_type) {
        request.set_header("Content-Type", kind);
    }
    for (name, template) in rules.sample.headers.iter().chain(&sample.headers) {
        request.set_header(name, &template.fill(&values).map_err(failed)?);
    }
    let mut document = event::document(&rules.event, &request).unwrap_or(Value::Null);
    if let Some(proof) = proof_for(&rules.proofs, &request, &document, keys) {
        let at = options.signed_at.unwrap_or(options.now);
        sign(proof, &rules.event, &mut request, &mut document, keys, vendor, at)
            .map_err(|source| SimulateError::Sign { event: options.event.to_owned(), source })?;
    }
    Ok(request)
}

fn sample<'c>(connector: &'c Connector, name: &str) -> Result<&'c SampleRequest, SimulateError> {
    let with_sample = || connector.events.iter().filter_map(|(known, event)| Some((known, event.sample.as_ref()?)));
    if let Some((_, sample)) = with_sample().find(|(known, _)| *known == name) {
        return Ok(sample);
    }
    let likely = closest(name, with_sample().map(|(known, _)| known.as_str()));
    Err(SimulateError::UnknownEvent {
        connector: connector.id.clone(),
        event: name.to_owned(),
        likely: likely.map(str::to_owned),
    })
}

fn values(options: &SimulateRequest<'_>, keys: &SigningContext) -> Values {
    let mut values = keys.values.clone();
    let id = options.id;
    let group = |from: usize, to: usize| id.get(from..to).unwrap_or_default();
    let uuid = format!("{}-{}-4{}-8{}-{}", group(0, 8), group(8, 12), group(13, 16), group(17, 20), group(20, 32));
    values
        .set("id", id)
        .set("uuid", &uuid)
        .set("now", &options.now.as_second().to_string())
        .set("now_ms", &options.now.as_millisecond().to_string())
        .set("now_date", &options.now.to_string())
        .set("n", &options.number.to_string());
    values
}

/// Writes the body, and gives its usual content type.
fn body(
    connector: &str,
    request: &mut WebhookRequest,
    sample: &SampleRequest,
    inner: Option<&Pointer>,
    options: &SimulateRequest<'_>,
    values: &Values,
) -> Result<Option<&'static str>, SimulateError> {
    let failed =
        |source| SimulateError::Template { connector: connector.to_owned(), event: options.event.to_owned(), source };
    const JSON: Option<&str> = Some("application/json");
    if let Some(data) = options.data {
        request.body = data.to_vec();
        let is_form = !sample.form.is_empty() && serde_json::from_slice::<Map<String, Value>>(data).is_err();
        return Ok(if is_form { Some(FORM) } else { JSON });
    }
    if let Some(text) = &sample.json {
        let json =
            |source| SimulateError::Json { connector: connector.to_owned(), event: options.event.to_owned(), source };
        let mut document = fill_document(&serde_json::from_str(text).map_err(json)?, values).map_err(failed)?;
        for (at, value) in options.set {
            let value = as_there(at.find(&document), value);
            at.set(&mut document, value);
        }
        // What receivers read as base64 stands in the sample as it is.
        if let Some(at) = inner
            && let Some(inner) = at.find(&document).filter(|inner| inner.is_object()).map(Value::to_string)
        {
            at.set(&mut document, Value::String(STANDARD.encode(inner)));
        }
        request.body = document.to_string().into_bytes();
        return Ok(JSON);
    }
    if !sample.form.is_empty() {
        let mut form = Map::new();
        for (name, template) in &sample.form {
            form.insert(name.clone(), Value::String(template.fill(values).map_err(failed)?));
        }
        let mut document = Value::Object(form);
        for (at, value) in options.set {
            at.set(&mut document, value.clone());
        }
        let mut pairs = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in document.as_object().into_iter().flatten() {
            pairs.append_pair(name, &value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
        request.body = pairs.finish().into_bytes();
        return Ok(Some(FORM));
    }
    if let Some(template) = &sample.text {
        request.body = template.fill(values).map_err(failed)?.into_bytes();
        return Ok(Some("text/plain; charset=utf-8"));
    }
    Ok(None)
}

/// A text in the place of a number or a truth value is one, if it can be.
fn as_there(there: Option<&Value>, value: &Value) -> Value {
    let read = |text: &str| serde_json::from_str::<Value>(text).ok();
    match (there, value) {
        (Some(Value::Number(_)), Value::String(text)) => read(text).filter(Value::is_number),
        (Some(Value::Bool(_)), Value::String(text)) => read(text).filter(Value::is_boolean),
        _ => None,
    }
    .unwrap_or_else(|| value.clone())
}

const FORM: &str = "application/x-www-form-urlencoded";
