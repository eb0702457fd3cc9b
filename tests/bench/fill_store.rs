//! Fills the default workspace of `INTEG_HOME` with connections, faster than connecting each: for benches and campaigns.
//!
//!     fill_store [COUNT [CONNECTOR ORIGIN EXPIRES_AT]]
//!
//! Without a connector it takes several of the built-in ones. With one, requests go to the origin, and the tokens, which were
//! issued for an hour, expire at that Unix time.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;

use futures_util::future::try_join_all;
use integ::clock::{Clock, Timestamp};
use integ::config::{Config, Folders};
use integ::model::{
    ClientCredentials, ConnectionMode, ConnectionName, Grant, NewConnection, RefreshMethod, SecretStorage,
    WorkspaceName,
};
use integ::runtime::RuntimeError;
use integ::secret::Secret;
use integ::vault::{self, IfAbsent, PassphrasePrompt, PassphraseSource};
use jiff::SignedDuration;
use url::Url;

const CONNECTORS: [&str; 8] = ["slack", "github", "gmail", "google-calendar", "jira", "notion", "stripe", "telegram"];

/// Connections that are stored together.
const BATCH: usize = 250;

const LIFETIME_SECS: i64 = 3600;

/// Whose connections, and what their tokens are.
struct Accounts {
    connector: Option<String>,
    origin: Option<Url>,
    issued_at: Timestamp,
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
    let accounts = match arguments.get(1..) {
        Some([connector, origin, expires_at]) => Accounts {
            connector: Some(connector.clone()),
            origin: Some(origin.parse().expect("a URL")),
            issued_at: Timestamp::from_second(expires_at.parse::<i64>().expect("a time") - LIFETIME_SECS)
                .expect("a time"),
        },
        _ => Accounts { connector: None, origin: None, issued_at: Clock::system().now() },
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
    let new = (0..count).map(|number| accounts.connection(number)).collect::<integ::error::Result<Vec<_>>>()?;
    for batch in new.chunks(BATCH) {
        let stored = batch.iter().map(|(new, grant)| connections.connect(new, grant, SecretStorage::Store));
        runtime.block_on(try_join_all(stored))?;
    }
    Ok(())
}

impl Accounts {
    fn connection(&self, number: usize) -> integ::error::Result<(NewConnection, Grant)> {
        let connector = self.connector.as_deref().unwrap_or(CONNECTORS[number % CONNECTORS.len()]);
        let new = NewConnection {
            name: ConnectionName::new(connector, Some(&format!("account-{number}")))?,
            mode: ConnectionMode::Live,
            auth: "oauth".to_owned(),
            origin: self.origin.clone(),
            params: BTreeMap::new(),
            metadata: BTreeMap::new(),
            account: None,
            user: None,
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
