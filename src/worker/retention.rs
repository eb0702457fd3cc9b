//! Removes data after its retention period: processed events, delivered or abandoned messages, ended sign-ins, results of
//! health checks, and audit entries.

use std::time::Duration;

use async_trait::async_trait;

use crate::audit;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::ConnectionId;
use crate::runtime::Workspace;
use crate::runtime::worker::{NextWake, Worker};
use crate::webhook::retention::{prune_some, pruning};

/// Messages of one commit, so that others can write between two.
const BATCH_SIZE: usize = 1000;

/// What a worker removes. How long each is retained is in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetentionScope {
    /// Events of every connection, messages, sign-ins, idempotency keys, health checks, and audit entries.
    All,
    /// Events of these connections, of all if absent.
    Events(Option<Vec<ConnectionId>>),
    /// Messages.
    Messages,
}

/// For how long a repeated request gets the response of the first one.
const IDEMPOTENCY_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes what is past its retention in small batches.
pub struct RetentionWorker<'a> {
    workspace: &'a Workspace,
    scope: RetentionScope,
}

impl<'a> RetentionWorker<'a> {
    /// Creates a worker; nothing is removed before its first tick.
    pub fn new(workspace: &'a Workspace, scope: RetentionScope) -> Self {
        Self { workspace, scope }
    }

    /// Removes a batch of events of each connection, and returns whether there may be more.
    async fn prune_events(&self, only: Option<&[ConnectionId]>, now: Timestamp) -> Result<bool> {
        let engine = &self.workspace.engine;
        let before = now.checked_sub(engine.config.webhooks.retention).unwrap_or(Timestamp::MIN);
        let store = self.workspace.store().await?;
        let mut has_more = false;
        for connection in store.connections().list().await? {
            if only.is_some_and(|ids| !ids.contains(&connection.id)) {
                continue;
            }
            // Without its connector nobody knows whether the ids must stay.
            let Ok(connector) = self.workspace.catalogue().get(connection.name.connector()) else { continue };
            let Some(rules) = &connector.webhook else { continue };
            let (_, is_incomplete) = prune_some(store, &pruning(connection.id, rules, before)).await?;
            has_more |= is_incomplete;
        }
        Ok(has_more)
    }

    /// Removes the keys of requests that can no longer be repeated.
    async fn prune_idempotency_keys(&self, now: Timestamp) -> Result<()> {
        let before = now.checked_sub(IDEMPOTENCY_RETENTION).unwrap_or(Timestamp::MIN);
        self.workspace.store().await?.idempotency_keys().prune(before).await?;
        Ok(())
    }

    /// Removes a batch of messages, and returns whether there may be more.
    async fn prune_messages(&self, now: Timestamp) -> Result<bool> {
        let retention = self.workspace.engine.config.endpoints.retention;
        let before = now.checked_sub(retention).unwrap_or(Timestamp::MIN);
        Ok(self.workspace.store().await?.outbox().prune(before, BATCH_SIZE).await? == BATCH_SIZE)
    }

    /// Removes a batch of results of health checks, and returns whether there may be more.
    async fn prune_health_checks(&self, now: Timestamp) -> Result<bool> {
        const BATCH: u32 = 1000;
        let before = now.checked_sub(self.workspace.engine.config.health.retention).unwrap_or(Timestamp::MIN);
        let pruned = self.workspace.store().await?.health_checks().prune(before, BATCH).await?;
        Ok(pruned > 0)
    }

    /// Removes a batch of audit entries, and returns whether there may be more.
    async fn prune_audit(&self) -> Result<bool> {
        const BATCH: u32 = 1000;
        Ok(audit::prune(self.workspace, BATCH).await? == u64::from(BATCH))
    }
}

#[async_trait]
impl Worker for RetentionWorker<'_> {
    fn name(&self) -> &'static str {
        "retention"
    }

    async fn tick(&mut self, now: Timestamp) -> Result<NextWake> {
        if !self.workspace.has_vault() {
            return Ok(NextWake::Idle);
        }
        // Every process that receives events needs the partitions of their months.
        self.workspace.store().await?.maintain().await?;
        let has_more = match &self.scope {
            RetentionScope::All => {
                self.workspace.store().await?.sign_ins().prune(now).await?;
                self.prune_idempotency_keys(now).await?;
                self.prune_events(None, now).await?
                    | self.prune_messages(now).await?
                    | self.prune_health_checks(now).await?
                    | self.prune_audit().await?
            }
            RetentionScope::Events(connections) => self.prune_events(connections.as_deref(), now).await?,
            RetentionScope::Messages => self.prune_messages(now).await?,
        };
        Ok(if has_more { NextWake::Now } else { NextWake::Idle })
    }
}
