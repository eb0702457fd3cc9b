//! Fills the default workspace of `INTEG_HOME` with connections, faster than connecting each: for `integ status`.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;

use integ::clock::Clock;
use integ::config::{Config, Folders};
use integ::model::{ConnectionMode, ConnectionName, Grant, NewConnection, RefreshMethod, SecretStorage, WorkspaceName};
use integ::runtime::RuntimeError;
use integ::secret::Secret;
use integ::vault::{self, IfAbsent, PassphrasePrompt, PassphraseSource};

const CONNECTORS: [&str; 8] = ["slack", "github", "gmail", "google-calendar", "jira", "notion", "stripe", "telegram"];

struct Nobody;

impl PassphraseSource for Nobody {
    fn ask(&self, _: PassphrasePrompt) -> io::Result<Option<Secret>> {
        Ok(None)
    }
}

fn main() -> ExitCode {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(1000);
    match fill(count) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fill(count: usize) -> integ::error::Result<()> {
    let folders = Folders::from_env()?;
    let now = Clock::system().now();
    let folder = folders.workspace(&WorkspaceName::default());
    let mut config = Config::default().vault;
    config.identity = integ::config::IdentityStorage::File;
    let opened = vault::open(&folders, &folder, &config, &Nobody, IfAbsent::Create { now })?;
    let runtime = integ::runtime::new_runtime().map_err(|source| RuntimeError::Runtime { source })?;
    for number in 0..count {
        let connector = CONNECTORS[number % CONNECTORS.len()];
        let name = ConnectionName::new(connector, Some(&format!("account-{number}")))?;
        let new = NewConnection {
            name,
            mode: ConnectionMode::Live,
            auth: "oauth".to_owned(),
            origin: None,
            params: BTreeMap::new(),
            metadata: BTreeMap::new(),
            account: None,
            user: None,
            scopes_requested: vec!["chat:write".to_owned()],
            scopes_granted: Some(vec!["chat:write".to_owned()]),
            connected_at: now,
        };
        let grant = Grant {
            access_token: Secret::new(format!("token-{number}")),
            refresh_token: Some(Secret::new(format!("refresh-{number}"))),
            fields: BTreeMap::new(),
            client: None,
            issued_at: now,
            expires_at: integ::oauth::refresh::add_seconds(now, 3600),
            refresh_expires_at: None,
            refresh_method: RefreshMethod::RefreshToken,
        };
        runtime.block_on(opened.store().connections().connect(&new, &grant, SecretStorage::Store))?;
    }
    Ok(())
}
