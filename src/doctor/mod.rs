//! Finds problems of integ on this machine, and the commands that fix them.
//!
//! The doctor changes nothing. It does not prompt for a passphrase or run the user's programs, and uses no network
//! unless it is asked to. It works where nothing else does, without a home, with settings that do not parse, beside a
//! vault that is locked or held by another: each group of checks has a thread of its own, and one that does not come
//! back in time is itself what was found.

mod api_tokens;
mod connections;
mod files;
mod network;
mod notify;
mod postgres;
mod system;
mod vault;

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::clock::{Clock, Stopwatch};
use crate::config::{Config, Folders};
use crate::connector::Catalogue;
use crate::error::{Error, Remedy};
use crate::model::{WorkspaceName, words};

/// How long all checks together may take; a keyring alone may take 2 s of it, twice.
const DEADLINE: Duration = Duration::from_secs(10);

/// How much longer where the network is asked.
const ONLINE_DEADLINE: Duration = Duration::from_secs(15);

/// How severe a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Ok,
    /// It works, and may not for long, or not everywhere.
    Warning,
    /// Something does not work.
    Error,
}

words!(Severity { Ok => "ok", Warning => "warning", Error => "error" });

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: `vault`, `browser`.
    pub check: &'static str,
    pub severity: Severity,
    pub message: String,
    /// The command that fixes it, or the one thing to do.
    pub fix: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, severity: Severity::Ok, message: message.into(), fix: None }
    }

    fn warning(check: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, severity: Severity::Warning, message: message.into(), fix: Some(fix.into()) }
    }

    fn error(check: &'static str, message: impl Into<String>, fix: Option<String>) -> Self {
        Self { check, severity: Severity::Error, message: message.into(), fix }
    }

    /// A failure of another module, with its own hint.
    fn failure(check: &'static str, error: impl Remedy) -> Self {
        let error = Error::from(error);
        Self::error(check, error.on_one_line(), error.hint().map(|hint| hint.to_string()))
    }
}

/// Whether the network may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkAccess {
    Offline,
    /// The hosts of existing connections are looked up and connected to. No credential is sent.
    Online,
}

/// What the checks work with.
#[derive(Debug)]
struct DoctorContext {
    folders: Folders,
    config: Config,
    workspace: WorkspaceName,
    clock: Clock,
    network: NetworkAccess,
}

impl DoctorContext {
    fn catalogue(&self) -> Catalogue {
        Catalogue::new(&self.folders.connectors())
    }
}

type CheckGroup = fn(&DoctorContext) -> Vec<Finding>;

/// Looks at everything. `workspace` is what the command line names.
pub fn run_checks(workspace: Option<String>, network: NetworkAccess) -> Vec<Finding> {
    let watch = Stopwatch::start();
    let deadline = if network == NetworkAccess::Online { DEADLINE + ONLINE_DEADLINE } else { DEADLINE };
    let left = || deadline.saturating_sub(watch.elapsed());
    let mut findings = vec![system::version()];
    findings.extend(system::environment_connections());
    let Some((found, around)) =
        spawn_check(move || files::check_files(workspace, network)).and_then(|files| files.recv_timeout(left()).ok())
    else {
        findings.push(timeout_finding("folders", deadline));
        return findings;
    };
    findings.extend(found);
    let groups: &[(&'static str, CheckGroup)] = &[
        ("keyring", system::keyring),
        ("vault", vault::check_vault),
        ("connectors", connections::check_connectors),
        ("notify", notify::check_notify),
    ];
    // All of them at once: they wait for different things.
    let running: Vec<_> = around.map(Arc::new).map_or_else(Vec::new, |around| {
        let start = |(name, group): &(&'static str, CheckGroup)| {
            let (around, group) = (Arc::clone(&around), *group);
            (*name, spawn_check(move || group(&around)))
        };
        groups.iter().map(start).collect()
    });
    for (name, answers) in running {
        match answers.and_then(|answers| answers.recv_timeout(left()).ok()) {
            Some(found) => findings.extend(found),
            None => findings.push(timeout_finding(name, deadline)),
        }
    }
    findings.extend(system::check_system());
    findings
}

/// Runs it in a thread, which is left behind if it never comes back.
fn spawn_check<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<mpsc::Receiver<T>> {
    let (answer, answers) = mpsc::sync_channel(1);
    let spawned = thread::Builder::new().name("doctor".to_owned()).spawn(move || {
        let _ = answer.send(work());
    });
    spawned.ok().map(|_| answers)
}

fn timeout_finding(check: &'static str, deadline: Duration) -> Finding {
    let message = format!("this check did not end within {} s", deadline.as_secs());
    let fix = match check {
        "vault" => "see who holds it: `fuser \"$(integ config path --jq .workspaces)\"/*/lock`",
        "keyring" => "unlock it in the desktop's password manager",
        _ => "see whether the disk answers: `ls -l \"$(integ config path --jq .connectors)\"`",
    };
    Finding::error(check, message, Some(fix.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_comes_back_is_left_behind() {
        let answers = spawn_check(|| thread::sleep(Duration::from_secs(60))).unwrap();
        assert!(answers.recv_timeout(Duration::from_millis(10)).is_err());
        assert!(Severity::Ok < Severity::Warning && Severity::Warning < Severity::Error);
    }
}
