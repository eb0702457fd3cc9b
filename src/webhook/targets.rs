//! Finds the connections of a workspace that receive webhooks, and updates the registry of targets.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use url::Url;

use super::feed::{ActivityFeed, ListenEvent};
use super::inbound::registry::TargetRegistry;
use super::inbound::target::ReceiveTarget;
use super::settings::WebhookSettings;
use crate::clock::{Stopwatch, Timestamp};
use crate::connector::{Connector, WebhookDefinition};
use crate::error::{Error, Result};
use crate::model::{Connection, ConnectionId, ConnectionMode, ConnectionName, GrantStatus, Webhook};
use crate::runtime::worker::{NextWake, Worker};
use crate::runtime::{BoxFuture, Workspace};
use crate::secret::Secret;

/// How often connections and secrets are looked for, which another process may have changed.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// Connections whose settings are read at the same time.
const MAX_CONCURRENT_LOADS: usize = 64;

/// A connection that cannot receive, and why.
pub type SkippedConnection = (ConnectionName, Error);

/// Returns the settings of the connections that receive, and those that cannot: all of the workspace if none is named.
///
/// # Errors
/// What keeps a connection that is named from receiving, and unknown connectors.
pub(super) async fn load_settings(
    workspace: &Workspace,
    names: &[ConnectionName],
) -> Result<(Vec<WebhookSettings>, Vec<SkippedConnection>)> {
    let (mut loaded, mut skipped) = (Vec::new(), Vec::new());
    for name in names {
        loaded.push(load_checked(workspace, name).await?);
    }
    if !names.is_empty() || !workspace.has_vault() {
        return Ok((loaded, skipped));
    }
    let mut receiving = Vec::new();
    for connection in workspace.store().await?.connections().list().await? {
        let is_connected = connection.grant_status != GrantStatus::Disconnected;
        if is_connected && workspace.catalogue().get(connection.name.connector())?.webhook.is_some() {
            receiving.push(connection.name);
        }
    }
    let loading = receiving.into_iter().map(|name| {
        Box::pin(async move {
            let settings = load_checked(workspace, &name).await;
            (name, settings)
        }) as BoxFuture<'_, _>
    });
    // The URLs of those that are new share commits.
    let mut loading = stream::iter(loading.collect::<Vec<_>>()).buffered(MAX_CONCURRENT_LOADS);
    while let Some((name, settings)) = loading.next().await {
        match settings {
            Ok(settings) => loaded.push(settings),
            Err(error) => skipped.push((name, error)),
        }
    }
    Ok((loaded, skipped))
}

async fn load_checked(workspace: &Workspace, name: &ConnectionName) -> Result<WebhookSettings> {
    let settings = WebhookSettings::load(workspace, name).await?;
    settings.check()?;
    Ok(settings)
}

/// What a target is made of, to notice when it has to be made again.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TargetVersion {
    name: ConnectionName,
    connected_at: Timestamp,
    mode: ConnectionMode,
    origin: Option<Url>,
    params: BTreeMap<String, String>,
    webhook: Option<WebhookVersion>,
}

#[derive(Clone, Debug, PartialEq)]
struct WebhookVersion {
    path: String,
    public_url: Option<String>,
    params: BTreeMap<String, String>,
    secrets: Vec<Secret>,
}

impl TargetVersion {
    fn new(connection: &Connection, webhook: Option<Webhook>, now: Timestamp) -> Self {
        let webhook = webhook.map(|webhook| WebhookVersion {
            secrets: webhook.secrets(now),
            path: webhook.path,
            public_url: webhook.public_url,
            params: webhook.params,
        });
        Self {
            name: connection.name.clone(),
            connected_at: connection.connected_at,
            mode: connection.mode,
            origin: connection.origin.clone(),
            params: connection.params.clone(),
            webhook,
        }
    }
}

/// Keeps the targets of one workspace as its connections are.
pub(super) struct TargetLoader<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) registry: Arc<TargetRegistry>,
    /// The connections to receive for; all if it is empty.
    pub(super) names: Vec<ConnectionName>,
    pub(super) port: u16,
    /// What vendors call, for connections that are new here.
    pub(super) public_url: Option<String>,
    /// Whether anybody handles the events.
    pub(super) has_handlers: bool,
    pub(super) feed: Arc<ActivityFeed>,
    /// What was found of each connection the last time.
    pub(super) known: HashMap<ConnectionId, TargetVersion>,
    /// What each connector declares of webhooks.
    pub(super) declared: HashMap<String, (Arc<Connector>, Arc<WebhookDefinition>)>,
}

#[async_trait]
impl Worker for TargetLoader<'_> {
    fn name(&self) -> &'static str {
        "connection reload"
    }

    async fn tick(&mut self, _: Timestamp) -> Result<NextWake> {
        self.reload().await?;
        Ok(NextWake::Idle)
    }

    fn poll_interval(&self) -> Duration {
        RELOAD_INTERVAL
    }
}

impl TargetLoader<'_> {
    /// Creates targets for connections that are new here, and stores their port and public URL.
    ///
    /// # Errors
    /// An invalid public URL, the store's, and whatever stops a sandbox from starting.
    pub(super) async fn add(&mut self, settings: &mut [WebhookSettings]) -> Result<()> {
        let webhooks = self.workspace.store().await?.webhooks();
        for settings in &mut *settings {
            if let Some(base) = &self.public_url {
                let url = settings.public_url(base)?.to_string();
                if settings.stored.public_url.as_ref() != Some(&url) {
                    webhooks.set_public_url(settings.connection.id, Some(&url)).await?;
                    settings.stored.public_url = Some(url);
                }
            }
        }
        let ids: Vec<ConnectionId> = settings.iter().map(|settings| settings.connection.id).collect();
        webhooks.set_port(&ids, self.port).await?;
        for settings in settings {
            let target = self.target(settings).await?;
            self.registry.insert(target);
            let version = self.version(&settings.connection, Some(settings.stored.clone()));
            self.known.insert(settings.connection.id, version);
        }
        Ok(())
    }

    /// Looks at every connection, and adds, replaces and removes targets.
    async fn reload(&mut self) -> Result<()> {
        if !self.workspace.has_vault() {
            return Ok(());
        }
        let mut connections = self.workspace.store().await?.connections().list().await?;
        connections.retain(|connection| {
            let wanted = self.names.is_empty() || self.names.contains(&connection.name);
            wanted && connection.grant_status != GrantStatus::Disconnected
        });
        let present: HashSet<ConnectionId> = connections.iter().map(|connection| connection.id).collect();
        self.known.retain(|id, version| {
            let is_there = present.contains(id);
            if !is_there {
                if self.registry.of_connection(&self.workspace.name, *id).is_some() {
                    let connection = version.name.clone();
                    self.feed.send(ListenEvent::Disconnected { connection, error: None });
                }
                self.registry.remove(&self.workspace.name, *id);
            }
            is_there
        });
        let stored = self.workspace.store().await?.webhooks().list().await?;
        let mut webhooks: HashMap<ConnectionId, Webhook> =
            stored.into_iter().map(|webhook| (webhook.connection, webhook)).collect();
        for connection in connections {
            let version = self.version(&connection, webhooks.remove(&connection.id));
            let is_same = self.known.get(&connection.id) == Some(&version);
            let name = connection.name.clone();
            if !is_same && let Err(error) = self.load(connection, version).await {
                // No other connection waits for it, and it is tried again the next time.
                tracing::debug!("what {name} receives with cannot be read now: {}", error.message());
            }
        }
        Ok(())
    }

    /// Makes the target of a connection that is new or has changed. One that can no longer be judged is removed; where it
    /// cannot be said now, everything stays as it is until the next time.
    async fn load(&mut self, connection: Connection, mut version: TargetVersion) -> Result<()> {
        let connector = self.workspace.catalogue().get(connection.name.connector());
        if connector.is_ok_and(|connector| connector.webhook.is_some()) {
            let is_target = self.registry.of_connection(&self.workspace.name, connection.id).is_some();
            let mut settings = WebhookSettings::load(self.workspace, &connection.name).await?;
            // Of what was loaded, so that a change in between is seen the next time.
            version = self.version(&settings.connection, Some(settings.stored.clone()));
            match settings.check() {
                Ok(()) if is_target => {
                    let target = self.target(&settings).await?;
                    self.registry.insert(target);
                    self.report_rename(&connection, &settings)?;
                }
                Ok(()) => {
                    self.add(std::slice::from_mut(&mut settings)).await?;
                    self.feed.send(ListenEvent::Connected(Box::new(settings.address(self.port)?)));
                    return Ok(());
                }
                Err(error) if is_target => {
                    let (connection_name, error) = (connection.name.clone(), Some(error.to_string()));
                    self.feed.send(ListenEvent::Disconnected { connection: connection_name, error });
                    self.registry.remove(&self.workspace.name, connection.id);
                }
                // It was left out before.
                Err(_) => {}
            }
        }
        self.known.insert(connection.id, version);
        Ok(())
    }

    /// Says that a connection has another name now.
    fn report_rename(&self, connection: &Connection, settings: &WebhookSettings) -> Result<()> {
        let Some(old) = self.known.get(&connection.id).map(|known| &known.name) else { return Ok(()) };
        if *old != connection.name {
            self.feed.send(ListenEvent::Disconnected { connection: old.clone(), error: None });
            self.feed.send(ListenEvent::Connected(Box::new(settings.address(self.port)?)));
        }
        Ok(())
    }

    /// Returns what the connector declares, once for all of its connections.
    fn rules(&mut self, settings: &WebhookSettings) -> Result<Arc<WebhookDefinition>> {
        let id = &settings.connector.id;
        if let Some((connector, rules)) = self.declared.get(id)
            && Arc::ptr_eq(connector, &settings.connector)
        {
            return Ok(Arc::clone(rules));
        }
        let rules = Arc::new(settings.rules()?.clone());
        self.declared.insert(id.clone(), (Arc::clone(&settings.connector), Arc::clone(&rules)));
        Ok(rules)
    }

    fn version(&self, connection: &Connection, webhook: Option<Webhook>) -> TargetVersion {
        TargetVersion::new(connection, webhook, self.workspace.clock.now())
    }

    async fn target(&mut self, settings: &WebhookSettings) -> Result<ReceiveTarget> {
        let rules = self.rules(settings)?;
        let max_body_mib = self.workspace.engine.config.webhooks.max_body_mib.unwrap_or(rules.max_body_mib);
        let (workspace, connection) = (self.workspace.name.clone(), settings.connection.id);
        // Those who work on its events go on with the same signals, and with the new keys.
        let earlier = self.registry.of_connection(&workspace, connection);
        let keys = earlier.as_ref().map_or_else(Arc::default, |earlier| Arc::clone(&earlier.keys));
        *keys.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings.keys.clone());
        Ok(ReceiveTarget {
            workspace,
            connection,
            name: settings.name().clone(),
            connector: settings.connector.id.clone(),
            path: settings.stored.path.clone(),
            public_url: settings.url(self.port)?,
            rules,
            keys,
            keys_read_at: Mutex::new(Stopwatch::start()),
            route: settings.route(self.workspace).await?,
            has_handlers: self.has_handlers,
            max_body: usize::try_from(max_body_mib).unwrap_or(usize::MAX).saturating_mul(1024 * 1024),
            store: self.workspace.shared_store().await?,
            metrics: Arc::clone(self.workspace.metrics()),
            signals: earlier.map(|target| Arc::clone(&target.signals)).unwrap_or_default(),
        })
    }
}
