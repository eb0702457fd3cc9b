//! The parts of a credential besides the token, by name, for `exec` and `token --format json|env`.

use std::collections::BTreeSet;

use super::{AuthMethod, Connector};

/// The part that is the client id of the app.
pub const CLIENT_ID: &str = "client_id";

/// Returns the names of all parts that connections of this connector can have, in the connector's own spelling:
/// `account_sid`, `cloud_id`, `site`.
pub fn credential_parts(connector: &Connector) -> BTreeSet<String> {
    connector.auth.values().flat_map(|auth| auth_method_parts(connector, auth)).collect()
}

/// Returns the names of the parts that one authentication method can give.
pub fn auth_method_parts<'c>(connector: &'c Connector, auth: &'c AuthMethod) -> impl Iterator<Item = String> + 'c {
    let params = connector.params(auth).map(|(name, _)| name);
    let oauth2 = auth.oauth2.iter().flat_map(|rules| {
        let answer = rules.answer.keep.keys().chain(rules.answer.secrets.keys());
        let follow_up = rules.follow_up.iter().flat_map(|follow_up| follow_up.keep.keys());
        answer.chain(rules.callback_keep.keys()).chain(follow_up)
    });
    let client = sends_client_id(connector, auth).then(|| CLIENT_ID.to_owned());
    params.chain(auth.exposed_fields()).chain(oauth2).cloned().chain(client)
}

/// Returns whether requests carry the app's client id, as Trello's carry the API key: a program needs it then.
fn sends_client_id(connector: &Connector, auth: &AuthMethod) -> bool {
    let own = auth.send.iter().flat_map(|send| {
        let basic = send.basic.iter().flat_map(|pair| [&pair.username, &pair.password]);
        send.headers.values().chain(send.query.values()).chain(basic)
    });
    let shared = connector.api.headers.values().chain(connector.api.query.values());
    own.chain(shared).any(|template| template.placeholders().any(|name| name == CLIENT_ID))
}

/// Returns the environment variable's name for a part: upper case, everything but letters and digits replaced by `_`.
pub fn env_variable_name(prefix: &str, part: &str) -> String {
    format!("{}_{}", word(prefix), word(part))
}

fn word(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// Beginnings that belong to loaders, interpreters, shells, package managers and other tools that read their orders from
/// the environment. `INTEG_` is among them: a connector file never configures integ itself.
const DANGEROUS_PREFIXES: &[&str] = &[
    "ANSIBLE_",
    "AWS_CA_",
    "AWS_CLI_",
    "AWS_CONFIG_",
    "AWS_CONTAINER_",
    "AWS_ENDPOINT_",
    "AWS_SHARED_",
    "AWS_WEB_IDENTITY_",
    "BASH",
    "BUILDKIT_",
    "BUNDLE_",
    "BUN_",
    "CARGO_",
    "CGO_",
    "CLOUDSDK_",
    "CMAKE_",
    "COMPLUS_",
    "COMPOSE_",
    "CONDA_",
    "CORECLR_",
    "CURL_",
    "DBUS_",
    "DENO_",
    "DOCKER_",
    "DOTNET_",
    "DYLD_",
    "ELECTRON_",
    "ERL_",
    "GCONV_",
    "GEM_",
    "GIO_",
    "GIT_",
    "GLIBC_",
    "GNUPGHOME",
    "GNUTLS_",
    "GOPROXY",
    "GOROOT",
    "GOPATH",
    "GO_",
    "GPG_",
    "GRADLE_",
    "GST_",
    "GTK_",
    "HELM_",
    "HGEDITOR",
    "HGRCPATH",
    "HG_",
    "INTEG_",
    "JAVA_",
    "JDK_",
    "JULIA_",
    "KUBECONFIG",
    "KUBE_",
    "LC_",
    "LD_",
    "LESSCLOSE",
    "LESSOPEN",
    "LESS_",
    "LIBGL_",
    "LUA_",
    "MAKEFILES",
    "MAKEFLAGS",
    "MALLOC_",
    "MAN_",
    "MAVEN_",
    "MIX_",
    "MOZ_",
    "MYSQL_",
    "NIX_",
    "NODE_",
    "NPM_",
    "OPENSSL_",
    "PERL5",
    "PERL_",
    "PGHOST",
    "PGPASS",
    "PGSERVICE",
    "PG_",
    "PHP_",
    "PIPENV_",
    "PIP_",
    "PKG_CONFIG",
    "PNPM_",
    "POETRY_",
    "PS1_",
    "PYTHON",
    "QT_",
    "REQUESTS_",
    "RSYNC_",
    "RUBY",
    "RUSTC",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_",
    "RUST_",
    "R_",
    "SSH_",
    "SSLKEYLOG",
    "SSL_",
    "SUDO_",
    "SVN_",
    "SYSTEMD_",
    "TERMINFO",
    "TF_",
    "TMUX_",
    "UV_",
    "VIRTUAL_",
    "VK_",
    "WGETRC",
    "WGET_",
    "XDG_",
    "YARN_",
    "_JAVA_",
    "__",
];

/// Whole names that do the same.
const DANGEROUS_NAMES: &[&str] = &[
    "AR",
    "AS",
    "BROWSER",
    "CC",
    "CDPATH",
    "CFLAGS",
    "CLASSPATH",
    "CPATH",
    "CPP",
    "CPPFLAGS",
    "CXX",
    "CXXFLAGS",
    "C_INCLUDE_PATH",
    "DISPLAY",
    "EDITOR",
    "ENV",
    "FCEDIT",
    "FPATH",
    "GOBIN",
    "GOENV",
    "GOFLAGS",
    "GOMODCACHE",
    "GONOSUMDB",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOPRIVATE",
    "GOSUMDB",
    "GOTOOLCHAIN",
    "HISTFILE",
    "HOME",
    "HOSTALIASES",
    "IFS",
    "INPUTRC",
    "LANG",
    "LANGUAGE",
    "LDFLAGS",
    "LESS",
    "LIBRARY_PATH",
    "LOCALDOMAIN",
    "LOCPATH",
    "LOGNAME",
    "MANPAGER",
    "MANPATH",
    "NETRC",
    "NLSPATH",
    "OLDPWD",
    "PAGER",
    "PATH",
    "PHPRC",
    "PROMPT_COMMAND",
    "PS1",
    "PS2",
    "PS3",
    "PS4",
    "PWD",
    "RESOLV_HOST_CONF",
    "RES_OPTIONS",
    "SHELL",
    "SHELLOPTS",
    "TEMP",
    "TERM",
    "TERMCAP",
    "TMP",
    "TMPDIR",
    "TZ",
    "TZDIR",
    "USER",
    "VISUAL",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "ZDOTDIR",
];

/// Endings by which many programs of every name take a proxy, options for an interpreter, or a program to start.
const DANGEROUS_SUFFIXES: &[&str] = &[
    "_ASKPASS",
    "_BROWSER",
    "_CA_BUNDLE",
    "_EDITOR",
    "_LD_PRELOAD",
    "_OPTS",
    "_PAGER",
    "_PRELOAD",
    "_PROXY",
    "_SSH_COMMAND",
];

/// Returns whether an environment variable of this name changes what other programs do: what they load, run, trust or
/// talk to. No value of a connector file or of an answer is ever put there.
///
/// Letters count in either case, because `http_proxy` is obeyed as `HTTP_PROXY` is.
pub fn is_dangerous_variable(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    DANGEROUS_NAMES.contains(&name.as_str())
        || DANGEROUS_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || DANGEROUS_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// Endings of names that are meant for credentials, whatever program they belong to: `NPM_TOKEN`, `PGPASSWORD`.
const CREDENTIAL_SUFFIXES: &[&str] = &["TOKEN", "PASSWORD", "PASSPHRASE", "SECRET", "_KEY", "_PAT"];

/// Returns whether a variable of this name must not be set to a credential even if the user typed the name: the value
/// comes from a service, and programs would run it, load it or talk to it.
pub fn is_dangerous_choice(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let is_meant = CREDENTIAL_SUFFIXES.iter().any(|suffix| upper.ends_with(suffix))
        || upper.contains("_TOKEN_")
        || upper.starts_with("TF_VAR_");
    upper.starts_with("INTEG_") || (is_dangerous_variable(&upper) && !is_meant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::{BUILT_IN, catalogue};

    #[test]
    fn names_that_other_programs_obey_are_steering() {
        for name in [
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "LD_AUDIT",
            "DYLD_INSERT_LIBRARIES",
            "GIT_SSH_COMMAND",
            "GIT_CONFIG_COUNT",
            "GIT_CONFIG_KEY_0",
            "BASH_ENV",
            "BASH_FUNC_ls",
            "BASHOPTS",
            "NODE_OPTIONS",
            "NODE_EXTRA_CA_CERTS",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "PYTHON_GIL",
            "PERL5LIB",
            "PERL5OPT",
            "RUBYOPT",
            "RUBYLIB",
            "HTTP_PROXY",
            "https_proxy",
            "ALL_PROXY",
            "NO_PROXY",
            "GLOBAL_AGENT_HTTP_PROXY",
            "PATH",
            "SSL_CERT_FILE",
            "SSLKEYLOGFILE",
            "IFS",
            "ENV",
            "EDITOR",
            "VISUAL",
            "PAGER",
            "DOCKER_HOST",
            "PIP_INDEX_URL",
            "npm_config_registry",
            "JAVA_TOOL_OPTIONS",
            "_JAVA_OPTIONS",
            "JDK_JAVA_OPTIONS",
            "CARGO_BUILD_RUSTC",
            "RUSTC_WRAPPER",
            "RUSTFLAGS",
            "GOFLAGS",
            "GOPROXY",
            "KUBECONFIG",
            "CURL_CA_BUNDLE",
            "REQUESTS_CA_BUNDLE",
            "LESSOPEN",
            "XDG_CONFIG_HOME",
            "HOME",
            "SSH_AUTH_SOCK",
            "SSH_ASKPASS",
            "INTEG_HOME",
            "INTEG_IDENTITY",
            "GCONV_PATH",
            "MAKEFLAGS",
            "PS4",
            "PROMPT_COMMAND",
            "UV_INDEX_URL",
            "TZ",
            "MAVEN_OPTS",
            "SBT_OPTS",
            "HGEDITOR",
            "SVN_EDITOR",
            "AWS_CONFIG_FILE",
            "AWS_ENDPOINT_URL_S3",
            "OPENSSL_CONF",
            "GEM_HOME",
            "BUNDLE_GEMFILE",
            "PHP_INI_SCAN_DIR",
            "__PYVENV_LAUNCHER__",
            "ZDOTDIR",
            "TMPDIR",
        ] {
            assert!(is_dangerous_variable(name), "{name}");
        }
    }

    #[test]
    fn names_of_services_are_not() {
        for name in [
            "SLACK_TEAM_ID",
            "TWILIO_ACCOUNT_SID",
            "TRELLO_KEY",
            "JIRA_CLOUD_ID",
            "GITHUB_LOGIN",
            "GITLAB_SITE",
            "NODEPING_KEY",
            "PATHFACTORY_KEY",
            "ENVATO_USER",
            "DOCKERHUB_USER",
            "HOMEASSISTANT_SITE",
            "AWS_ACCESS_KEY_ID",
            "SSLMATE_KEY",
            "LDAP_HOST",
            "ACME_REGION",
        ] {
            assert!(!is_dangerous_variable(name), "{name}");
        }
    }

    #[test]
    fn no_part_of_a_built_in_connector_is_steering() {
        for (id, text) in BUILT_IN {
            for part in credential_parts(&catalogue::parse(text).unwrap()) {
                let name = env_variable_name(id, &part);
                assert!(!is_dangerous_variable(&name), "{name}");
            }
        }
    }
}
