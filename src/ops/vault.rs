//! Operations on the vault. Only the owner at the machine may ask for them: they handle keys.

use zeroize::Zeroizing;

use super::{Effect, Operation, OperationScope};
use crate::config::TokenStorage;
use crate::error::Result;
use crate::runtime::Workspace;
use crate::secret::Secret;
use crate::vault::{
    BackupKey, ExportProtection, IdentityLocation, LostWritesPolicy, OpenedBackup, RestoreResult, SelfRemoval, Vault,
    backup,
};
use crate::view::vault::{
    BackupContentsView, ImportedIdentityView, RecipientListView, RestoreView, TokenMoveView, VaultStatusView,
};

const fn operation(name: &'static str, effect: Effect) -> Operation {
    Operation::local(name, OperationScope::Vault, effect)
}

/// The operations of this module.
pub const OPERATIONS: &[Operation] = &[
    operation("vault status", Effect::Read),
    operation("vault recipients list", Effect::Read),
    operation("vault recipients add", Effect::Write),
    operation("vault recipients remove", Effect::Write),
    operation("vault rekey", Effect::Write),
    operation("vault identity export", Effect::Read),
    operation("vault identity import", Effect::Write),
    operation("vault backup", Effect::Read),
    operation("vault restore", Effect::Write),
    operation("vault check", Effect::Write),
    operation("vault move-tokens", Effect::Write),
    operation("vault move-identity", Effect::Write),
];

/// The workspace's vault without its store, which rekeying and checking open themselves.
fn vault(workspace: &Workspace) -> Result<Vault> {
    Ok(workspace.engine.vault_opener().open_without_store(&workspace.engine.folders.workspace(&workspace.name))?)
}

/// Returns where the keys and tokens of the workspace are.
///
/// # Errors
/// The vault's.
pub async fn vault_status(workspace: &Workspace) -> Result<VaultStatusView> {
    let store = workspace.store()?;
    let vault = vault(workspace)?;
    let meta = store.meta()?;
    let grants = store.grants().list()?;
    let in_keyring = grants.iter().filter(|(_, _, stored)| stored.grant.is_none()).count();
    Ok(VaultStatusView {
        workspace: workspace.name.clone(),
        folder: workspace.engine.folders.workspace(&workspace.name).display().to_string(),
        identity: vault.identity_location(),
        identity_file: workspace.engine.folders.identity().display().to_string(),
        own_recipient: vault.own_recipient(),
        recipients: vault.recipients()?.len(),
        tokens_in_store: grants.len() - in_keyring,
        tokens_in_keyring: in_keyring,
        created_at: meta.created_at,
        restored_at: meta.restored_at,
        grants_from_backup: store.grants().restored()?.len(),
        sqlite: crate::store::sqlite_version(),
        read_only: store.is_read_only(),
    })
}

/// Lists everyone who can open the vault.
///
/// # Errors
/// The vault's.
pub async fn list_recipients(workspace: &Workspace) -> Result<RecipientListView> {
    let vault = vault(workspace)?;
    Ok(RecipientListView::new(vault.recipients()?, &vault.own_recipient()))
}

/// Somebody who is to open the vault.
#[derive(Clone, Debug)]
pub struct AddRecipientRequest {
    /// `age1…`.
    pub recipient: String,
    pub label: String,
}

/// Lets the holder of another identity open the vault, and lists everyone who can.
///
/// # Errors
/// [`crate::vault::VaultError::InvalidRecipient`], [`crate::vault::VaultError::DuplicateRecipient`].
pub async fn add_recipient(workspace: &Workspace, request: AddRecipientRequest) -> Result<RecipientListView> {
    vault(workspace)?.add_recipient(&request.recipient, &request.label, workspace.engine.clock.now())?;
    list_recipients(workspace).await
}

/// Somebody who is to open the vault no longer.
#[derive(Clone, Debug)]
pub struct RemoveRecipientRequest {
    /// `age1…`.
    pub recipient: String,
    /// Whether it may be the user's own.
    pub own: SelfRemoval,
}

/// Seals the key to one recipient fewer. It may have copied the key: [`rekey_vault`] makes that worthless.
///
/// # Errors
/// [`crate::vault::VaultError::RecipientNotFound`], [`crate::vault::VaultError::OwnRecipient`],
/// [`crate::vault::VaultError::LastRecipient`].
pub async fn remove_recipient(workspace: &Workspace, request: RemoveRecipientRequest) -> Result<()> {
    Ok(vault(workspace)?.remove_recipient(&request.recipient, request.own)?)
}

/// Encrypts the store again under a fresh key.
///
/// # Errors
/// The vault's; the store is then under exactly one of both keys.
pub async fn rekey_vault(workspace: &Workspace) -> Result<()> {
    Ok(vault(workspace)?.rekey()?)
}

/// Reads every page of the store, and compares its schema with integ's.
///
/// # Errors
/// The vault's, for the first thing that is damaged.
pub async fn check_vault(workspace: &Workspace, lost_writes: LostWritesPolicy) -> Result<()> {
    Ok(vault(workspace)?.check(lost_writes)?)
}

/// Returns the identity as an identity file.
///
/// # Errors
/// [`crate::vault::VaultError::MissingIdentity`], and those of choosing a passphrase.
pub async fn export_identity(workspace: &Workspace, protection: ExportProtection) -> Result<Zeroizing<Vec<u8>>> {
    Ok(workspace.engine.vault_opener().export_identity(protection, workspace.engine.clock.now())?)
}

/// An identity file to import. It has no `Debug`, which would print the key.
pub struct ImportIdentityRequest {
    /// Where it comes from, for errors.
    pub source: String,
    pub contents: Zeroizing<Vec<u8>>,
}

/// Stores the identity of an identity file as this user's own.
///
/// # Errors
/// [`crate::vault::VaultError::IdentityExists`] for another one that is stored already,
/// [`crate::vault::VaultError::InvalidIdentity`].
pub async fn import_identity(workspace: &Workspace, request: ImportIdentityRequest) -> Result<ImportedIdentityView> {
    Ok(workspace
        .engine
        .vault_opener()
        .import_identity(&request.source, &request.contents, workspace.engine.clock.now())?
        .into())
}

/// Who can open a backup.
#[derive(Clone, Debug)]
pub enum BackupProtection {
    /// Everyone who can open the vault.
    VaultRecipients,
    /// Age recipients, `age1…`.
    Recipients(Vec<String>),
    Passphrase(Secret),
}

/// Returns a backup of the store: an age file that holds a plain SQLite file.
///
/// # Errors
/// [`crate::vault::VaultError::InvalidRecipient`], [`crate::vault::VaultError::Keyring`].
pub async fn back_up_vault(workspace: &Workspace, protection: BackupProtection) -> Result<Vec<u8>> {
    let store = workspace.store()?;
    let key = match protection {
        BackupProtection::Passphrase(passphrase) => BackupKey::Passphrase(passphrase),
        BackupProtection::Recipients(recipients) => BackupKey::Recipients(recipients),
        BackupProtection::VaultRecipients => {
            let recipients = vault(workspace)?.recipients()?;
            BackupKey::Recipients(recipients.into_iter().map(|recipient| recipient.recipient).collect())
        }
    };
    Ok(backup(store, &workspace.engine.token_vault(), &key)?)
}

/// Returns what restoring a backup would bring.
///
/// # Errors
/// The store's.
pub async fn preview_backup(backup: &OpenedBackup) -> Result<BackupContentsView> {
    Ok(backup.contents()?.into())
}

/// Restores a backup into the workspace, which is new or empty.
///
/// # Errors
/// [`crate::vault::VaultError::WorkspaceNotEmpty`], and those of the store: nothing has changed then.
pub async fn restore_backup(workspace: &Workspace, backup: OpenedBackup) -> Result<RestoreView> {
    let folder = workspace.engine.folders.workspace(&workspace.name);
    let RestoreResult { contents, new_identity_location, identity_location } =
        workspace.engine.vault_opener().restore(&folder, backup, workspace.engine.clock.now())?;
    Ok(RestoreView { contents: contents.into(), new_identity_location, identity_location })
}

/// Moves the tokens of every connection to the store or to the OS keyring.
///
/// # Errors
/// [`crate::vault::TokenVaultError`] of the first that cannot be moved; moving again finishes it.
pub async fn move_tokens(workspace: &Workspace, to: TokenStorage) -> Result<TokenMoveView> {
    Ok(workspace.engine.token_vault().move_tokens(workspace.store()?, to)?.into())
}

/// Moves the identity that opens the user's vaults.
///
/// # Errors
/// The vault's; the identity is then where it was.
pub async fn move_identity(workspace: &Workspace, to: IdentityLocation) -> Result<()> {
    Ok(workspace.engine.vault_opener().move_identity(to, workspace.engine.clock.now())?)
}
