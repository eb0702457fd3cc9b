//! The webhook settings of a connection: its URL, values and secrets, and the sandbox vendor's keys.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use url::Url;

use super::inbound::registry::PREFIX;
use crate::clock;
use crate::connector::{
    Connector, KeyEncoding, SignatureAlgorithm, SignatureScheme, Template, Values, WebhookDefinition,
};
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::http::Route;
use crate::model::words::words;
use crate::model::{Connection, ConnectionMode, ConnectionName, GrantStatus, RevealPolicy};
use crate::oauth::refresh;
use crate::runtime::{self, Workspace};
use crate::sandbox::{rsa_key, sandbox_fields, sandbox_params, sandbox_webhook_seed};
use crate::secret::Secret;
use crate::signing::sign::{EmulatorKeys, ed25519_public};
use crate::signing::standard;
use crate::signing::verify::{SigningContext, secret_keys};
use crate::{env, hex};

/// Where `webhook listen` listens, by default.
pub const DEFAULT_PORT: u16 = 7421;

/// A key of fewer bytes can be guessed.
const LEAST_KEY_BYTES: usize = 8;

/// Standard Webhooks wants 24; somebody else's may be shorter, and no key of theirs is under 16.
const LEAST_WHSEC_BYTES: usize = 16;

/// A public key (RFC 8032 section 5.1.5).
const ED25519_BYTES: usize = 32;

/// The parameter that holds what is signed with.
const SECRET: &str = "secret";

/// Where the secret in force comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// `webhook secret --set`, or a handshake.
    Stored,
    /// `INTEG_WEBHOOK_SECRET`.
    Environment,
    /// Something that the connection has anyway: its client secret.
    Connection,
    /// The seed of the sandbox.
    Sandbox,
}

words!(SecretSource {
    Stored => "stored",
    Environment => "environment",
    Connection => "connection",
    Sandbox => "sandbox",
});

/// A connection as far as its webhooks go.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    pub connection: Connection,
    pub connector: Arc<Connector>,
    pub stored: crate::model::Webhook,
    pub keys: SigningContext,
    pub source: Option<SecretSource>,
    /// What the sandbox's vendor signs with.
    pub vendor: EmulatorKeys,
}

/// Where the webhooks of a connection are received.
#[derive(Clone, Debug)]
pub struct ReceiveAddress {
    pub connection: ConnectionName,
    /// On this machine.
    pub local: Url,
    /// The one that its vendor calls.
    pub public: Url,
    /// The signing secret in force, as its vendor writes it; absent for a credential that is never revealed.
    pub secret: Option<Secret>,
    pub source: Option<SecretSource>,
}

/// An error of the webhook settings of a connection.
#[derive(Debug, Error)]
pub enum WebhookSettingsError {
    #[error("{connector} has no webhooks")]
    NoWebhook { connector: String },
    #[error("webhooks of {connection} need {name}: {prompt}")]
    MissingParam { connection: String, name: String, prompt: String },
    #[error("{connection} has no signing secret to verify webhooks with{}", prompt.as_ref().map(|prompt| format!(": {prompt}")).unwrap_or_default())]
    NoSecret { connection: String, prompt: Option<String> },
    #[error("the secret of {connection} {why}")]
    WeakSecret { connection: String, why: &'static str },
    #[error("invalid URL {url:?}: use https, or http on this machine, without a query")]
    InvalidPublicUrl { url: String },
    #[error("unknown webhook parameter {name:?} for {connector}")]
    UnknownParam { connector: String, name: String, known: Vec<String> },
}

impl Remedy for WebhookSettingsError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NoWebhook { .. } => Diagnostic::new(Kind::NotFound, "no_webhooks").run("integ connector list"),
            Self::MissingParam { connection, name, .. } => Diagnostic::new(Kind::Usage, "missing_param")
                .run(format!("integ webhook secret {connection} --param {name}=VALUE"))
                .connection(connection),
            Self::NoSecret { connection, .. } => {
                Diagnostic::new(Kind::Usage, "no_webhook_secret").hint(set_secret(connection)).connection(connection)
            }
            Self::WeakSecret { connection, .. } => {
                Diagnostic::new(Kind::Usage, "weak_webhook_secret").hint(set_secret(connection)).connection(connection)
            }
            Self::InvalidPublicUrl { .. } => Diagnostic::new(Kind::Usage, "invalid_public_url")
                .hint(Hint::text("give one such as --public-url https://hooks.example.com")),
            Self::UnknownParam { known, .. } => {
                let known = (!known.is_empty()).then(|| Hint::text(format!("its parameters are {}", known.join(", "))));
                Diagnostic::new(Kind::Usage, "unknown_param").maybe_hint(known)
            }
        }
    }
}

fn set_secret(connection: &str) -> Hint {
    let command = format!("integ webhook secret {connection} --set -");
    Hint::new("--rotate makes a new one; give the one of the service on stdin:", command)
}

/// The webhook part of a connector's file.
///
/// # Errors
/// [`WebhookSettingsError::NoWebhook`].
pub fn rules(connector: &Connector) -> Result<&WebhookDefinition, WebhookSettingsError> {
    connector.webhook.as_ref().ok_or_else(|| WebhookSettingsError::NoWebhook { connector: connector.id.clone() })
}

impl WebhookSettings {
    /// Reads what is stored of a connection's webhooks, and makes their URL where they have none yet.
    ///
    /// # Errors
    /// [`WebhookSettingsError::NoWebhook`], unknown connections, the vault's errors.
    pub async fn load(workspace: &Workspace, name: &ConnectionName) -> Result<Self> {
        let connection = workspace.connection(name).await?;
        let connector = workspace.catalogue().get(name.connector())?;
        rules(&connector)?;
        let stored = workspace.store().await?.webhooks().ensure(connection.id, &random_path()).await?;
        let mut setup = Self {
            connection,
            connector,
            stored,
            keys: SigningContext::default(),
            source: None,
            vendor: EmulatorKeys::default(),
        };
        setup.load_keys(workspace).await?;
        Ok(setup)
    }

    /// Returns the name of the connection.
    pub fn name(&self) -> &ConnectionName {
        &self.connection.name
    }

    /// Returns what the connector's file declares of webhooks.
    ///
    /// # Errors
    /// [`WebhookSettingsError::NoWebhook`], never after [`Self::load`].
    pub fn rules(&self) -> Result<&WebhookDefinition, WebhookSettingsError> {
        rules(&self.connector)
    }

    async fn load_keys(&mut self, workspace: &Workspace) -> Result<()> {
        let rules = self.rules()?.clone();
        let mut values = self.values(workspace).await?;
        let seed = match self.connection.mode {
            ConnectionMode::Sandbox => Some(workspace.sandbox_seed().await?),
            ConnectionMode::Live => None,
        };
        if let Some(seed) = &seed {
            self.vendor = emulator_keys(&self.connector, seed);
            set_public_key(&mut values, &rules, &self.vendor);
        }
        values.extend(&self.stored.params);
        for (name, param) in rules.params.iter().filter(|(name, _)| *name != SECRET) {
            if values.get(name).is_some() {
                continue;
            }
            let from = param.from.as_ref().and_then(|from| from.fill(&values).ok());
            let made =
                || seed.as_ref().filter(|_| !param.optional).map(|seed| placeholder_value(&self.connector, seed, name));
            if let Some(value) = from.or_else(made) {
                values.set(name, &value);
            }
        }
        let secrets = self.stored.secrets(workspace.clock.now());
        let from = rules.params.get(SECRET).and_then(|param| param.from.as_ref()?.fill(&values).ok());
        let (secrets, source) = if !secrets.is_empty() {
            (secrets, Some(SecretSource::Stored))
        } else if let Some(secret) = env::secret(&env::WEBHOOK_SECRET) {
            (vec![secret], Some(SecretSource::Environment))
        } else if let Some(secret) = from {
            (vec![Secret::new(secret)], Some(SecretSource::Connection))
        } else if let Some(secret) = seed.as_ref().and_then(|seed| sandbox_secret(&self.connector, &rules, seed)) {
            (vec![secret], Some(SecretSource::Sandbox))
        } else {
            (Vec::new(), None)
        };
        self.source = source;
        self.keys = SigningContext { secrets, values };
        Ok(())
    }

    /// The connection's values, with the client's secret, which some vendors sign by.
    async fn values(&self, workspace: &Workspace) -> Result<Values> {
        let (_, auth) = self.connector.auth_method(Some(&self.connection.auth))?;
        let loaded = match refresh::load_grant(workspace, self.name()).await {
            Ok(loaded) => Some(loaded),
            // Of a deleted account the events that came are still there.
            Err(_) if self.connection.grant_status == GrantStatus::Disconnected => None,
            Err(error) => return Err(error),
        };
        let grant = loaded.as_ref().map(|loaded| &loaded.grant);
        let mut values = runtime::template_values(&self.connector, auth, &self.connection, grant);
        if let Some(grant) = grant
            && let Some(secret) =
                refresh::current_client(workspace, &self.connector, auth, &self.connection, grant).await?.secret
        {
            values.set("client_secret", secret.expose());
        }
        Ok(values)
    }

    /// Whether what comes can be judged: nothing is missing, and no secret can be guessed (fault 58).
    ///
    /// # Errors
    /// [`WebhookSettingsError::MissingParam`], [`WebhookSettingsError::NoSecret`], [`WebhookSettingsError::WeakSecret`].
    pub fn check(&self) -> Result<(), WebhookSettingsError> {
        let rules = self.rules()?;
        let connection = || self.name().to_string();
        let missing = |(name, _): &(&String, _)| self.keys.values.get(name).is_none();
        let required = rules.params.iter().filter(|(name, param)| !param.optional && *name != SECRET);
        if let Some((name, param)) = required.into_iter().find(missing) {
            let prompt = param.prompt.clone();
            return Err(WebhookSettingsError::MissingParam { connection: connection(), name: name.clone(), prompt });
        }
        let keyed: Vec<&SignatureScheme> = rules.proofs.iter().filter(|proof| !proof.needs_fetched_key()).collect();
        let captured = rules.handshakes.iter().any(|handshake| handshake.capture.is_some());
        if keyed.len() < rules.proofs.len() || keyed.is_empty() || (self.keys.secrets.is_empty() && captured) {
            return Ok(());
        }
        if self.keys.secrets.iter().all(Secret::is_empty) && keyed.iter().all(|proof| requires_secret(proof)) {
            let prompt = rules.params.get(SECRET).map(|param| param.prompt.clone());
            return Err(WebhookSettingsError::NoSecret { connection: connection(), prompt });
        }
        let read = keyed.iter().filter_map(|proof| Some((*proof, secret_keys(proof, &self.keys).ok()?)));
        let read: Vec<(&SignatureScheme, Vec<_>)> = read.collect();
        if read.is_empty() {
            let why = "is not written as the service writes it";
            return Err(WebhookSettingsError::WeakSecret { connection: connection(), why });
        }
        let misread =
            |secret: &Secret| standard::is_secret(secret.expose()) && standard::key_bytes(secret.expose()).is_none();
        let standard = keyed.iter().any(|proof| proof.key_encoding == KeyEncoding::Whsec);
        if standard && self.keys.secrets.iter().any(misread) {
            let why = "begins as one of Standard Webhooks, and is not whsec_ and base64";
            return Err(WebhookSettingsError::WeakSecret { connection: connection(), why });
        }
        // What happens to read as base64 without being written as such is judged where it is taken as it is.
        let short = |(proof, keys): &(&SignatureScheme, Vec<(&Secret, Vec<u8>)>)| {
            keys.iter().any(|(secret, key)| match (proof.scheme, proof.key_encoding) {
                (SignatureAlgorithm::Ed25519, _) => key.len() != ED25519_BYTES,
                (_, KeyEncoding::Whsec) => {
                    (standard::is_secret(secret.expose()) || read.len() == 1) && key.len() < LEAST_WHSEC_BYTES
                }
                _ => key.len() < LEAST_KEY_BYTES,
            })
        };
        if read.iter().any(short) {
            return Err(WebhookSettingsError::WeakSecret { connection: connection(), why: "is too short to be one" });
        }
        Ok(())
    }

    /// The path of its URL.
    pub fn path(&self) -> String {
        format!("{PREFIX}{}/{}", self.connector.id, self.stored.path)
    }

    /// Where it is listened for on this machine.
    ///
    /// # Errors
    /// [`WebhookSettingsError::InvalidPublicUrl`], for what cannot be.
    pub fn local_url(&self, port: u16) -> Result<Url, WebhookSettingsError> {
        let text = format!("http://127.0.0.1:{port}{}", self.path());
        Url::parse(&text).map_err(|_| WebhookSettingsError::InvalidPublicUrl { url: text })
    }

    /// What the vendor calls: what was given with `--public-url`, else the address on this machine.
    ///
    /// # Errors
    /// [`WebhookSettingsError::InvalidPublicUrl`].
    pub fn url(&self, port: u16) -> Result<Url, WebhookSettingsError> {
        match &self.stored.public_url {
            Some(base) => self.public_url(base),
            None => self.local_url(port),
        }
    }

    /// Returns its addresses for a port, with the secret that its vendor signs with.
    ///
    /// # Errors
    /// [`WebhookSettingsError::InvalidPublicUrl`].
    pub fn address(&self, port: u16) -> Result<ReceiveAddress, WebhookSettingsError> {
        let is_credential = self.source == Some(SecretSource::Connection);
        let is_hidden = is_credential && self.connection.reveal == RevealPolicy::Never;
        Ok(ReceiveAddress {
            connection: self.name().clone(),
            local: self.local_url(port)?,
            public: self.url(port)?,
            secret: self.keys.secrets.first().filter(|_| !is_hidden).cloned(),
            source: self.source,
        })
    }

    /// An address of the user's with this connection's path after it, unless it is there already.
    ///
    /// # Errors
    /// [`WebhookSettingsError::InvalidPublicUrl`].
    pub fn public_url(&self, base: &str) -> Result<Url, WebhookSettingsError> {
        let wrong = || WebhookSettingsError::InvalidPublicUrl { url: base.to_owned() };
        let mut url = Url::parse(base).map_err(|_| wrong())?;
        let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        if !plain || Route::Live.resolve(&url).is_err() {
            return Err(wrong());
        }
        if !url.path().trim_end_matches('/').ends_with(&self.path()) {
            url.set_path(&format!("{}{}", url.path().trim_end_matches('/'), self.path()));
        }
        Ok(url)
    }

    /// What the vendor's certificates and keys are fetched through, where any are.
    ///
    /// # Errors
    /// Whatever stops a sandbox from starting.
    pub(super) async fn route(&self, workspace: &Workspace) -> Result<Route> {
        let fetches = self.rules()?.proofs.iter().any(SignatureScheme::needs_fetched_key);
        if fetches || self.connection.mode == ConnectionMode::Live {
            return Ok(workspace.session(self.connection.clone()).await?.route);
        }
        // Nothing of a sandbox is ever fetched from the vendor.
        Ok(Route::Sandbox(self.local_url(0)?))
    }
}

/// Whether a secret proves anything that comes.
pub fn has_secret(rules: &WebhookDefinition) -> bool {
    rules.proofs.iter().any(requires_secret)
}

/// Whether what it is judged with is the secret.
fn requires_secret(proof: &SignatureScheme) -> bool {
    let keyless = matches!(proof.scheme, SignatureAlgorithm::RsaSha256 | SignatureAlgorithm::JwtRs256);
    let own = proof.key.as_ref().is_some_and(|template| !template.placeholders().any(|name| name == SECRET));
    !keyless && !own
}

/// An unguessable part of a URL.
fn random_path() -> String {
    hex::encode(&clock::random::<16>())
}

/// A new secret in the form that the connector's rule reads; absent where the vendor alone can make one.
pub fn generate_secret(rules: &WebhookDefinition) -> Option<Secret> {
    secret_text(rules, &clock::random::<32>(), "")
}

/// What the sandbox's vendor signs with.
pub fn emulator_keys(connector: &Connector, seed: &[u8]) -> EmulatorKeys {
    let ed25519_seed = sandbox_webhook_seed(connector, seed, "ed25519");
    EmulatorKeys { ed25519_seed: Some(Secret::new(ed25519_seed.to_vec())), rsa: rsa_key(connector, seed) }
}

/// Where a value of the webhook's is the vendor's public key, the sandbox's vendor has one as well.
fn set_public_key(values: &mut Values, rules: &WebhookDefinition, vendor: &EmulatorKeys) {
    let keys = rules
        .proofs
        .iter()
        .filter(|proof| proof.scheme == SignatureAlgorithm::Ed25519)
        .filter_map(|proof| proof.key.as_ref());
    let Some(public) = vendor.ed25519_seed.as_ref().and_then(ed25519_public) else { return };
    for name in keys.flat_map(Template::placeholders).filter(|name| *name != SECRET) {
        values.set(name, &public);
    }
}

/// The secret of the sandbox's vendor, in the form that the rule reads.
pub fn sandbox_secret(connector: &Connector, rules: &WebhookDefinition, seed: &[u8]) -> Option<Secret> {
    if rules.proofs.iter().any(|proof| proof.scheme == SignatureAlgorithm::Ed25519 && requires_secret(proof)) {
        return emulator_keys(connector, seed).ed25519_seed.as_ref().and_then(ed25519_public).map(Secret::new);
    }
    secret_text(rules, &sandbox_webhook_seed(connector, seed, SECRET), "sandbox-")
}

/// A value of the sandbox's, where the user would look one up at the vendor.
pub fn placeholder_value(connector: &Connector, seed: &[u8], name: &str) -> String {
    format!("sandbox-{}", hex::encode(&sandbox_webhook_seed(connector, seed, name)[..8]))
}

fn secret_text(rules: &WebhookDefinition, bytes: &[u8; 32], prefix: &str) -> Option<Secret> {
    let keyed = || rules.proofs.iter().filter(|proof| requires_secret(proof));
    keyed().next()?;
    if keyed().any(|proof| proof.scheme == SignatureAlgorithm::Ed25519) {
        return None;
    }
    // A secret that is written in a form of its own is as good where any text will do.
    let encoding = keyed().map(|proof| proof.key_encoding).find(|encoding| *encoding != KeyEncoding::Utf8);
    let own_prefix = rules.params.get(SECRET).and_then(|param| param.prefix.as_deref());
    Some(Secret::new(match encoding.unwrap_or_default() {
        KeyEncoding::Utf8 if own_prefix.is_some() => {
            format!("{}{}", own_prefix.unwrap_or_default(), hex::encode(&bytes[..20]))
        }
        KeyEncoding::Utf8 => format!("{prefix}{}", hex::encode(&bytes[..20])),
        KeyEncoding::Hex => hex::encode(bytes),
        KeyEncoding::Whsec => format!("whsec_{}", STANDARD.encode(bytes)),
    }))
}

/// What events of a connector without a connection are made with: the sandbox's values.
///
/// # Errors
/// [`WebhookSettingsError::NoWebhook`], and a connector without any way of authenticating.
pub fn keys_without_connection(
    connector: &Connector,
    seed: &[u8],
    secret: Option<Secret>,
) -> Result<(SigningContext, EmulatorKeys)> {
    let rules = rules(connector)?;
    let (_, auth) = connector.auth_method(None)?;
    let mut values = Values::default();
    values.extend(&sandbox_params(connector, auth));
    for (name, value) in sandbox_fields(connector, auth, seed) {
        values.set(&name, value.expose());
    }
    for (name, param) in rules.params.iter().filter(|(name, param)| *name != SECRET && !param.optional) {
        let from = param.from.as_ref().and_then(|from| from.fill(&values).ok());
        values.set(name, &from.unwrap_or_else(|| placeholder_value(connector, seed, name)));
    }
    let secret = secret.or_else(|| sandbox_secret(connector, rules, seed));
    let vendor = emulator_keys(connector, seed);
    set_public_key(&mut values, rules, &vendor);
    Ok((SigningContext { secrets: secret.into_iter().collect(), values }, vendor))
}
