//! Subscriptions: a connection's URL registered at its vendor, renewed while it is needed, and ended.
//!
//! The protocol, for any number of processes:
//! 1. Under the connection's lock the rows are read. One that is wanted already is not asked for again.
//! 2. What the vendor will sign with is in the store before the vendor hears of the URL: it may call while it is asked.
//! 3. A row that says `creating` is committed. Then the vendor is asked, once, and its answer is committed.
//! 4. A row that says `creating` while nobody holds the lock is of a process that died in between. Where the vendor knows a
//!    repetition, it is asked again under the same key; else a person must look, and the error says where.

mod create;
mod lease;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;
use tokio::sync::oneshot;

pub use create::PreparedSubscription;
pub(super) use create::fill_params;
pub use lease::{LeaseStatus, RenewalResult, SubscriptionLease, lease, renew_all, renew_due};

use super::handle::{EventSelection, Handlers};
use super::listen::{self, WebhookListener};
use super::settings::{DEFAULT_PORT, WebhookSettings};
use crate::api::Input;
use crate::connector::Handshake;
use crate::error::{Diagnostic, Error, Hint, Kind, Remedy, Result};
use crate::model::{
    ConnectionMode, ConnectionName, GrantStatus, Subscription, SubscriptionId, SubscriptionRequest, SubscriptionResult,
    SubscriptionStatus,
};
use crate::runtime::worker::WorkerSet;
use crate::runtime::{LockGuard, Workspace};
use crate::store::{Fence, LockKey};

/// What a user subscribes to.
#[derive(Debug)]
pub struct SubscribeOptions<'a> {
    /// What the vendor calls; stored for later.
    pub url: Option<&'a str>,
    pub events: &'a [String],
    /// The action's further parameters.
    pub input: &'a Input,
}

/// A subscription that there is now.
#[derive(Debug)]
pub struct SubscribeResult {
    pub subscription: Subscription,
    /// Whether it was made by this.
    pub is_new: bool,
}

/// An error of creating, finding or deleting subscriptions at a vendor.
#[derive(Debug, Error)]
pub enum SubscribeError {
    #[error("integ cannot register the URL of {connection}: {setup}")]
    ManualSetup { connection: ConnectionName, setup: String },
    #[error("the service needs a public URL for {connection}")]
    NoPublicUrl { connection: ConnectionName },
    #[error("cannot subscribe {connection}: {}", problems.join("; "))]
    InvalidParameters { connection: ConnectionName, problems: Vec<String>, usage: String },
    #[error("{connection} takes no event types: its parameters choose what it sends")]
    NoEvents { connection: ConnectionName, usage: String },
    #[error("{connection} has no signing secret")]
    NoSecret { connection: ConnectionName },
    #[error("{connection} is already subscribed to other events ({})", events.join(", "))]
    DifferentSubscription { connection: ConnectionName, id: SubscriptionId, events: Vec<String> },
    #[error(
        "the service was asked for a subscription of {connection} at {at}, and its answer was not stored: the subscription may exist"
    )]
    OutcomeUnknown { connection: ConnectionName, id: SubscriptionId, at: String, check_command: String },
    #[error("it is not known whether the service has subscribed {connection}: {reason}")]
    ResponseLost { connection: ConnectionName, id: SubscriptionId, reason: String, check_command: String },
    #[error("the answer of {action} has no {missing}{}", said.as_ref().map(|said| format!(": {said}")).unwrap_or_default())]
    NoResult { connection: ConnectionName, action: String, missing: String, said: Option<String> },
    #[error("{connection} has no subscription{}", id.map(|id| format!(" {}", id.0)).unwrap_or_default())]
    NotSubscribed { connection: ConnectionName, id: Option<SubscriptionId> },
    #[error("{connection} has several subscriptions: {}", ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Several { connection: ConnectionName, ids: Vec<SubscriptionId> },
    #[error("cannot delete subscription {id} of {connection}: {reason}")]
    UnsubscribeFailed { connection: ConnectionName, id: SubscriptionId, reason: String },
    #[error("another process has been subscribing {connection} for over {} s", after.as_secs())]
    Locked { connection: ConnectionName, after: Duration },
}

impl SubscribeError {
    fn name(&self) -> Option<&ConnectionName> {
        match self {
            Self::ManualSetup { connection, .. }
            | Self::NoPublicUrl { connection }
            | Self::InvalidParameters { connection, .. }
            | Self::NoEvents { connection, .. }
            | Self::NoSecret { connection }
            | Self::DifferentSubscription { connection, .. }
            | Self::OutcomeUnknown { connection, .. }
            | Self::ResponseLost { connection, .. }
            | Self::NoResult { connection, .. }
            | Self::NotSubscribed { connection, .. }
            | Self::Several { connection, .. }
            | Self::UnsubscribeFailed { connection, .. }
            | Self::Locked { connection, .. } => Some(connection),
        }
    }
}

impl Remedy for SubscribeError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::ManualSetup { connection, .. } => Diagnostic::new(Kind::Conflict, "manual_subscription")
                .hint(Hint::new("see what to enter at the service:", format!("integ webhook url {connection}"))),
            Self::NoPublicUrl { connection } => Diagnostic::new(Kind::Usage, "no_public_url")
                .run(format!("integ webhook subscribe {connection} --url https://HOST")),
            Self::InvalidParameters { usage, .. } => Diagnostic::new(Kind::Usage, "invalid_parameters").run(usage),
            Self::NoEvents { usage, .. } => Diagnostic::new(Kind::Usage, "no_event_types").run(usage),
            Self::NoSecret { connection } => Diagnostic::new(Kind::Usage, "no_webhook_secret")
                .run(format!("integ webhook secret {connection} --set -")),
            Self::DifferentSubscription { connection, id, .. } => {
                Diagnostic::new(Kind::Conflict, "different_subscription")
                    .run(format!("integ webhook unsubscribe {connection} {id}"))
            }
            Self::OutcomeUnknown { connection, id, check_command: look, .. } => {
                Diagnostic::new(Kind::Rejected, "subscription_outcome_unknown")
                    .hint(forget_unknown(connection, *id, look))
            }
            Self::ResponseLost { connection, id, check_command: look, .. } => {
                Diagnostic::new(Kind::Temporary, "subscription_outcome_unknown")
                    .hint(forget_unknown(connection, *id, look))
            }
            Self::NoResult { .. } => Diagnostic::new(Kind::Rejected, "vendor_error"),
            Self::NotSubscribed { connection, .. } => {
                Diagnostic::new(Kind::NotFound, "subscription_not_found").run(format!("integ webhook url {connection}"))
            }
            Self::Several { connection, ids } => {
                let first = ids.first().map_or(0, |id| id.0);
                Diagnostic::new(Kind::Usage, "several_subscriptions").hint(Hint::new(
                    "name one, or give --all:",
                    format!("integ webhook unsubscribe {connection} {first}"),
                ))
            }
            Self::UnsubscribeFailed { connection, id, .. } => Diagnostic::new(Kind::Rejected, "unsubscribe_failed")
                .hint(Hint::new(
                    "remove it at the service, then:",
                    format!("integ webhook unsubscribe {connection} {id} --local"),
                )),
            Self::Locked { connection, .. } => {
                Diagnostic::new(Kind::Temporary, "subscription_locked").run(format!("integ webhook url {connection}"))
            }
        }
        .maybe_connection(self.name())
    }
}

fn forget_unknown(connection: &ConnectionName, id: SubscriptionId, look: &str) -> Hint {
    let command = format!("integ webhook unsubscribe {connection} {id} --local");
    Hint::new(format!("check with `{look}` and at the service; if it does not exist:"), command)
}

/// Registers the connection's URL at its vendor; one that is registered so already stays as it is.
///
/// # Errors
/// [`SubscribeError`], and those of [`crate::api::call`].
pub async fn subscribe(
    workspace: &Workspace,
    name: &ConnectionName,
    request: &SubscribeOptions<'_>,
) -> Result<SubscribeResult> {
    // Everything is checked before anything is stored.
    let setup = prepare(workspace, name, request.url).await?;
    PreparedSubscription::new(workspace, &setup, request, &create::new_idempotency_key())?;
    let lock = lock(workspace, &setup).await?;
    let store = workspace.store().await?;
    if let (Some(base), Some(_)) = (&setup.stored.public_url, request.url) {
        store.webhooks().set_public_url(setup.connection.id, Some(base)).await?;
    }
    // Read again: another process may have made the secret meanwhile.
    let setup = prepare(workspace, name, request.url).await?;
    let mut plan = PreparedSubscription::new(workspace, &setup, request, &create::new_idempotency_key())?;
    let rows = store.subscriptions().list(Some(setup.connection.id)).await?;
    let same = |row: &&Subscription| row.request.url == plan.url && row.request.params == plan.params;
    if let Some(row) = rows.iter().filter(same).find(|row| row.status == SubscriptionStatus::Active) {
        if row.request.events != plan.events {
            let events = row.request.events.clone();
            return Err(SubscribeError::DifferentSubscription { connection: name.clone(), id: row.id, events }.into());
        }
        return Ok(SubscribeResult { subscription: row.clone(), is_new: false });
    }
    let cut_off = rows.iter().filter(same).find(|row| row.status == SubscriptionStatus::Creating).cloned();
    let row = match cut_off {
        Some(row) if plan.is_repeatable() && row.request.events == plan.events => {
            plan = PreparedSubscription::new(workspace, &setup, request, &row.request.idempotency_key)?;
            row
        }
        Some(row) => {
            let at = row.renewed_at.to_string();
            let look = create::check_command(&setup, &row);
            return Err(SubscribeError::OutcomeUnknown {
                connection: name.clone(),
                id: row.id,
                at,
                check_command: look,
            }
            .into());
        }
        None => begin(workspace, &setup, &plan, lock.fence()).await?,
    };
    let created = Box::pin(create(workspace, &setup, &plan, &row, None, lock.fence()));
    let subscription = Box::pin(with_handshakes(workspace, &setup, created)).await?;
    Ok(SubscribeResult { subscription, is_new: true })
}

/// The request that would be sent, with its session; nothing is stored.
///
/// # Errors
/// Those of [`subscribe`].
pub async fn dry_run(
    workspace: &Workspace,
    name: &ConnectionName,
    request: &SubscribeOptions<'_>,
) -> Result<(crate::runtime::Session, crate::http::Request)> {
    let setup = prepare(workspace, name, request.url).await?;
    let plan = PreparedSubscription::new(workspace, &setup, request, &create::new_idempotency_key())?;
    create::dry_run(workspace, &setup, &plan).await
}

/// Ends subscriptions at the vendor: the one that is named, the only one, or all. Where `local` only forgets them.
///
/// # Errors
/// [`SubscribeError`], and those of [`crate::api::call`]; what had ended by then is forgotten.
pub async fn unsubscribe(
    workspace: &Workspace,
    name: &ConnectionName,
    id: Option<SubscriptionId>,
    all: bool,
    local: bool,
) -> Result<Vec<Subscription>> {
    let setup = WebhookSettings::load(workspace, name).await?;
    let _lock = lock(workspace, &setup).await?;
    let store = workspace.store().await?;
    let mut rows = store.subscriptions().list(Some(setup.connection.id)).await?;
    if let Some(id) = id {
        rows.retain(|row| row.id == id);
    } else if rows.len() > 1 && !all {
        let ids = rows.iter().map(|row| row.id).collect();
        return Err(SubscribeError::Several { connection: name.clone(), ids }.into());
    }
    if rows.is_empty() && !all {
        return Err(SubscribeError::NotSubscribed { connection: name.clone(), id }.into());
    }
    let mut ended = Vec::new();
    let mut first: Option<Error> = None;
    for row in rows {
        let result = if local { Ok(()) } else { lease::delete(workspace, &setup, &row).await };
        let deleted = match result {
            Ok(()) => store.subscriptions().delete(&row).await.map_err(Error::from),
            Err(error) => Err(error),
        };
        match deleted {
            Ok(transition) => {
                workspace.notify_transition(transition);
                ended.push(row);
            }
            Err(error) => _ = first.get_or_insert(error),
        }
    }
    first.map_or(Ok(ended), Err)
}

/// A connection's webhooks with the requested URL.
async fn prepare(workspace: &Workspace, name: &ConnectionName, url: Option<&str>) -> Result<WebhookSettings> {
    let mut setup = WebhookSettings::load(workspace, name).await?;
    if setup.rules()?.subscribe.is_none() {
        let setup = setup.rules()?.setup.trim().to_owned();
        return Err(SubscribeError::ManualSetup { connection: name.clone(), setup }.into());
    }
    if let Some(base) = url {
        setup.stored.public_url = Some(setup.public_url(base)?.to_string());
    }
    Ok(setup)
}

/// Does it while the vendor may call: some prove a URL before they answer. Where another process listens, it answers.
async fn with_handshakes<T>(
    workspace: &Workspace,
    setup: &WebhookSettings,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let proves = |handshake: &Handshake| !handshake.signed && handshake.capture.is_none();
    if setup.connection.mode == ConnectionMode::Sandbox || !setup.rules()?.handshakes.iter().any(proves) {
        return work.await;
    }
    let plan = listen::ListenOptions {
        connections: vec![setup.name().clone()],
        port: setup.stored.port.unwrap_or(DEFAULT_PORT),
        bind: None,
        public_url: None,
        handlers: Arc::new(Handlers::new(&workspace.engine.config, EventSelection::default())),
        max_attempts: 1,
        poll: None,
        leaves_events_pending: true,
    };
    let listener = match WebhookListener::start(workspace, &plan).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::debug!("nothing is listened for meanwhile: {}", error.message());
            return work.await;
        }
    };
    let (done, stop) = oneshot::channel();
    let work = async {
        let result = work.await;
        let _ = done.send(());
        result
    };
    let stop = async {
        let _ = stop.await;
    };
    // What the listener fails with is logged, and what the vendor answers counts.
    let (result, _) = tokio::join!(work, listener.run(WorkerSet::new(), stop, |_| {}));
    result
}

/// Commits what the vendor will sign with and that it is about to be asked.
async fn begin(
    workspace: &Workspace,
    setup: &WebhookSettings,
    plan: &PreparedSubscription,
    fence: Fence,
) -> Result<Subscription> {
    let store = workspace.store().await?;
    if plan.store_secrets(workspace, setup).await? {
        // A listener that runs reads it again within this.
        tokio::time::sleep(super::inbound::receiver::KEY_RELOAD_MIN_AGE * 3 / 2).await;
    }
    let wanted = SubscriptionRequest {
        connection: setup.connection.id,
        url: plan.url.clone(),
        events: plan.events.clone(),
        params: plan.params.clone(),
        idempotency_key: plan.idempotency_key.clone(),
    };
    let id = store.subscriptions().begin(&wanted, workspace.clock.now(), fence).await?;
    let row = store.subscriptions().get(id).await?;
    Ok(row.ok_or_else(|| SubscribeError::NotSubscribed { connection: setup.name().clone(), id: Some(id) })?)
}

/// Asks the vendor, and keeps its answer.
async fn create(
    workspace: &Workspace,
    setup: &WebhookSettings,
    plan: &PreparedSubscription,
    row: &Subscription,
    replaces: Option<SubscriptionId>,
    fence: Fence,
) -> Result<Subscription> {
    // What the service answers must be stored.
    let _hold = workspace.engine.shutdown.hold();
    let store = workspace.store().await?;
    let name = setup.name();
    let rules = plan.rules();
    let result = match plan.send(workspace, name).await {
        Ok(result) => result,
        Err(create::SubscribeFailure::Rejected { error, .. }) => {
            workspace.notify_transition(store.subscriptions().delete(row).await?);
            return Err(error);
        }
        Err(create::SubscribeFailure::Unknown(error)) => {
            let why = error.on_one_line();
            let look = create::check_command(setup, row);
            return Err(SubscribeError::ResponseLost {
                connection: name.clone(),
                id: row.id,
                reason: why,
                check_command: look,
            }
            .into());
        }
    };
    if let Some(missing) = rules.keep.iter().chain(&rules.secret).find(|name| !result.contains_key(*name)) {
        workspace.notify_transition(store.subscriptions().delete(row).await?);
        let said = result.get("error").cloned();
        let (connection, action) = (name.clone(), rules.action.clone());
        return Err(SubscribeError::NoResult { connection, action, missing: missing.clone(), said }.into());
    }
    let params: BTreeMap<String, String> = result
        .iter()
        .filter(|(name, _)| *name != "secret" && setup.rules().is_ok_and(|rules| rules.params.contains_key(*name)))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let now = workspace.clock.now();
    let made = SubscriptionResult {
        expires_at: lease::expiry(rules, &result, now),
        secret: rules.secret.as_ref().and_then(|name| result.get(name)).cloned().map(crate::secret::Secret::new),
        metadata: result.into_iter().filter(|(name, _)| rules.keep.contains(name)).collect(),
    };
    let activated = store.subscriptions().activate(row, &made, &params, replaces, now, fence).await?;
    workspace.notify_transition(activated);
    let row = store.subscriptions().get(row.id).await?;
    Ok(row.ok_or_else(|| SubscribeError::NotSubscribed { connection: name.clone(), id: None })?)
}

/// How long another process is waited for beyond the time of its request.
const LOCK_TIMEOUT: Duration = Duration::from_secs(90);

/// Waits until no other process subscribes this connection.
async fn lock(workspace: &Workspace, setup: &WebhookSettings) -> Result<LockGuard> {
    let after = workspace.engine.config.http.timeout + LOCK_TIMEOUT;
    let key = LockKey::Subscriptions(setup.connection.id);
    let guard = LockGuard::acquire(workspace.shared_store().await?, &workspace.engine, key, after).await?;
    Ok(guard.ok_or_else(|| SubscribeError::Locked { connection: setup.name().clone(), after })?)
}

/// Whether the connection in its current state can make requests.
fn is_usable(setup: &WebhookSettings) -> bool {
    setup.connection.grant_status == GrantStatus::Active
}

/// What the user gave, as one document.
type SubscriptionParams = BTreeMap<String, Value>;
