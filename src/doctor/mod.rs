//! What is wrong with this machine's integ, and the command that mends it.
//!
//! The doctor looks and changes nothing. It asks nobody: no passphrase, no program of the user's, and no network unless
//! it is told to. It works where nothing else does, without a home, with settings that do not parse, beside a vault that
//! is locked or held by another: each group of checks has a thread of its own, and one that does not come back in time is
//! itself what was found.

mod connections;
mod files;
mod hooks;
mod machine;
mod online;
mod vault;

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::clock::{Clock, Stopwatch};
use crate::config::{Config, Folders};
use crate::connector::Catalogue;
use crate::error::{Error, Remedy};
use crate::model::WorkspaceName;

/// How long all checks together may take; a keyring alone may take 2 s of it, twice.
const DEADLINE: Duration = Duration::from_secs(10);

/// How much longer where the network is asked.
const ONLINE_DEADLINE: Duration = Duration::from_secs(15);

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Ok,
    /// It works, and may not for long, or not everywhere.
    Warning,
    /// Something does not work.
    Problem,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: `vault`, `browser`.
    pub check: &'static str,
    pub level: Level,
    pub message: String,
    /// The command that mends it, or the one thing to do.
    pub mend: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, message: message.into(), mend: None }
    }

    fn warning(check: &'static str, message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, level: Level::Warning, message: message.into(), mend: Some(mend.into()) }
    }

    fn problem(check: &'static str, message: impl Into<String>, mend: Option<String>) -> Self {
        Self { check, level: Level::Problem, message: message.into(), mend }
    }

    /// A failure of another module, with its own hint.
    fn failure(check: &'static str, error: impl Remedy) -> Self {
        let error = Error::from(error);
        Self::problem(check, error.on_one_line(), error.hint().map(|hint| hint.to_string()))
    }
}

/// Whether the network may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Leave,
    /// The hosts of existing connections are looked up and connected to. No credential is sent.
    Ask,
}

/// What the checks work with.
#[derive(Debug)]
struct Surroundings {
    folders: Folders,
    config: Config,
    workspace: WorkspaceName,
    clock: Clock,
    network: Network,
}

impl Surroundings {
    fn catalogue(&self) -> Catalogue {
        Catalogue::new(&self.folders.connectors())
    }
}

type Group = fn(&Surroundings) -> Vec<Finding>;

/// Looks at everything. `workspace` is what the command line names.
pub fn examine(workspace: Option<String>, network: Network) -> Vec<Finding> {
    let watch = Stopwatch::start();
    let deadline = if network == Network::Ask { DEADLINE + ONLINE_DEADLINE } else { DEADLINE };
    let left = || deadline.saturating_sub(watch.elapsed());
    let mut findings = vec![machine::version()];
    let Some((found, around)) =
        started(move || files::look(workspace, network)).and_then(|files| files.recv_timeout(left()).ok())
    else {
        findings.push(silent("folders", deadline));
        return findings;
    };
    findings.extend(found);
    let groups: &[(&'static str, Group)] = &[
        ("keyring", machine::keyring),
        ("vault", vault::look),
        ("connectors", connections::connectors),
        ("notify", hooks::look),
    ];
    // All of them at once: they wait for different things.
    let running: Vec<_> = around.map(Arc::new).map_or_else(Vec::new, |around| {
        let start = |(name, group): &(&'static str, Group)| {
            let (around, group) = (Arc::clone(&around), *group);
            (*name, started(move || group(&around)))
        };
        groups.iter().map(start).collect()
    });
    for (name, answers) in running {
        match answers.and_then(|answers| answers.recv_timeout(left()).ok()) {
            Some(found) => findings.extend(found),
            None => findings.push(silent(name, deadline)),
        }
    }
    findings.extend(machine::look());
    findings
}

/// Runs it in a thread, which is left behind if it never comes back.
fn started<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<mpsc::Receiver<T>> {
    let (answer, answers) = mpsc::sync_channel(1);
    let spawned = thread::Builder::new().name("doctor".to_owned()).spawn(move || {
        let _ = answer.send(work());
    });
    spawned.ok().map(|_| answers)
}

fn silent(check: &'static str, deadline: Duration) -> Finding {
    let message = format!("this check did not end within {} s", deadline.as_secs());
    let mend = match check {
        "vault" => "see who holds it: `fuser \"$(integ config path --jq .workspaces)\"/*/lock`",
        "keyring" => "unlock it in the desktop's password manager",
        _ => "see whether the disk answers: `ls -l \"$(integ config path --jq .connectors)\"`",
    };
    Finding::problem(check, message, Some(mend.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_comes_back_is_left_behind() {
        let answers = started(|| thread::sleep(Duration::from_secs(60))).unwrap();
        assert!(answers.recv_timeout(Duration::from_millis(10)).is_err());
        assert!(Level::Ok < Level::Warning && Level::Warning < Level::Problem);
    }
}
