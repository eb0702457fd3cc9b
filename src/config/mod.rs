//! Settings: `config.toml`, its defaults, and the locations of files.
//!
//! Settings hold no secrets, and may lie on a read-only mount: nothing but `integ config set` writes them.

mod allow;
mod directories;
mod edit;
mod keys;
mod load;
mod monitoring;
mod project;
mod serve;

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use url::Url;

pub use allow::AllowedAddress;
pub use directories::Folders;
pub use edit::{set, unset};
pub use keys::{ConfigKey, KEYS, find_key};
pub use load::load;
pub use monitoring::{AlertsConfig, CheckInterval, HealthConfig};
pub use project::{ProjectConfig, ProjectError};
pub use serve::{LogFormat, ProxyNetwork, ServeConfig, WebOrigin, parse_public_url};

use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::files::TrustError;
use crate::model::{ConsentPurpose, RateTier, Transition};

/// Bytes of settings: a hundred times more than all of them take.
const LARGEST: u64 = 1024 * 1024;

/// The settings in force: those of `config.toml`, and the defaults for the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Workspace to use if none is named.
    pub workspace: String,
    pub vault: VaultConfig,
    pub connect: ConnectConfig,
    pub http: HttpConfig,
    pub mcp: McpConfig,
    pub serve: ServeConfig,
    pub notify: NotifyConfig,
    pub webhooks: WebhooksConfig,
    pub endpoints: RetentionConfig,
    pub api_tokens: ApiTokensConfig,
    pub rate_limits: RateLimitsConfig,
    pub audit: AuditConfig,
    pub consents: ConsentsConfig,
    pub connectors: ConnectorsConfig,
    pub health: HealthConfig,
    pub alerts: AlertsConfig,
}

/// `[api_tokens]`: how tokens of the HTTP API are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiTokensConfig {
    /// Days for which a new token is valid, unless it is created for another time.
    pub expires_days: u32,
}

/// `[rate_limits]`: requests per minute of the tokens of each tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitsConfig {
    pub free: u32,
    pub pro: u32,
    pub enterprise: u32,
}

impl RateLimitsConfig {
    /// Returns the requests per minute of a tier.
    pub fn of(&self, tier: RateTier) -> u32 {
        match tier {
            RateTier::Free => self.free,
            RateTier::Pro => self.pro,
            RateTier::Enterprise => self.enterprise,
        }
    }
}

/// `[audit]`: the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditConfig {
    /// Whether what the owner reads at the machine is recorded as well. Changes always are.
    pub local: bool,
    /// Days after which entries are removed.
    pub retention_days: u32,
}

/// `[consents]`: what needs a user's consent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentsConfig {
    /// The purposes for which the connections of users need a consent.
    pub required: Vec<ConsentPurpose>,
    /// The current version of the caller's policy: consents to an older one are outdated.
    pub policy_version: u32,
}

/// `[connectors]`: what callers of the API may install.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectorsConfig {
    /// How many connectors a workspace may have installed.
    pub max_per_workspace: u32,
    /// Bytes of a connector's file.
    pub max_size: usize,
}

/// `[webhooks]`: what is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebhooksConfig {
    /// For how long events are kept once they were processed.
    pub retention: Duration,
    /// The largest body in MiB; each connector's own limit if absent.
    pub max_body_mib: Option<u32>,
}

/// `[endpoints]`: for how long what is done with is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionConfig {
    pub retention: Duration,
}

/// `[vault]`: how new vaults are made. One that exists keeps what it was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultConfig {
    pub identity: IdentityStorage,
    pub tokens: TokenStorage,
    /// A command, split as a shell splits words, that prints the identity file's passphrase.
    pub passphrase_command: Option<String>,
}

/// Where the identity lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityStorage {
    /// The OS keyring where one answers within 2 s, else a file; chosen once, at creation.
    Auto,
    Keyring,
    File,
    Passphrase,
}

/// Where the secrets of connections live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenStorage {
    Store,
    Keyring,
}

/// `[connect]`: how `integ connect` behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectConfig {
    /// How long a person may take.
    pub timeout: Duration,
    /// The port of the loopback listener; any free port if absent.
    pub port: Option<u16>,
}

/// `[http]`: outgoing requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Time limit of one request, from the connection to the last byte.
    pub timeout: Duration,
    /// Bytes of a service's answer, decompressed.
    pub max_response_bytes: usize,
    /// What the user's own URLs may lead to although it is not a public address.
    pub allow: Vec<AllowedAddress>,
}

/// `[mcp]`: how remote MCP servers are connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct McpConfig {
    /// The URL of a client ID metadata document of the user's own, which servers that read such documents take as the client
    /// id; without one integ registers itself with each server.
    pub client_metadata_url: Option<Url>,
}

/// `[notify]`: whom to notify when a connection breaks or recovers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifyConfig {
    /// A command, split as a shell splits words, and run without one.
    pub command: Option<String>,
    /// Where a signed POST goes: https, or plain http to this machine.
    pub url: Option<Url>,
    /// The file that holds the signing secret, which settings do not.
    pub secret_file: Option<PathBuf>,
    /// For the command, and for the POST.
    pub timeout: Duration,
    pub on: Vec<Transition>,
}

impl Default for Config {
    fn default() -> Self {
        let month = RetentionConfig { retention: Duration::from_secs(30 * 86_400) };
        Self {
            webhooks: WebhooksConfig { retention: month.retention, max_body_mib: None },
            endpoints: month,
            api_tokens: ApiTokensConfig { expires_days: 365 },
            rate_limits: RateLimitsConfig { free: 60, pro: 1_000, enterprise: 5_000 },
            audit: AuditConfig { local: false, retention_days: 2555 },
            consents: ConsentsConfig { required: Vec::new(), policy_version: 1 },
            connectors: ConnectorsConfig { max_per_workspace: 100, max_size: 1024 * 1024 },
            health: HealthConfig::default(),
            alerts: AlertsConfig::default(),
            workspace: "default".to_owned(),
            vault: VaultConfig {
                identity: IdentityStorage::Auto,
                tokens: TokenStorage::Store,
                passphrase_command: None,
            },
            connect: ConnectConfig { timeout: Duration::from_secs(300), port: None },
            http: HttpConfig { timeout: Duration::from_secs(30), max_response_bytes: 64 << 20, allow: Vec::new() },
            mcp: McpConfig::default(),
            serve: ServeConfig::default(),
            notify: NotifyConfig {
                command: None,
                url: None,
                secret_file: None,
                timeout: Duration::from_secs(10),
                on: Transition::ALL.to_vec(),
            },
        }
    }
}

/// Why the configuration cannot be found, read or changed.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("cannot find a home folder for integ's files")]
    NoHome,
    #[error(transparent)]
    Untrusted(#[from] TrustError),
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{}:{line}: {message}", path.display())]
    Syntax { path: PathBuf, line: usize, message: String },
    #[error("INTEG_HOME is {}; ~ is expanded only by a shell", .0.display())]
    UnexpandedTilde(PathBuf),
    #[error("unknown setting {key}")]
    UnknownKey { key: String, likely: Option<&'static str> },
    #[error("invalid value {value:?} for {key}: expected {expected}")]
    InvalidValue { key: &'static str, value: String, expected: &'static str },
}

impl Remedy for ConfigError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NoHome => Diagnostic::new(Kind::Failed, "no_home")
                .hint(Hint::new("set INTEG_HOME to a folder, as in", "INTEG_HOME=~/.integ integ status")),
            Self::UnexpandedTilde(home) => {
                let rest = home.strip_prefix("~").unwrap_or(home);
                Diagnostic::new(Kind::Usage, "invalid_home")
                    .run(format!("export INTEG_HOME=\"$HOME/{}\"", rest.display()))
            }
            Self::Write { source, .. } => match source.kind() {
                std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied => {
                    Diagnostic::new(Kind::Failed, "read_only")
                }
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    Diagnostic::new(Kind::Failed, "disk_full")
                }
                _ => Diagnostic::new(Kind::Failed, "io"),
            }
            .run("integ config path"),
            Self::Untrusted(error) => error.diagnostic(),
            Self::Syntax { path, .. } => Diagnostic::new(Kind::Usage, "invalid_config")
                .hint(Hint::new(format!("edit {}; this lists every setting:", path.display()), "integ config show")),
            Self::UnknownKey { likely: None, .. } => {
                Diagnostic::new(Kind::Usage, "invalid_config").run("integ config show")
            }
            Self::UnknownKey { likely: Some(key), .. } => {
                Diagnostic::new(Kind::Usage, "invalid_config").run(format!("integ config set {key} VALUE"))
            }
            Self::InvalidValue { key, .. } => {
                Diagnostic::new(Kind::Usage, "invalid_config").run(format!("integ config set {key} VALUE"))
            }
        }
    }
}
