//! The device authorization grant (RFC 8628): a code to enter on another device.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::quirks::{self, TokenRequestKind};
use super::{OAuthClient, OAuthError, Tokens};
use crate::clock::Stopwatch;
use crate::connector::scopes::RequestedScopes;
use crate::http::HttpError;
use crate::secret::Secret;

/// What a person is shown, and what polling needs.
#[derive(Debug)]
pub struct DeviceAuthorizationResponse {
    pub user_code: String,
    pub verification_uri: Url,
    pub verification_uri_complete: Option<Url>,
    pub expires_in: Duration,
    /// What polling presents.
    pub device_code: Secret,
    /// How often the vendor may be asked.
    pub interval: Duration,
}

/// Asks for a device code (RFC 8628 section 3.1).
///
/// # Errors
/// [`OAuthError`].
pub async fn request_device_code(
    oauth_client: &OAuthClient<'_>,
    asked: &RequestedScopes,
) -> Result<DeviceAuthorizationResponse, OAuthError> {
    let url =
        oauth_client.server.device_authorization_endpoint.as_ref().ok_or(OAuthError::MissingEndpoint("device"))?;
    let mut form = vec![];
    for (param, scopes) in asked.iter().filter(|(_, scopes)| !scopes.is_empty()) {
        form.push((param.clone(), scopes.join(&oauth_client.rules.scope.separator)));
    }
    let document = oauth_client
        .with_client_auth_fallback(|| {
            Box::pin(async {
                let response = oauth_client.post(oauth_client.authenticated_form(url, form.clone())).await?;
                let now = oauth_client.clock.now();
                let (status, document) = quirks::normalize_response(
                    oauth_client.rules,
                    oauth_client.rate,
                    TokenRequestKind::InitialGrant,
                    &response,
                    now,
                )?;
                if status == 200 { Ok(document) } else { Err(poll_error(oauth_client, &document)) }
            })
        })
        .await?;
    let document = quirks::normalize_device_response(&document);
    let text =
        |name: &str| document.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let need = |name: &'static str| {
        text(name).ok_or_else(|| OAuthError::MalformedResponse {
            endpoint: "the device endpoint",
            reason: format!("it has no {name}"),
        })
    };
    let seconds = |name: &str| Duration::from_secs(document.get(name).and_then(Value::as_u64).unwrap_or(5));
    Ok(DeviceAuthorizationResponse {
        user_code: need("user_code")?,
        verification_uri: parse_web_url(&need("verification_uri")?)?,
        verification_uri_complete: text("verification_uri_complete").as_deref().map(parse_web_url).transpose()?,
        expires_in: seconds("expires_in"),
        device_code: Secret::new(need("device_code")?),
        interval: seconds("interval"),
    })
}

/// A page that a person is asked to open, in the vendor's words: a web page and nothing else, for a file, a script or a
/// program's own scheme would act on this machine.
fn parse_web_url(text: &str) -> Result<Url, OAuthError> {
    let page = Url::parse(text).ok().filter(|page| matches!(page.scheme(), "https" | "http") && page.has_host());
    page.filter(|page| page.username().is_empty() && page.password().is_none()).ok_or_else(|| {
        OAuthError::MalformedResponse {
            endpoint: "the device endpoint",
            reason: "its verification URI is not the URL of a web page".to_owned(),
        }
    })
}

/// Polls until somebody has entered the code (RFC 8628 section 3.4): `slow_down` adds five seconds for good, a request
/// that gets no answer doubles the wait.
///
/// # Errors
/// [`OAuthError::Denied`], [`OAuthError::DeviceCodeExpired`], or whatever else the token endpoint says.
pub async fn poll(
    oauth_client: &OAuthClient<'_>,
    authorization: &DeviceAuthorizationResponse,
    limit: Duration,
) -> Result<Tokens, OAuthError> {
    let stopwatch = Stopwatch::start();
    let limit = authorization.expires_in.min(limit);
    let mut interval = authorization.interval;
    loop {
        if stopwatch.elapsed() + interval > limit {
            tokio::time::sleep(limit.saturating_sub(stopwatch.elapsed())).await;
            return Err(OAuthError::DeviceCodeExpired);
        }
        tokio::time::sleep(interval).await;
        match poll_once(oauth_client, &authorization.device_code).await {
            Ok(PollResult::Granted(tokens)) => return Ok(*tokens),
            Ok(PollResult::Pending) => {}
            Ok(PollResult::SlowDown) => interval += SLOW_DOWN,
            Err(OAuthError::Http(
                HttpError::Connect { .. } | HttpError::Timeout { .. } | HttpError::ConnectionLost { .. },
            ))
            | Err(OAuthError::ServerUnavailable { retry_after: None, .. }) => {
                interval = (interval * 2).min(quirks::MAX_POLL_INTERVAL);
            }
            Err(OAuthError::ServerUnavailable { retry_after: Some(after), .. }) => {
                interval = interval.max(after).min(quirks::MAX_POLL_INTERVAL);
            }
            Err(error) => return Err(error),
        }
    }
}

/// What `slow_down` adds to the interval for good (RFC 8628 section 3.5).
pub const SLOW_DOWN: Duration = Duration::from_secs(5);

/// What the vendor says of a device code.
#[derive(Debug)]
pub enum PollResult {
    Granted(Box<Tokens>),
    Pending,
    SlowDown,
}

/// Asks once whether somebody has entered the code.
///
/// # Errors
/// Those of [`poll`].
pub async fn poll_once(oauth_client: &OAuthClient<'_>, device_code: &Secret) -> Result<PollResult, OAuthError> {
    let mut form = vec![
        ("grant_type".to_owned(), "urn:ietf:params:oauth:grant-type:device_code".to_owned()),
        ("device_code".to_owned(), device_code.expose().clone()),
    ];
    form.extend(oauth_client.fill_params(&oauth_client.rules.token_params)?);
    let response = oauth_client.post(oauth_client.authenticated_form(oauth_client.token_url()?, form)).await?;
    let (status, document) = quirks::normalize_response(
        oauth_client.rules,
        oauth_client.rate,
        TokenRequestKind::InitialGrant,
        &response,
        oauth_client.clock.now(),
    )?;
    if status == 200 {
        return Ok(PollResult::Granted(Box::new(quirks::parse_tokens(
            oauth_client.rules,
            TokenRequestKind::InitialGrant,
            &document,
        )?)));
    }
    match document.get("error").and_then(Value::as_str) {
        Some("authorization_pending") => Ok(PollResult::Pending),
        Some("slow_down") => Ok(PollResult::SlowDown),
        // The latter is of servers that follow an early draft.
        Some("expired_token" | "code_expired") => Err(OAuthError::DeviceCodeExpired),
        _ => Err(poll_error(oauth_client, &document)),
    }
}

fn poll_error(oauth_client: &OAuthClient<'_>, document: &Value) -> OAuthError {
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    let code = text("error").unwrap_or("unknown_error");
    // The latter is Microsoft's.
    if matches!(code, "access_denied" | "authorization_declined") {
        let description = text("error_description").and_then(super::ErrorDescription::new);
        return OAuthError::Denied { code: code.to_owned(), description };
    }
    quirks::classify_error(oauth_client.rules, code, text("error_description"))
}
