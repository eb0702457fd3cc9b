//! An OAuth client at a vendor: requests to its token endpoint, through the `oauth2` crate and the vendor's quirks.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use oauth2::basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenType};
use oauth2::{
    AuthType, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet, EndpointSet, ExtraTokenFields, HttpRequest,
    HttpResponse, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, Scope, StandardRevocableToken,
    StandardTokenResponse, TokenUrl,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;
use url::form_urlencoded::Serializer;

use super::discovery::{self, MetadataScope};
use super::quirks::{self, TokenRequestKind};
use super::{OAuthError, ServerMetadata, Tokens};
use crate::clock::Clock;
use crate::connector::{ClientAuth, ErrorRule, OAuth2, Pkce, RateLimits, Values};
use crate::http::{self, ClientIdentity, Route};
use crate::model::ClientCredentials;
use crate::runtime::{BoxFuture, Session, Workspace};
use crate::secret::Secret;

/// What every request of one flow shares.
#[derive(Debug)]
pub struct OAuthClient<'a> {
    pub rules: &'a OAuth2,
    pub rate: &'a RateLimits,
    pub errors: &'a [ErrorRule],
    pub server: ServerMetadata,
    /// What templates of further parameters and headers may name.
    pub values: Values,
    pub client: ClientCredentials,
    /// The keys that the user gave, and what key files hold.
    pub credential: BTreeMap<String, Secret>,
    /// The certificate that connections show.
    pub identity: Option<Arc<ClientIdentity>>,
    /// Seconds by which this machine's clock is ahead of the server's, as its last answer said.
    pub clock_offset: AtomicI64,
    pub pkce: Pkce,
    /// How the user wants the secret sent, whatever the metadata lists.
    pub client_auth: Option<ClientAuth>,
    /// The server refused the secret in a header and took it in the body.
    pub uses_post_fallback: AtomicBool,
    pub http: &'a http::Client,
    pub route: Route,
    pub clock: &'a Clock,
}

/// The vendor's whole answer, carried through the crate's parser.
#[derive(Debug, Serialize, Deserialize)]
struct NormalizedFields {
    document: Value,
}

impl ExtraTokenFields for NormalizedFields {}

type TokenResponse = StandardTokenResponse<NormalizedFields, BasicTokenType>;

type TokenEndpointClient<TokenUrl = EndpointNotSet> = oauth2::Client<
    BasicErrorResponse,
    TokenResponse,
    oauth2::StandardTokenIntrospectionResponse<NormalizedFields, BasicTokenType>,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    TokenUrl,
>;

impl<'a> OAuthClient<'a> {
    /// The OAuth side of a session for a client, with its endpoints found.
    ///
    /// # Errors
    /// [`OAuthError`] where discovery fails or an endpoint is no URL.
    pub async fn for_session(
        session: &'a Session,
        workspace: &'a Workspace,
        client: ClientCredentials,
        redirect_uri: Option<&str>,
        fields: &BTreeMap<String, Secret>,
    ) -> Result<Self, OAuthError> {
        let rules = session.auth.oauth2.as_ref().ok_or(OAuthError::MissingEndpoint("token"))?;
        let values = values_of(session, &client, redirect_uri);
        let mut endpoints = ServerMetadata::declared(rules, &values)?;
        if let Some(issuer) = rules.issuer.as_ref().filter(|issuer| {
            // A server without metadata is known by its endpoints alone.
            rules.protected_resource.is_none() || issuer.is_complete(&values)
        }) {
            let issuer = issuer.fill_path(&values)?;
            let scope = match (&rules.protected_resource, values.get("resource")) {
                (Some(_), Some(_)) => MetadataScope::First,
                (Some(_), None) => MetadataScope::Origin,
                (None, _) => MetadataScope::Both,
            };
            let http = &workspace.engine.http;
            endpoints = discovery::discover(http, &session.route, &issuer, scope, endpoints).await?;
        }
        let mut oauth_client = Self::for_server(session, workspace, client, redirect_uri, endpoints)?;
        oauth_client.set_credential(session, fields)?;
        if oauth_client.identity.is_some() {
            oauth_client.server.use_mtls_endpoints();
        }
        Ok(oauth_client)
    }

    /// Sets the keys that requests are signed with, and the certificate that connections show.
    ///
    /// # Errors
    /// [`OAuthError::Certificate`].
    pub fn set_credential(&mut self, session: &Session, fields: &BTreeMap<String, Secret>) -> Result<(), OAuthError> {
        self.identity = session.client_identity(fields)?;
        self.credential = session.auth.credential_values(fields);
        Ok(())
    }

    /// The same for a server with known endpoints.
    ///
    /// # Errors
    /// [`OAuthError::MissingEndpoint`] where the session is not of OAuth.
    pub fn for_server(
        session: &'a Session,
        workspace: &'a Workspace,
        client: ClientCredentials,
        redirect_uri: Option<&str>,
        server: ServerMetadata,
    ) -> Result<Self, OAuthError> {
        let rules = session.auth.oauth2.as_ref().ok_or(OAuthError::MissingEndpoint("token"))?;
        let values = values_of(session, &client, redirect_uri);
        let param = |name: &Option<String>| name.as_ref().and_then(|name| values.get(name));
        let client_auth = param(&rules.client_auth_param).and_then(ClientAuth::from_name);
        let pkce = param(&rules.pkce_param).and_then(Pkce::from_name).unwrap_or(rules.pkce);
        Ok(Self {
            client_auth,
            pkce,
            uses_post_fallback: AtomicBool::new(false),
            rules,
            rate: &session.connector.rate,
            errors: &session.connector.errors,
            credential: BTreeMap::new(),
            identity: None,
            clock_offset: AtomicI64::new(0),
            server,
            values,
            client,
            http: &workspace.engine.http,
            route: session.route.clone(),
            clock: &workspace.clock,
        })
    }
}

/// What templates of a request may name.
fn values_of(session: &Session, client: &ClientCredentials, redirect_uri: Option<&str>) -> Values {
    let mut values = session.values(None);
    values.set("client_id", &client.id);
    if let Some(redirect_uri) = redirect_uri {
        values.set("redirect_uri", redirect_uri);
    }
    values
}

impl OAuthClient<'_> {
    /// Exchanges an authorization code (RFC 6749 section 4.1.3). A code is used once: no request is repeated that the
    /// server may have acted on.
    ///
    /// # Errors
    /// [`OAuthError`]; `invalid_grant` means that the code was used, expired or not ours.
    pub async fn exchange_code(
        &self,
        code: &Secret,
        redirect_uri: &str,
        verifier: Option<&Secret>,
    ) -> Result<Tokens, OAuthError> {
        let redirect = RedirectUrl::new(redirect_uri.to_owned()).map_err(|error| self.request_error(error))?;
        self.with_client_auth_fallback(|| {
            Box::pin(async {
                let client = self.oauth_client(self.token_url()?);
                let mut request = client
                    .exchange_code(AuthorizationCode::new(code.expose().clone()))
                    .set_redirect_uri(std::borrow::Cow::Borrowed(&redirect));
                if let Some(verifier) = verifier {
                    request = request.set_pkce_verifier(PkceCodeVerifier::new(verifier.expose().clone()));
                }
                for (name, value) in self.fill_params(&self.rules.token_params)? {
                    request = request.add_extra_param(name, value);
                }
                let transport = Transport::new(self, TokenRequestKind::InitialGrant);
                self.parse_token_response(request.request_async(&transport).await, &transport)
            })
        })
        .await
    }

    /// Asks for a token by the client's own credentials (RFC 6749 section 4.4).
    ///
    /// # Errors
    /// [`OAuthError`].
    pub async fn request_client_credentials_token(&self, scopes: &[String]) -> Result<Tokens, OAuthError> {
        self.with_client_auth_fallback(|| {
            Box::pin(async {
                let client = self.oauth_client(self.token_url()?);
                let mut request = client.exchange_client_credentials();
                if !self.rules.scope.param.is_empty() {
                    request = request.add_scopes(scopes.iter().cloned().map(Scope::new));
                }
                for (name, value) in self.fill_params(&self.rules.token_params)? {
                    request = request.add_extra_param(name, value);
                }
                let transport = Transport::new(self, TokenRequestKind::InitialGrant);
                self.parse_token_response(request.request_async(&transport).await, &transport)
            })
        })
        .await
    }

    /// Presents a refresh token (RFC 6749 section 6). The caller holds the connection's lock and has marked the grant as
    /// presented.
    ///
    /// # Errors
    /// [`OAuthError::InvalidGrant`] where the grant is dead; anything else says nothing of it.
    pub async fn refresh(&self, refresh_token: &Secret) -> Result<Tokens, OAuthError> {
        let token = RefreshToken::new(refresh_token.expose().clone());
        self.with_client_auth_fallback(|| {
            Box::pin(async {
                let url = self.server.refresh_endpoint.as_ref().map_or_else(|| self.token_url(), Ok)?;
                let client = self.oauth_client(url);
                let mut request = client.exchange_refresh_token(&token);
                for (name, value) in self.fill_params(&self.rules.refresh_params)? {
                    request = request.add_extra_param(name, value);
                }
                let transport = Transport::new(self, TokenRequestKind::Refresh);
                self.parse_token_response(request.request_async(&transport).await, &transport)
            })
        })
        .await
    }

    /// Makes a request that shows the client's secret, and once more with the secret in the body where the server refused
    /// it in a header and its metadata lists both. Some servers do not undo the encoding that RFC 6749 section 2.3.1 wants
    /// in a header. A client that is refused has used nothing up.
    pub(super) async fn with_client_auth_fallback<'f, T>(
        &self,
        ask: impl Fn() -> BoxFuture<'f, Result<T, OAuthError>>,
    ) -> Result<T, OAuthError> {
        let first = ask().await;
        let is_refused = matches!(&first, Err(OAuthError::ErrorResponse { code, .. }) if code == "invalid_client");
        let may_post = self.client_auth.is_none()
            && self.server.supports_client_secret_post
            && self.client_auth() == ClientAuth::Basic
            && self.secret().is_some();
        if !(is_refused && may_post) {
            return first;
        }
        self.uses_post_fallback.store(true, Ordering::Relaxed);
        let second = ask().await;
        self.uses_post_fallback.store(second.is_ok(), Ordering::Relaxed);
        match second {
            // The server's word on the usual way is the one to show.
            Err(OAuthError::ErrorResponse { code, .. }) if code == "invalid_client" => first,
            second => second,
        }
    }

    pub(super) fn token_url(&self) -> Result<&Url, OAuthError> {
        self.server.token_endpoint.as_ref().ok_or(OAuthError::MissingEndpoint("token"))
    }

    /// How the client shows its secret: as the user says, else as the connector says unless the server's metadata rules
    /// that out.
    pub(super) fn client_auth(&self) -> ClientAuth {
        if self.rules.client_auth.uses_key() {
            return self.rules.client_auth;
        }
        if self.uses_post_fallback.load(Ordering::Relaxed) {
            return ClientAuth::Post;
        }
        self.client_auth.or(self.server.client_auth).unwrap_or(self.rules.client_auth)
    }

    /// The client's secret, if it is sent at all.
    pub(super) fn secret(&self) -> Option<&Secret> {
        self.client.secret.as_ref().filter(|_| self.client_auth().sends_secret())
    }

    fn oauth_client(&self, token_url: &Url) -> TokenEndpointClient<EndpointSet> {
        let mut client = TokenEndpointClient::new(ClientId::new(self.client.id.clone()))
            .set_token_uri(TokenUrl::from_url(token_url.clone()))
            .set_auth_type(match self.client_auth() {
                ClientAuth::Basic => AuthType::BasicAuth,
                ClientAuth::Post | ClientAuth::None | ClientAuth::PrivateKeyJwt | ClientAuth::TlsClientAuth => {
                    AuthType::RequestBody
                }
            });
        if let Some(secret) = self.secret() {
            client = client.set_client_secret(ClientSecret::new(secret.expose().clone()));
        }
        client
    }

    /// The parameters that have a value: one that is made of what the user may leave out is left out with it.
    pub(super) fn fill_params(
        &self,
        params: &indexmap::IndexMap<String, crate::connector::Template>,
    ) -> Result<Vec<(String, String)>, OAuthError> {
        self.fill_with(params, &self.values)
    }

    /// The same with other values.
    pub(super) fn fill_with(
        &self,
        params: &indexmap::IndexMap<String, crate::connector::Template>,
        values: &Values,
    ) -> Result<Vec<(String, String)>, OAuthError> {
        let given = params.iter().filter(|(_, value)| value.is_complete(values));
        given.map(|(name, value)| Ok((name.clone(), value.fill(values)?))).collect()
    }

    fn request_error(&self, error: impl std::error::Error + Send + Sync + 'static) -> OAuthError {
        let host = self.server.token_endpoint.as_ref().and_then(Url::host_str).unwrap_or_default().to_owned();
        OAuthError::Http(http::HttpError::InvalidRequest { host, source: Box::new(error) })
    }

    fn parse_token_response(
        &self,
        result: Result<TokenResponse, TokenRequestError>,
        transport: &Transport<'_>,
    ) -> Result<Tokens, OAuthError> {
        match result {
            Ok(response) => quirks::parse_tokens(self.rules, transport.purpose, &response.extra_fields().document),
            Err(error) => Err(self.error(error)),
        }
    }

    fn error(&self, error: TokenRequestError) -> OAuthError {
        match error {
            RequestTokenError::ServerResponse(response) => {
                let code = response.error();
                let description = response.error_description().map(String::as_str);
                self.explain_refusal(quirks::classify_error(self.rules, code.as_ref(), description))
            }
            RequestTokenError::Request(TransportError(error)) => error,
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => OAuthError::MalformedResponse {
                endpoint: "the token endpoint",
                reason: "it is not an OAuth answer".to_owned(),
            },
        }
    }

    /// Sends a form to an OAuth endpoint as the crate wrote it, in the vendor's dialect.
    pub(super) async fn post(&self, request: HttpRequest) -> Result<http::Response, OAuthError> {
        let (head, form) = request.into_parts();
        let url = Url::parse(&head.uri.to_string()).map_err(|error| self.request_error(error))?;
        let mut form = form;
        for (name, value) in self.client_assertion_params()? {
            let pair = Serializer::new(String::new()).append_pair(&name, &value).finish();
            form.extend(b"&");
            form.extend(pair.into_bytes());
        }
        let (content_type, body) = quirks::encode_body(self.rules, &form);
        let mut request = http::Request::new("POST", url).header("accept", Secret::from("application/json"));
        if let Some(authorization) = head.headers.get("authorization").and_then(|value| value.to_str().ok()) {
            request = request.header("authorization", Secret::from(authorization));
        }
        for (name, value) in self.fill_params(&self.rules.token_headers)? {
            request.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(&name));
            request = request.header(&name, Secret::new(value));
        }
        self.send(request.body(content_type, body)).await
    }

    /// Sends a request to the server, with the client's certificate if it has one.
    pub(super) async fn send(&self, mut request: http::Request) -> Result<http::Response, OAuthError> {
        request.identity.clone_from(&self.identity);
        let response = self.http.send(request, &self.route).await?;
        let now = self.clock.now().as_second();
        let offset = response.date().map_or(0, |date| now.saturating_sub(date.as_second()));
        self.clock_offset.store(offset, Ordering::Relaxed);
        Ok(response)
    }

    /// A form with the client's credentials as the vendor takes them. The crate's own requests fix their parameters; its
    /// client authentication is repeated here in five lines (RFC 6749 section 2.3.1).
    pub(super) fn authenticated_form(&self, url: &Url, mut form: Vec<(String, String)>) -> HttpRequest {
        let mut request = HttpRequest::default();
        let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        match self.secret() {
            Some(secret) if self.client_auth() == ClientAuth::Basic => {
                let value = http::basic(&encoded(&self.client.id), &encoded(secret.expose()));
                if let Ok(value) = oauth2::http::HeaderValue::from_str(value.expose()) {
                    request.headers_mut().insert("authorization", value);
                }
            }
            Some(secret) => form.push(("client_secret".to_owned(), secret.expose().clone())),
            None => {}
        }
        // An assertion says itself whose it is.
        let is_named = self.rules.key_grant().is_none() || self.client_auth() != ClientAuth::None;
        if is_named && !self.client.id.is_empty() {
            form.push(("client_id".to_owned(), self.client.id.clone()));
        }
        *request.uri_mut() = url.as_str().parse().unwrap_or_default();
        *request.body_mut() = Serializer::new(String::new()).extend_pairs(form).finish().into_bytes();
        request
    }
}

type TokenRequestError = RequestTokenError<TransportError, BasicErrorResponse>;

#[derive(Debug, thiserror::Error)]
#[error("the request failed")]
pub(super) struct TransportError(#[source] pub(super) OAuthError);

/// Carries the crate's requests over our client. Never follows a redirect (fault 22).
pub(super) struct Transport<'a> {
    client: &'a OAuthClient<'a>,
    purpose: TokenRequestKind,
}

impl<'a> Transport<'a> {
    pub(super) fn new(client: &'a OAuthClient<'a>, purpose: TokenRequestKind) -> Self {
        Self { client, purpose }
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let client = self.client;
        let response = client.post(request).await.map_err(TransportError)?;
        let now = client.clock.now();
        let (status, document) = quirks::normalize_response(client.rules, client.rate, self.purpose, &response, now)
            .map_err(TransportError)?;
        let body = if status == 200 {
            // The crate checks what the standard demands; the tokens are read from the whole answer.
            let tokens = quirks::parse_tokens(client.rules, self.purpose, &document).map_err(TransportError)?;
            json!({ "access_token": tokens.access_token.expose(), "token_type": "bearer", "document": document })
        } else {
            document
        };
        let mut standard = HttpResponse::new(body.to_string().into_bytes());
        *standard.status_mut() = oauth2::http::StatusCode::from_u16(status).unwrap_or_default();
        Ok(standard)
    }
}

impl<'c> oauth2::AsyncHttpClient<'c> for Transport<'_> {
    type Error = TransportError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, TransportError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}
