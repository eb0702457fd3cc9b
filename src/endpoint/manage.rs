//! Adds, changes, disables, enables and removes endpoints, and rotates their secrets.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use url::Url;
use zeroize::Zeroizing;

use super::retry_schedule::DEFAULT_ATTEMPTS;
use super::{EndpointError, MAX_TIMEOUT};
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::error::Result;
use crate::http::egress::EgressGuard;
use crate::http::{HttpError, Route};
use crate::model::endpoint::{BackoffPolicy, DeliveryPolicy, EndpointHealth};
use crate::model::{Budget, DisabledReason, Endpoint, EndpointId, EventPattern};
use crate::runtime::Workspace;
use crate::secret::Secret;
use crate::store::Store;

const DEFAULT_TTL: Duration = Duration::from_secs(3 * 86_400);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);

/// Changes to an endpoint, or the settings of a new one; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct EndpointChange {
    pub url: Option<Url>,
    pub events: Option<Vec<EventPattern>>,
    pub description: Option<String>,
    pub policy: Option<BackoffPolicy>,
    pub max_attempts: Option<u32>,
    pub ttl: Option<Duration>,
    pub timeout: Option<Duration>,
    pub rate: Option<Budget>,
}

impl EndpointChange {
    fn check(&self, config: &Config) -> Result<(), EndpointError> {
        let invalid = |what, value, expected| Err(EndpointError::InvalidSetting { what, value, expected });
        if let Some(url) = &self.url {
            check_url(url, config)?;
        }
        if let Some(attempts) = self.max_attempts.filter(|attempts| !(1..=50).contains(attempts)) {
            return invalid("the number of attempts", attempts.to_string(), "1 to 50");
        }
        let month = Duration::from_secs(30 * 86_400);
        if let Some(ttl) = self.ttl.filter(|ttl| ttl.is_zero() || *ttl > month) {
            return invalid("the time to live", crate::duration::format(ttl), "1s to 30d");
        }
        if let Some(timeout) = self.timeout.filter(|timeout| timeout.is_zero() || *timeout > MAX_TIMEOUT) {
            return invalid("the timeout", crate::duration::format(timeout), "1s to 60s");
        }
        Ok(())
    }

    fn apply(&self, endpoint: &mut Endpoint) {
        fn set<T: Clone>(field: &mut T, value: Option<&T>) {
            if let Some(value) = value {
                field.clone_from(value);
            }
        }
        set(&mut endpoint.url, self.url.as_ref());
        set(&mut endpoint.events, self.events.as_ref());
        set(&mut endpoint.policy.backoff, self.policy.as_ref());
        set(&mut endpoint.policy.max_attempts, self.max_attempts.as_ref());
        set(&mut endpoint.policy.ttl, self.ttl.as_ref());
        set(&mut endpoint.policy.timeout, self.timeout.as_ref());
        endpoint.policy.rate = self.rate.or(endpoint.policy.rate);
        // An empty text takes the description away.
        let description = self.description.clone().map(|text| Some(text).filter(|text| !text.is_empty()));
        endpoint.description = description.unwrap_or(endpoint.description.take());
    }
}

/// Adds an endpoint; the secret is returned here and nowhere else.
///
/// # Errors
/// [`EndpointError::InvalidUrl`], [`EndpointError::InvalidSetting`], [`EndpointError::Http`].
pub async fn add(workspace: &Workspace, url: &Url, change: &EndpointChange) -> Result<(Endpoint, Secret)> {
    check_url(url, &workspace.engine.config)?;
    change.check(&workspace.engine.config)?;
    let policy = DeliveryPolicy {
        backoff: BackoffPolicy::Exponential,
        max_attempts: DEFAULT_ATTEMPTS,
        ttl: DEFAULT_TTL,
        timeout: DEFAULT_TIMEOUT,
        rate: None,
    };
    let secret = new_secret();
    let mut endpoint = Endpoint::new(url.clone(), secret.clone(), policy, workspace.clock.now_millis());
    change.apply(&mut endpoint);
    workspace.store_or_new().await?.endpoints().add(&endpoint).await?;
    Ok((endpoint, secret))
}

/// Returns the endpoint of this id.
///
/// # Errors
/// [`EndpointError::EndpointNotFound`].
pub async fn find(workspace: &Workspace, id: &EndpointId) -> Result<Endpoint> {
    let not_found = || EndpointError::EndpointNotFound(id.to_string());
    if !workspace.has_vault() {
        return Err(not_found().into());
    }
    Ok(workspace.store().await?.endpoints().get(id).await?.ok_or_else(not_found)?)
}

/// Changes an endpoint.
///
/// # Errors
/// [`EndpointError::EndpointNotFound`], and those of [`add`].
pub async fn update(workspace: &Workspace, id: &EndpointId, change: &EndpointChange) -> Result<Endpoint> {
    change.check(&workspace.engine.config)?;
    apply_to(workspace, id, |endpoint| change.apply(endpoint)).await
}

/// Puts a new secret in force, which is returned here and nowhere else; the one before it signs beside it until the
/// overlap ends (fault 82).
///
/// # Errors
/// [`EndpointError::EndpointNotFound`].
pub async fn rotate(workspace: &Workspace, id: &EndpointId, overlap: Duration) -> Result<(Endpoint, Secret)> {
    let (secret, now) = (new_secret(), workspace.clock.now());
    let until = now.checked_add(overlap).unwrap_or(Timestamp::MAX);
    let endpoint = apply_to(workspace, id, |endpoint| endpoint.rotate(secret.clone(), until, now)).await?;
    Ok((endpoint, secret))
}

/// Enables an endpoint, with all its failures forgotten, or disables it.
///
/// # Errors
/// [`EndpointError::EndpointNotFound`].
pub async fn set_enabled(workspace: &Workspace, id: &EndpointId, enabled: bool) -> Result<Endpoint> {
    let now = workspace.clock.now();
    apply_to(workspace, id, |endpoint| {
        if enabled {
            endpoint.health = EndpointHealth::default();
        } else if endpoint.health.disabled.is_none() {
            endpoint.health.disabled = Some((DisabledReason::User, now));
        }
    })
    .await
}

/// Removes an endpoint with its deliveries.
///
/// # Errors
/// [`EndpointError::EndpointNotFound`].
pub async fn remove(store: &dyn Store, endpoint: &Endpoint) -> Result<(), EndpointError> {
    let removed = store.endpoints().remove(&endpoint.id).await?;
    if removed { Ok(()) } else { Err(EndpointError::EndpointNotFound(endpoint.id.to_string())) }
}

/// A new signing secret: `whsec_` and 32 random bytes.
pub fn new_secret() -> Secret {
    let bytes = Zeroizing::new(clock::random::<32>());
    Secret::new(format!("whsec_{}", STANDARD.encode(*bytes)))
}

/// Changes an endpoint as one step that no other process comes between. `change` runs again where another was faster.
async fn apply_to(
    workspace: &Workspace,
    id: &EndpointId,
    change: impl Fn(&mut Endpoint) + Send + Sync,
) -> Result<Endpoint> {
    loop {
        let old = find(workspace, id).await?;
        let mut new = old.clone();
        change(&mut new);
        if workspace.store().await?.endpoints().replace(&old, &new).await? {
            return Ok(new);
        }
    }
}

/// Refuses what could never be sent to. A name is judged again whenever it is resolved.
fn check_url(url: &Url, config: &Config) -> Result<(), EndpointError> {
    let wrong = |why| EndpointError::InvalidUrl(crate::http::redact_url(url, &[]), why);
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() {
        return Err(wrong("it is not an http URL"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it holds a password, and the signature is what proves a message"));
    }
    if url.fragment().is_some() {
        return Err(wrong("a fragment is never sent"));
    }
    Route::Live.resolve(url)?;
    EgressGuard::new(&config.http.allow).check(url).map_err(HttpError::from)?;
    Ok(())
}
