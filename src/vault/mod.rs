//! Vaults: the keys of stores, who can open them, and where secrets are stored.
//!
//! A workspace's folder holds `vault.db`, the encrypted store; `vault.age`, the store's random key and the list of
//! those who may have it, encrypted to them with age; `lock`, held shared by each process that has the store open and alone by
//! one that replaces it; `locks`, those of single connections; and `sequence`, of which there is a second one beside the
//! folder (see `store`). Where the store is in PostgreSQL, `store.toml` takes the place of `vault.db`
//! (see [`PostgresVault`]). A user's identity, the age key that opens `vault.age`, is one for
//! all vaults: the file `identity` is the key, or the key under a passphrase, or a note that the OS keyring has it.
//!
//! Invariants:
//! - Each of the files is replaced whole, so that at any moment one custody and one key are in force. A process killed
//!   anywhere leaves a vault that opens, under exactly one key.
//! - Custody never changes by itself: an identity that is noted to be in the keyring is looked for nowhere else.
//! - A file that others could have written or read is refused, and a vault that does not open is left as it is.
//! - Keys and secrets are in memory and in these files; never in arguments, logs or temporary files.
//!
//! This module knows keys and files. What a connection means it does not know, and SQL is `store`'s.

mod agent;
mod armor;
mod backup;
mod error;
mod identity;
mod identity_file;
mod identity_transfer;
mod keyring;
mod opener;
mod passphrase;
mod postgres_rekey;
mod postgres_vault;
mod sealed_key;
mod store_move;
mod store_replacement;
#[cfg(test)]
mod tests;
mod token_vault;
mod vault_files;

pub use agent::UnlockedIdentity;
pub(crate) use agent::{AGENT_ARGUMENT, serve as serve_agent};
pub use armor::{ArmorError, open_armored, seal_armored};
pub use backup::{
    BackupKey, OpenedBackup, Overwrite, PostgresRestore, Restore, RestoreResult, STANDARD_STREAM, backup, check_output,
    write_output,
};
pub use error::VaultError;
pub use identity::Identity;
pub use identity_file::{IdentityEnvironment, IdentityLocation};
pub use identity_transfer::{ExportProtection, ImportedIdentity};
pub use keyring::{Keyring, KeyringError};
pub use opener::{
    IfAbsent, OpenVault, SelfRemoval, UnlockedVault, Vault, VaultOpener, check_destroyable, destroy, open,
};
pub use passphrase::{NewPassphrase, PassphrasePrompt, PassphraseSource};
pub use postgres_vault::{
    NewPostgresVault, PostgresLocation, PostgresVault, PostgresVaultError, UnlockedPostgresVault, is_in_postgres,
};
pub use sealed_key::Recipient;
pub use store_move::{MoveTarget, StoreMoveResult};
pub use token_vault::{
    ConnectionWithGrant, GrantSaveResult, KeyringWarning, SavedConnection, TokenMoveCounts, TokenVault, TokenVaultError,
};

pub use crate::store::LostWritesPolicy;
