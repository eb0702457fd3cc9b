//! The device authorization grant (RFC 8628): a code to enter on another screen.

use std::time::Duration;

use oauth2::HttpRequest;
use serde_json::Value;
use url::Url;
use url::form_urlencoded::Serializer;

use super::dialect::{self, Purpose};
use super::{OAuthError, Party, Tokens};
use crate::clock::Stopwatch;
use crate::connector::ClientAuth;
use crate::connector::scopes::Asked;
use crate::http::HttpError;
use crate::secret::Secret;

/// What a person is shown, and what polling needs.
#[derive(Debug)]
pub struct Authorization {
    pub user_code: String,
    pub verification_uri: Url,
    pub verification_uri_complete: Option<Url>,
    pub expires_in: Duration,
    device_code: Secret,
    interval: Duration,
}

/// Asks for a device code (RFC 8628 section 3.1).
///
/// # Errors
/// [`OAuthError`].
pub async fn start(party: &Party<'_>, asked: &Asked) -> Result<Authorization, OAuthError> {
    let url = party.endpoints.device.as_ref().ok_or(OAuthError::NoEndpoint("device"))?;
    let mut form = vec![];
    for (param, scopes) in asked.iter().filter(|(_, scopes)| !scopes.is_empty()) {
        form.push((param.clone(), scopes.join(&party.rules.scope.separator)));
    }
    let document = party
        .authenticated(async || {
            let response = party.post(authenticated(party, url, form.clone())).await?;
            let now = party.clock.now();
            let (status, document) = dialect::standard(party.rules, party.rate, Purpose::Grant, &response, now)?;
            if status == 200 { Ok(document) } else { Err(refused(party, &document)) }
        })
        .await?;
    let document = dialect::device_answer(&document);
    let text =
        |name: &str| document.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let need = |name: &'static str| {
        text(name)
            .ok_or_else(|| OAuthError::Malformed { endpoint: "the device endpoint", why: format!("it has no {name}") })
    };
    let seconds = |name: &str| Duration::from_secs(document.get(name).and_then(Value::as_u64).unwrap_or(5));
    Ok(Authorization {
        user_code: need("user_code")?,
        verification_uri: web_page(&need("verification_uri")?)?,
        verification_uri_complete: text("verification_uri_complete").as_deref().map(web_page).transpose()?,
        expires_in: seconds("expires_in"),
        device_code: Secret::new(need("device_code")?),
        interval: seconds("interval"),
    })
}

/// A page that a person is told to open, in the vendor's words: a web page and nothing else, for a file, a script or a
/// program's own scheme would act on this machine.
fn web_page(text: &str) -> Result<Url, OAuthError> {
    let page = Url::parse(text).ok().filter(|page| matches!(page.scheme(), "https" | "http") && page.has_host());
    page.filter(|page| page.username().is_empty() && page.password().is_none()).ok_or_else(|| OAuthError::Malformed {
        endpoint: "the device endpoint",
        why: "its verification URI is not the URL of a web page".to_owned(),
    })
}

/// Polls until somebody has entered the code (RFC 8628 section 3.4): `slow_down` adds five seconds for good, a request
/// that gets no answer doubles the wait.
///
/// # Errors
/// [`OAuthError::Denied`], [`OAuthError::DeviceExpired`], or whatever else the token endpoint says.
pub async fn poll(party: &Party<'_>, authorization: &Authorization, limit: Duration) -> Result<Tokens, OAuthError> {
    let stopwatch = Stopwatch::start();
    let limit = authorization.expires_in.min(limit);
    let mut interval = authorization.interval;
    loop {
        if stopwatch.elapsed() + interval > limit {
            tokio::time::sleep(limit.saturating_sub(stopwatch.elapsed())).await;
            return Err(OAuthError::DeviceExpired);
        }
        tokio::time::sleep(interval).await;
        match poll_once(party, authorization).await {
            Ok(Polled::Granted(tokens)) => return Ok(*tokens),
            Ok(Polled::Pending) => {}
            Ok(Polled::SlowDown) => interval += Duration::from_secs(5),
            Err(OAuthError::Http(HttpError::Connect { .. } | HttpError::Timeout { .. } | HttpError::Broken { .. }))
            | Err(OAuthError::Temporary { after: None, .. }) => {
                interval = (interval * 2).min(dialect::LONGEST_POLL_WAIT);
            }
            Err(OAuthError::Temporary { after: Some(after), .. }) => {
                interval = interval.max(after).min(dialect::LONGEST_POLL_WAIT);
            }
            Err(error) => return Err(error),
        }
    }
}

enum Polled {
    Granted(Box<Tokens>),
    Pending,
    SlowDown,
}

async fn poll_once(party: &Party<'_>, authorization: &Authorization) -> Result<Polled, OAuthError> {
    let mut form = vec![
        ("grant_type".to_owned(), "urn:ietf:params:oauth:grant-type:device_code".to_owned()),
        ("device_code".to_owned(), authorization.device_code.expose().clone()),
    ];
    form.extend(party.filled(&party.rules.token_params)?);
    let response = party.post(authenticated(party, party.token_url()?, form)).await?;
    let (status, document) = dialect::standard(party.rules, party.rate, Purpose::Grant, &response, party.clock.now())?;
    if status == 200 {
        return Ok(Polled::Granted(Box::new(dialect::tokens(party.rules, Purpose::Grant, &document)?)));
    }
    match document.get("error").and_then(Value::as_str) {
        Some("authorization_pending") => Ok(Polled::Pending),
        Some("slow_down") => Ok(Polled::SlowDown),
        // The latter is of servers that follow an early draft.
        Some("expired_token" | "code_expired") => Err(OAuthError::DeviceExpired),
        _ => Err(refused(party, &document)),
    }
}

fn refused(party: &Party<'_>, document: &Value) -> OAuthError {
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    let code = text("error").unwrap_or("unknown_error");
    // The latter is Microsoft's.
    if matches!(code, "access_denied" | "authorization_declined") {
        let description = text("error_description").and_then(super::Described::new);
        return OAuthError::Denied { code: code.to_owned(), description };
    }
    dialect::refusal(party.rules, code, text("error_description"))
}

/// A form with the client's credentials as the vendor takes them. The device flow of the crate fixes its own timing and
/// answers; its client authentication is repeated here in five lines (RFC 6749 section 2.3.1).
fn authenticated(party: &Party<'_>, url: &Url, mut form: Vec<(String, String)>) -> HttpRequest {
    let mut request = HttpRequest::default();
    let basic = party.client_auth() == ClientAuth::Basic;
    match party.secret() {
        Some(secret) if basic => {
            let value = crate::http::basic(&encoded(&party.client.id), &encoded(secret.expose()));
            if let Ok(value) = oauth2::http::HeaderValue::from_str(value.expose()) {
                request.headers_mut().insert("authorization", value);
            }
        }
        Some(secret) => form.push(("client_secret".to_owned(), secret.expose().clone())),
        None => {}
    }
    form.push(("client_id".to_owned(), party.client.id.clone()));
    *request.uri_mut() = url.as_str().parse().unwrap_or_default();
    *request.body_mut() = Serializer::new(String::new()).extend_pairs(form).finish().into_bytes();
    request
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
