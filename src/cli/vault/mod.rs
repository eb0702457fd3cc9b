//! `integ vault`.

mod backup;
mod identity;
mod output;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use self::backup::{BackupArgs, RestoreArgs};
use self::identity::IdentityCommand;
use super::table::table;
use super::ui::{Ui, View};
use crate::config::TokenStorage;
use crate::error::Result;
use crate::runtime::App;
use crate::store::LostWritesPolicy;
use crate::vault::{IdentityLocation, SelfRemoval};

/// Look after the encrypted store and the keys that open it
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
    /// Where the keys and tokens are, and who can open the vault
    Status,
    /// Who can open the vault
    Recipients {
        #[command(subcommand)]
        command: Option<RecipientCommand>,
    },
    /// Encrypt the store anew under a fresh key
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
        /// Accept the store as it is, although its last writes are lost or cannot be counted
        #[arg(long)]
        accept: bool,
    },
    /// Move the tokens of every connection
    MoveTokens { to: TokenStorageArg },
    /// Move the identity that opens the vaults
    MoveIdentity { to: IdentityStorageArg },
}

#[derive(Debug, Subcommand)]
enum RecipientCommand {
    /// List them
    List,
    /// Let another device, a colleague or CI open the vault
    Add {
        #[arg(value_name = "AGE1…")]
        recipient: String,
        /// Whose it is
        #[arg(long, default_value = "")]
        label: String,
    },
    /// Take the right to open it away; follow with `rekey`
    Remove {
        #[arg(value_name = "AGE1…")]
        recipient: String,
        /// Also where it is your own
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

#[derive(Serialize)]
struct RecipientView {
    recipient: String,
    label: String,
    added_at: String,
    own: bool,
}

#[derive(Serialize)]
struct RecipientListView {
    recipients: Vec<RecipientView>,
}

impl View for RecipientListView {
    fn text(&self, ui: &Ui) -> String {
        let row = |recipient: &RecipientView| {
            let whose = if recipient.own { "this identity".to_owned() } else { recipient.label.clone() };
            vec![recipient.recipient.clone().into(), whose.into(), recipient.added_at.clone().into()]
        };
        table(ui, &["recipient", "whose", "added"], self.recipients.iter().map(row).collect())
    }
}

#[derive(Serialize)]
struct VaultStatusView {
    workspace: String,
    folder: String,
    identity: &'static str,
    identity_file: String,
    own_recipient: String,
    recipients: usize,
    tokens_in_store: usize,
    tokens_in_keyring: usize,
    created_at: String,
    restored_at: Option<String>,
    /// Connections that came from a backup and were not refreshed since.
    restored_grants: usize,
    sqlite: &'static str,
    read_only: bool,
}

impl View for VaultStatusView {
    fn text(&self, ui: &Ui) -> String {
        let mut rows = vec![
            ("workspace", self.workspace.clone()),
            ("folder", self.folder.clone()),
            ("identity", format!("{} ({})", self.identity, self.own_recipient)),
            ("recipients", self.recipients.to_string()),
            ("tokens", format!("{} in the store, {} in the OS keyring", self.tokens_in_store, self.tokens_in_keyring)),
            ("created", self.created_at.clone()),
            ("SQLite", self.sqlite.to_owned()),
        ];
        if let Some(restored_at) = &self.restored_at {
            rows.push((
                "restored",
                format!("{restored_at}; {} grants may be used up since the backup", self.restored_grants),
            ));
        }
        if self.read_only {
            rows.push(("version", "written by a newer integ: read-only here".to_owned()));
        }
        table(ui, &["what", ""], rows.into_iter().map(|(what, value)| vec![what.into(), value.into()]).collect())
    }
}

pub(super) fn run(app: &App, ui: &Ui, args: VaultArgs) -> Result<u8> {
    let folder = app.folders.workspace(&app.workspace);
    match args.command {
        VaultCommand::Status => ui.show(&status(app)?)?,
        VaultCommand::Recipients { command } => return recipients(app, ui, command.unwrap_or(RecipientCommand::List)),
        VaultCommand::Rekey => {
            app.vault_opener().open_without_store(&folder)?.rekey()?;
            ui.note("The store is encrypted under a fresh key.");
        }
        VaultCommand::Identity { command } => return identity::run(app, ui, command),
        VaultCommand::Backup(args) => return backup::run_backup(app, ui, args),
        VaultCommand::Restore(args) => return backup::run_restore(app, ui, &args),
        VaultCommand::Check { accept } => {
            let lost = if accept { LostWritesPolicy::Accept } else { LostWritesPolicy::Refuse };
            app.vault_opener().open_without_store(&folder)?.check(lost)?;
            ui.note("Every page of the store is whole.");
        }
        VaultCommand::MoveTokens { to } => {
            let (to, place) = match to {
                TokenStorageArg::Store => (TokenStorage::Store, "the encrypted store"),
                TokenStorageArg::Keyring => (TokenStorage::Keyring, "the OS keyring"),
            };
            let moved = app.token_vault().move_tokens(app.store()?, to)?;
            ui.note(&format!(
                "Moved the tokens of {} connections to {place}; {} were there.",
                moved.moved, moved.already_moved
            ));
            if app.config.vault.tokens != to {
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
            app.vault_opener().move_identity(to, app.clock.now())?;
            ui.note(&format!("The identity is now kept in: {to}."));
        }
    }
    Ok(0)
}

/// What to say, once, of an identity that was just made.
pub(super) fn identity_made(app: &App, custody: IdentityLocation) -> String {
    match custody {
        IdentityLocation::Keyring => "The key to your vaults is in the OS keyring. Save a copy elsewhere: \
             `integ vault identity export identity.age --passphrase`."
            .to_owned(),
        IdentityLocation::EncryptedFile => format!(
            "The key to your vaults is in {}, under your passphrase. Save a copy elsewhere: \
             `integ vault identity export identity.age --passphrase`.",
            app.folders.identity().display()
        ),
        IdentityLocation::File => format!(
            "The key to your vaults is in {}, readable only by you. Save a copy elsewhere: \
             `integ vault identity export identity.age --passphrase`.",
            app.folders.identity().display()
        ),
        IdentityLocation::Environment => "The key to your vaults is the one from the environment.".to_owned(),
    }
}

fn status(app: &App) -> Result<VaultStatusView> {
    let store = app.store()?;
    let vault = app.vault_opener().open_without_store(&app.folders.workspace(&app.workspace))?;
    let meta = store.meta()?;
    let grants = store.grants().list()?;
    let in_keyring = grants.iter().filter(|(_, _, stored)| stored.grant.is_none()).count();
    Ok(VaultStatusView {
        workspace: app.workspace.to_string(),
        folder: app.folders.workspace(&app.workspace).display().to_string(),
        identity: vault.identity_location().as_str(),
        identity_file: app.folders.identity().display().to_string(),
        own_recipient: vault.own_recipient(),
        recipients: vault.recipients()?.len(),
        tokens_in_store: grants.len() - in_keyring,
        tokens_in_keyring: in_keyring,
        created_at: meta.created_at.to_string(),
        restored_at: meta.restored_at.map(|at| at.to_string()),
        restored_grants: store.grants().restored()?.len(),
        sqlite: crate::store::sqlite_version(),
        read_only: store.is_read_only(),
    })
}

fn recipients(app: &App, ui: &Ui, command: RecipientCommand) -> Result<u8> {
    let vault = app.vault_opener().open_without_store(&app.folders.workspace(&app.workspace))?;
    match command {
        RecipientCommand::List => {
            let own = vault.own_recipient();
            let view = |recipient: crate::vault::Recipient| RecipientView {
                own: recipient.recipient == own,
                recipient: recipient.recipient,
                label: recipient.label,
                added_at: recipient.added_at.to_string(),
            };
            ui.show(&RecipientListView { recipients: vault.recipients()?.into_iter().map(view).collect() })?;
        }
        RecipientCommand::Add { recipient, label } => {
            vault.add_recipient(&recipient, &label, app.clock.now())?;
            ui.note(&format!("{recipient} can open the workspace {} now.", app.workspace));
        }
        RecipientCommand::Remove { recipient, own } => {
            vault.remove_recipient(&recipient, if own { SelfRemoval::Allow } else { SelfRemoval::Refuse })?;
            ui.note(&format!("{recipient} is removed. It may have kept the key: `integ vault rekey` changes it."));
        }
    }
    Ok(0)
}
