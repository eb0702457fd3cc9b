//! Further users of the machine. Only root can become them.
#![cfg(unix)]

use std::ffi::OsStr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::harness::{copy_program, is_root, needs};

/// The user who runs integ.
pub const VICTIM: u32 = 61_001;
/// The user who attacks.
pub const MALLORY: u32 = 61_002;

/// A user with an own home and a copy of the binary, because the build folder may lie where only root can look.
pub struct User {
    uid: u32,
    folder: TempDir,
}

impl User {
    /// Absent unless root runs the tests.
    pub fn new(uid: u32) -> Option<Self> {
        if !needs("root, to act as a second user", is_root()) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let own = |path: &Path, mode: u32| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
            chown(path, Some(uid), Some(uid)).unwrap();
        };
        let binary = folder.path().join("integ");
        copy_program(&binary);
        own(&binary, 0o755);
        own(folder.path(), 0o755);
        Some(Self { uid, folder })
    }

    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The home folder, readable by everybody and writable by the user.
    pub fn home(&self) -> &Path {
        self.folder.path()
    }

    /// `INTEG_HOME`.
    pub fn integ_home(&self) -> PathBuf {
        self.home().join("data")
    }

    /// integ, run by this user.
    pub fn integ(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = self.program(self.home().join("integ"));
        command.args(arguments);
        command
    }

    /// A program, run by this user in a clean environment.
    pub fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .uid(self.uid)
            .gid(self.uid)
            .env_clear()
            .env("INTEG_HOME", self.integ_home())
            .env("HOME", self.home())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir(self.home())
            .stdin(Stdio::null());
        command
    }
}
