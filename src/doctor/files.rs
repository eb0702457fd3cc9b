//! Checks folders, settings and free space.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{DoctorContext, Finding, NetworkAccess};
use crate::clock::Clock;
use crate::config::{self, Config, Folders, ProjectConfig};
use crate::env;
use crate::files::{self, shell_quoted};
use crate::model::WorkspaceName;
use crate::runtime::EnvironmentConnections;

/// Less than this, and the next write may fail.
const MIN_FREE_SPACE: u64 = 16 << 20;

/// Less than this will not last.
const LOW_FREE_SPACE: u64 = 256 << 20;

/// What was found, and what the further checks work with; none where there is no home at all.
pub(super) fn check_files(workspace: Option<String>, network: NetworkAccess) -> (Vec<Finding>, Option<DoctorContext>) {
    let folders = match Folders::from_env() {
        Ok(folders) => folders,
        Err(error) => return (vec![Finding::failure("folders", error)], None),
    };
    let mut findings = folder_findings(&folders);
    findings.extend(home());
    findings.push(check_disk_space(folders.data()));
    let file = folders.config_file();
    let config = match config::load(&file) {
        Ok(config) => {
            let state = if file.exists() { "valid" } else { "not found; using the defaults" };
            findings.push(Finding::ok("settings", format!("{}: {state}", file.display())));
            config
        }
        Err(error) => {
            findings.push(Finding::failure("settings", error));
            Config::default()
        }
    };
    let project = ProjectConfig::find().unwrap_or_else(|error| {
        findings.push(Finding::failure("settings", error));
        ProjectConfig::default()
    });
    let named = workspace.or(project.workspace).unwrap_or_else(|| config.workspace.clone());
    let workspace = WorkspaceName::from_str(&named).unwrap_or_else(|error| {
        findings.push(Finding::failure("settings", error));
        WorkspaceName::default()
    });
    (findings, Some(DoctorContext { folders, config, workspace, clock: Clock::system(), network }))
}

fn folder_findings(folders: &Folders) -> Vec<Finding> {
    let data = folders.data();
    let mut findings = Vec::new();
    let settings = folders.config_file().parent().map(Path::to_owned).unwrap_or_default();
    for folder in [settings, data.to_owned(), folders.workspaces()] {
        findings.extend(trust(&folder));
    }
    // Settings name programs that are run.
    findings.extend(trust(&folders.config_file()));
    // Of a folder that holds the others there is one finding.
    findings.dedup_by(|a, b| a.message == b.message);
    if data.exists() && !is_writable(data) {
        let show = format!("ls -ld {0}; df {0}", shell_quoted(data));
        findings.push(Finding::error("folders", format!("{} cannot be written", data.display()), Some(show)));
    }
    // A user without an entry in the system's list of users has a home such as /nonexistent.
    let nearest = data.ancestors().find(|folder| folder.exists());
    if let Some(nearest) = nearest.filter(|nearest| *nearest != data && !(nearest.is_dir() && is_writable(nearest))) {
        let message = format!("{} cannot be made: {} cannot be written", data.display(), nearest.display());
        let fix = "set INTEG_HOME to a folder of your own: `export INTEG_HOME=/path/to/folder`".to_owned();
        findings.push(Finding::error("folders", message, Some(fix)));
    }
    if findings.is_empty() {
        let state = if data.exists() { "private and writable" } else { "not made yet" };
        findings.push(Finding::ok("folders", format!("{}: {state}", data.display())));
    }
    findings
}

/// What is wrong with `HOME`, if integ's folders are below it: a user of a container or a service often has none.
fn home() -> Option<Finding> {
    let is_given = EnvironmentConnections::from_env().is_ok_and(|environment| environment.is_some());
    if is_given || env::var_os(&env::INTEG_HOME).is_some() {
        return None;
    }
    let home = env::var_os(&env::HOME).map(PathBuf::from)?;
    let wrong = match std::fs::metadata(&home) {
        _ if !home.is_absolute() => "is not an absolute path",
        Ok(metadata) if metadata.is_dir() => return None,
        Ok(_) => "is not a folder",
        Err(_) => "does not exist",
    };
    let message = format!("HOME is {}, which {wrong}", home.display());
    Some(Finding::error("folders", message, Some("export INTEG_HOME=/path/to/a/folder".to_owned())))
}

/// What is wrong with a folder or file that integ trusts, or with a folder above it.
fn trust(path: &Path) -> Option<Finding> {
    files::check_trusted(path).err().map(|error| Finding::failure("folders", error))
}

#[cfg(unix)]
fn is_writable(folder: &Path) -> bool {
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok()
}

#[cfg(not(unix))]
fn is_writable(folder: &Path) -> bool {
    std::fs::metadata(folder).is_ok_and(|metadata| !metadata.permissions().readonly())
}

fn check_disk_space(data: &Path) -> Finding {
    let existing = data.ancestors().find(|folder| folder.exists()).map_or_else(|| PathBuf::from("/"), Path::to_owned);
    let fix = format!("df -h {}", shell_quoted(&existing));
    match free(&existing) {
        Some(free) if free < MIN_FREE_SPACE => {
            Finding::error("disk", format!("{} is left where the vaults are", format_size(free)), Some(fix))
        }
        Some(free) if free < LOW_FREE_SPACE => {
            Finding::warning("disk", format!("{} is left where the vaults are", format_size(free)), fix)
        }
        Some(free) => Finding::ok("disk", format!("{} free", format_size(free))),
        None => Finding::ok("disk", "the file system does not say how much is free"),
    }
}

#[cfg(unix)]
fn free(folder: &Path) -> Option<u64> {
    let status = rustix::fs::statvfs(folder).ok()?;
    // A file system that has no blocks to speak of, as some in containers, says nothing.
    (status.f_blocks > 0).then(|| status.f_bavail.saturating_mul(status.f_frsize))
}

#[cfg(not(unix))]
fn free(_: &Path) -> Option<u64> {
    None
}

/// Bytes in the unit that fits: `512 B`, `3.4 GiB`.
pub(super) fn format_size(bytes: u64) -> String {
    let (mut whole, mut tenths, mut unit) = (bytes, 0, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if whole < 1024 {
            break;
        }
        (tenths, whole, unit) = ((whole % 1024) * 10 / 1024, whole / 1024, next);
    }
    if unit == "B" || whole >= 100 { format!("{whole} {unit}") } else { format!("{whole}.{tenths} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, shown) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1 << 20, "1.0 MiB"), (3_650_722_201, "3.3 GiB")]
        {
            assert_eq!(format_size(bytes), shown);
        }
        assert_eq!(format_size(u64::MAX), "16777215 TiB");
    }
}
