//! The vendor as a function: which endpoint a request is for, what trouble it meets, who answers it.

use std::collections::BTreeMap;
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::account::{sandbox_fields, sandbox_params};
use super::fault::{Fault, FaultKind, FaultTarget, PresentedCredential};
use super::message::{SandboxRequest, SandboxResponse};
use super::objects::SessionObjects;
use super::pattern::PathParams;
use super::response::OAuthErrorResponse;
use super::routes::{EmulatedEndpoint, RouteMatch, RouteTable};
use super::state::SandboxState;
use super::stream::StreamRequest;
use super::token::TokenSigner;
use super::verification_keys::rsa_key;
use crate::clock::Timestamp;
use crate::connector::{AuthMethod, BodyFormat, Connector, ConnectorError, Pointer};
use crate::secret::Secret;
use crate::signing::rsa::RsaKey;

/// Seconds that a slow answer takes where the fault does not say.
const DEFAULT_SLOW_SECS: u32 = 5;

/// The emulated vendor of one authentication method.
#[derive(Clone, Debug)]
pub struct VendorEmulator {
    pub(super) connector: Connector,
    pub(super) auth: AuthMethod,
    /// The connection's parameters, over those of [`sandbox_params`].
    pub(super) params: BTreeMap<String, String>,
    pub(super) fields: BTreeMap<String, Secret>,
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
    /// The stream that answers it.
    pub(super) stream_request: Option<StreamRequest<'r>>,
    /// Unix seconds.
    pub(super) now: i64,
    /// Trouble with the grant that this request shows, or with its cursor.
    pub(super) fault: Option<FaultKind>,
}

impl VendorEmulator {
    /// The vendor behind a authentication method (the usual one where none is named), for a connection with `params`.
    /// The seed is a secret of the store: anyone who knows it makes tokens that this sandbox takes.
    ///
    /// # Errors
    /// [`ConnectorError::UnknownAuthMethod`].
    pub fn new(
        connector: &Connector,
        auth: Option<&str>,
        params: &BTreeMap<String, String>,
        seed: &[u8],
    ) -> Result<Self, ConnectorError> {
        let (_, auth) = connector.auth_method(auth)?;
        let mut auth = auth.clone();
        auth.oauth2 = auth.oauth2.map(|rules| rules.with_choices(|name| params.get(name).map(String::as_str)));
        let auth = &auth;
        let mut all = sandbox_params(connector, auth);
        all.extend(params.clone());
        let fields = sandbox_fields(connector, auth, seed);
        // A part of a key may be the very URL that is called.
        let mut known = all.clone();
        known.extend(fields.iter().map(|(name, value)| (name.clone(), value.expose().clone())));
        Ok(Self {
            routes: RouteTable::new(connector, auth, &known),
            fields,
            signer: TokenSigner::new(seed, &connector.id, token_prefix(connector)),
            webhook_rsa_key: rsa_key(connector, seed),
            connector: connector.clone(),
            auth: auth.clone(),
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
    pub fn handle(
        &self,
        request: &SandboxRequest,
        state: &mut SandboxState,
        life: &mut SessionObjects,
        now: Timestamp,
    ) -> SandboxResponse {
        let mut actions = Vec::new();
        let asked = self.match_stream(request);
        let (mut endpoint, mut captures) = match self.routes.find(request) {
            RouteMatch::Endpoint(endpoint, captures, found) => {
                actions = found;
                (endpoint, captures)
            }
            RouteMatch::Actions(found) => {
                actions = found;
                (EmulatedEndpoint::Action, actions.first().map(|(_, captures)| captures.clone()).unwrap_or_default())
            }
            RouteMatch::WrongMethod(method) if asked.is_none() => {
                let text = json!({"error": "method_not_allowed", "sandbox": "this path is there for another method"});
                return SandboxResponse::json(405, &text).with_header("allow", method.as_str());
            }
            RouteMatch::WrongMethod(_) | RouteMatch::Unknown => (EmulatedEndpoint::Other, PathParams::new()),
        };
        let (mut ask, mut unasked) = (None, None);
        match asked {
            Some(Ok(found)) if self.is_stream_request(&found, endpoint, &actions, request, life) => {
                if endpoint != EmulatedEndpoint::Health {
                    endpoint = EmulatedEndpoint::Stream;
                    captures.clone_from(&found.values);
                }
                ask = Some(found);
            }
            Some(Err(problem)) if endpoint == EmulatedEndpoint::Other => {
                endpoint = EmulatedEndpoint::Stream;
                unasked = Some(problem);
            }
            _ => {}
        }
        let goes_on = ask.as_ref().is_some_and(StreamRequest::is_continuation);
        let streams = ask.is_some() || endpoint == EmulatedEndpoint::Stream;
        let mut visit = RequestContext {
            request,
            endpoint,
            path_params: captures,
            actions,
            stream_request: ask,
            now: now.as_second(),
            fault: None,
        };
        let mut delay = Duration::ZERO;
        let mut is_cut = false;
        if let Some(fault) = state.take_fault(FaultTarget {
            endpoint,
            credential: self.presented_credential(&visit),
            is_stream: streams,
            is_continuation: goes_on,
        }) {
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
        let reply = match unasked {
            Some(problem) => self.reject_stream_request(&visit, &problem, state),
            None => self.dispatch(&visit, state, life),
        };
        SandboxResponse { delay, ..if is_cut { reply.truncated() } else { reply } }
    }

    /// Whether a stream answers, and not an action of the same path: what was created by actions is told by actions, and so
    /// is what only they understand.
    fn is_stream_request(
        &self,
        ask: &StreamRequest<'_>,
        endpoint: EmulatedEndpoint,
        actions: &[(String, PathParams)],
        request: &SandboxRequest,
        life: &SessionObjects,
    ) -> bool {
        let particular = actions.first().is_some_and(|(_, captures)| captures.len() < ask.path_param_count);
        let reads = request.method.as_str() == "GET" || actions.is_empty();
        let touched = !actions.is_empty() && life.has_changes_under(request.path.trim_end_matches('/'));
        matches!(endpoint, EmulatedEndpoint::Other | EmulatedEndpoint::Action | EmulatedEndpoint::Health)
            && !particular
            && (ask.matched_params > 0 || (reads && !touched))
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

    fn dispatch(
        &self,
        visit: &RequestContext<'_>,
        state: &mut SandboxState,
        life: &mut SessionObjects,
    ) -> SandboxResponse {
        let refused = |refusal: OAuthErrorResponse| self.oauth_error(&refusal);
        match visit.endpoint {
            EmulatedEndpoint::Token | EmulatedEndpoint::Refresh => self.token(visit, state).unwrap_or_else(refused),
            EmulatedEndpoint::Device => self.device(visit, state).unwrap_or_else(refused),
            EmulatedEndpoint::Revoke => self.revoke(visit, state).unwrap_or_else(refused),
            EmulatedEndpoint::Discovery => self.discovery(),
            EmulatedEndpoint::Authorize => self.authorize(visit, state),
            EmulatedEndpoint::Verification => self.verification(visit, state),
            EmulatedEndpoint::FollowUp => self.follow_up(visit, state),
            EmulatedEndpoint::Health => self.health_or_action(visit, state, life),
            EmulatedEndpoint::Action => self.run_action(visit, state, life),
            EmulatedEndpoint::Stream => match &visit.stream_request {
                Some(ask) => self.stream_or_action(visit, ask, state, life),
                None => self.other(visit, state),
            },
            EmulatedEndpoint::Other => self.other(visit, state),
        }
    }

    /// The health check may be one of the actions or streams as well: then its answer holds what both say.
    fn health_or_action(
        &self,
        visit: &RequestContext<'_>,
        state: &mut SandboxState,
        life: &mut SessionObjects,
    ) -> SandboxResponse {
        let health = self.health(visit, state);
        if health.status != 200 {
            return health;
        }
        let action = match &visit.stream_request {
            Some(ask) => self.stream_or_action(visit, ask, state, life),
            None if visit.actions.is_empty() => return health,
            None => self.run_action(visit, state, life),
        };
        if (200..300).contains(&action.status) { health.merged_with(&action) } else { health }
    }

    fn presented_credential(&self, visit: &RequestContext<'_>) -> PresentedCredential {
        match visit.endpoint {
            EmulatedEndpoint::Token | EmulatedEndpoint::Refresh => {
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

/// How this vendor's tokens begin, as far as the file tells: where it also takes them pasted, it says their prefix.
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
