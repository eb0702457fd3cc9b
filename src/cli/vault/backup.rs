//! `integ vault backup` and `integ vault restore`.

use std::path::PathBuf;

use clap::Args;

use super::output::{OutputFile, quoted};
use crate::cli::ui::{Ui, escape};
use crate::env;
use crate::error::Result;
use crate::runtime::App;
use crate::store::{BackupConnection, BackupContents};
use crate::vault::{BackupKey, IdentityLocation, RestoreResult, backup};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  integ vault backup backup.age\n  \
                        integ vault backup backup.age --passphrase\n  \
                        integ vault backup - | ssh host 'cat > backup.age'")]
pub(super) struct BackupArgs {
    /// The new file; `-` is standard output
    #[arg(value_name = "OUT.age")]
    file: PathBuf,
    /// Who can open it, as age1…; the vault's own recipients where none is named
    #[arg(long = "recipient", value_name = "AGE1…")]
    recipients: Vec<String>,
    /// Encrypt it under a passphrase instead, asked for twice or printed by INTEG_PASSPHRASE_COMMAND
    #[arg(long, conflicts_with = "recipients")]
    passphrase: bool,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  integ vault restore backup.age\n  integ -w copy vault restore backup.age --yes\n  \
                        INTEG_IDENTITY_FILE=identity.age integ vault restore backup.age"
)]
pub(super) struct RestoreArgs {
    /// A file of `vault backup`; `-` is standard input
    #[arg(value_name = "IN.age")]
    file: PathBuf,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(super) fn run_backup(app: &App, ui: &Ui, args: BackupArgs) -> Result<u8> {
    let called = "vault backup";
    let Some(output) = OutputFile::new(ui, &args.file, args.force, called)? else {
        ui.note("Nothing was written.");
        return Ok(1);
    };
    let by_identity = !args.passphrase && args.recipients.is_empty();
    let store = app.store()?;
    let key = backup_key(app, args.recipients, args.passphrase)?;
    output.write(&backup(store, &app.token_vault(), &key)?, called)?;
    if let Some(file) = output.file() {
        ui.note(&format!("Wrote {file}. `age -d` and `sqlite3` open it."));
    }
    if by_identity {
        ui.note(
            "Another machine needs the vault's identity to restore it: `integ vault identity export FILE` saves a copy.",
        );
    }
    Ok(0)
}

fn backup_key(app: &App, recipients: Vec<String>, passphrase: bool) -> Result<BackupKey> {
    if passphrase {
        return Ok(BackupKey::Passphrase(app.vault_opener().choose_backup_passphrase()?));
    }
    if !recipients.is_empty() {
        return Ok(BackupKey::Recipients(recipients));
    }
    let vault = app.vault_opener().open_without_store(&app.folders.workspace(&app.workspace))?;
    Ok(BackupKey::Recipients(vault.recipients()?.into_iter().map(|recipient| recipient.recipient).collect()))
}

pub(super) fn run_restore(app: &App, ui: &Ui, args: &RestoreArgs) -> Result<u8> {
    let access = app.vault_opener();
    let backup = access.open_backup(&args.file)?;
    if !args.yes {
        let mut what = vec![format!("This fills the workspace {} from {}:", app.workspace, args.file.display())];
        what.extend(lines(&backup.contents()?));
        // Each line is harmless: what the backup says was escaped.
        if !ui.terminal().confirm(&what.join("\n"))? {
            ui.note("Nothing was changed.");
            return Ok(1);
        }
    }
    let folder = app.folders.workspace(&app.workspace);
    let RestoreResult { contents: restored, new_identity_location: identity_made, identity_location: custody } =
        access.restore(&folder, backup, app.clock.now())?;
    ui.note(&format!("Restored into the workspace {}:", app.workspace));
    for line in lines(&restored) {
        ui.note(&line);
    }
    if !restored.connections.is_empty() {
        ui.warning(
            "the refresh tokens are unverified: one that was used since the backup is dead. `integ test --all` checks them",
        );
    }
    if let Some(custody) = identity_made {
        ui.note(&super::identity_made(app, custody));
    }
    if custody == IdentityLocation::Environment {
        warn_of_environment_identity(app, ui)?;
    }
    Ok(0)
}

/// What a backup holds, and above all where it would send tokens and events. Escaped.
fn lines(restored: &BackupContents) -> Vec<String> {
    let mut lines = vec![format!(
        "  {} connections, {} apps, {} endpoints and {} webhook subscriptions",
        restored.connections.len(),
        restored.apps,
        restored.endpoints.len(),
        restored.subscriptions.len()
    )];
    lines.extend(restored.connections.iter().filter_map(destination));
    let urls = [
        ("endpoint", &restored.endpoints),
        ("subscription", &restored.subscriptions),
        ("webhook URL", &restored.webhooks),
    ];
    for (what, urls) in urls {
        lines.extend(urls.iter().map(|url| format!("  {what}: {}", escape(url))));
    }
    lines
}

/// Where a connection's requests go, unless its connector alone says so.
fn destination(connection: &BackupConnection) -> Option<String> {
    let BackupConnection { name, mode, origin, params } = connection;
    let origin = origin.iter().map(|origin| format!("sends its requests to {origin}"));
    let params = (!params.is_empty()).then(|| {
        let params: Vec<String> = params.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("with {}", params.join(", "))
    });
    let said: Vec<String> = origin.chain(params).collect();
    (!said.is_empty()).then(|| format!("  {} ({}) {}", escape(name), escape(mode), escape(&said.join(", "))))
}

/// A workspace that was restored with an identity from the environment does not open without it.
fn warn_of_environment_identity(app: &App, ui: &Ui) -> Result<()> {
    let access = app.vault_opener();
    let Some((given, _)) = access.identity()? else { return Ok(()) };
    let file = env::var_os(&env::IDENTITY_FILE).map(PathBuf::from);
    let workspace = &app.workspace;
    let import = match (&file, env::var_os(&env::IDENTITY).is_some()) {
        (Some(file), false) => format!("integ vault identity import {}", quoted(file)),
        _ => format!("printenv {} | integ vault identity import -", env::IDENTITY.name),
    };
    match access.current_identity() {
        Ok(Some((kept, _))) if kept.recipient() == given.recipient() => {}
        Ok(Some((kept, _))) => ui.warning(&format!(
            "the identity of this machine does not open the workspace {workspace}. With the one that you gave just now, run \
             `integ -w {workspace} vault recipients add {}`",
            kept.recipient()
        )),
        Ok(None) => ui.warning(&format!(
            "this machine has no identity of its own: without the one that you gave just now the workspace {workspace} does \
             not open. To keep it here, run `{import}`"
        )),
        Err(error) => ui.warning(&format!(
            "the workspace {workspace} opens with the identity that you gave just now; that of this machine could not be \
             read: {error}"
        )),
    }
    Ok(())
}
