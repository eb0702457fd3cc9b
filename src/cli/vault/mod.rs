//! `integ vault`.

mod backup;
mod identity;
pub(super) mod new_identity;
pub(super) mod output;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use self::backup::{BackupArgs, RestoreArgs};
use self::identity::IdentityCommand;
use super::table::{count, table};
use super::ui::{Render, Ui};
use super::value_parser;
use super::workspace::{copies_note, postgres_location};
use crate::config::TokenStorage;
use crate::error::Result;
use crate::ops::vault::{self as ops, AddRecipientRequest, RemoveRecipientRequest};
use crate::runtime::Workspace;
use crate::vault::{IdentityLocation, LostWritesPolicy, MoveTarget, SelfRemoval};
use crate::view::vault::{
    RecipientListView, RecipientView, VaultLockView, VaultMoveView, VaultStatusView, VaultUnlockView,
};

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
    /// Verify all of the store: every page and the schema of a file, every row in PostgreSQL
    Check {
        /// Accept a file as it is, even if its last writes are missing or unknown
        #[arg(long)]
        accept: bool,
    },
    /// Move the workspace into PostgreSQL, or back into a file
    ///
    /// All rows are copied, and both copies compared, before the old one is deleted. A move that is cut short changes
    /// nothing; the same command goes on where it was.
    Move(MoveArgs),
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

#[derive(Debug, Args)]
struct MoveArgs {
    /// Where to: a database of PostgreSQL 15 or later, or `file`
    #[arg(long, value_name = "postgres://USER@HOST/DATABASE|file")]
    to: String,
    /// File with the server's password, which stays where it is (default: `INTEG_STORE_PASSWORD`)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    store_password_file: Option<PathBuf>,
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
            let store = workspace.run(ops::rekey_vault(workspace))?;
            ui.note("The store is now encrypted with a new key.");
            if store.is_shared() {
                let folder = workspace.folder();
                ui.note(&format!(
                    "Other machines need the new vault.age from {} before they can go on.",
                    folder.display()
                ));
            }
        }
        VaultCommand::Identity { command } => return identity::run(workspace, ui, command),
        VaultCommand::Backup(args) => return backup::run_backup(workspace, ui, args),
        VaultCommand::Restore(args) => return backup::run_restore(workspace, ui, &args),
        VaultCommand::Check { accept } => {
            let lost_writes = if accept { LostWritesPolicy::Accept } else { LostWritesPolicy::Refuse };
            workspace.run(ops::check_vault(workspace, lost_writes))?;
            ui.note("The store is intact.");
        }
        VaultCommand::Move(args) => move_vault(workspace, ui, args)?,
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

fn move_vault(workspace: &Workspace, ui: &Ui, args: MoveArgs) -> Result<()> {
    let MoveArgs { to, store_password_file } = args;
    let target = match to.as_str() {
        "file" => MoveTarget::File,
        _ => MoveTarget::Postgres(postgres_location(to, store_password_file)?),
    };
    let moved = workspace.run(ops::move_vault(workspace, target))?;
    ui.show(&moved)?;
    if moved.store.is_shared() {
        ui.note(&copies_note(workspace, &workspace.name));
    }
    Ok(())
}

impl Render for VaultMoveView {
    fn text(&self, _: &Ui) -> String {
        let mut lines = vec![format!("The workspace {} is now in {}.", self.workspace, self.store)];
        if let Some(rows) = self.rows {
            lines.push(format!(
                "{} were copied and are equal.",
                count(usize::try_from(rows).unwrap_or(usize::MAX), "row")
            ));
        }
        if self.tokens_from_keyring > 0 {
            lines.push(format!("The tokens of {} left the OS keyring.", count(self.tokens_from_keyring, "connection")));
        }
        lines.join("\n")
    }
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
