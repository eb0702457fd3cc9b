//! The shape of what the vendor says: token answers, refusals, and what its rules of errors look like.

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::account::Account;
use super::fault::Fault;
use super::message::{Reply, Request};
use super::vendor::{Vendor, with_success};
use crate::connector::{ErrorClass, ErrorRule, OAuth2, Pointer, RetryUnit, TokenAnswer};

/// Seconds an access token lives where the file does not say.
const LIFETIME_SECS: u32 = 3600;

/// Seconds a refresh token lives: ninety days, the commonest of the vendors that let them die.
pub(super) const REFRESH_LIFETIME_SECS: u32 = 90 * 86_400;

/// Seconds after which a rate limit says to try again, where the fault does not say: no test should wait long.
const RETRY_SECS: u32 = 1;

/// A request that an OAuth endpoint does not grant (RFC 6749 section 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) description: String,
}

impl Refusal {
    pub(super) fn new(code: &str, description: &str) -> Self {
        Self { status: 400, code: code.to_owned(), description: description.to_owned() }
    }

    pub(super) fn request(description: &str) -> Self {
        Self::new("invalid_request", description)
    }

    pub(super) fn grant(description: &str) -> Self {
        Self::new("invalid_grant", description)
    }

    pub(super) fn client(description: &str) -> Self {
        Self { status: 401, ..Self::new("invalid_client", description) }
    }
}

/// The tokens of an answer.
#[derive(Default)]
pub(super) struct Tokens {
    pub(super) access: String,
    pub(super) refresh: Option<String>,
    pub(super) user: Option<String>,
    /// Whether it answers a refresh.
    pub(super) refreshed: bool,
    pub(super) scopes: Vec<String>,
}

impl Vendor {
    /// Where token answers hold what. A way without OAuth has the standard's places, for its few OAuth-like refusals.
    pub(super) fn shape(&self) -> TokenAnswer {
        self.auth.oauth2.as_ref().map(|oauth2| oauth2.answer.clone()).unwrap_or_default()
    }

    pub(super) fn lifetime_secs(&self) -> u32 {
        self.shape().lifetime_secs.unwrap_or(LIFETIME_SECS)
    }

    pub(super) fn token_answer(&self, oauth2: &OAuth2, request: &Request, tokens: &Tokens) -> Reply {
        let shape = &oauth2.answer;
        let mut document = with_success(&shape.success, true);
        for (name, pointer) in &shape.keep {
            pointer.put(&mut document, json!(Account::First.kept(&self.connector, &self.auth, name)));
        }
        if let Some(user) = &tokens.user {
            for pointer in shape.secrets.values() {
                pointer.put(&mut document, json!(user));
            }
        }
        let place = |refreshed: &Option<Pointer>, usual: &Pointer| {
            refreshed.as_ref().filter(|_| tokens.refreshed).unwrap_or(usual).clone()
        };
        place(&shape.refreshed_access_token, &shape.access_token).put(&mut document, json!(tokens.access));
        shape.token_type.put(&mut document, json!("Bearer"));
        place(&shape.refreshed_expires_in, &shape.expires_in).put(&mut document, json!(self.lifetime_secs()));
        if let Some(refresh) = &tokens.refresh {
            place(&shape.refreshed_refresh_token, &shape.refresh_token).put(&mut document, json!(refresh));
            if let Some(pointer) = &shape.refresh_expires_in {
                pointer.put(&mut document, json!(REFRESH_LIFETIME_SECS));
            }
        }
        if !oauth2.scope.param.is_empty() {
            shape.scope.put(&mut document, json!(self.reported(oauth2, &tokens.scopes)));
        }
        self.in_asked_format(request, 200, &document)
    }

    /// A vendor that must be asked for JSON answers a form to whoever does not ask.
    fn in_asked_format(&self, request: &Request, status: u16, document: &Value) -> Reply {
        let headers = self.auth.oauth2.iter().flat_map(|oauth2| &oauth2.token_headers);
        let must_ask = headers.into_iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("accept") && value.to_string().to_ascii_lowercase().contains("json")
        });
        let asks = request.header("accept").is_some_and(|accept| accept.to_ascii_lowercase().contains("json"));
        if must_ask && !asks { Reply::form(status, document) } else { Reply::json(status, document) }
    }

    /// The granted scopes as the vendor lists them.
    pub(super) fn reported(&self, oauth2: &OAuth2, scopes: &[String]) -> String {
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
    pub(super) fn refuse(&self, refusal: &Refusal) -> Reply {
        let shape = self.shape();
        let mut document = with_success(&shape.success, false);
        shape.error.put(&mut document, json!(refusal.code));
        shape.error_description.put(&mut document, json!(format!("sandbox: {}", refusal.description)));
        let status = if shape.success.is_empty() { refusal.status } else { 200 };
        let reply = Reply::json(status, &document);
        if status == 401 { reply.with_header("www-authenticate", "Basic realm=\"sandbox\"") } else { reply }
    }

    /// An answer that the file's first rule of this class recognises.
    pub(super) fn by_rule(
        &self,
        class: ErrorClass,
        otherwise: u16,
        hint: &str,
        success: &IndexMap<Pointer, Value>,
    ) -> Reply {
        let rule = self.connector.errors.iter().find(|rule| rule.class == class);
        let in_body = |rule: &ErrorRule| rule.status.is_empty() && !rule.body.is_empty() && !success.is_empty();
        let status = match rule {
            Some(rule) if class == ErrorClass::Auth && in_body(rule) => 200,
            Some(rule) => rule.status.first().copied().unwrap_or(otherwise),
            None => otherwise,
        };
        let mut document = with_success(success, false);
        for (pointer, values) in rule.map(|rule| &rule.body).into_iter().flatten() {
            let told = |value: &&Value| value.as_str().is_some_and(|text| text.contains(hint));
            let value = values.iter().find(told).or(values.first());
            pointer.put(&mut document, value.map_or(Value::Null, without_star));
        }
        if document.as_object().is_some_and(serde_json::Map::is_empty) {
            document = json!({"error": hint, "error_description": format!("sandbox: {hint}")});
        }
        let mut reply = Reply::json(status, &document);
        for (name, value) in rule.map(|rule| &rule.headers).into_iter().flatten() {
            reply = reply.with_header(name, if value == "*" { "1" } else { value });
        }
        reply
    }

    pub(super) fn rate_limited(&self, fault: &Fault, now: i64) -> Reply {
        let seconds = i64::from(fault.seconds.unwrap_or(RETRY_SECS));
        let success = self.success();
        let mut reply = self.by_rule(ErrorClass::RateLimit, 429, "rate", &success);
        let mut document: Value = serde_json::from_str(&reply.body).unwrap_or_default();
        for hint in &self.connector.rate.retry_hints {
            let value = match hint.unit {
                RetryUnit::Seconds => seconds,
                RetryUnit::Milliseconds => seconds.saturating_mul(1000),
                RetryUnit::EpochSeconds => now.saturating_add(seconds),
            };
            if let Some(header) = &hint.header {
                reply.headers.retain(|(name, _)| !name.eq_ignore_ascii_case(header));
                reply = reply.with_header(header, &value.to_string());
            }
            if let Some(pointer) = &hint.body {
                pointer.put(&mut document, json!(value));
            }
        }
        if self.connector.rate.retry_hints.is_empty() {
            reply = reply.with_header("retry-after", &seconds.to_string());
        }
        reply.body = document.to_string();
        reply
    }

    pub(super) fn broken_down(&self) -> Reply {
        let statuses = self.connector.errors.iter().filter(|rule| rule.class == ErrorClass::Retry);
        let status = statuses.flat_map(|rule| &rule.status).copied().find(|status| *status >= 500).unwrap_or(503);
        let text = json!({"error": "server_error", "error_description": "sandbox: the vendor is out of order"});
        Reply::json(status, &text)
    }
}

/// A rule's text ending in `*` stands for all that start like it, itself among them.
fn without_star(value: &Value) -> Value {
    match value {
        Value::String(text) => json!(text.strip_suffix('*').unwrap_or(text)),
        value => value.clone(),
    }
}
