//! The vendor as a function: which endpoint a request is for, what trouble it meets, who answers it.

use std::collections::BTreeMap;
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::account::{sandbox_fields, sandbox_params};
use super::address::{Asked, Endpoint, Places};
use super::answer::Refusal;
use super::fault::{Fault, FaultKind, Meets, Shows};
use super::life::Life;
use super::message::{Reply, Request};
use super::pattern::Captures;
use super::published::rsa_key;
use super::signed::Signer;
use super::state::State;
use super::stream::Ask;
use crate::clock::Timestamp;
use crate::connector::{Auth, BodyFormat, Connector, ConnectorError, Pointer};
use crate::secret::Secret;
use crate::signing::rsa::RsaKey;

/// Seconds that a slow answer takes where the fault does not say.
const SLOW_SECS: u32 = 5;

/// The emulated vendor of one way of authenticating.
#[derive(Clone, Debug)]
pub struct Vendor {
    pub(super) connector: Connector,
    pub(super) auth: Auth,
    /// The connection's parameters, over those of [`sandbox_params`].
    pub(super) params: BTreeMap<String, String>,
    pub(super) fields: BTreeMap<String, Secret>,
    pub(super) places: Places,
    pub(super) signer: Signer,
    /// Whether other programs than this one ask: links then lead to the emulator, else to the vendor's own address.
    pub(super) serves_others: bool,
    /// What it signs webhooks with, where that is an RSA key.
    pub(super) rsa: Option<RsaKey>,
}

/// One request with what is known of it.
pub(super) struct Visit<'r> {
    pub(super) request: &'r Request,
    pub(super) endpoint: Endpoint,
    pub(super) captures: Captures,
    /// The actions that it may be for.
    pub(super) actions: Vec<(String, Captures)>,
    /// The stream that answers it.
    pub(super) ask: Option<Ask<'r>>,
    /// Unix seconds.
    pub(super) now: i64,
    /// Trouble with the grant that this request shows, or with its cursor.
    pub(super) trouble: Option<FaultKind>,
}

impl Vendor {
    /// The vendor behind a way of authenticating (the usual one where none is named), for a connection with `params`.
    /// The seed is a secret of the store: whoever knows it makes tokens that this sandbox takes.
    ///
    /// # Errors
    /// [`ConnectorError::UnknownAuth`].
    pub fn new(
        connector: &Connector,
        auth: Option<&str>,
        params: &BTreeMap<String, String>,
        seed: &[u8],
    ) -> Result<Self, ConnectorError> {
        let (_, auth) = connector.auth(auth)?;
        let mut auth = auth.clone();
        auth.oauth2 = auth.oauth2.map(|rules| rules.chosen(|name| params.get(name).map(String::as_str)));
        let auth = &auth;
        let mut all = sandbox_params(connector, auth);
        all.extend(params.clone());
        let fields = sandbox_fields(connector, auth, seed);
        // A part of a key may be the very URL that is called.
        let mut known = all.clone();
        known.extend(fields.iter().map(|(name, value)| (name.clone(), value.expose().clone())));
        Ok(Self {
            places: Places::new(connector, auth, &known),
            fields,
            signer: Signer::new(seed, &connector.id, token_prefix(connector)),
            rsa: rsa_key(connector, seed),
            connector: connector.clone(),
            auth: auth.clone(),
            params: all,
            serves_others: false,
        })
    }

    /// The same vendor, for programs that know the emulator's address and no route.
    #[must_use]
    pub fn for_others(self) -> Self {
        Self { serves_others: true, ..self }
    }

    /// What the vendor answers, and what it will remember.
    pub fn answer(&self, request: &Request, state: &mut State, life: &mut Life, now: Timestamp) -> Reply {
        let mut actions = Vec::new();
        let asked = self.asked(request);
        let (mut endpoint, mut captures) = match self.places.find(request) {
            Asked::Endpoint(endpoint, captures, found) => {
                actions = found;
                (endpoint, captures)
            }
            Asked::Actions(found) => {
                actions = found;
                (Endpoint::Action, actions.first().map(|(_, captures)| captures.clone()).unwrap_or_default())
            }
            Asked::WrongMethod(method) if asked.is_none() => {
                let text = json!({"error": "method_not_allowed", "sandbox": "this path is there for another method"});
                return Reply::json(405, &text).with_header("allow", method.name());
            }
            Asked::WrongMethod(_) | Asked::Unknown => (Endpoint::Other, Captures::new()),
        };
        let (mut ask, mut unasked) = (None, None);
        match asked {
            Some(Ok(found)) if self.is_for_stream(&found, endpoint, &actions, request, life) => {
                if endpoint != Endpoint::Health {
                    endpoint = Endpoint::Stream;
                    captures.clone_from(&found.values);
                }
                ask = Some(found);
            }
            Some(Err(problem)) if endpoint == Endpoint::Other => {
                endpoint = Endpoint::Stream;
                unasked = Some(problem);
            }
            _ => {}
        }
        let goes_on = ask.as_ref().is_some_and(Ask::goes_on);
        let streams = ask.is_some() || endpoint == Endpoint::Stream;
        let mut visit = Visit { request, endpoint, captures, actions, ask, now: now.as_second(), trouble: None };
        let mut delay = Duration::ZERO;
        let mut is_cut = false;
        if let Some(fault) = state.meet_fault(Meets { endpoint, shows: self.shows(&visit), streams, goes_on }) {
            match fault.kind {
                FaultKind::RateLimit => return self.rate_limited(&fault, visit.now),
                FaultKind::ServerError => return self.broken_down(),
                FaultKind::Malformed => return malformed(&fault),
                FaultKind::Slow => delay = Duration::from_secs(fault.seconds.unwrap_or(SLOW_SECS).into()),
                FaultKind::Truncated => is_cut = true,
                kind @ (FaultKind::ExpiredGrant
                | FaultKind::RevokedGrant
                | FaultKind::ExpiredCursor
                | FaultKind::RepeatedCursor) => visit.trouble = Some(kind),
            }
        }
        let reply = match unasked {
            Some(problem) => self.unasked(&visit, &problem, state),
            None => self.visit(&visit, state, life),
        };
        Reply { delay, ..if is_cut { reply.cut() } else { reply } }
    }

    /// Whether a stream answers, and not an action of the same path: what was created by actions is told by actions, and so
    /// is what only they understand.
    fn is_for_stream(
        &self,
        ask: &Ask<'_>,
        endpoint: Endpoint,
        actions: &[(String, Captures)],
        request: &Request,
        life: &Life,
    ) -> bool {
        let particular = actions.first().is_some_and(|(_, captures)| captures.len() < ask.in_path);
        let reads = request.method.as_str() == "GET" || actions.is_empty();
        let touched = !actions.is_empty() && life.touches(request.path.trim_end_matches('/'));
        matches!(endpoint, Endpoint::Other | Endpoint::Action | Endpoint::Health)
            && !particular
            && (ask.fits > 0 || (reads && !touched))
    }

    /// A stream's path with other parameters than the file's: who may not call it is told that first.
    fn unasked(&self, visit: &Visit<'_>, problem: &str, state: &mut State) -> Reply {
        match self.credential(visit, state) {
            Err(why) => self.unaccepted(why),
            Ok(_) => self.complain(problem),
        }
    }

    fn visit(&self, visit: &Visit<'_>, state: &mut State, life: &mut Life) -> Reply {
        let refused = |refusal: Refusal| self.refuse(&refusal);
        match visit.endpoint {
            Endpoint::Token | Endpoint::Refresh => self.token(visit, state).unwrap_or_else(refused),
            Endpoint::Device => self.device(visit, state).unwrap_or_else(refused),
            Endpoint::Revoke => self.revoke(visit, state).unwrap_or_else(refused),
            Endpoint::Discovery => self.discovery(),
            Endpoint::Authorize => self.authorize(visit, state),
            Endpoint::Verification => self.verification(visit, state),
            Endpoint::FollowUp => self.follow_up(visit, state),
            Endpoint::Health => self.health_or_action(visit, state, life),
            Endpoint::Action => self.act(visit, state, life),
            Endpoint::Stream => match &visit.ask {
                Some(ask) => self.stream_or_action(visit, ask, state, life),
                None => self.other(visit, state),
            },
            Endpoint::Other => self.other(visit, state),
        }
    }

    /// The health check may be one of the actions or streams as well: then its answer holds what both say.
    fn health_or_action(&self, visit: &Visit<'_>, state: &mut State, life: &mut Life) -> Reply {
        let health = self.health(visit, state);
        if health.status != 200 {
            return health;
        }
        let action = match &visit.ask {
            Some(ask) => self.stream_or_action(visit, ask, state, life),
            None if visit.actions.is_empty() => return health,
            None => self.act(visit, state, life),
        };
        if (200..300).contains(&action.status) { health.overlaid(&action) } else { health }
    }

    fn shows(&self, visit: &Visit<'_>) -> Shows {
        match visit.endpoint {
            Endpoint::Token | Endpoint::Refresh => {
                let body = self.token_body();
                let params = if body == BodyFormat::Json { visit.request.json() } else { Some(visit.request.form()) };
                let refreshes = params.is_some_and(|params| params.get("grant_type") == Some("refresh_token"));
                if refreshes { Shows::Refresh } else { Shows::Nothing }
            }
            Endpoint::FollowUp | Endpoint::Health | Endpoint::Action | Endpoint::Stream | Endpoint::Other => {
                Shows::Access
            }
            Endpoint::Device
            | Endpoint::Revoke
            | Endpoint::Discovery
            | Endpoint::Authorize
            | Endpoint::Verification => Shows::Nothing,
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

fn malformed(fault: &Fault) -> Reply {
    if fault.met.is_multiple_of(2) {
        Reply::broken("application/json; charset=utf-8", "{\"sandbox\": \"this answer is cut of")
    } else {
        let page = "<!doctype html><title>Sandbox</title><p>This page came in place of an answer.</p>";
        Reply::broken("text/html; charset=utf-8", page)
    }
}

/// A document with what must hold of a success, or its contrary as far as it has one.
pub(super) fn with_success(success: &IndexMap<Pointer, Value>, holds: bool) -> Value {
    let mut document = json!({});
    for (pointer, value) in success {
        match value {
            Value::Bool(truth) => pointer.put(&mut document, Value::Bool(*truth == holds)),
            value if holds => pointer.put(&mut document, value.clone()),
            _ => {}
        }
    }
    document
}
