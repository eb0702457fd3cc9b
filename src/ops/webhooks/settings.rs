//! A connection's webhook URL and the secret that its vendor signs with.

use std::collections::BTreeMap;
use std::time::Duration;

use super::WebhookOperationError;
use super::subscriptions::list_subscriptions;
use crate::error::Result;
use crate::model::ConnectionName;
use crate::oauth::reveal::ensure_revealable;
use crate::runtime::Workspace;
use crate::secret::Secret;
use crate::view::webhook::{WebhookEventTypeView, WebhookParamView, WebhookSecretView, WebhookUrlView};
use crate::webhook::settings::{
    DEFAULT_PORT, SecretSource, WebhookSettings, WebhookSettingsError, generate_secret, has_secret,
};

/// How long a replaced secret stays valid next to a generated one.
const ROTATION_OVERLAP: Duration = Duration::from_secs(86_400);

/// The name of the parameter that is set as a secret, never as a parameter.
const SECRET_PARAM: &str = "secret";

/// The URL that a vendor calls.
#[derive(Clone, Debug)]
pub struct SetPublicUrlRequest {
    pub connection: ConnectionName,
    /// The address of this machine's receiver as the vendor reaches it, such as a tunnel's.
    pub base: String,
}

/// A signing secret to use.
#[derive(Clone, Debug)]
pub enum NewWebhookSecret {
    /// The vendor's.
    Given(Secret),
    /// A generated secret, for vendors that accept one.
    Generated,
}

/// What to store for the webhooks of a connection.
#[derive(Clone, Debug)]
pub struct SetWebhookSecretRequest {
    pub connection: ConnectionName,
    /// Other values needed to receive webhooks, by name.
    pub params: BTreeMap<String, String>,
    /// Stays as it is if absent.
    pub secret: Option<NewWebhookSecret>,
    /// How long the current secret stays valid. If absent, a day with a generated secret, otherwise not at all.
    pub overlap: Option<Duration>,
}

/// Returns the URL that a connection's vendor calls, what to enter at the vendor, and its subscriptions.
pub async fn show_webhook_url(workspace: &Workspace, connection: &ConnectionName) -> Result<WebhookUrlView> {
    url_view(workspace, &WebhookSettings::load(workspace, connection).await?).await
}

/// Stores the address that the vendor calls, and returns the URL to register there.
///
/// # Errors
/// [`WebhookSettingsError::InvalidPublicUrl`].
pub async fn set_public_url(workspace: &Workspace, request: SetPublicUrlRequest) -> Result<WebhookUrlView> {
    let mut settings = WebhookSettings::load(workspace, &request.connection).await?;
    let url = settings.public_url(&request.base)?;
    workspace.store().await?.webhooks().set_public_url(settings.connection.id, Some(url.as_str())).await?;
    settings.stored.public_url = Some(url.to_string());
    url_view(workspace, &settings).await
}

/// Returns where the signing secret comes from, not the secret itself.
pub async fn show_webhook_secret(workspace: &Workspace, connection: &ConnectionName) -> Result<WebhookSecretView> {
    secret_view(&WebhookSettings::load(workspace, connection).await?)
}

/// Returns the same with the secret in force.
///
/// # Errors
/// [`NeverRevealedError`](crate::oauth::reveal::NeverRevealedError) if it is a part of a credential that is never revealed.
pub async fn reveal_webhook_secret(workspace: &Workspace, connection: &ConnectionName) -> Result<WebhookSecretView> {
    let settings = WebhookSettings::load(workspace, connection).await?;
    if settings.source == Some(SecretSource::Connection) {
        ensure_revealable(&settings.connection)?;
    }
    let secret = settings.keys.secrets.first().map(|secret| secret.expose().clone());
    Ok(WebhookSecretView { secret, ..secret_view(&settings)? })
}

/// Stores a signing secret and parameters; all of it is checked before any of it is stored.
///
/// # Errors
/// [`WebhookOperationError::SecretUnsupported`], [`WebhookOperationError::VendorManagedSecret`],
/// [`WebhookSettingsError::UnknownParam`], and [`WebhookSettingsError::WeakSecret`].
pub async fn set_webhook_secret(workspace: &Workspace, request: SetWebhookSecretRequest) -> Result<WebhookSecretView> {
    let settings = WebhookSettings::load(workspace, &request.connection).await?;
    check_params(&settings, &request.params)?;
    let secret = match &request.secret {
        Some(new) => Some(check_secret(&settings, new)?),
        None => None,
    };
    let webhooks = workspace.store().await?.webhooks();
    if !request.params.is_empty() {
        let mut params = settings.stored.params.clone();
        params.extend(request.params);
        webhooks.set_params(settings.connection.id, &params).await?;
    }
    if let Some(secret) = &secret {
        let generated = matches!(request.secret, Some(NewWebhookSecret::Generated));
        let overlap = request.overlap.or(generated.then_some(ROTATION_OVERLAP));
        let now = workspace.clock.now();
        let until = overlap.and_then(|overlap| now.checked_add(overlap).ok()).unwrap_or(now);
        // One that was in force without being stored, such as the environment's, stays valid as well.
        let is_stored = !settings.stored.secrets(now).is_empty();
        if let Some(old) = settings.keys.secrets.first().filter(|_| !is_stored && until > now) {
            webhooks.rotate_secret(settings.connection.id, old, until, now).await?;
        }
        webhooks.rotate_secret(settings.connection.id, secret, until, now).await?;
    }
    secret_view(&WebhookSettings::load(workspace, &request.connection).await?)
}

fn check_params(settings: &WebhookSettings, params: &BTreeMap<String, String>) -> Result<()> {
    let declared = &settings.rules()?.params;
    let known = || declared.keys().filter(|name| *name != SECRET_PARAM);
    match params.keys().find(|name| !known().any(|known| known == *name)) {
        None => Ok(()),
        Some(name) => Err(WebhookSettingsError::UnknownParam {
            connector: settings.connector.id.clone(),
            name: name.clone(),
            known: known().cloned().collect(),
        }
        .into()),
    }
}

fn check_secret(settings: &WebhookSettings, new: &NewWebhookSecret) -> Result<Secret> {
    let (rules, connection) = (settings.rules()?, || settings.name().clone());
    if !has_secret(rules) {
        return Err(WebhookOperationError::SecretUnsupported { connection: connection() }.into());
    }
    let secret = match new {
        NewWebhookSecret::Given(secret) => secret.clone(),
        NewWebhookSecret::Generated => generate_secret(rules)
            .ok_or_else(|| WebhookOperationError::VendorManagedSecret { connection: connection() })?,
    };
    let mut with_secret = settings.clone();
    with_secret.keys.secrets = vec![secret.clone()];
    // Parameters that are still missing may be set later.
    match with_secret.check() {
        Err(error @ WebhookSettingsError::WeakSecret { .. }) => Err(error.into()),
        _ => Ok(secret),
    }
}

fn secret_view(settings: &WebhookSettings) -> Result<WebhookSecretView> {
    Ok(WebhookSecretView {
        connection: settings.name().to_string(),
        source: settings.source,
        supports_secret: has_secret(settings.rules()?),
        active_secrets: settings.keys.secrets.len(),
        params: settings.stored.params.keys().cloned().collect(),
        secret: None,
    })
}

async fn url_view(workspace: &Workspace, settings: &WebhookSettings) -> Result<WebhookUrlView> {
    let rules = settings.rules()?;
    let port = settings.stored.port.unwrap_or(DEFAULT_PORT);
    let known = |name: &str| match name {
        SECRET_PARAM => !settings.keys.secrets.is_empty(),
        name => settings.keys.values.get(name).is_some(),
    };
    let params = rules.params.iter().map(|(name, param)| WebhookParamView {
        name: name.clone(),
        prompt: param.prompt.clone(),
        secret: param.secret,
        optional: param.optional,
        known: known(name),
    });
    let events = settings.connector.events.iter();
    Ok(WebhookUrlView {
        connection: settings.name().to_string(),
        connector: settings.connector.id.clone(),
        url: settings.url(port)?.to_string(),
        local_url: settings.local_url(port)?.to_string(),
        is_public: settings.stored.public_url.is_some(),
        setup: rules.setup.clone(),
        params: params.collect(),
        events: events
            .map(|(event, known)| WebhookEventTypeView { event: event.clone(), about: known.about.clone() })
            .collect(),
        can_subscribe: rules.subscribe.is_some(),
        subscriptions: list_subscriptions(workspace, settings).await?,
    })
}
