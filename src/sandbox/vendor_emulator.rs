//! The vendor as a function: finds the endpoint of a request, applies faults, and responds.

use std::collections::BTreeMap;
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::account::{SandboxAccount, client_key, sandbox_params, text_fields};
use super::fault::{Fault, FaultKind, FaultTarget, PresentedCredential};
use super::message::{SandboxRequest, SandboxResponse};
use super::pattern::PathParams;
use super::response::OAuthErrorResponse;
use super::routes::{EmulatedEndpoint, RouteMatch, RouteTable};
use super::state::SandboxState;
use super::stream::StreamRequest;
use super::token::TokenSigner;
use super::verification_keys::rsa_key;
use crate::clock::Timestamp;
use crate::connector::{AuthMethod, BodyFormat, Connector, ConnectorError, HttpMethod, Pointer};
use crate::http::serve::Method;
use crate::secret::Secret;
use crate::signing::rsa::RsaKey;

/// Seconds that a slow answer takes where the fault does not say.
const DEFAULT_SLOW_SECS: u32 = 5;

/// The emulated vendor of one authentication method.
#[derive(Clone, Debug)]
pub struct VendorEmulator {
    pub(super) connector: Connector,
    pub(super) auth: AuthMethod,
    /// Who consents at its pages.
    pub(super) account: SandboxAccount,
    pub(super) seed: Secret<Vec<u8>>,
    /// The connection's parameters, over those of [`sandbox_params`].
    pub(super) params: BTreeMap<String, String>,
    pub(super) fields: BTreeMap<String, Secret>,
    /// The key that clients of this vendor sign with; its secret half is among what `account_fields` gives.
    pub(super) client_key: RsaKey,
    pub(super) routes: RouteTable,
    pub(super) signer: TokenSigner,
    /// Whether other programs than this one ask: links then lead to the emulator, else to the vendor's own address.
    pub(super) serves_external_clients: bool,
    /// What it signs webhooks with, where that is an RSA key.
    pub(super) webhook_rsa_key: Option<RsaKey>,
}

/// One request with what is known of it.
pub(super) struct RequestContext<'r> {
    pub(super) request: &'r SandboxRequest,
    pub(super) endpoint: EmulatedEndpoint,
    pub(super) path_params: PathParams,
    /// The actions that it may be for.
    pub(super) actions: Vec<(String, PathParams)>,
    /// The stream that answers it, or what the request lacks for that.
    pub(super) stream_request: Option<Result<StreamRequest<'r>, String>>,
    /// Unix seconds.
    pub(super) now: i64,
    /// Trouble with the grant that this request shows, or with its cursor.
    pub(super) fault: Option<FaultKind>,
}

impl VendorEmulator {
    /// The vendor behind an authentication method (the usual one where none is named), for a connection of `account` with `params`.
    /// The seed is a secret of the store: anyone who knows it makes tokens that this sandbox takes.
    ///
    /// # Errors
    /// [`ConnectorError::UnknownAuthMethod`].
    pub fn new(
        connector: &Connector,
        auth: Option<&str>,
        account: &SandboxAccount,
        params: &BTreeMap<String, String>,
        seed: &[u8],
    ) -> Result<Self, ConnectorError> {
        let (_, auth) = connector.auth_method(auth)?;
        let mut auth = auth.clone();
        auth.oauth2 = auth.oauth2.map(|rules| rules.with_choices(|name| params.get(name).map(String::as_str)));
        let auth = &auth;
        let mut all = sandbox_params(connector, auth);
        all.extend(params.clone());
        let fields = text_fields(connector, auth, account, seed);
        // A part of a key may be the very URL that is called.
        let mut known = all.clone();
        known.extend(fields.iter().map(|(name, value)| (name.clone(), value.expose().clone())));
        Ok(Self {
            routes: RouteTable::new(connector, auth, &known),
            fields,
            client_key: client_key(connector, auth, seed),
            signer: TokenSigner::new(seed, &connector.id, token_prefix(connector)),
            webhook_rsa_key: rsa_key(connector, seed),
            connector: connector.clone(),
            auth: auth.clone(),
            account: account.clone(),
            seed: Secret::new(seed.to_vec()),
            params: all,
            serves_external_clients: false,
        })
    }

    /// The same vendor, for programs that know the emulator's address and no route.
    #[must_use]
    pub fn for_external_clients(self) -> Self {
        Self { serves_external_clients: true, ..self }
    }

    /// What the vendor answers, and what it will remember.
    pub fn handle(&self, request: &SandboxRequest, state: &mut SandboxState, now: Timestamp) -> SandboxResponse {
        let mut visit = match self.route(request, now.as_second()) {
            Ok(visit) => visit,
            Err(method) => {
                let text = json!({"error": "method_not_allowed", "sandbox": "this path is there for another method"});
                return SandboxResponse::json(405, &text).with_header("allow", method.as_str());
            }
        };
        let goes_on = matches!(&visit.stream_request, Some(Ok(ask)) if ask.is_continuation());
        let fault = state.take_fault(FaultTarget {
            endpoint: visit.endpoint,
            credential: self.presented_credential(&visit),
            is_stream: visit.stream_request.is_some(),
            is_continuation: goes_on,
        });
        let mut delay = Duration::ZERO;
        let mut is_cut = false;
        if let Some(fault) = fault {
            match fault.kind {
                FaultKind::RateLimit => return self.rate_limited(&fault, visit.now),
                FaultKind::ServerError => return self.server_error(),
                FaultKind::Malformed => return malformed_response(&fault),
                FaultKind::Slow => delay = Duration::from_secs(fault.seconds.unwrap_or(DEFAULT_SLOW_SECS).into()),
                FaultKind::Truncated => is_cut = true,
                kind @ (FaultKind::ExpiredGrant
                | FaultKind::RevokedGrant
                | FaultKind::ExpiredCursor
                | FaultKind::RepeatedCursor) => visit.fault = Some(kind),
            }
        }
        let reply = self.dispatch(&visit, state);
        let reply = SandboxResponse { delay, ..reply };
        if is_cut { reply.truncated() } else { reply }
    }

    /// Finds out what a request is for.
    ///
    /// # Errors
    /// The method that its path is there for.
    fn route<'r>(&'r self, request: &'r SandboxRequest, now: i64) -> Result<RequestContext<'r>, HttpMethod> {
        let mut actions = Vec::new();
        let asked = self.match_stream(request);
        let (mut endpoint, mut path_params) = match self.routes.find(request) {
            RouteMatch::Endpoint(endpoint, path_params, found) => {
                actions = found;
                (endpoint, path_params)
            }
            RouteMatch::Actions(found) => {
                actions = found;
                (EmulatedEndpoint::Action, actions.first().map(|(_, values)| values.clone()).unwrap_or_default())
            }
            RouteMatch::WrongMethod(method) if asked.is_none() && self.routes.items(request).is_empty() => {
                return Err(method);
            }
            RouteMatch::WrongMethod(_) | RouteMatch::Unknown => (EmulatedEndpoint::Other, PathParams::new()),
        };
        let stream_request = match asked {
            Some(Ok(found))
                if self.is_stream_request(&found, endpoint, &actions, request)
                    && !self.is_event_query(request, &actions) =>
            {
                if endpoint != EmulatedEndpoint::Health {
                    endpoint = EmulatedEndpoint::Stream;
                    path_params.clone_from(&found.values);
                }
                Some(Ok(found))
            }
            Some(Err(problem)) if endpoint == EmulatedEndpoint::Other => {
                endpoint = EmulatedEndpoint::Stream;
                Some(Err(problem))
            }
            _ => None,
        };
        // The path may hold the key.
        if endpoint == EmulatedEndpoint::Other
            && let Some((_, values)) = self.routes.items(request).into_iter().next()
        {
            path_params = values;
        }
        Ok(RequestContext { request, endpoint, path_params, actions, stream_request, now, fault: None })
    }

    /// Whether a stream answers, and not an action of the same path: one that is more particular, or that changes something.
    fn is_stream_request(
        &self,
        ask: &StreamRequest<'_>,
        endpoint: EmulatedEndpoint,
        actions: &[(String, PathParams)],
        request: &SandboxRequest,
    ) -> bool {
        let particular = actions.first().is_some_and(|(_, captures)| captures.len() < ask.path_param_count);
        let reads = request.method != Method::POST
            || actions.is_empty()
            || ask.stream.method == HttpMethod::Post
            || self.connector.api.get_or_post;
        matches!(endpoint, EmulatedEndpoint::Other | EmulatedEndpoint::Action | EmulatedEndpoint::Health)
            && !particular
            && (ask.matched_params > 0 || reads)
    }

    /// A stream's path with other parameters than the file's: who may not call it gets that answer first.
    fn reject_stream_request(
        &self,
        visit: &RequestContext<'_>,
        problem: &str,
        state: &mut SandboxState,
    ) -> SandboxResponse {
        match self.credential(visit, state) {
            Err(why) => self.reject_credential(why),
            Ok(_) => self.bad_request(problem),
        }
    }

    fn dispatch(&self, visit: &RequestContext<'_>, state: &mut SandboxState) -> SandboxResponse {
        let refused = |refusal: OAuthErrorResponse| self.oauth_error(&refusal);
        match (visit.endpoint, &visit.stream_request) {
            (EmulatedEndpoint::Token | EmulatedEndpoint::Refresh, _) => {
                self.token(visit, state).unwrap_or_else(refused)
            }
            (EmulatedEndpoint::Device, _) => self.device(visit, state).unwrap_or_else(refused),
            (EmulatedEndpoint::Revoke, _) => self.revoke(visit, state).unwrap_or_else(refused),
            (EmulatedEndpoint::Discovery, _) => self.discovery(),
            (EmulatedEndpoint::ResourceMetadata, _) => self.resource_metadata(),
            (EmulatedEndpoint::Registration, _) => self.register_client(visit),
            (EmulatedEndpoint::Health, _) if self.speaks_mcp() => self.mcp(visit, state),
            (EmulatedEndpoint::Authorize, _) => self.authorize(visit, state),
            (EmulatedEndpoint::Verification, _) => self.verification(visit, state),
            (EmulatedEndpoint::FollowUp, _) => self.follow_up(visit, state),
            (EmulatedEndpoint::Health, _) => self.health_or_action(visit, state),
            (EmulatedEndpoint::Action, _) => self.run_action(visit, state),
            (EmulatedEndpoint::Stream, Some(Ok(ask))) => self.stream_or_action(visit, ask, state),
            (EmulatedEndpoint::Stream, Some(Err(problem))) => self.reject_stream_request(visit, problem, state),
            (EmulatedEndpoint::Stream | EmulatedEndpoint::Other, _) => match self.read_item(visit, state) {
                Some(answer) => answer,
                None => self.other(visit, state),
            },
        }
    }

    /// The health check may be one of the actions or streams as well: then its answer holds what both say.
    fn health_or_action(&self, visit: &RequestContext<'_>, state: &mut SandboxState) -> SandboxResponse {
        let health = self.health(visit, state);
        if health.status != 200 {
            return health;
        }
        let action = match &visit.stream_request {
            Some(Ok(ask)) => self.stream_or_action(visit, ask, state),
            _ if visit.actions.is_empty() => return health,
            _ => self.run_action(visit, state),
        };
        // A check that has a body, such as a GraphQL query, is known by it.
        let body = self.connector.health(&self.auth).and_then(|health| health.body.as_ref());
        let is_check =
            |body: &Value| serde_json::from_slice::<Value>(&visit.request.body).is_ok_and(|sent| sent == *body);
        match body {
            Some(body) if is_check(body) => health,
            Some(_) => action,
            None if (200..300).contains(&action.status) => health.merged_with(&action),
            None => health,
        }
    }

    fn presented_credential(&self, visit: &RequestContext<'_>) -> PresentedCredential {
        match visit.endpoint {
            EmulatedEndpoint::Token | EmulatedEndpoint::Refresh => {
                if self.auth.oauth2.as_ref().is_some_and(|oauth2| oauth2.key_grant().is_some()) {
                    // What is presented in place of a refresh token is the key.
                    return PresentedCredential::RefreshToken;
                }
                let body = self.token_body();
                let params = if body == BodyFormat::Json { visit.request.json() } else { Some(visit.request.form()) };
                let refreshes = params.is_some_and(|params| params.get("grant_type") == Some("refresh_token"));
                if refreshes { PresentedCredential::RefreshToken } else { PresentedCredential::None }
            }
            EmulatedEndpoint::FollowUp
            | EmulatedEndpoint::Health
            | EmulatedEndpoint::Action
            | EmulatedEndpoint::Stream
            | EmulatedEndpoint::Other => PresentedCredential::AccessToken,
            EmulatedEndpoint::Device
            | EmulatedEndpoint::Revoke
            | EmulatedEndpoint::Discovery
            | EmulatedEndpoint::ResourceMetadata
            | EmulatedEndpoint::Registration
            | EmulatedEndpoint::Authorize
            | EmulatedEndpoint::Verification => PresentedCredential::None,
        }
    }

    /// What must hold of the API's answers.
    pub(super) fn success(&self) -> IndexMap<Pointer, Value> {
        let mut success = self.connector.api.success.clone();
        success.extend(self.connector.health(&self.auth).map(|health| health.success.clone()).unwrap_or_default());
        success
    }

    pub(super) fn token_body(&self) -> BodyFormat {
        self.auth.oauth2.as_ref().map(|oauth2| oauth2.token_body).unwrap_or_default()
    }
}

/// The prefix of this vendor's tokens, if the file has one for pasted tokens.
fn token_prefix(connector: &Connector) -> &str {
    let pasted = connector.auth.values().filter_map(|auth| auth.fields.get(auth.token_field()?));
    pasted.flat_map(|field| &field.prefixes).map(String::as_str).next().unwrap_or_default()
}

fn malformed_response(fault: &Fault) -> SandboxResponse {
    if fault.met.is_multiple_of(2) {
        SandboxResponse::malformed("application/json; charset=utf-8", "{\"sandbox\": \"this answer is cut of")
    } else {
        let page = "<!doctype html><title>Sandbox</title><p>This page came in place of an answer.</p>";
        SandboxResponse::malformed("text/html; charset=utf-8", page)
    }
}

/// A document with what must hold of a success, or its contrary as far as it has one.
pub(super) fn success_document(success: &IndexMap<Pointer, Value>, holds: bool) -> Value {
    let mut document = json!({});
    for (pointer, value) in success {
        match value {
            Value::Bool(truth) => pointer.set(&mut document, Value::Bool(*truth == holds)),
            value if holds => pointer.set(&mut document, value.clone()),
            _ => {}
        }
    }
    document
}
