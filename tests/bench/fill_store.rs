//! Fills the default workspace of `INTEG_HOME` with connections, faster than connecting each: for benches and campaigns.
//!
//!     fill_store [COUNT [--events N | CONNECTOR ORIGIN EXPIRES_AT]]
//!
//! Without a connector it takes several of the built-in ones. With one, requests go to the origin, and the tokens, which were
//! issued for an hour, expire at that Unix time. With events it looks as after a week of use: every second connection has a
//! user, each was checked every hour of the last day, and so many webhooks came, of which every hundredth waits.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use integ::clock::{Clock, Timestamp};
use integ::config::{Config, Folders};
use integ::model::{
    ClientCredentials, ConnectionId, ConnectionMode, ConnectionName, EventVerification, Grant, HealthCheck,
    HealthOutcome, InboundDelivery, NewConnection, NewEvent, RefreshMethod, SecretStorage, UserId, WorkspaceName,
};
use integ::runtime::RuntimeError;
use integ::secret::Secret;
use integ::store::Store;
use integ::vault::{self, IfAbsent, PassphrasePrompt, PassphraseSource};
use jiff::SignedDuration;
use url::Url;

const CONNECTORS: [&str; 8] = ["slack", "github", "gmail", "google-calendar", "jira", "notion", "stripe", "telegram"];

/// Connections that are stored together.
const BATCH: usize = 250;

const LIFETIME_SECS: i64 = 3600;

/// Over which events came, in seconds.
const EVENT_PERIOD_SECS: usize = 7 * 86_400;

/// Whose connections, and what their tokens are.
struct Accounts {
    connector: Option<String>,
    origin: Option<Url>,
    issued_at: Timestamp,
    /// Webhooks that came.
    events: usize,
}

struct Nobody;

impl PassphraseSource for Nobody {
    fn ask(&self, _: PassphrasePrompt) -> io::Result<Option<Secret>> {
        Ok(None)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let count = arguments.first().and_then(|count| count.parse().ok()).unwrap_or(1000);
    let now = Clock::system().now();
    let accounts = match arguments.get(1..) {
        Some([flag, events]) if flag == "--events" => {
            Accounts { connector: None, origin: None, issued_at: now, events: events.parse().expect("a number") }
        }
        Some([connector, origin, expires_at]) => Accounts {
            connector: Some(connector.clone()),
            origin: Some(origin.parse().expect("a URL")),
            issued_at: Timestamp::from_second(expires_at.parse::<i64>().expect("a time") - LIFETIME_SECS)
                .expect("a time"),
            events: 0,
        },
        _ => Accounts { connector: None, origin: None, issued_at: now, events: 0 },
    };
    match fill(count, &accounts) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fill(count: usize, accounts: &Accounts) -> integ::error::Result<()> {
    let folders = Folders::from_env()?;
    let now = Clock::system().now();
    let folder = folders.workspace(&WorkspaceName::default());
    let mut config = Config::default().vault;
    config.identity = integ::config::IdentityStorage::File;
    let opened = vault::open(&folders, &folder, &config, &Nobody, IfAbsent::Create { now })?;
    let runtime = integ::runtime::new_runtime().map_err(|source| RuntimeError::Runtime { source })?;
    let connections = opened.store().connections();
    let mut ids = Vec::with_capacity(count);
    let new = (0..count).map(|number| accounts.connection(number)).collect::<integ::error::Result<Vec<_>>>()?;
    for batch in new.chunks(BATCH) {
        let stored = batch.iter().map(|(new, grant)| connections.connect(new, grant, SecretStorage::Store));
        ids.extend(runtime.block_on(try_join_all(stored))?.into_iter().map(|(connection, _)| connection.id));
    }
    if accounts.events > 0 {
        runtime.block_on(use_for_a_week(opened.store(), &ids, accounts.events, now))?;
    }
    Ok(())
}

/// Stores what a week leaves behind.
async fn use_for_a_week(
    store: &dyn Store,
    connections: &[ConnectionId],
    events: usize,
    now: Timestamp,
) -> integ::error::Result<()> {
    let ago = |seconds: usize| now - SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(0));
    for hour in (0..24).rev() {
        let check = HealthCheck {
            at: ago(hour * 3600),
            outcome: HealthOutcome::Healthy,
            duration: Some(Duration::from_millis(120)),
            http_status: Some(200),
            error: None,
        };
        for batch in connections.chunks(BATCH) {
            try_join_all(batch.iter().map(|id| store.health_checks().append(*id, &check))).await?;
        }
    }
    let numbers: Vec<usize> = (0..events).collect();
    for batch in numbers.chunks(BATCH) {
        let stored = batch.iter().map(|number| {
            let received_at = ago((events - number) * EVENT_PERIOD_SECS / events);
            store.events().insert(Arc::new(delivery(connections[number % connections.len()], *number, received_at)))
        });
        try_join_all(stored).await?;
    }
    Ok(())
}

fn delivery(connection: ConnectionId, number: usize, received_at: Timestamp) -> InboundDelivery {
    let kind = ["invoice.paid", "charge.failed", "customer.updated", "message"][number % 4];
    let body = format!(
        r#"{{"id":"evt_{number}","type":"{kind}","data":{{"object":{{"id":"ob_{number}","amount":{number},"currency":"eur","status":"open"}}}}}}"#
    );
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    let event = NewEvent {
        delivery_id: format!("evt_{number}"),
        has_delivery_id: true,
        digest: Some(digest),
        signed_digest: None,
        kind: kind.to_owned(),
        account: None,
        resource: Some(format!("ob_{number}")),
        actor: None,
        occurred_at: Some(received_at),
        batch_item: None,
        merged: None,
    };
    InboundDelivery {
        connection,
        received_at,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        query: String::new(),
        body: body.into_bytes(),
        events: vec![event],
        verification: EventVerification::Verified,
        needs_handling: number.is_multiple_of(100),
    }
}

impl Accounts {
    fn connection(&self, number: usize) -> integ::error::Result<(NewConnection, Grant)> {
        let connector = self.connector.as_deref().unwrap_or(CONNECTORS[number % CONNECTORS.len()]);
        let user = (self.events > 0 && number.is_multiple_of(2)).then(|| format!("user-{number}").parse::<UserId>());
        let user = user.map(|user| user.expect("a user"));
        let new = NewConnection {
            name: ConnectionName::new(connector, Some(&format!("account-{number}")))?,
            mode: ConnectionMode::Live,
            auth: "oauth".to_owned(),
            origin: self.origin.clone(),
            params: BTreeMap::new(),
            metadata: BTreeMap::new(),
            account: None,
            user,
            scopes_requested: vec!["chat:write".to_owned()],
            scopes_granted: Some(vec!["chat:write".to_owned()]),
            connected_at: self.issued_at,
        };
        let client = self.connector.is_some().then(|| ClientCredentials { id: "fill".to_owned(), secret: None });
        let grant = Grant {
            access_token: Secret::new(format!("token-{number}")),
            refresh_token: Some(Secret::new(format!("refresh-{number}"))),
            fields: BTreeMap::new(),
            client,
            issued_at: self.issued_at,
            expires_at: self.issued_at.checked_add(SignedDuration::from_secs(LIFETIME_SECS)).ok(),
            refresh_expires_at: None,
            refresh_method: RefreshMethod::RefreshToken,
        };
        Ok((new, grant))
    }
}
