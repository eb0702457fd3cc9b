//! The table of settings.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use super::monitoring::{MIN_INTERVAL, duration_or_off, format_or_off};
use super::serve::{is_host, is_safe, parse_public_url};
use super::{Config, ConfigError, IdentityStorage, TokenStorage};
use crate::model::{ConsentPurpose, WorkspaceName};
use crate::near::closest;
use crate::{duration, size};

/// One setting: its name, what it does, and how it is read and written.
#[derive(Debug)]
pub struct ConfigKey {
    pub name: &'static str,
    pub purpose: &'static str,
    pub expected: &'static str,
    /// The value in force; absent where unset.
    pub get: fn(&Config) -> Option<String>,
    pub(super) set: fn(&mut Config, &str) -> Option<()>,
}

impl ConfigKey {
    /// Whether it is true or false.
    pub(super) fn is_switch(&self) -> bool {
        self.name == "audit.local"
    }

    /// Whether the file writes it as a number.
    pub(super) fn is_number(&self) -> bool {
        self.name == "connect.port" || self.expected.starts_with("a number")
    }

    /// Whether the file may also write it as an array.
    pub(super) fn is_list(&self) -> bool {
        matches!(
            self.name,
            "http.allow"
                | "notify.on"
                | "consents.required"
                | "health.intervals"
                | "serve.hosts"
                | "serve.return_origins"
                | "serve.trusted_proxies"
        )
    }
}

/// All settings, in the order in which they are shown.
pub const KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "workspace",
        purpose: "Workspace to use if none is named",
        expected: "a workspace's name",
        get: |config| Some(config.workspace.clone()),
        set: |config, text| WorkspaceName::from_str(text).ok().map(|name| config.workspace = name.to_string()),
    },
    ConfigKey {
        name: "vault.identity",
        purpose: "Where to store a new identity",
        expected: "auto, keyring, file or passphrase",
        get: |config| {
            Some(
                match config.vault.identity {
                    IdentityStorage::Auto => "auto",
                    IdentityStorage::Keyring => "keyring",
                    IdentityStorage::File => "file",
                    IdentityStorage::Passphrase => "passphrase",
                }
                .to_owned(),
            )
        },
        set: |config, text| {
            config.vault.identity = match text {
                "auto" => IdentityStorage::Auto,
                "keyring" => IdentityStorage::Keyring,
                "file" => IdentityStorage::File,
                "passphrase" => IdentityStorage::Passphrase,
                _ => return None,
            };
            Some(())
        },
    },
    ConfigKey {
        name: "vault.tokens",
        purpose: "Where to store the tokens of new connections",
        expected: "store or keyring",
        get: |config| {
            Some(
                match config.vault.tokens {
                    TokenStorage::Store => "store",
                    TokenStorage::Keyring => "keyring",
                }
                .to_owned(),
            )
        },
        set: |config, text| {
            config.vault.tokens = match text {
                "store" => TokenStorage::Store,
                "keyring" => TokenStorage::Keyring,
                _ => return None,
            };
            Some(())
        },
    },
    ConfigKey {
        name: "vault.passphrase_command",
        purpose: "Command that prints the passphrase of the identity file",
        expected: "a command",
        get: |config| config.vault.passphrase_command.clone(),
        set: |config, text| {
            config.vault.passphrase_command = Some(text.to_owned()).filter(|text| !text.trim().is_empty());
            Some(())
        },
    },
    ConfigKey {
        name: "connect.timeout",
        purpose: "Time limit for signing in",
        expected: "a time such as 90s or 5m",
        get: |config| Some(duration::format(config.connect.timeout)),
        set: |config, text| positive(text).map(|timeout| config.connect.timeout = timeout),
    },
    ConfigKey {
        name: "connect.port",
        purpose: "Port of the loopback listener; 0 for any free port",
        expected: "a port, or 0",
        get: |config| config.connect.port.map(|port| port.to_string()),
        set: |config, text| {
            config.connect.port = Some(u16::from_str(text).ok()?).filter(|port| *port != 0);
            Some(())
        },
    },
    ConfigKey {
        name: "http.timeout",
        purpose: "Time limit of one request, from the connection to the last byte",
        expected: "a time such as 10s",
        get: |config| Some(duration::format(config.http.timeout)),
        set: |config, text| positive(text).map(|timeout| config.http.timeout = timeout),
    },
    ConfigKey {
        name: "http.largest_answer",
        purpose: "Maximum size of a service's response",
        expected: "a size from 1MiB to 4GiB, such as 64MiB",
        get: |config| Some(size::format(config.http.max_response_bytes)),
        set: |config, text| {
            let bytes = size::parse(text).filter(|bytes| (1 << 20..=4 << 30).contains(bytes))?;
            config.http.max_response_bytes = bytes;
            Some(())
        },
    },
    ConfigKey {
        name: "http.allow",
        purpose: "Private hosts and networks that your own URLs may use",
        expected: "hosts, addresses and blocks, as in \"hooks.internal, 10.1.0.0/16\"",
        get: |config| join(config.http.allow.iter().map(ToString::to_string)),
        set: |config, text| list(text).map(|allow| config.http.allow = allow),
    },
    ConfigKey {
        name: "mcp.client_metadata_url",
        purpose: "Your client ID metadata document, for MCP servers that read one",
        expected: "an https URL with a path",
        get: |config| config.mcp.client_metadata_url.as_ref().map(Url::to_string),
        set: |config, text| {
            config.mcp.client_metadata_url =
                if text.trim().is_empty() { None } else { Some(client_metadata_url(text)?) };
            Some(())
        },
    },
    ConfigKey {
        name: "serve.bind",
        purpose: "Address and port that the server listens on",
        expected: "an address and a port, such as 127.0.0.1:7420",
        get: |config| Some(config.serve.bind.to_string()),
        set: |config, text| text.trim().parse().ok().map(|bind| config.serve.bind = bind),
    },
    ConfigKey {
        name: "serve.public_url",
        purpose: "URL at which browsers and services reach the server",
        expected: "an https URL, or an http URL of this machine, without a query",
        get: |config| config.serve.public_url.as_ref().map(Url::to_string),
        set: |config, text| {
            config.serve.public_url = if text.trim().is_empty() { None } else { Some(parse_public_url(text)?) };
            Some(())
        },
    },
    ConfigKey {
        name: "serve.hosts",
        purpose: "Additional host names under which the server accepts requests",
        expected: "hosts such as api.internal or api.internal:8080",
        get: |config| join(config.serve.hosts.iter().cloned()),
        set: |config, text| {
            let hosts: Vec<String> = list(text)?;
            hosts.iter().all(|host| is_host(host)).then(|| config.serve.hosts = hosts)
        },
    },
    ConfigKey {
        name: "serve.return_origins",
        purpose: "Origins to which browsers may return after a sign-in",
        expected: "origins such as https://app.example",
        get: |config| join(config.serve.return_origins.iter().map(ToString::to_string)),
        set: |config, text| list(text).map(|origins| config.serve.return_origins = origins),
    },
    ConfigKey {
        name: "serve.trusted_proxies",
        purpose: "Proxies whose Forwarded and X-Forwarded headers the server believes",
        expected: "addresses and blocks, as in \"127.0.0.1, 10.0.0.0/8\"",
        get: |config| join(config.serve.trusted_proxies.iter().map(ToString::to_string)),
        set: |config, text| list(text).map(|proxies| config.serve.trusted_proxies = proxies),
    },
    ConfigKey {
        name: "serve.log_format",
        purpose: "How the server writes its log to stderr",
        expected: "text or json",
        get: |config| Some(config.serve.log_format.to_string()),
        set: |config, text| text.trim().parse().ok().map(|format| config.serve.log_format = format),
    },
    ConfigKey {
        name: "notify.command",
        purpose: "Command to run when a connection breaks or recovers",
        expected: "a command",
        get: |config| config.notify.command.clone(),
        set: |config, text| {
            let words = shlex::split(text)?;
            config.notify.command = (!words.is_empty()).then(|| text.to_owned());
            Some(())
        },
    },
    ConfigKey {
        name: "notify.url",
        purpose: "URL for a signed POST when a connection breaks or recovers",
        expected: "an https URL without a password",
        get: |config| config.notify.url.as_ref().map(ToString::to_string),
        set: |config, text| {
            config.notify.url = if text.trim().is_empty() { None } else { Some(hook_url(text)?) };
            Some(())
        },
    },
    ConfigKey {
        name: "notify.secret_file",
        purpose: "File with the secret that signs it; INTEG_NOTIFY_SECRET takes precedence",
        expected: "an absolute path",
        get: |config| config.notify.secret_file.as_ref().map(|path| path.display().to_string()),
        set: |config, text| {
            let path = PathBuf::from(text);
            config.notify.secret_file =
                if text.is_empty() { None } else { Some(path).filter(|path| path.is_absolute()) };
            (text.is_empty() || config.notify.secret_file.is_some()).then_some(())
        },
    },
    ConfigKey {
        name: "notify.timeout",
        purpose: "Time limit of the command and of the POST",
        expected: "a time such as 10s",
        get: |config| Some(duration::format(config.notify.timeout)),
        set: |config, text| positive(text).map(|timeout| config.notify.timeout = timeout),
    },
    ConfigKey {
        name: "notify.on",
        purpose: "Changes to report",
        expected: "some of needs_reauth, failure, recovery, endpoint_disabled, deletes_blocked, queue_age, error_rate, \
                   certificate_expiring, grant_expiring and api_token_expiring",
        get: |config| join(config.notify.on.iter().map(|transition| transition.as_str().to_owned())),
        set: |config, text| list(text).map(|on| config.notify.on = on),
    },
    ConfigKey {
        name: "webhooks.keep",
        purpose: "How long processed events are kept",
        expected: "a time of at least 3d, for so long services send again",
        get: |config| Some(duration::format(config.webhooks.retention)),
        set: |config, text| days(text, 3).map(|keep| config.webhooks.retention = keep),
    },
    ConfigKey {
        name: "webhooks.max_body",
        purpose: "Maximum size of a webhook body (default: the connector's limit)",
        expected: "a size from 1MiB to 1024MiB, such as 25MiB",
        get: |config| config.webhooks.max_body_mib.map(|mib| format!("{mib}MiB")),
        set: |config, text| {
            let mib = text.trim().strip_suffix("MiB").unwrap_or(text).trim().parse().ok();
            config.webhooks.max_body_mib = mib.filter(|mib| (1..=1024).contains(mib));
            (text.is_empty() || config.webhooks.max_body_mib.is_some()).then_some(())
        },
    },
    ConfigKey {
        name: "endpoints.keep",
        purpose: "How long delivered and dead messages are kept",
        expected: "a time of at least 1d",
        get: |config| Some(duration::format(config.endpoints.retention)),
        set: |config, text| days(text, 1).map(|keep| config.endpoints.retention = keep),
    },
    ConfigKey {
        name: "api_tokens.expires_days",
        purpose: "Days for which a new API token is valid",
        expected: "a number from 1 to 1826",
        get: |config| Some(config.api_tokens.expires_days.to_string()),
        set: |config, text| number(text, 1_826).map(|days| config.api_tokens.expires_days = days),
    },
    ConfigKey {
        name: "rate_limits.free",
        purpose: "Requests per minute of API tokens of the tier free",
        expected: "a number from 1 to 1000000",
        get: |config| Some(config.rate_limits.free.to_string()),
        set: |config, text| number(text, 1_000_000).map(|limit| config.rate_limits.free = limit),
    },
    ConfigKey {
        name: "rate_limits.pro",
        purpose: "Requests per minute of API tokens of the tier pro",
        expected: "a number from 1 to 1000000",
        get: |config| Some(config.rate_limits.pro.to_string()),
        set: |config, text| number(text, 1_000_000).map(|limit| config.rate_limits.pro = limit),
    },
    ConfigKey {
        name: "rate_limits.enterprise",
        purpose: "Requests per minute of API tokens of the tier enterprise",
        expected: "a number from 1 to 1000000",
        get: |config| Some(config.rate_limits.enterprise.to_string()),
        set: |config, text| number(text, 1_000_000).map(|limit| config.rate_limits.enterprise = limit),
    },
    ConfigKey {
        name: "audit.local",
        purpose: "Also record what you read at this machine in the audit log",
        expected: "true or false",
        get: |config| Some(config.audit.local.to_string()),
        set: |config, text| text.parse().ok().map(|local| config.audit.local = local),
    },
    ConfigKey {
        name: "audit.retention_days",
        purpose: "Days after which audit entries are removed",
        expected: "a number of days from 1 to 36500",
        get: |config| Some(config.audit.retention_days.to_string()),
        set: |config, text| {
            let days = text.parse().ok().filter(|days| (1..=36_500).contains(days));
            days.map(|days| config.audit.retention_days = days)
        },
    },
    ConfigKey {
        name: "consents.required",
        purpose: "Purposes that need a user's consent",
        expected: "some of sync, webhooks, deliver and call",
        get: |config| join(config.consents.required.iter().map(ToString::to_string)),
        set: |config, text| {
            let required: Vec<ConsentPurpose> = list(text)?;
            let is_known = required.iter().all(|purpose| ConsentPurpose::KNOWN.contains(purpose));
            is_known.then(|| config.consents.required = required)
        },
    },
    ConfigKey {
        name: "consents.policy_version",
        purpose: "Version of your consent policy; consents to an older one are outdated",
        expected: "a number from 1",
        get: |config| Some(config.consents.policy_version.to_string()),
        set: |config, text| {
            let version = text.parse().ok().filter(|version| *version >= 1);
            version.map(|version| config.consents.policy_version = version)
        },
    },
    ConfigKey {
        name: "connectors.max_per_workspace",
        purpose: "Connectors that callers of the API may install in a workspace",
        expected: "a number from 1 to 10000",
        get: |config| Some(config.connectors.max_per_workspace.to_string()),
        set: |config, text| number(text, 10_000).map(|most| config.connectors.max_per_workspace = most),
    },
    ConfigKey {
        name: "connectors.max_size",
        purpose: "Maximum size of a connector's file that a caller of the API installs",
        expected: "a size from 1KiB to 1MiB, such as 256KiB",
        get: |config| Some(size::format(config.connectors.max_size)),
        set: |config, text| {
            let bytes = size::parse(text).filter(|bytes| (1 << 10..=1 << 20).contains(bytes))?;
            config.connectors.max_size = bytes;
            Some(())
        },
    },
    ConfigKey {
        name: "health.interval",
        purpose: "How often `integ serve` tests each connection",
        expected: "a time of at least 1m, or off",
        get: |config| Some(format_or_off(config.health.interval)),
        set: |config, text| duration_or_off(text, MIN_INTERVAL).map(|interval| config.health.interval = interval),
    },
    ConfigKey {
        name: "health.intervals",
        purpose: "Intervals of single connections or connectors",
        expected: "names with times of at least 1m, as in \"slack@work=5m, github=off\"",
        get: |config| join(config.health.intervals.iter().map(ToString::to_string)),
        set: |config, text| list(text).map(|intervals| config.health.intervals = intervals),
    },
    ConfigKey {
        name: "health.keep",
        purpose: "How long to store the results of health checks",
        expected: "a time of at least 1d",
        get: |config| Some(duration::format(config.health.retention)),
        set: |config, text| days(text, 1).map(|keep| config.health.retention = keep),
    },
    ConfigKey {
        name: "alerts.queue_age",
        purpose: "How long an event or a message may be overdue before it is reported",
        expected: "a time of at least 1m, or off",
        get: |config| Some(format_or_off(config.alerts.queue_age)),
        set: |config, text| duration_or_off(text, MIN_INTERVAL).map(|age| config.alerts.queue_age = age),
    },
    ConfigKey {
        name: "alerts.error_rate",
        purpose: "Percent of an hour's work that may fail before it is reported; 0 for never",
        expected: "a number from 0 to 100",
        get: |config| Some(config.alerts.error_rate.to_string()),
        set: |config, text| {
            let percent = text.trim().parse().ok().filter(|percent| *percent <= 100);
            percent.map(|percent| config.alerts.error_rate = percent)
        },
    },
    ConfigKey {
        name: "alerts.expiry",
        purpose: "How long before expiry a certificate, grant or API token is reported",
        expected: "a time of at least 1h, or off",
        get: |config| Some(format_or_off(config.alerts.expiry)),
        set: |config, text| {
            let least = Duration::from_secs(3600);
            duration_or_off(text, least).map(|before| config.alerts.expiry = before)
        },
    },
];

/// What a list reads as; absent where it is empty.
fn join(items: impl Iterator<Item = String>) -> Option<String> {
    Some(items.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
}

/// The items of a list, separated by commas or white space.
fn list<T: FromStr>(text: &str) -> Option<Vec<T>> {
    let items = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|item| !item.is_empty());
    items.map(|item| item.parse().ok()).collect()
}

/// A URL that can be a client id (OAuth Client ID Metadata Document, section 3).
fn client_metadata_url(text: &str) -> Option<Url> {
    let url = Url::parse(text.trim()).ok()?;
    let is_bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    (url.scheme() == "https" && url.path() != "/" && is_bare).then_some(url)
}

/// Settings hold no secrets, and nothing goes out unencrypted but to this machine.
fn hook_url(text: &str) -> Option<Url> {
    let url = Url::parse(text.trim()).ok()?;
    (is_safe(&url) && url.username().is_empty() && url.password().is_none()).then_some(url)
}

fn days(text: &str, least: u64) -> Option<Duration> {
    duration::parse(text).filter(|duration| *duration >= Duration::from_secs(least * 86_400))
}

fn number(text: &str, most: u32) -> Option<u32> {
    text.trim().parse().ok().filter(|number| (1..=most).contains(number))
}

fn positive(text: &str) -> Option<Duration> {
    duration::parse(text).filter(|duration| !duration.is_zero())
}

/// The setting that `name` was probably meant to be.
pub(super) fn closest_key(name: &str) -> Option<&'static str> {
    closest(name, KEYS.iter().map(|key| key.name))
}

/// Returns the setting of this name.
///
/// # Errors
/// [`ConfigError::UnknownKey`] with the likely one.
pub fn find_key(name: &str) -> Result<&'static ConfigKey, ConfigError> {
    let found = KEYS.iter().find(|key| key.name == name);
    found.ok_or_else(|| ConfigError::UnknownKey { key: name.to_owned(), likely: closest_key(name) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_valid_value() {
        let defaults = Config::default();
        for key in KEYS {
            if let Some(value) = (key.get)(&defaults) {
                let mut config = Config::default();
                (key.set)(&mut config, &value).unwrap();
                assert_eq!(config, defaults, "{}", key.name);
            }
        }
    }
}
