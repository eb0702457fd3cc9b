//! `integ vault`.

mod backup;
mod identity;
pub(super) mod new_identity;
pub(super) mod output;

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use self::backup::{BackupArgs, RestoreArgs};
use self::identity::IdentityCommand;
use super::table::{count, table};
use super::ui::{Render, Ui};
use super::value_parser;
use crate::config::TokenStorage;
use crate::error::Result;
use crate::ops::vault::{self as ops, AddRecipientRequest, RemoveRecipientRequest};
use crate::runtime::Workspace;
use crate::vault::{IdentityLocation, LostWritesPolicy, SelfRemoval};
use crate::view::vault::{RecipientListView, RecipientView, VaultLockView, VaultStatusView, VaultUnlockView};

/// Manage the encrypted store and the keys that open it
#[derive(Debug, Args)]
pub(super) struct VaultArgs {
    #[command(subcommand)]
    command: VaultCommand,
}

impl VaultArgs {
    /// Whether it may make the workspace that it works in.
    pub(super) fn makes_workspace(&self) -> bool {
        matches!(self.command, VaultCommand::Restore { .. })
    }
}

#[derive(Debug, Subcommand)]
enum VaultCommand {
    /// Show where the keys and tokens are, and who can open the vault
    Status,
    /// Manage who can open the vault
    Recipients {
        #[command(subcommand)]
        command: Option<RecipientCommand>,
    },
    /// Encrypt the store with a new key
    Rekey,
    /// Save or import the identity, the key that opens your vaults
    Identity {
        #[command(subcommand)]
        command: IdentityCommand,
    },
    /// Write an age-encrypted SQLite snapshot, which `age -d` and `sqlite3` open
    Backup(BackupArgs),
    /// Restore a backup into an empty workspace
    Restore(RestoreArgs),
    /// Verify every page of the store, and that its schema is integ's
    Check {
        /// Accept the store as it is, even if its last writes are missing or unknown
        #[arg(long)]
        accept: bool,
    },
    /// Move the tokens of every connection to the store or the OS keyring
    MoveTokens {
        /// Where to store them
        to: TokenStorageArg,
    },
    /// Move the identity that opens the vaults to the OS keyring, a file, or a file with a passphrase
    MoveIdentity {
        /// Where to store it
        to: IdentityStorageArg,
    },
    /// Keep the identity unlocked for a while, after asking for the passphrase once
    ///
    /// A background process holds the identity in locked memory and opens your vaults for other commands. It never
    /// gives out the identity. It ends after the time is over, with `integ vault lock`, or when the machine restarts.
    Unlock {
        /// How long to keep it unlocked
        #[arg(long = "for", value_name = "TIME", default_value = "8h", value_parser = lifetime)]
        lifetime: Duration,
    },
    /// Lock the identity again after `unlock`
    Lock,
}

#[derive(Debug, Subcommand)]
enum RecipientCommand {
    /// List the recipients
    List,
    /// Let another device, a colleague or CI open the vault
    Add {
        /// Age public key of the recipient
        #[arg(value_name = "AGE1…")]
        recipient: String,
        /// Name for the recipient
        #[arg(long, default_value = "")]
        label: String,
    },
    /// Remove a recipient; follow with `rekey`
    Remove {
        /// Age public key of the recipient
        #[arg(value_name = "AGE1…", add = crate::cli::complete::recipients())]
        recipient: String,
        /// Remove it even if it is your own
        #[arg(long)]
        own: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TokenStorageArg {
    Store,
    Keyring,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum IdentityStorageArg {
    Keyring,
    File,
    Passphrase,
}

impl Render for RecipientListView {
    fn text(&self, ui: &Ui) -> String {
        let row = |recipient: &RecipientView| {
            let whose = if recipient.is_own { "this identity".to_owned() } else { recipient.label.clone() };
            vec![recipient.recipient.clone().into(), whose.into(), recipient.added_at.to_string().into()]
        };
        table(ui, &["recipient", "label", "added"], self.recipients.iter().map(row).collect())
    }
}

impl Render for VaultStatusView {
    fn text(&self, ui: &Ui) -> String {
        let mut rows = vec![
            ("workspace", self.workspace.to_string()),
            ("folder", self.folder.clone()),
            ("identity", format!("{} ({})", self.identity, self.own_recipient)),
            ("recipients", self.recipients.to_string()),
            ("tokens", format!("{} in the store, {} in the OS keyring", self.tokens_in_store, self.tokens_in_keyring)),
            ("created", self.created_at.to_string()),
            ("store", self.store.to_string()),
        ];
        if let Some(until) = &self.unlocked_until {
            rows.push(("unlocked until", until.to_string()));
        }
        if let Some(restored_at) = &self.restored_at {
            rows.push((
                "restored",
                format!("{restored_at}; {} grants may be used up since the backup", self.grants_from_backup),
            ));
        }
        if self.read_only {
            rows.push(("version", "written by a newer integ: read-only here".to_owned()));
        }
        table(
            ui,
            &["property", "value"],
            rows.into_iter().map(|(what, value)| vec![what.into(), value.into()]).collect(),
        )
    }
}

/// Parses how long to keep the vault unlocked: at least a second.
fn lifetime(text: &str) -> std::result::Result<Duration, String> {
    let parsed = value_parser::duration(text)?;
    if parsed < Duration::from_secs(1) { Err("it must be a second or longer".to_owned()) } else { Ok(parsed) }
}

impl Render for VaultUnlockView {
    fn text(&self, _: &Ui) -> String {
        format!("Unlocked until {}; `integ vault lock` locks it again.", self.unlocked_until)
    }
}

impl Render for VaultLockView {
    fn text(&self, _: &Ui) -> String {
        if self.was_unlocked { "Locked.".to_owned() } else { "Already locked.".to_owned() }
    }
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: VaultArgs) -> Result<u8> {
    match args.command {
        VaultCommand::Status => ui.show(&workspace.run(ops::vault_status(workspace))?)?,
        VaultCommand::Recipients { command } => recipients(workspace, ui, command.unwrap_or(RecipientCommand::List))?,
        VaultCommand::Rekey => {
            workspace.run(ops::rekey_vault(workspace))?;
            ui.note("The store is now encrypted with a new key.");
        }
        VaultCommand::Identity { command } => return identity::run(workspace, ui, command),
        VaultCommand::Backup(args) => return backup::run_backup(workspace, ui, args),
        VaultCommand::Restore(args) => return backup::run_restore(workspace, ui, &args),
        VaultCommand::Check { accept } => {
            let lost_writes = if accept { LostWritesPolicy::Accept } else { LostWritesPolicy::Refuse };
            workspace.run(ops::check_vault(workspace, lost_writes))?;
            ui.note("The store is intact.");
        }
        VaultCommand::MoveTokens { to } => {
            let (to, place) = match to {
                TokenStorageArg::Store => (TokenStorage::Store, "the encrypted store"),
                TokenStorageArg::Keyring => (TokenStorage::Keyring, "the OS keyring"),
            };
            let moved = workspace.run(ops::move_tokens(workspace, to))?;
            ui.note(&format!(
                "Moved the tokens of {} to {place}; {} already there.",
                count(moved.moved, "connection"),
                moved.already_moved
            ));
            if workspace.engine.config.vault.tokens != to {
                let word = if to == TokenStorage::Store { "store" } else { "keyring" };
                ui.note(&format!("New connections follow the setting: `integ config set vault.tokens {word}`."));
            }
        }
        VaultCommand::MoveIdentity { to } => {
            let to = match to {
                IdentityStorageArg::Keyring => IdentityLocation::Keyring,
                IdentityStorageArg::File => IdentityLocation::File,
                IdentityStorageArg::Passphrase => IdentityLocation::EncryptedFile,
            };
            workspace.run(ops::move_identity(workspace, to))?;
            ui.note(&format!("The identity is now stored in: {to}."));
            if to == IdentityLocation::EncryptedFile {
                ui.note("Every command asks for its passphrase; `integ vault unlock` asks once for 8 hours.");
            }
        }
        VaultCommand::Unlock { lifetime } => ui.show(&workspace.run(ops::unlock_vault(workspace, lifetime))?)?,
        VaultCommand::Lock => ui.show(&workspace.run(ops::lock_vault(workspace))?)?,
    }
    Ok(0)
}

fn recipients(workspace: &Workspace, ui: &Ui, command: RecipientCommand) -> Result<()> {
    match command {
        RecipientCommand::List => ui.show(&workspace.run(ops::list_recipients(workspace))?)?,
        RecipientCommand::Add { recipient, label } => {
            workspace
                .run(ops::add_recipient(workspace, AddRecipientRequest { recipient: recipient.clone(), label }))?;
            ui.note(&format!("{recipient} can now open the workspace {}.", workspace.name));
        }
        RecipientCommand::Remove { recipient, own } => {
            let own = if own { SelfRemoval::Allow } else { SelfRemoval::Refuse };
            workspace
                .run(ops::remove_recipient(workspace, RemoveRecipientRequest { recipient: recipient.clone(), own }))?;
            ui.note(&format!(
                "Removed {recipient}. It may still have the old key: `integ vault rekey` changes the key."
            ));
        }
    }
    Ok(())
}
