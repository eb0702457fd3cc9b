//! Every environment variable that integ reads, declared and documented once.
//!
//! Beside these, each command-line flag has a variable of its own, made from its name: `INTEG_JSON`, `INTEG_WORKSPACE`
//! for the global ones, `INTEG_CONNECT_TIMEOUT` for those of one command (see `cli::arguments`).

use std::ffi::OsString;

use crate::secret::Secret;

/// A variable: its name and what it does, as `integ help environment` prints it.
#[derive(Debug)]
pub struct EnvVariable {
    pub name: &'static str,
    pub purpose: &'static str,
}

macro_rules! variables {
    ($($(#[doc = $purpose:literal])+ $name:ident = $value:literal;)+) => {
        $($(#[doc = $purpose])+ pub const $name: EnvVariable =
            EnvVariable { name: $value, purpose: concat!($($purpose),+) };)+

        /// All of them, in the order of this page.
        pub const ALL: &[&EnvVariable] = &[$(&$name),+];
    };
}

variables! {
    /// One folder for settings, vaults and connectors, in place of the XDG folders.
    INTEG_HOME = "INTEG_HOME";
    /// The age identity itself (`AGE-SECRET-KEY-1…`), for CI.
    IDENTITY = "INTEG_IDENTITY";
    /// A file that holds the age identity.
    IDENTITY_FILE = "INTEG_IDENTITY_FILE";
    /// Command that prints the passphrase of the identity file.
    PASSPHRASE_COMMAND = "INTEG_PASSPHRASE_COMMAND";
    /// The client secret for `connect` and `app set`.
    CLIENT_SECRET = "INTEG_CLIENT_SECRET";
    /// A PostgreSQL URL: workspaces that do not exist yet are created there, not in files.
    STORE_URL = "INTEG_STORE_URL";
    /// The password of the PostgreSQL server that has a workspace's store.
    STORE_PASSWORD = "INTEG_STORE_PASSWORD";
    /// The token or API key for `connect --with-token`.
    TOKEN = "INTEG_TOKEN";
    /// A secret that `connect` asks for: NAME is what `connector show` calls it.
    PARAM = "INTEG_PARAM_NAME";
    /// Connections for a machine without a store, as `export` writes them.
    BUNDLE = "INTEG_BUNDLE";
    /// The token of a connection, without a store: `INTEG_TOKEN_GITHUB` is that of github.
    CONNECTION_TOKEN = "INTEG_TOKEN_CONNECTION";
    /// The signing secret of webhooks, if none is stored with `webhook secret`.
    WEBHOOK_SECRET = "INTEG_WEBHOOK_SECRET";
    /// The secret that signs the POST of `notify.url` (`whsec_…`).
    NOTIFY_SECRET = "INTEG_NOTIFY_SECRET";
    /// The token that programs present to `integ proxy`, in place of one that it creates.
    PROXY_TOKEN = "INTEG_PROXY_TOKEN";
    /// The URL of an `integ serve` to use in place of the local store (`integ help serve`).
    SERVER = "INTEG_SERVER";
    /// The API token for that server.
    API_TOKEN = "INTEG_API_TOKEN";
    /// A file with the API token for that server.
    API_TOKEN_FILE = "INTEG_API_TOKEN_FILE";
    /// The socket on which `serve` notifies the service manager (sd_notify(3)).
    NOTIFY_SOCKET = "NOTIFY_SOCKET";
    /// How many microseconds the service manager waits for a sign of life.
    WATCHDOG_USEC = "WATCHDOG_USEC";
    /// The process that the service manager waits for.
    WATCHDOG_PID = "WATCHDOG_PID";
    /// The seed of the sandbox's tokens, for the same ones in every run.
    SANDBOX_SEED = "INTEG_SANDBOX_SEED";
    /// Names of the variables that `integ exec` has set: an inner `integ` drops them.
    EXPORTED = "INTEG_EXPORTED";
    /// The browser to open, before `BROWSER`, with a one-time page that redirects.
    INTEG_BROWSER = "INTEG_BROWSER";
    /// The browser to open: commands separated by colons; `%s` stands for the URL.
    BROWSER = "BROWSER";
    /// Set in CI: nothing is asked and no browser is opened.
    CI = "CI";
    /// `true` in GitHub Actions: `exec --mask` also registers there what it hides.
    GITHUB_ACTIONS = "GITHUB_ACTIONS";
    /// Where a job of GitHub Actions requests its identity token, for `api-token login`.
    ACTIONS_REQUEST_URL = "ACTIONS_ID_TOKEN_REQUEST_URL";
    /// The token for that request.
    ACTIONS_REQUEST_TOKEN = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
    /// Any value turns colours off.
    NO_COLOR = "NO_COLOR";
    /// The kind of terminal: `dumb` turns colours and animations off.
    TERM = "TERM";
    /// The locale, before LC_CTYPE and LANG: without UTF-8, progress is drawn in ASCII.
    LC_ALL = "LC_ALL";
    /// The locale of characters.
    LC_CTYPE = "LC_CTYPE";
    /// The locale if the two others are not set.
    LANG = "LANG";
    /// The folder of settings.
    XDG_CONFIG_HOME = "XDG_CONFIG_HOME";
    /// The folder of data.
    XDG_DATA_HOME = "XDG_DATA_HOME";
    /// The user's home folder.
    HOME = "HOME";
    /// The folder of Claude Code's settings, for `mcp install`.
    CLAUDE_CONFIG_DIR = "CLAUDE_CONFIG_DIR";
    /// The folder of Codex's settings, for `mcp install`.
    CODEX_HOME = "CODEX_HOME";
    /// The width of the terminal if it cannot be detected.
    COLUMNS = "COLUMNS";
    /// The shell that `integ doctor` checks the completion of.
    SHELL = "SHELL";
    /// The proxy for https requests.
    HTTPS_PROXY = "HTTPS_PROXY";
    /// The proxy for all requests.
    ALL_PROXY = "ALL_PROXY";
    /// Hosts that are reached without a proxy.
    NO_PROXY = "NO_PROXY";
    /// A PEM file of certificate authorities to trust, in place of the system's.
    SSL_CERT_FILE = "SSL_CERT_FILE";
    /// A folder of such files.
    SSL_CERT_DIR = "SSL_CERT_DIR";
}

/// The variable's text; absent where unset, empty or not UTF-8.
pub fn var(variable: &EnvVariable) -> Option<String> {
    var_os(variable).and_then(|value| value.into_string().ok())
}

/// The variable as the operating system gives it; absent where unset or empty.
pub fn var_os(variable: &EnvVariable) -> Option<OsString> {
    named_os(variable.name)
}

/// Whether the terminal is one that understands no control sequences.
pub fn is_dumb_terminal() -> bool {
    var(&TERM).is_some_and(|term| term == "dumb")
}

/// Whether the locale writes UTF-8; true if none is set.
pub fn is_utf8_locale() -> bool {
    let locale = [&LC_ALL, &LC_CTYPE, &LANG].into_iter().find_map(var);
    locale.is_none_or(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// The variable as a secret.
pub fn secret(variable: &EnvVariable) -> Option<Secret> {
    var(variable).map(Secret::trimmed)
}

/// The value of `INTEG_PARAM_<NAME>`, which a connector asks for.
pub fn param(name: &str) -> Option<Secret> {
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    var_named(&format!("INTEG_PARAM_{name}")).map(Secret::trimmed)
}

/// What `INTEG_TOKEN_SLACK`, the token of the connection `slack`, begins with.
pub const TOKEN_PREFIX: &str = "INTEG_TOKEN_";

/// The variables that begin so and are the flags of `integ token`.
pub const TOKEN_FLAGS: &[&str] = &["INTEG_TOKEN_FORMAT", "INTEG_TOKEN_MIN_TTL"];

fn connection_token_vars() -> impl Iterator<Item = (String, OsString)> {
    let named = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    named.filter(|(name, _)| name.starts_with(TOKEN_PREFIX) && !TOKEN_FLAGS.contains(&name.as_str()))
}

/// The name of a variable that is to give connections and is set to nothing, as a CI job's is that may not have the secret.
pub fn empty_connection_variable() -> Option<String> {
    let bundle = std::env::vars_os().filter(|(name, _)| name == BUNDLE.name);
    let bundle = bundle.filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let is_empty = |value: &OsString| value.to_str().is_some_and(|text| text.trim().is_empty());
    bundle.chain(connection_token_vars()).find(|(_, value)| is_empty(value)).map(|(name, _)| name)
}

/// The tokens of connections that the environment gives, by the name of their variable.
pub fn connection_tokens() -> Vec<(String, Secret)> {
    connection_token_vars()
        .filter_map(|(name, value)| Some((name, Secret::trimmed(value.into_string().ok()?))))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

/// A variable with a name that is built at run time: `SLACK_CLIENT_ID`.
pub fn var_named(name: &str) -> Option<String> {
    named_os(name).and_then(|value| value.into_string().ok())
}

/// What a program that integ starts inherits of this process's environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvInheritance {
    /// All but integ's own variables, of which some are secrets and others would steer an integ that it calls; client
    /// secrets; and what an `integ exec` around this process set. It keeps `INTEG_HOME`, and with it the same vaults.
    Scrubbed,
    /// With integ's own variables and client secrets, for a program that calls integ.
    Full,
}

/// The variables that a program inherits.
pub fn inherited_vars(inherit: EnvInheritance) -> Vec<(OsString, OsString)> {
    let exported = var(&EXPORTED).unwrap_or_default();
    std::env::vars_os().filter(|(name, _)| !is_withheld(&name.to_string_lossy(), inherit, &exported)).collect()
}

/// Whether a variable of this name is kept from a program.
fn is_withheld(name: &str, inherit: EnvInheritance, exported: &str) -> bool {
    let own = (name.starts_with("INTEG_") && name != INTEG_HOME.name) || name.ends_with("_CLIENT_SECRET");
    // What the service manager gave to this process is for no other one.
    let is_of_manager =
        [NOTIFY_SOCKET.name, WATCHDOG_USEC.name, WATCHDOG_PID.name].contains(&name) || name.starts_with("LISTEN_");
    let token = is_of_manager || name == EXPORTED.name || exported.split(',').any(|known| known == name);
    token || (own && inherit == EnvInheritance::Scrubbed)
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn named_os(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_inherit_no_secret_of_integ_and_no_token_of_another_connection() {
        let exported = "SLACK_TOKEN,JIRA_CLOUD_ID";
        for name in
            ["INTEG_IDENTITY", "INTEG_TOKEN", "INTEG_JSON", "INTEG_BUNDLE", "INTEG_TOKEN_SLACK", "GITHUB_CLIENT_SECRET"]
        {
            assert!(is_withheld(name, EnvInheritance::Scrubbed, exported), "{name}");
            assert!(!is_withheld(name, EnvInheritance::Full, exported), "{name}");
        }
        for name in ["SLACK_TOKEN", "JIRA_CLOUD_ID", "INTEG_EXPORTED"] {
            assert!(
                [EnvInheritance::Scrubbed, EnvInheritance::Full]
                    .iter()
                    .all(|inherit| is_withheld(name, *inherit, exported)),
                "{name}"
            );
        }
        for name in ["INTEG_HOME", "PATH", "GITHUB_TOKEN", "SLACK", "TOKEN"] {
            assert!(!is_withheld(name, EnvInheritance::Scrubbed, exported), "{name}");
        }
    }
}
