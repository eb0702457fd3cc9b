//! What the process that finishes a sign-in needs to know of its start, as JSON in the encrypted store.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use super::SignInError;
use crate::connect::flow::ConnectFlow;
use crate::connect::{ConnectPurpose, ConnectRequest};
use crate::connector::{AuthMethod, GrantType};
use crate::error::Result;
use crate::model::{ClientCredentials, ConnectionName, SignIn};
use crate::oauth::ServerMetadata;
use crate::oauth::callback::ExpectedCallback;
use crate::runtime::Session;
use crate::secret::Secret;

/// A sign-in between its two processes.
#[derive(Serialize, Deserialize)]
pub(super) struct PendingDetails {
    pub(super) request: PendingRequest,
    pub(super) draft: ConnectionDraft,
    pub(super) redirect_uri: Url,
    pub(super) step: PendingStep,
}

/// The parts of a [`ConnectRequest`] that matter once the account is chosen.
#[derive(Serialize, Deserialize)]
pub(super) struct PendingRequest {
    connector: String,
    url: Option<Url>,
    account: Option<String>,
    auth: Option<String>,
    params: BTreeMap<String, String>,
    origin: Option<Url>,
    user: Option<String>,
    is_sandbox: bool,
    is_guarded: bool,
    is_reconnect: bool,
}

/// The connection as it was prepared.
#[derive(Serialize, Deserialize)]
pub(super) struct ConnectionDraft {
    name: String,
    auth: String,
    params: BTreeMap<String, String>,
    metadata: BTreeMap<String, String>,
    scopes_requested: Vec<String>,
}

/// What is waited for.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PendingStep {
    Code(PendingCode),
    DeviceCode(PendingDeviceCode),
    Fragment { client: StoredClient },
}

/// An authorization code that is to come.
#[derive(Serialize, Deserialize)]
pub(super) struct PendingCode {
    pub(super) exchange: Exchange,
    /// As the authorization request named it.
    pub(super) redirect_uri: String,
    pub(super) verifier: Option<StoredSecret>,
    issuer: Option<String>,
    is_iss_required: bool,
}

/// A device code that somebody is to enter.
#[derive(Serialize, Deserialize)]
pub(super) struct PendingDeviceCode {
    pub(super) exchange: Exchange,
    pub(super) device_code: StoredSecret,
}

/// The client and the server of a grant. The server is the one that was asked: what it publishes meanwhile must not send the
/// code elsewhere.
#[derive(Serialize, Deserialize)]
pub(super) struct Exchange {
    pub(super) kind: StoredGrantType,
    pub(super) client: StoredClient,
    pub(super) fields: BTreeMap<String, StoredSecret>,
    pub(super) server: ServerMetadata,
    pub(super) is_resource: bool,
}

/// A grant type by its word.
#[derive(Clone, Copy)]
pub(super) struct StoredGrantType(pub(super) GrantType);

impl Serialize for StoredGrantType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for StoredGrantType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        word.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// A secret that is written in clear: the store encrypts it.
pub(super) struct StoredSecret(pub(super) Secret);

impl Serialize for StoredSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for StoredSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text)))
    }
}

/// An OAuth client.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredClient {
    id: String,
    secret: Option<StoredSecret>,
}

impl From<ClientCredentials> for StoredClient {
    fn from(client: ClientCredentials) -> Self {
        Self { id: client.id, secret: client.secret.map(StoredSecret) }
    }
}

impl StoredClient {
    pub(super) fn credentials(&self) -> ClientCredentials {
        let secret = self.secret.as_ref().map(|secret| secret.0.clone());
        ClientCredentials { id: self.id.clone(), secret }
    }
}

impl From<StoredClient> for ClientCredentials {
    fn from(client: StoredClient) -> Self {
        Self { id: client.id, secret: client.secret.map(|secret| secret.0) }
    }
}

impl PendingCode {
    pub(super) fn new(
        exchange: Exchange,
        redirect_uri: String,
        verifier: Option<Secret>,
        expected: ExpectedCallback,
    ) -> Self {
        let ExpectedCallback { issuer, is_iss_required, .. } = expected;
        Self { exchange, redirect_uri, verifier: verifier.map(StoredSecret), issuer, is_iss_required }
    }
}

impl PendingDetails {
    pub(super) fn new(flow: &ConnectFlow<'_>, session: &Session, redirect_uri: &Url, step: PendingStep) -> Self {
        let ConnectRequest { connector, url, account, auth, params, origin, user, is_sandbox, is_guarded, .. } =
            flow.request.clone();
        let connection = &session.connection;
        Self {
            request: PendingRequest {
                connector,
                url,
                account,
                auth,
                params,
                origin,
                user: user.map(|user| user.as_str().to_owned()),
                is_sandbox,
                is_guarded,
                is_reconnect: flow.request.purpose == ConnectPurpose::Reconnect,
            },
            draft: ConnectionDraft {
                name: connection.name.to_string(),
                auth: connection.auth.clone(),
                params: connection.params.clone(),
                metadata: connection.metadata.clone(),
                scopes_requested: connection.scopes_requested.clone(),
            },
            redirect_uri: redirect_uri.clone(),
            step,
        }
    }

    /// Reads the details of a stored sign-in.
    pub(super) fn read(sign_in: &SignIn) -> Result<Self, SignInError> {
        let text = sign_in.details.as_ref().ok_or(SignInError::Used)?;
        serde_json::from_str(text.expose()).map_err(|source| SignInError::Malformed { source })
    }

    pub(super) fn to_json(&self) -> Result<Secret, SignInError> {
        serde_json::to_string(self).map(Secret::new).map_err(|source| SignInError::Malformed { source })
    }

    /// The parameter of the callback that holds what is waited for.
    pub(super) fn token_param(&self, auth: &AuthMethod) -> String {
        match (&self.step, &auth.fragment) {
            (PendingStep::Fragment { .. }, Some(fragment)) => fragment.token.clone(),
            _ => "code".to_owned(),
        }
    }

    /// The connector's id and its authentication method.
    pub(super) fn auth(&self) -> (&str, &str) {
        (&self.request.connector, &self.draft.auth)
    }

    /// What the callback must agree with. Its `state` was found by its hash.
    pub(super) fn expected(&self, state: Secret) -> ExpectedCallback {
        match &self.step {
            PendingStep::Code(code) => {
                ExpectedCallback { state, issuer: code.issuer.clone(), is_iss_required: code.is_iss_required }
            }
            PendingStep::DeviceCode(_) | PendingStep::Fragment { .. } => {
                ExpectedCallback { state, issuer: None, is_iss_required: false }
            }
        }
    }
}

impl PendingRequest {
    pub(super) fn to_request(&self) -> Result<ConnectRequest> {
        Ok(ConnectRequest {
            connector: self.connector.clone(),
            url: self.url.clone(),
            account: self.account.clone(),
            auth: self.auth.clone(),
            params: self.params.clone(),
            origin: self.origin.clone(),
            user: self.user.as_ref().map(|user| user.parse()).transpose()?,
            is_sandbox: self.is_sandbox,
            is_guarded: self.is_guarded,
            purpose: if self.is_reconnect { ConnectPurpose::Reconnect } else { ConnectPurpose::Connect },
            ..ConnectRequest::default()
        })
    }
}

impl ConnectionDraft {
    /// Returns the session of the connection as it was prepared. A sandbox connection's emulator is started again where it
    /// ended with the process that began.
    pub(super) async fn session(self, flow: &mut ConnectFlow<'_>) -> Result<Session> {
        let name: ConnectionName = self.name.parse()?;
        let connector = flow.workspace.catalogue().get(name.connector())?;
        let mut connection = flow.draft_connection(name, &self.auth, self.params);
        connection.metadata = self.metadata;
        connection.scopes_requested = self.scopes_requested;
        let session = flow.session_of(connector, connection).await?;
        flow.set_capabilities(&session.auth);
        Ok(session)
    }
}
