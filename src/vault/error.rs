//! Errors of vaults, with the commands that fix them.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{KeyringError, PostgresVaultError};
use crate::env;
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::files::TrustError;
use crate::store::StoreError;

/// An error of opening, creating or changing a vault.
#[derive(Debug, Error)]
pub enum VaultError {
    #[error("no vault in {}", .0.display())]
    NotFound(PathBuf),
    #[error("{} is a symbolic link", .0.display())]
    Symlink(PathBuf),
    #[error("{} is not a file", .0.display())]
    NotAFile(PathBuf),
    #[error("{} belongs to another user", .0.display())]
    ForeignOwner(PathBuf),
    #[error("{} can be read or written by others", path.display())]
    InsecurePermissions { path: PathBuf, mode: &'static str },
    #[error("{} is on {file_system}, whose locks are not reliable", path.display())]
    NetworkFileSystem { path: PathBuf, file_system: &'static str },
    #[error("another integ process holds {}", .0.display())]
    Locked(PathBuf),
    #[error("cannot access {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the store {} is missing", .0.display())]
    MissingStore(PathBuf),
    #[error("the key file {} is missing", .0.display())]
    MissingSealedKey(PathBuf),
    #[error("{} is damaged: {reason}", path.display())]
    DamagedSealedKey { path: PathBuf, reason: &'static str },
    #[error("{} is not sealed to this identity, {recipient}", path.display())]
    NotARecipient { path: PathBuf, recipient: String },
    #[error("the identity that opens the vaults is not in {}", .0.display())]
    MissingIdentity(PathBuf),
    #[error("{origin} is not an age identity: {reason}")]
    InvalidIdentity { origin: String, reason: &'static str },
    #[error("{} asks for 2^{required} rounds of scrypt, more than is allowed", path.display())]
    ExcessiveWork { path: PathBuf, required: u8 },
    #[error("the passphrase does not open {}", .0.display())]
    WrongPassphrase(PathBuf),
    #[error("a passphrase is needed, but integ is not running in a terminal")]
    MissingPassphrase,
    #[error("the passphrases do not match")]
    PassphraseMismatch,
    #[error("a passphrase cannot be empty")]
    EmptyPassphrase,
    #[error("the passphrase command failed: {reason}")]
    PassphraseCommand { reason: String, source: Option<io::Error> },
    #[error("cannot ask for the passphrase")]
    PassphrasePrompt(#[source] io::Error),
    #[error("the identity has no passphrase; there is nothing to unlock")]
    NoPassphrase,
    #[error("cannot start the agent that keeps the vault unlocked")]
    AgentStart(#[source] io::Error),
    #[error("the vault was locked while this command was opening it")]
    AgentStopped,
    #[error("cannot read the identity from the OS keyring")]
    Keyring(#[from] KeyringError),
    #[error("the identity comes from {0}, so integ does not store it")]
    IdentityFromEnvironment(&'static str),
    #[error("{0:?} is not an age recipient (age1…)")]
    InvalidRecipient(String),
    #[error("that is a secret key; give the public key (age1…)")]
    SecretKeyAsRecipient,
    #[error("{0} is already a recipient")]
    DuplicateRecipient(String),
    #[error("{0} is not a recipient of this vault")]
    RecipientNotFound(String),
    #[error("{0} is the only recipient; without it the vault could not be opened")]
    LastRecipient(String),
    #[error("{0} is your own recipient; without it you could not open the vault")]
    OwnRecipient(String),
    #[error("cannot read {} as a backup: {reason}", path.display())]
    InvalidBackup { path: PathBuf, reason: &'static str },
    #[error("{} is encrypted to an identity, but this machine has none", .0.display())]
    BackupNeedsIdentity(PathBuf),
    #[error("{} belongs to workspace {sealed_workspace:?}: its folder was renamed or swapped", folder.display())]
    WorkspaceMismatch { folder: PathBuf, sealed_workspace: String },
    #[error("{} contains files that integ did not create: {}", folder.display(), names.join(", "))]
    ForeignFiles { folder: PathBuf, names: Vec<String> },
    #[error("{} already exists", .0.display())]
    OutputExists(PathBuf),
    #[error("folder {} not found", .0.display())]
    FolderNotFound(PathBuf),
    #[error("another identity, {kept}, is already stored in {}", path.display())]
    IdentityExists { path: PathBuf, kept: String },
    #[error("the workspace is not empty, and restoring would replace its contents")]
    WorkspaceNotEmpty,
    #[error(transparent)]
    Postgres(#[from] PostgresVaultError),
    #[error(transparent)]
    Untrusted(#[from] TrustError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl VaultError {
    /// An I/O error at `path`, for `map_err`.
    pub(super) fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

impl VaultError {
    /// The error of a text that is not a recipient. A secret key in its place is not repeated.
    pub(super) fn invalid_recipient(text: String) -> Self {
        let is_secret = text.to_ascii_uppercase().contains("AGE-SECRET-KEY-");
        if is_secret { Self::SecretKeyAsRecipient } else { Self::InvalidRecipient(text) }
    }

    /// The diagnostic of an error of passphrases, and of the agent that replaces them.
    fn passphrase_diagnostic(&self) -> Diagnostic {
        match self {
            Self::WrongPassphrase(_) => locked(Hint::text("run it again and type the passphrase again")),
            Self::PassphrasePrompt(source) if source.kind() == io::ErrorKind::Interrupted => {
                Diagnostic::new(Kind::Interrupted, "interrupted")
            }
            Self::NoPassphrase => Diagnostic::new(Kind::Failed, "no_passphrase")
                .hint(Hint::new("to protect it with one:", "integ vault move-identity passphrase")),
            Self::AgentStart(source) => Diagnostic::new(Kind::Failed, io_code(source)).run("integ doctor"),
            Self::AgentStopped => locked(Hint::run("integ vault unlock")),
            Self::PassphraseMismatch => Diagnostic::new(Kind::Usage, "passphrase_mismatch")
                .hint(Hint::text("run it again and type the same passphrase twice")),
            Self::EmptyPassphrase => {
                Diagnostic::new(Kind::Usage, "empty_passphrase").hint(Hint::text("run it again and type a passphrase"))
            }
            _ => locked(Hint::run("INTEG_PASSPHRASE_COMMAND=\"COMMAND THAT PRINTS IT\" integ vault status")),
        }
    }
}

impl Remedy for VaultError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NotFound(_) => Diagnostic::new(Kind::NotFound, "workspace_not_found")
                .hint(Hint::new("`integ connect CONNECTOR` creates it; list the workspaces:", "integ workspace list")),
            Self::Symlink(path) => {
                unsafe_file(format!("real=$(readlink -f {0}) && rm {0} && mv \"$real\" {0}", quoted(path)))
            }
            Self::NotAFile(path) => unsafe_file(format!("ls -ld {}", quoted(path))),
            Self::ForeignOwner(path) => unsafe_file(format!("sudo chown \"$USER\" {}", quoted(path))),
            Self::InsecurePermissions { path, mode } => unsafe_file(format!("chmod {mode} {}", quoted(path))),
            Self::NetworkFileSystem { .. } => Diagnostic::new(Kind::Failed, "network_file_system").hint(Hint::new(
                "set INTEG_HOME permanently, as in",
                "INTEG_HOME=/a/folder/on/a/local/disk integ status",
            )),
            Self::Locked(path) => Diagnostic::new(Kind::Temporary, "vault_busy")
                .hint(Hint::new("wait, or stop the process that uses it:", format!("fuser {}", quoted(path)))),
            Self::Io { path, source } => {
                Diagnostic::new(Kind::Failed, io_code(source)).run(format!("ls -ld {}", quoted(path)))
            }
            Self::MissingStore(_) | Self::MissingSealedKey(_) | Self::DamagedSealedKey { .. } => {
                Diagnostic::new(Kind::Vault, "vault_damaged")
                    .hint(Hint::new("put the file back, or", "integ -w NEW vault restore BACKUP.age"))
            }
            Self::NotARecipient { recipient, .. } => {
                Diagnostic::new(Kind::Vault, "vault_wrong_key").hint(join_recipients(recipient))
            }
            Self::InvalidIdentity { origin, .. } => {
                Diagnostic::new(Kind::Vault, "invalid_identity").hint(valid_identity(origin))
            }
            Self::ExcessiveWork { .. } => Diagnostic::new(Kind::Vault, "excessive_work_factor").hint(name_identity()),
            Self::MissingIdentity(_) => locked(name_identity()),
            Self::BackupNeedsIdentity(path) => locked(Hint::new(
                "give the file that `integ vault identity export FILE` wrote on the machine of the backup:",
                restore_as(path),
            )),
            Self::WrongPassphrase(_)
            | Self::PassphrasePrompt(_)
            | Self::MissingPassphrase
            | Self::PassphraseCommand { .. }
            | Self::PassphraseMismatch
            | Self::EmptyPassphrase
            | Self::NoPassphrase
            | Self::AgentStart(_)
            | Self::AgentStopped => self.passphrase_diagnostic(),
            Self::Keyring(error) => error.diagnostic(),
            Self::Untrusted(error) => Diagnostic { kind: Kind::Vault, ..error.diagnostic() },
            Self::WorkspaceMismatch { folder, sealed_workspace: made_as } => {
                Diagnostic::new(Kind::Vault, "workspace_mismatch").run(move_back(folder, made_as))
            }
            Self::ForeignFiles { folder, .. } => {
                Diagnostic::new(Kind::Failed, "foreign_files").run(format!("ls -lA {}", quoted(folder)))
            }
            Self::OutputExists(path) => usage("file_exists", format!("ls -l {}", quoted(path))),
            Self::FolderNotFound(path) => {
                Diagnostic::new(Kind::NotFound, "folder_not_found").run(format!("mkdir -p {}", quoted(path)))
            }
            Self::IdentityExists { path, .. } => usage("identity_exists", format!("mv {0} {0}.old", quoted(path))),
            Self::IdentityFromEnvironment(variable) => usage("identity_from_environment", format!("unset {variable}")),
            Self::InvalidRecipient(_) => Diagnostic::new(Kind::Usage, "invalid_recipient").hint(Hint::new(
                "`age-keygen -y FILE` prints the public key of an identity file; this prints your own:",
                "integ vault status",
            )),
            Self::SecretKeyAsRecipient => Diagnostic::new(Kind::Usage, "invalid_recipient")
                .hint(Hint::new("print the public key of an identity file:", "age-keygen -y FILE")),
            Self::DuplicateRecipient(_) => usage("duplicate_recipient", "integ vault recipients"),
            Self::RecipientNotFound(_) => {
                Diagnostic::new(Kind::NotFound, "recipient_not_found").run("integ vault recipients")
            }
            Self::LastRecipient(_) => usage("recipient_required", "integ vault recipients add RECIPIENT"),
            Self::OwnRecipient(recipient) => {
                usage("recipient_required", format!("integ vault recipients remove {recipient} --own"))
            }
            Self::InvalidBackup { path, .. } => Diagnostic::new(Kind::Failed, "invalid_backup")
                .hint(Hint::new("give an identity that opens it:", restore_as(path))),
            Self::Postgres(error) => error.diagnostic(),
            Self::WorkspaceNotEmpty => usage("workspace_not_empty", "integ -w NEW vault restore BACKUP.age"),
            Self::Store(error) => error.diagnostic(),
        }
    }
}

fn unsafe_file(command: String) -> Diagnostic {
    Diagnostic::new(Kind::Vault, "unsafe_file").run(command)
}

fn locked(hint: Hint) -> Diagnostic {
    Diagnostic::new(Kind::Vault, "vault_locked").hint(hint)
}

fn usage(code: &'static str, command: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Kind::Usage, code).run(command)
}

fn io_code(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => "read_only",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "disk_full",
        _ => "io",
    }
}

fn join_recipients(recipient: &str) -> Hint {
    let text = format!(
        "someone who can open it can add this identity with `integ vault recipients add {recipient}`; \
         or give the identity that it is sealed to:"
    );
    Hint::new(text, "INTEG_IDENTITY_FILE=FILE integ vault status")
}

fn restore_as(backup: &Path) -> String {
    format!("INTEG_IDENTITY_FILE=FILE integ vault restore {}", quoted(backup))
}

/// The command that gives a workspace's folder its name back, unless another workspace has the name.
fn move_back(folder: &Path, sealed_workspace: &str) -> String {
    let original = folder.with_file_name(sealed_workspace);
    if original.exists() {
        return format!("ls -l {}", quoted(folder.parent().unwrap_or(folder)));
    }
    format!("mv {} {}", quoted(folder), quoted(&original))
}

fn valid_identity(origin: &str) -> Hint {
    if origin != env::IDENTITY.name {
        return name_identity();
    }
    Hint::text(
        "set INTEG_IDENTITY to the secret key, AGE-SECRET-KEY-1…, or INTEG_IDENTITY_FILE to the path of its file",
    )
}

fn name_identity() -> Hint {
    let command = "INTEG_IDENTITY_FILE=FILE integ vault status";
    Hint::new("import it with `integ vault identity import FILE`, or set its file:", command)
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    match shlex::try_quote(&text) {
        Ok(quoted) => quoted.into_owned(),
        Err(_) => format!("{text:?}"),
    }
}
