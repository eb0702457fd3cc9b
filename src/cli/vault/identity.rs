//! `integ vault identity`: exports and imports the key to the vaults.

use std::io::Read;
use std::path::PathBuf;

use clap::Subcommand;
use zeroize::Zeroizing;

use super::output::OutputFile;
use crate::cli::ui::Ui;
use crate::error::Result;
use crate::ops::vault::{self as ops, ImportIdentityRequest};
use crate::runtime::Workspace;
use crate::vault::{ExportProtection, STANDARD_STREAM, VaultError};

#[derive(Debug, Subcommand)]
pub(super) enum IdentityCommand {
    /// Save a copy of the identity, the key that opens your vaults and their backups
    Export {
        /// New file, readable only by you; `-` is standard output
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Encrypt it under a passphrase, asked for twice or printed by INTEG_PASSPHRASE_COMMAND
        #[arg(long)]
        passphrase: bool,
        /// Replace the file if it exists
        #[arg(long)]
        force: bool,
    },
    /// Store an exported identity on this machine, to open its vaults and backups here
    Import {
        /// File of `identity export` or `age-keygen`; `-` is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, command: IdentityCommand) -> Result<u8> {
    match command {
        IdentityCommand::Export { file, passphrase, force } => {
            let called = "vault identity export";
            let Some(output) = OutputFile::new(ui, &file, force, called)? else {
                ui.note("Nothing was written.");
                return Ok(1);
            };
            let protection = if passphrase { ExportProtection::Passphrase } else { ExportProtection::None };
            let exported = workspace.run(ops::export_identity(workspace, protection))?;
            output.write(&exported, called)?;
            if let Some(file) = output.file() {
                let protected = match protection {
                    ExportProtection::Passphrase => "Its passphrase opens it.",
                    ExportProtection::None => "Anyone with this file can open your vaults and backups.",
                };
                ui.note(&format!("Wrote {file}. {protected} On another machine: `integ vault identity import FILE`."));
            }
        }
        IdentityCommand::Import { file } => {
            let request = ImportIdentityRequest { source: file.display().to_string(), contents: read(&file)? };
            let imported = workspace.run(ops::import_identity(workspace, request))?;
            ui.note(&format!("This machine has the identity {} ({}).", imported.recipient, imported.location));
        }
    }
    Ok(0)
}

/// More than any identity file.
const SIZE_LIMIT: u64 = 64 * 1024;

fn read(file: &PathBuf) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let source: Box<dyn Read> = match file.to_str() {
        Some(STANDARD_STREAM) => Box::new(std::io::stdin().lock()),
        _ => Box::new(std::fs::File::open(file).map_err(|source| VaultError::Io { path: file.clone(), source })?),
    };
    let read = source.take(SIZE_LIMIT + 1).read_to_end(&mut bytes);
    read.map_err(|source| VaultError::Io { path: file.clone(), source })?;
    Ok(bytes)
}
