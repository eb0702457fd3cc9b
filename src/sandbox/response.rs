//! Builds the vendor's responses: token responses and errors, in the format of its error rules.

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::account::SandboxAccount;
use super::fault::Fault;
use super::message::{SandboxRequest, SandboxResponse};
use super::vendor_emulator::{VendorEmulator, success_document};
use crate::clock::Timestamp;
use crate::connector::{ErrorClass, ErrorRule, OAuth2, Pointer, RetryUnit, TokenResponseShape};

/// Seconds an access token lives where the file does not say.
const ACCESS_LIFETIME_SECS: u32 = 3600;

/// Seconds a refresh token lives: ninety days, the commonest of the vendors that let them die.
pub(super) const REFRESH_LIFETIME_SECS: u32 = 90 * 86_400;

/// Seconds after which a rate limit says to try again, where the fault does not say: no test should wait long.
const DEFAULT_RETRY_AFTER_SECS: u32 = 1;

/// A request that an OAuth endpoint does not grant (RFC 6749 section 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OAuthErrorResponse {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) description: String,
}

impl OAuthErrorResponse {
    pub(super) fn new(code: &str, description: &str) -> Self {
        Self { status: 400, code: code.to_owned(), description: description.to_owned() }
    }

    pub(super) fn invalid_request(description: &str) -> Self {
        Self::new("invalid_request", description)
    }

    pub(super) fn invalid_grant(description: &str) -> Self {
        Self::new("invalid_grant", description)
    }

    pub(super) fn invalid_client(description: &str) -> Self {
        Self { status: 401, ..Self::new("invalid_client", description) }
    }
}

/// The tokens of an answer.
#[derive(Default)]
pub(super) struct IssuedTokens {
    pub(super) account: SandboxAccount,
    pub(super) access: String,
    pub(super) refresh: Option<String>,
    pub(super) user: Option<String>,
    /// Whether it answers a refresh.
    pub(super) is_refresh: bool,
    pub(super) scopes: Vec<String>,
    /// Unix seconds.
    pub(super) issued_at: i64,
}

impl VendorEmulator {
    /// Where token answers hold what. A way without OAuth has the standard's places, for its few OAuth-like refusals.
    pub(super) fn token_response_shape(&self) -> TokenResponseShape {
        self.auth.oauth2.as_ref().map(|oauth2| oauth2.answer.clone()).unwrap_or_default()
    }

    pub(super) fn lifetime_secs(&self) -> u32 {
        self.token_response_shape().lifetime_secs.unwrap_or(ACCESS_LIFETIME_SECS)
    }

    pub(super) fn token_response(
        &self,
        oauth2: &OAuth2,
        request: &SandboxRequest,
        tokens: &IssuedTokens,
    ) -> SandboxResponse {
        let shape = &oauth2.answer;
        let mut document = success_document(&shape.success, true);
        for (name, pointer) in &shape.keep {
            pointer.set(&mut document, json!(tokens.account.metadata_value(&self.connector, &self.auth, name)));
        }
        if let Some(user) = &tokens.user {
            for pointer in shape.secrets.values() {
                pointer.set(&mut document, json!(user));
            }
        }
        let place = |refreshed: &Option<Pointer>, usual: &Pointer| {
            refreshed.as_ref().filter(|_| tokens.is_refresh).unwrap_or(usual).clone()
        };
        place(&shape.refreshed_access_token, &shape.access_token).set(&mut document, json!(tokens.access));
        shape.token_type.set(&mut document, json!("Bearer"));
        match &shape.expires_at {
            Some(at) => {
                let end = tokens.issued_at.saturating_add(self.lifetime_secs().into());
                let end = Timestamp::from_second(end).map(|end| end.to_string()).unwrap_or_default();
                at.set(&mut document, json!(end));
            }
            None => {
                place(&shape.refreshed_expires_in, &shape.expires_in).set(&mut document, json!(self.lifetime_secs()));
            }
        }
        if let Some(refresh) = &tokens.refresh {
            place(&shape.refreshed_refresh_token, &shape.refresh_token).set(&mut document, json!(refresh));
            if let Some(pointer) = &shape.refresh_expires_in {
                pointer.set(&mut document, json!(REFRESH_LIFETIME_SECS));
            }
        }
        if !oauth2.scope.param.is_empty() {
            shape.scope.set(&mut document, json!(self.reported_scopes(oauth2, &tokens.scopes)));
        }
        self.in_accepted_format(request, 200, &document)
    }

    /// A vendor that must be asked for JSON answers a form to a client that does not ask.
    fn in_accepted_format(&self, request: &SandboxRequest, status: u16, document: &Value) -> SandboxResponse {
        let headers = self.auth.oauth2.iter().flat_map(|oauth2| &oauth2.token_headers);
        let must_ask = headers.into_iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("accept") && value.to_string().to_ascii_lowercase().contains("json")
        });
        let asks = request.header("accept").is_some_and(|accept| accept.to_ascii_lowercase().contains("json"));
        if must_ask && !asks {
            SandboxResponse::form(status, document)
        } else {
            SandboxResponse::json(status, document)
        }
    }

    /// The granted scopes as the vendor lists them.
    pub(super) fn reported_scopes(&self, oauth2: &OAuth2, scopes: &[String]) -> String {
        let reported: Vec<&str> = scopes
            .iter()
            .filter_map(|scope| {
                let detail = self.connector.scopes.get(scope).and_then(|scope| scope.detail());
                match detail {
                    Some(detail) if detail.unreported => None,
                    Some(detail) => Some(detail.reported_as.as_deref().unwrap_or(scope)),
                    None => Some(scope.as_str()),
                }
            })
            .collect();
        reported.join(oauth2.scope.answer_separator.as_deref().unwrap_or(&oauth2.scope.separator))
    }

    /// A refusal in the vendor's shape. One that says success in the body refuses with status 200.
    pub(super) fn oauth_error(&self, refusal: &OAuthErrorResponse) -> SandboxResponse {
        let shape = self.token_response_shape();
        let mut document = success_document(&shape.success, false);
        shape.error.set(&mut document, json!(refusal.code));
        shape.error_description.set(&mut document, json!(format!("sandbox: {}", refusal.description)));
        let status = if shape.success.is_empty() { refusal.status } else { 200 };
        let reply = SandboxResponse::json(status, &document);
        if status == 401 { reply.with_header("www-authenticate", "Basic realm=\"sandbox\"") } else { reply }
    }

    /// An answer that the file's first rule of this class recognises. Rules for failures differ too much for another status to
    /// stand for them.
    pub(super) fn error_response(
        &self,
        class: ErrorClass,
        otherwise: u16,
        hint: &str,
        success: &IndexMap<Pointer, Value>,
    ) -> SandboxResponse {
        let rules = || self.connector.errors.iter().filter(|rule| rule.class == class);
        let by_status = matches!(class, ErrorClass::NotFound | ErrorClass::Fail);
        let usual = rules().find(|rule| by_status && rule.status.contains(&otherwise));
        let rule = usual.or_else(|| rules().next().filter(|_| class != ErrorClass::Fail));
        let in_body = |rule: &ErrorRule| rule.status.is_empty() && !rule.body.is_empty() && !success.is_empty();
        let status = match rule {
            Some(rule) if class == ErrorClass::Auth && in_body(rule) => 200,
            Some(rule) => rule.status.first().copied().unwrap_or(otherwise),
            None => otherwise,
        };
        let mut document = success_document(success, false);
        for (pointer, values) in rule.map(|rule| &rule.body).into_iter().flatten() {
            let told = |value: &&Value| value.as_str().is_some_and(|text| text.contains(hint));
            let value = values.iter().find(told).or(values.first());
            pointer.set(&mut document, value.map_or(Value::Null, strip_wildcard));
        }
        if document.as_object().is_some_and(serde_json::Map::is_empty) {
            document = json!({"error": hint, "error_description": format!("sandbox: {hint}")});
        }
        let mut reply = SandboxResponse::json(status, &document);
        for (name, value) in rule.map(|rule| &rule.headers).into_iter().flatten() {
            reply = reply.with_header(name, if value == "*" { "1" } else { value });
        }
        reply
    }

    pub(super) fn rate_limited(&self, fault: &Fault, now: i64) -> SandboxResponse {
        let seconds = i64::from(fault.seconds.unwrap_or(DEFAULT_RETRY_AFTER_SECS));
        let success = self.success();
        let mut reply = self.error_response(ErrorClass::RateLimit, 429, "rate", &success);
        let mut document: Value = serde_json::from_str(&reply.body).unwrap_or_default();
        for hint in &self.connector.rate.retry_hints {
            let value = match hint.unit {
                RetryUnit::Seconds => seconds,
                RetryUnit::Milliseconds => seconds.saturating_mul(1000),
                RetryUnit::EpochSeconds => now.saturating_add(seconds),
                RetryUnit::EpochMilliseconds => now.saturating_add(seconds).saturating_mul(1000),
            };
            if let Some(header) = &hint.header {
                reply.headers.retain(|(name, _)| !name.eq_ignore_ascii_case(header));
                reply = reply.with_header(header, &value.to_string());
            }
            if let Some(pointer) = &hint.body {
                pointer.set(&mut document, json!(value));
            }
        }
        if self.connector.rate.retry_hints.is_empty() {
            reply = reply.with_header("retry-after", &seconds.to_string());
        }
        reply.body = document.to_string();
        reply
    }

    pub(super) fn server_error(&self) -> SandboxResponse {
        let statuses = self.connector.errors.iter().filter(|rule| rule.class == ErrorClass::Retry);
        let status = statuses.flat_map(|rule| &rule.status).copied().find(|status| *status >= 500).unwrap_or(503);
        let text = json!({"error": "server_error", "error_description": "sandbox: the service is unavailable"});
        SandboxResponse::json(status, &text)
    }
}

/// A rule's text ending in `*` stands for all that start like it, itself among them.
fn strip_wildcard(value: &Value) -> Value {
    match value {
        Value::String(text) => json!(text.strip_suffix('*').unwrap_or(text)),
        value => value.clone(),
    }
}
