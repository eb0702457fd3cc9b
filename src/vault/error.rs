//! What can go wrong between a user and a vault, with the command that mends it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::KeyringError;
use crate::error::{Kind, Remedy};
use crate::files::TrustError;
use crate::store::StoreError;

#[derive(Debug, Error)]
pub enum VaultError {
    #[error("there is no vault in {}", .0.display())]
    Absent(PathBuf),
    #[error("{} is a symbolic link", .0.display())]
    Symlink(PathBuf),
    #[error("{} is not a file", .0.display())]
    NotAFile(PathBuf),
    #[error("{} belongs to another user", .0.display())]
    ForeignOwner(PathBuf),
    #[error("{} can be read or written by others", path.display())]
    WideRights { path: PathBuf, mode: &'static str },
    #[error("{} is on {file_system}, whose locks cannot be relied on", path.display())]
    NetworkFileSystem { path: PathBuf, file_system: &'static str },
    #[error("another integ process holds {}", .0.display())]
    Busy(PathBuf),
    #[error("cannot use {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the store {} is missing", .0.display())]
    StoreMissing(PathBuf),
    #[error("the key file {} is missing", .0.display())]
    SealMissing(PathBuf),
    #[error("{} is damaged: {why}", path.display())]
    SealDamaged { path: PathBuf, why: &'static str },
    #[error("{} is not sealed to this identity, {recipient}", path.display())]
    NotSealedToUs { path: PathBuf, recipient: String },
    #[error("the identity that opens the vaults is missing from {}", .0.display())]
    IdentityMissing(PathBuf),
    #[error("{origin} is not an age identity: {why}")]
    IdentityInvalid { origin: String, why: &'static str },
    #[error("{} asks for 2^{required} rounds of scrypt, more than any honest file", path.display())]
    ExcessiveWork { path: PathBuf, required: u8 },
    #[error("the passphrase does not open {}", .0.display())]
    WrongPassphrase(PathBuf),
    #[error("a passphrase is needed and nobody can be asked")]
    NoPassphrase,
    #[error("the two passphrases differ")]
    PassphraseMismatch,
    #[error("a passphrase cannot be empty")]
    PassphraseEmpty,
    #[error("the passphrase command failed: {why}")]
    PassphraseCommand { why: String, source: Option<io::Error> },
    #[error("the passphrase cannot be asked for")]
    Ask(#[source] io::Error),
    #[error("the OS keyring does not give the identity")]
    Keyring(#[from] KeyringError),
    #[error("the identity is given by {0}, so integ does not keep it")]
    IdentityGiven(&'static str),
    #[error("{0:?} is not an age recipient (age1…)")]
    InvalidRecipient(String),
    #[error("{0} is a recipient already")]
    KnownRecipient(String),
    #[error("{0} is not a recipient of this vault")]
    NoSuchRecipient(String),
    #[error("{0} is the only recipient: without it nobody could open the vault")]
    LastRecipient(String),
    #[error("{0} is this user's own: without it this user could not open the vault")]
    OwnRecipient(String),
    #[error("{} cannot be read as a backup: {why}", path.display())]
    BackupUnreadable { path: PathBuf, why: &'static str },
    #[error("{} is encrypted to an identity, and this machine has none", .0.display())]
    BackupNeedsIdentity(PathBuf),
    #[error("{} is the workspace {made_as:?}: its folder was renamed or swapped", folder.display())]
    Moved { folder: PathBuf, made_as: String },
    #[error("{} holds files that integ did not make: {}", folder.display(), names.join(", "))]
    ForeignFiles { folder: PathBuf, names: Vec<String> },
    #[error("{} exists already", .0.display())]
    OutputExists(PathBuf),
    #[error("there is no folder {}", .0.display())]
    NoFolder(PathBuf),
    #[error("another identity, {kept}, is kept already in {}", path.display())]
    IdentityExists { path: PathBuf, kept: String },
    #[error("the workspace is not empty, and a backup would replace what it holds")]
    NotEmpty,
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

impl Remedy for VaultError {
    fn kind(&self) -> Kind {
        match self {
            Self::Absent(_) | Self::NoSuchRecipient(_) | Self::NoFolder(_) => Kind::NotFound,
            Self::Busy(_) => Kind::Temporary,
            Self::InvalidRecipient(_)
            | Self::KnownRecipient(_)
            | Self::LastRecipient(_)
            | Self::OwnRecipient(_)
            | Self::IdentityGiven(_)
            | Self::PassphraseMismatch
            | Self::PassphraseEmpty
            | Self::OutputExists(_)
            | Self::IdentityExists { .. }
            | Self::NotEmpty => Kind::Usage,
            Self::NetworkFileSystem { .. }
            | Self::Io { .. }
            | Self::BackupUnreadable { .. }
            | Self::ForeignFiles { .. } => Kind::Failed,
            Self::Store(error) => error.kind(),
            Self::Symlink(_)
            | Self::NotAFile(_)
            | Self::ForeignOwner(_)
            | Self::WideRights { .. }
            | Self::StoreMissing(_)
            | Self::SealMissing(_)
            | Self::SealDamaged { .. }
            | Self::NotSealedToUs { .. }
            | Self::Moved { .. }
            | Self::BackupNeedsIdentity(_)
            | Self::IdentityMissing(_)
            | Self::IdentityInvalid { .. }
            | Self::ExcessiveWork { .. }
            | Self::WrongPassphrase(_)
            | Self::NoPassphrase
            | Self::PassphraseCommand { .. }
            | Self::Ask(_)
            | Self::Untrusted(_)
            | Self::Keyring(_) => Kind::Vault,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Absent(_) => "no_such_workspace",
            Self::Symlink(_) | Self::NotAFile(_) | Self::ForeignOwner(_) | Self::WideRights { .. } => "unsafe_file",
            Self::NetworkFileSystem { .. } => "network_file_system",
            Self::Busy(_) => "vault_busy",
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => "read_only",
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "disk_full",
                _ => "io",
            },
            Self::StoreMissing(_) | Self::SealMissing(_) | Self::SealDamaged { .. } => "vault_damaged",
            Self::NotSealedToUs { .. } => "vault_wrong_key",
            Self::IdentityInvalid { .. } => "invalid_identity",
            Self::ExcessiveWork { .. } => "excessive_work",
            Self::IdentityMissing(_)
            | Self::BackupNeedsIdentity(_)
            | Self::WrongPassphrase(_)
            | Self::NoPassphrase
            | Self::PassphraseCommand { .. }
            | Self::Ask(_) => "vault_locked",
            Self::Keyring(error) => error.code(),
            Self::Untrusted(error) => error.code(),
            Self::PassphraseMismatch => "passphrase_mismatch",
            Self::PassphraseEmpty => "passphrase_empty",
            Self::Moved { .. } => "workspace_moved",
            Self::ForeignFiles { .. } => "foreign_files",
            Self::OutputExists(_) => "file_exists",
            Self::NoFolder(_) => "no_such_folder",
            Self::IdentityExists { .. } => "identity_exists",
            Self::IdentityGiven(_) => "identity_given",
            Self::InvalidRecipient(_) => "invalid_recipient",
            Self::KnownRecipient(_) => "known_recipient",
            Self::NoSuchRecipient(_) => "no_such_recipient",
            Self::LastRecipient(_) | Self::OwnRecipient(_) => "recipient_needed",
            Self::BackupUnreadable { .. } => "invalid_backup",
            Self::NotEmpty => "workspace_not_empty",
            Self::Store(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Absent(_) => {
                "integ connect CONNECTOR, which makes it; `integ workspace list` shows those there are".to_owned()
            }
            Self::Symlink(path) => format!("real=$(readlink -f {0}) && rm {0} && mv \"$real\" {0}", quoted(path)),
            Self::NotAFile(path) => format!("ls -ld {}", quoted(path)),
            Self::ForeignOwner(path) => format!("sudo chown \"$USER\" {}", quoted(path)),
            Self::WideRights { path, mode } => format!("chmod {mode} {}", quoted(path)),
            Self::NetworkFileSystem { .. } => {
                "INTEG_HOME=/a/folder/on/a/local/disk integ status, with INTEG_HOME set for good".to_owned()
            }
            Self::Busy(path) => format!("wait or stop it, as `integ serve`; `fuser {}` names it", quoted(path)),
            Self::Io { path, .. } => format!("ls -ld {}", quoted(path)),
            Self::StoreMissing(_) | Self::SealMissing(_) | Self::SealDamaged { .. } => {
                "put the file back, or `integ -w NEW vault restore BACKUP.age`".to_owned()
            }
            Self::NotSealedToUs { recipient, .. } => format!(
                "INTEG_IDENTITY_FILE=FILE integ vault status, with the identity it is sealed to; whoever opens it can add \
                 this one: integ vault recipients add {recipient}"
            ),
            Self::IdentityMissing(_) | Self::IdentityInvalid { .. } | Self::ExcessiveWork { .. } => {
                "INTEG_IDENTITY_FILE=FILE integ vault status, or `integ vault identity import FILE` to keep it here"
                    .to_owned()
            }
            Self::WrongPassphrase(_) => "run it again and type the passphrase again".to_owned(),
            Self::NoPassphrase | Self::PassphraseCommand { .. } | Self::Ask(_) => {
                "INTEG_PASSPHRASE_COMMAND=\"COMMAND THAT PRINTS IT\" integ vault status".to_owned()
            }
            Self::Keyring(error) => return error.hint(),
            Self::Untrusted(error) => return error.hint(),
            Self::PassphraseMismatch => "run it again and type the same passphrase twice".to_owned(),
            Self::PassphraseEmpty => "run it again and type a passphrase".to_owned(),
            Self::BackupNeedsIdentity(path) => format!(
                "INTEG_IDENTITY_FILE=FILE integ vault restore {}, with the FILE that `integ vault identity export FILE` wrote \
                 on the machine of the backup",
                quoted(path)
            ),
            Self::Moved { folder, made_as } => {
                let back = folder.with_file_name(made_as);
                match back.exists() {
                    true => format!("ls -l {}", quoted(folder.parent().unwrap_or(folder))),
                    false => format!("mv {} {}", quoted(folder), quoted(&back)),
                }
            }
            Self::ForeignFiles { folder, .. } => format!("ls -lA {}", quoted(folder)),
            Self::OutputExists(path) => format!("ls -l {}", quoted(path)),
            Self::NoFolder(path) => format!("mkdir -p {}", quoted(path)),
            Self::IdentityExists { path, .. } => format!("mv {0} {0}.old", quoted(path)),
            Self::IdentityGiven(variable) => format!("unset {variable}"),
            Self::InvalidRecipient(_) => {
                "integ vault status prints this user's own; age-keygen -y FILE another's".to_owned()
            }
            Self::KnownRecipient(_) | Self::NoSuchRecipient(_) => "integ vault recipients".to_owned(),
            Self::LastRecipient(_) => "integ vault recipients add RECIPIENT".to_owned(),
            Self::OwnRecipient(recipient) => format!("integ vault recipients remove {recipient} --own"),
            Self::BackupUnreadable { path, .. } => {
                format!("INTEG_IDENTITY_FILE=FILE integ vault restore {}, with an identity that opens it", quoted(path))
            }
            Self::NotEmpty => "integ -w NEW vault restore BACKUP.age".to_owned(),
            Self::Store(error) => return error.hint(),
        })
    }
}

/// A path as a shell takes it.
fn quoted(path: &std::path::Path) -> String {
    let text = path.to_string_lossy();
    match shlex::try_quote(&text) {
        Ok(quoted) => quoted.into_owned(),
        Err(_) => format!("{text:?}"),
    }
}
