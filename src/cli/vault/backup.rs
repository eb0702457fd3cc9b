//! `integ vault backup` and `integ vault restore`.

use std::path::PathBuf;

use clap::Args;

use super::new_identity::new_identity_note;
use super::output::{OutputFile, quoted};
use crate::cli::table::count;
use crate::cli::ui::{Ui, escape};
use crate::env;
use crate::error::Result;
use crate::ops::vault::{self as ops, BackupProtection};
use crate::runtime::Workspace;
use crate::vault::IdentityLocation;
use crate::view::vault::{BackupConnectionView, BackupContentsView, RestoreView};

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// New file; `-` is standard output
    #[arg(value_name = "OUT.age")]
    file: PathBuf,
    /// Age public key that can open it; repeatable (default: the vault's recipients)
    #[arg(long = "recipient", value_name = "AGE1…")]
    recipients: Vec<String>,
    /// Encrypt it under a passphrase instead, prompted for twice or printed by INTEG_PASSPHRASE_COMMAND
    #[arg(long, conflicts_with = "recipients")]
    passphrase: bool,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
#[command()]
pub(super) struct RestoreArgs {
    /// File of `vault backup`; `-` is standard input
    #[arg(value_name = "IN.age")]
    file: PathBuf,
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
}

pub(super) fn run_backup(workspace: &Workspace, ui: &Ui, args: BackupArgs) -> Result<u8> {
    let called = "vault backup";
    let Some(output) = OutputFile::new(ui, &args.file, args.force, called)? else {
        ui.note("Nothing was written.");
        return Ok(1);
    };
    // Before a passphrase is chosen: nobody should enter it twice for a vault that does not open.
    workspace.run(workspace.store_details())?;
    let protection = match args.recipients {
        _ if args.passphrase => {
            BackupProtection::Passphrase(workspace.engine.vault_opener().choose_backup_passphrase()?)
        }
        recipients if recipients.is_empty() => BackupProtection::VaultRecipients,
        recipients => BackupProtection::Recipients(recipients),
    };
    let by_identity = matches!(protection, BackupProtection::VaultRecipients);
    output.write(&workspace.run(ops::back_up_vault(workspace, protection))?, called)?;
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

pub(super) fn run_restore(workspace: &Workspace, ui: &Ui, args: &RestoreArgs) -> Result<u8> {
    let backup = workspace.engine.vault_opener().open_backup(&args.file)?;
    if !args.yes {
        let mut what = vec![format!("This fills the workspace {} from {}:", workspace.name, args.file.display())];
        what.extend(lines(&ops::preview_backup(&backup)));
        // Each line is harmless: what the backup says was escaped.
        if !ui.terminal().confirm(&what.join("\n"))? {
            ui.note("Nothing was changed.");
            return Ok(1);
        }
    }
    let RestoreView { contents, new_identity_location, identity_location } =
        workspace.run(ops::restore_backup(workspace, backup))?;
    ui.note(&format!("Restored into the workspace {}:", workspace.name));
    for line in lines(&contents) {
        ui.note(&line);
    }
    if !contents.connections.is_empty() {
        ui.warning(
            "the refresh tokens are unverified: any that were used since the backup no longer work. `integ test --all` checks them",
        );
    }
    if let Some(location) = new_identity_location {
        ui.note(&new_identity_note(workspace, location));
    }
    if identity_location == IdentityLocation::Environment {
        warn_of_environment_identity(workspace, ui)?;
    }
    Ok(0)
}

/// What a backup holds, and above all where it would send tokens and events. Escaped.
fn lines(contents: &BackupContentsView) -> Vec<String> {
    let mut lines = vec![format!(
        "  {}, {}, {} and {}",
        count(contents.connections.len(), "connection"),
        count(contents.apps, "app"),
        count(contents.endpoints.len(), "endpoint"),
        count(contents.subscriptions.len(), "webhook subscription")
    )];
    if contents.api_tokens > 0 {
        let command = "`integ api-token update TOKEN --enable` enables one that you know";
        lines.push(format!("  {}, disabled: {command}", count(contents.api_tokens, "API token")));
    }
    lines.extend(contents.connections.iter().filter_map(destination));
    let urls = [
        ("endpoint", &contents.endpoints),
        ("subscription", &contents.subscriptions),
        ("webhook URL", &contents.webhooks),
    ];
    for (what, urls) in urls {
        lines.extend(urls.iter().map(|url| format!("  {what}: {}", escape(url))));
    }
    lines
}

/// Where a connection's requests go, unless its connector alone says so.
fn destination(connection: &BackupConnectionView) -> Option<String> {
    let BackupConnectionView { connection, mode, origin, params } = connection;
    let origin = origin.iter().map(|origin| format!("sends its requests to {origin}"));
    let params = (!params.is_empty()).then(|| {
        let params: Vec<String> = params.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("with {}", params.join(", "))
    });
    let parts: Vec<String> = origin.chain(params).collect();
    (!parts.is_empty()).then(|| format!("  {} ({}) {}", escape(connection), escape(mode), escape(&parts.join(", "))))
}

/// A workspace that was restored with an identity from the environment does not open without it.
fn warn_of_environment_identity(workspace: &Workspace, ui: &Ui) -> Result<()> {
    let access = workspace.engine.vault_opener();
    let Some((identity, _)) = access.identity()? else { return Ok(()) };
    let file = env::var_os(&env::IDENTITY_FILE).map(PathBuf::from);
    let workspace = &workspace.name;
    let import = match (&file, env::var_os(&env::IDENTITY).is_some()) {
        (Some(file), false) => format!("integ vault identity import {}", quoted(file)),
        _ => format!("printenv {} | integ vault identity import -", env::IDENTITY.name),
    };
    match access.current_identity() {
        Ok(Some((own, _))) if own.recipient() == identity.recipient() => {}
        Ok(Some((own, _))) => ui.warning(&format!(
            "the identity of this machine does not open the workspace {workspace}. With the one that you gave just now, run \
             `integ -w {workspace} vault recipients add {}`",
            own.recipient()
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
