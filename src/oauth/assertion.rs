//! Tokens from the user's keys: signed assertions (RFC 7521, RFC 7523), as a grant and as client authentication, and
//! vendors' own exchanges of a key.

use serde_json::{Map, Value};
use url::form_urlencoded::Serializer;

use super::quirks::{self, TokenRequestKind};
use super::{ErrorDescription, OAuthClient, OAuthError, Tokens};
use crate::clock;
use crate::connector::{BodyFormat, ClientAuth, ErrorClass, GrantType, Template, Values};
use crate::hex;
use crate::http::{Request, Response, classify};
use crate::secret::Secret;
use crate::signing::assertion;

/// RFC 7523 section 2.1.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// RFC 7523 section 2.2.
const CLIENT_ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How far the clocks of this machine and a server may be apart before a refusal is put down to that, in seconds. Servers
/// allow a minute or less.
const CLOCK_TOLERANCE_SECS: i64 = 30;

impl OAuthClient<'_> {
    /// Presents the user's key for a token: by a signed assertion, or by the request that the connector describes. Nothing is
    /// used up, so that it may be repeated.
    ///
    /// # Errors
    /// [`OAuthError::InvalidGrant`] where the key is refused, [`OAuthError::ClockSkew`] where this machine's clock is why.
    pub async fn present_key(&self, scopes: &[String]) -> Result<Tokens, OAuthError> {
        let grant = self.rules.key_grant().ok_or(OAuthError::MissingEndpoint("token"))?;
        let response = match grant {
            GrantType::Exchange => self.send_exchange(scopes).await?,
            _ => self.send_jwt_bearer(scopes).await?,
        };
        self.parse_key_response(grant, &response).map_err(|error| self.explain_refusal(error))
    }

    /// What templates of an assertion and of an exchange may name.
    fn key_values(&self, scopes: &[String]) -> Result<Values, OAuthError> {
        let mut values = self.values.clone();
        for (name, value) in &self.credential {
            values.set(name, value.expose());
        }
        values.set("random", &hex::encode(&clock::random::<16>()));
        values.set("token_url", self.token_url()?.as_str());
        if let Some(issuer) = &self.server.issuer {
            values.set("issuer", issuer);
        }
        if let Some(secret) = &self.client.secret {
            values.set("client_secret", secret.expose());
        }
        if !scopes.is_empty() {
            values.set("scope", &scopes.join(&self.rules.scope.separator));
        }
        Ok(values)
    }

    /// The signed assertion that the connector describes, if it does.
    fn assertion(&self, values: &Values) -> Result<Option<Secret>, OAuthError> {
        let Some(rule) = &self.rules.assertion else { return Ok(None) };
        Ok(Some(assertion::sign(rule, self.credential.get(&rule.key), &[], values, self.clock.now())?))
    }

    /// The parameters by which a client authenticates that signs assertions; none for any other.
    pub(super) fn client_assertion_params(&self) -> Result<Vec<(String, String)>, OAuthError> {
        let Some(rule) =
            self.rules.client_assertion.as_ref().filter(|_| self.client_auth() == ClientAuth::PrivateKeyJwt)
        else {
            return Ok(Vec::new());
        };
        let values = self.key_values(&[])?;
        // The issuer stands for all endpoints of a server; one without metadata is known by its token endpoint.
        let audience = self.server.issuer.as_deref().map_or_else(|| self.token_url().map(url::Url::as_str), Ok)?;
        let random = values.get("random").unwrap_or_default();
        let id = self.client.id.as_str();
        let usual = [("iss", id), ("sub", id), ("aud", audience), ("jti", random)];
        let signed = assertion::sign(rule, self.credential.get(&rule.key), &usual, &values, self.clock.now())?;
        Ok(vec![
            ("client_assertion_type".to_owned(), CLIENT_ASSERTION_TYPE.to_owned()),
            ("client_assertion".to_owned(), signed.expose().clone()),
        ])
    }

    async fn send_jwt_bearer(&self, scopes: &[String]) -> Result<Response, OAuthError> {
        let values = self.key_values(scopes)?;
        let signed = self.assertion(&values)?.ok_or(OAuthError::MissingEndpoint("token"))?;
        let mut form =
            vec![("grant_type".to_owned(), JWT_BEARER.to_owned()), ("assertion".to_owned(), signed.expose().clone())];
        // Scopes that the assertion names are not named a second time.
        let claims = self.rules.assertion.iter().flat_map(|assertion| assertion.claims.values());
        let is_claimed = claims.flat_map(Template::placeholders).any(|name| name == "scope");
        let param = &self.rules.scope.param;
        if let Some(scope) = values.get("scope").filter(|_| !is_claimed && !param.is_empty()) {
            form.push((param.clone(), scope.to_owned()));
        }
        form.extend(self.fill_with(&self.rules.token_params, &values)?);
        self.post(self.authenticated_form(self.token_url()?, form)).await
    }

    async fn send_exchange(&self, scopes: &[String]) -> Result<Response, OAuthError> {
        let mut values = self.key_values(scopes)?;
        if let Some(signed) = self.assertion(&values)? {
            values.set("assertion", signed.expose());
        }
        let params = self.fill_with(&self.rules.token_params, &values)?;
        let mut url = self.token_url()?.clone();
        let method = self.rules.token_method;
        if method.is_bodiless() && !params.is_empty() {
            url.query_pairs_mut().extend_pairs(&params);
        }
        let mut request = Request::new(method.as_str(), url).header("accept", Secret::from("application/json"));
        for (name, value) in self.fill_with(&self.rules.token_headers, &values)? {
            request.set_header(&name, Secret::new(value));
        }
        request.secrets = self.credential.values().cloned().collect();
        if !method.is_bodiless() {
            request = match self.rules.token_body {
                _ if params.is_empty() => request.body("", Vec::new()),
                BodyFormat::Form => {
                    let form = Serializer::new(String::new()).extend_pairs(params).finish();
                    request.body("application/x-www-form-urlencoded", form.into_bytes())
                }
                BodyFormat::Json => {
                    let members: Map<String, Value> =
                        params.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
                    request.body("application/json", Value::Object(members).to_string().into_bytes())
                }
            };
        }
        self.send(request).await
    }

    /// Reads what was answered to a key. Of a vendor's own request the status says what is refused, as of any call of its API.
    fn parse_key_response(&self, grant: GrantType, response: &Response) -> Result<Tokens, OAuthError> {
        let kind = TokenRequestKind::InitialGrant;
        let now = self.clock.now();
        let class = classify(self.errors, response).filter(|_| grant == GrantType::Exchange);
        let is_refused = matches!(class, Some(ErrorClass::Auth | ErrorClass::Permission))
            || self.rules.answer.refused_status.contains(&response.status);
        if is_refused {
            let (code, description) = quirks::refusal(self.rules, response);
            return Err(OAuthError::InvalidGrant { code, description });
        }
        if matches!(class, Some(ErrorClass::RateLimit | ErrorClass::Retry)) {
            let retry_after = response.retry_after(self.rate, now);
            return Err(OAuthError::ServerUnavailable { status: response.status, retry_after });
        }
        let (status, document) = quirks::normalize_response(self.rules, self.rate, kind, response, now)?;
        if status == 200 {
            let tokens = quirks::parse_tokens(self.rules, kind, &document)?;
            // The key is presented again in place of a refresh token.
            return Ok(Tokens { refresh_token: None, refresh_expires_in: None, ..tokens });
        }
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        let code = text("error").unwrap_or("unknown_error");
        Err(quirks::classify_error(self.rules, code, text("error_description")))
    }

    /// A refusal of what was signed, as the error of the clock if that is wrong.
    pub(super) fn explain_refusal(&self, error: OAuthError) -> OAuthError {
        let offset = self.clock_offset.load(std::sync::atomic::Ordering::Relaxed);
        let is_apart = offset.abs() > CLOCK_TOLERANCE_SECS;
        let is_presented = self.rules.assertion.is_some();
        let is_client = |code: &str| code == "invalid_client" && self.client_auth() == ClientAuth::PrivateKeyJwt;
        match error {
            OAuthError::InvalidGrant { code, description } if is_apart && is_presented => {
                OAuthError::ClockSkew { seconds: offset, reason: reason(&code, description.as_ref()) }
            }
            OAuthError::ErrorResponse { code, description } if is_apart && (is_presented || is_client(&code)) => {
                OAuthError::ClockSkew { seconds: offset, reason: reason(&code, description.as_ref()) }
            }
            error => error,
        }
    }
}

fn reason(code: &str, description: Option<&ErrorDescription>) -> String {
    description.map_or_else(|| code.to_owned(), |description| format!("{code}: {description}"))
}
