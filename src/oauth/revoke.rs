//! Revokes a grant at the vendor (RFC 7009, or the vendor's own request).

use serde_json::{Map, Value};
use url::form_urlencoded::Serializer;

use super::{OAuthClient, OAuthError};
use crate::connector::{BodyFormat, ClientAuth, Revocation, RevocationAuth, Template};
use crate::http::{self, Request};
use crate::model::Grant;
use crate::secret::Secret;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationResult {
    Revoked,
    /// There was nothing left to revoke, which is as good (RFC 7009 section 2.2).
    AlreadyRevoked,
    /// The vendor offers no revocation: the user removes the app in the vendor's own settings.
    Unsupported,
}

/// Revokes a grant as the connector's file says, else at the endpoint that discovery found.
///
/// # Errors
/// [`OAuthError`]: the grant is then still live.
pub async fn revoke(oauth_client: &OAuthClient<'_>, grant: &Grant) -> Result<RevocationResult, OAuthError> {
    let standard;
    let rule = match (&oauth_client.rules.revoke, &oauth_client.server.revocation_endpoint) {
        (Some(rule), _) if rule.url.is_complete(&oauth_client.values) => rule,
        (_, Some(found)) => {
            // A URL may hold braces only percent-encoded, so that it is a template of itself.
            standard = Revocation::rfc7009(Template::parse(found.as_str())?);
            &standard
        }
        _ => return Ok(RevocationResult::Unsupported),
    };
    let response = oauth_client.send(request(oauth_client, rule, grant)?).await?;
    if response.status == 429 || response.status >= 500 {
        let after = response.retry_after(oauth_client.rate, oauth_client.clock.now());
        return Err(OAuthError::ServerUnavailable { status: response.status, retry_after: after });
    }
    let document = response.json().unwrap_or_default();
    let code = oauth_client.rules.answer.error.text(&document).unwrap_or_default();
    if rule.gone.contains(&code) || rule.gone_status.contains(&response.status) || code == "invalid_token" {
        return Ok(RevocationResult::AlreadyRevoked);
    }
    if response.is_success() && rule.success.iter().all(|(at, want)| at.find(&document) == Some(want)) {
        return Ok(RevocationResult::Revoked);
    }
    let description = oauth_client.rules.answer.error_description.text(&document);
    let code = if code.is_empty() { format!("status {}", response.status) } else { code };
    Err(OAuthError::ErrorResponse {
        code,
        description: description.and_then(|text| super::ErrorDescription::new(&text)),
    })
}

fn request(oauth_client: &OAuthClient<'_>, rule: &Revocation, grant: &Grant) -> Result<Request, OAuthError> {
    let mut values = oauth_client.values.clone();
    values.set("access_token", grant.access_token.expose());
    if let Some(refresh_token) = &grant.refresh_token {
        values.set("refresh_token", refresh_token.expose());
    }
    values.set("client_id", &oauth_client.client.id);
    if let Some(secret) = &oauth_client.client.secret {
        values.set("client_secret", secret.expose());
    }
    let mut params: Vec<(String, String)> = Vec::new();
    for (name, template) in rule.params.iter().flatten() {
        params.push((name.clone(), template.fill(&values)?));
    }
    if rule.params.is_none() && rule.auth != RevocationAuth::Bearer {
        // Revoking the refresh token ends the whole grant (RFC 7009 section 2.1).
        let (token, hint) = match &grant.refresh_token {
            Some(token) => (token, "refresh_token"),
            None => (&grant.access_token, "access_token"),
        };
        params.push(("token".to_owned(), token.expose().clone()));
        params.push(("token_type_hint".to_owned(), hint.to_owned()));
    }
    let mut request = Request::new(rule.method.as_str(), rule.url.fill_url(&values)?);
    request.secrets = vec![grant.access_token.clone()];
    for (name, template) in &rule.headers {
        request = request.header(name, Secret::new(template.fill(&values)?));
    }
    let secret = oauth_client.client.secret.as_ref();
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    match (rule.auth, secret) {
        (RevocationAuth::Bearer, _) => {
            let value = Secret::new(format!("Bearer {}", grant.access_token.expose()));
            request = request.header("authorization", value);
        }
        (RevocationAuth::Secret, Some(secret)) => {
            request = request.header("authorization", Secret::new(format!("Bearer {}", secret.expose())));
        }
        (RevocationAuth::Basic, Some(secret)) => {
            request = request.header("authorization", http::basic(&oauth_client.client.id, secret.expose()));
        }
        (RevocationAuth::Client, Some(secret)) if oauth_client.client_auth() == ClientAuth::Basic => {
            let value = http::basic(&encoded(&oauth_client.client.id), &encoded(secret.expose()));
            request = request.header("authorization", value);
        }
        (RevocationAuth::Client, _) => {
            let secret = oauth_client.secret();
            let own = [("client_id", Some(&oauth_client.client.id)), ("client_secret", secret.map(Secret::expose))];
            for (name, value) in own {
                // The connector's file may name them itself.
                let value = value.filter(|_| params.iter().all(|(known, _)| known != name));
                params.extend(value.map(|value| (name.to_owned(), value.clone())));
            }
            params.extend(oauth_client.client_assertion_params()?);
        }
        (RevocationAuth::Basic | RevocationAuth::Secret | RevocationAuth::None, _) => {}
    }
    Ok(match rule.body {
        BodyFormat::Form => {
            let form = Serializer::new(String::new()).extend_pairs(params).finish();
            request.body("application/x-www-form-urlencoded", form.into_bytes())
        }
        BodyFormat::Json => {
            let members: Map<String, Value> =
                params.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
            request.body("application/json", Value::Object(members).to_string().into_bytes())
        }
    })
}
