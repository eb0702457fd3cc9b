//! Checks the environment: the program itself, the keyring, a browser, proxies, the shell.

use std::path::{Path, PathBuf};

use url::Url;

use super::{DoctorContext, Finding};
use crate::config::{IdentityStorage, TokenStorage};
use crate::env;
use crate::files;
use crate::runtime::EnvironmentConnections;
use crate::vault::{Keyring, KeyringError};

/// Whether the environment gives the connections, as in a CI job.
pub(super) fn environment_connections() -> Option<Finding> {
    match EnvironmentConnections::from_env() {
        Ok(environment) => environment.map(|environment| {
            let variables = environment.variables().join(", ");
            Finding::ok("connections", format!("from {variables}; stored connections are not used"))
        }),
        Err(error) => Some(Finding::failure("connections", error)),
    }
}

pub(super) fn version() -> Finding {
    let (version, system) = (env!("CARGO_PKG_VERSION"), std::env::consts::OS);
    let (machine, sqlite) = (std::env::consts::ARCH, crate::store::sqlite_version());
    Finding::ok("version", format!("integ {version}, {system} {machine}, SQLite {sqlite}"))
}

/// Whether the OS keyring answers. Where nothing is kept in it, that none does is how servers are.
pub(super) fn keyring(around: &DoctorContext) -> Vec<Finding> {
    let vault = &around.config.vault;
    let wanted = vault.identity == IdentityStorage::Keyring || vault.tokens == TokenStorage::Keyring;
    vec![match Keyring::default().check() {
        Ok(()) => Finding::ok("keyring", "it answers"),
        Err(error) if wanted => Finding::failure("keyring", error),
        Err(KeyringError::Unavailable(_)) => Finding::ok("keyring", "not available, and not required"),
        Err(error) => Finding::ok("keyring", format!("{error}; not required")),
    }]
}

pub(super) fn check_system() -> Vec<Finding> {
    let mut findings = vec![browser()];
    findings.extend(proxies());
    findings.extend(completion());
    findings
}

fn browser() -> Finding {
    for variable in [&env::INTEG_BROWSER, &env::BROWSER] {
        if let Some(commands) = env::var(variable) {
            let programs = commands.split(':').filter_map(|command| command.split_whitespace().next());
            return match programs.into_iter().find(|program| find_program(program).is_some()) {
                Some(program) => Finding::ok("browser", format!("{program}, as {} says", variable.name)),
                None => Finding::warning(
                    "browser",
                    format!("{} names no program that is there", variable.name),
                    format!("unset {}, or use `integ connect CONNECTOR --no-browser`", variable.name),
                ),
            };
        }
    }
    if env::var_os(&env::CI).is_some() {
        return Finding::ok("browser", "none is opened in CI");
    }
    let opener = open::commands("https://example.com").into_iter().find_map(|command| {
        let program = command.get_program().to_string_lossy().into_owned();
        find_program(&program).map(|_| program)
    });
    let display = cfg!(any(target_os = "macos", windows))
        || ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"].iter().any(|name| env::var_named(name).is_some());
    match opener.filter(|_| display) {
        Some(program) => Finding::ok("browser", format!("opened by {program}")),
        None => Finding::warning(
            "browser",
            "no browser can be opened here; integ prints the URL instead",
            "integ connect CONNECTOR --device, or --paste",
        ),
    }
}

/// Where a program is: a path, or a name that `PATH` leads to.
pub(super) fn find_program(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| is_program(path));
    }
    let path = env::var_named("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| is_program(path))
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file() || path.with_extension("exe").is_file()
}

/// The proxies in force, without the passwords that some have in them.
fn proxies() -> Vec<Finding> {
    let mut findings = Vec::new();
    for variable in [&env::HTTPS_PROXY, &env::ALL_PROXY] {
        let name = variable.name;
        let Some(value) = env::var(variable).or_else(|| env::var_named(&name.to_lowercase())) else { continue };
        findings.push(match proxy_host(&value) {
            Some(host) => Finding::ok("proxy", format!("{name} sends https requests through {host}")),
            None => Finding::warning("proxy", format!("{name} is not a proxy URL"), format!("unset {name}")),
        });
    }
    if findings.is_empty() {
        findings.push(Finding::ok("proxy", "none is set"));
    }
    findings
}

/// Host and port; a scheme may be left out, and http is then meant.
fn proxy_host(value: &str) -> Option<String> {
    let text = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let url = Url::parse(&text).ok()?;
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// Whether Tab works in the user's shell, as far as files show.
fn completion() -> Option<Finding> {
    let shell = env::var(&env::SHELL)?;
    let shell = Path::new(&shell).file_name()?.to_str()?;
    let home = env::var_os(&env::HOME).map(PathBuf::from)?;
    let data = env::var_os(&env::XDG_DATA_HOME).map_or_else(|| home.join(".local/share"), PathBuf::from);
    let settings = env::var_os(&env::XDG_CONFIG_HOME).map_or_else(|| home.join(".config"), PathBuf::from);
    let system = |path: &str| ["/usr/share", "/usr/local/share"].map(|share| Path::new(share).join(path));
    let (own, others, startup) = match shell {
        "bash" => {
            let path = "bash-completion/completions/integ";
            (data.join(path), system(path).to_vec(), home.join(".bashrc"))
        }
        "zsh" => {
            let mut others = system("zsh/site-functions/_integ").to_vec();
            others.extend([home.join(".zsh/completions/_integ"), home.join(".zsh/completion/_integ")]);
            (home.join(".zfunc/_integ"), others, home.join(".zshrc"))
        }
        "fish" => {
            let others = system("fish/vendor_completions.d/integ.fish").to_vec();
            (settings.join("fish/completions/integ.fish"), others, settings.join("fish/config.fish"))
        }
        _ => return Some(Finding::ok("completion", format!("not looked for in {shell}"))),
    };
    // Written into a start file instead, as `source <(integ completions bash)`.
    let sourced = || {
        let text = files::read_regular(&startup, 1 << 20).ok().flatten();
        text.is_some_and(|text| String::from_utf8_lossy(&text).contains("integ completions"))
    };
    if own.exists() || others.iter().any(|path| path.exists()) || sourced() {
        return Some(Finding::ok("completion", format!("installed for {shell}")));
    }
    let (folder, file) = (own.parent()?, files::shell_quoted(&own));
    let folder = files::shell_quoted(folder);
    let fpath = if shell == "zsh" { ", and `fpath+=~/.zfunc` in ~/.zshrc before compinit" } else { "" };
    let fix = format!("mkdir -p {folder} && integ completions {shell} > {file}{fpath}");
    Some(Finding::warning("completion", format!("not installed for {shell}"), fix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_shown_without_its_password() {
        assert_eq!(proxy_host("http://user:secret@proxy.example:3128/").as_deref(), Some("proxy.example:3128"));
        assert_eq!(proxy_host("proxy:3128").as_deref(), Some("proxy:3128"));
        assert_eq!(proxy_host("http://"), None);
    }
}
