//! Operations on the vault, for the owner at the machine only, because they handle keys.

use std::time::Duration;

use zeroize::Zeroizing;

use super::{Effect, Operation, OperationScope};
use crate::clock::Timestamp;
use crate::config::TokenStorage;
use crate::error::Result;
use crate::runtime::Workspace;
use crate::secret::Secret;
use crate::task::blocking;
use crate::vault::{
    self, BackupKey, ExportProtection, IdentityLocation, IfAbsent, LostWritesPolicy, MoveTarget, OpenedBackup,
    PostgresLocation, Restore, RestoreResult, SelfRemoval, Vault, VaultError,
};
use crate::view::vault::{
    BackupContentsView, ImportedIdentityView, RecipientListView, RestoreView, TokenMoveView, VaultLockView,
    VaultMoveView, VaultStatusView, VaultUnlockView,
};
use crate::view::workspace::StoreView;

const fn operation(name: &'static str, effect: Effect) -> Operation {
    Operation::local(name, OperationScope::Vault, effect)
}

/// The operations of this module.
pub const OPERATIONS: &[Operation] = &[
    operation("vault status", Effect::Read),
    operation("vault recipients list", Effect::Read),
    operation("vault recipients add", Effect::Write),
    operation("vault recipients remove", Effect::Write),
    operation("vault move", Effect::Write),
    operation("vault rekey", Effect::Write),
    operation("vault identity export", Effect::Read),
    operation("vault identity import", Effect::Write),
    operation("vault backup", Effect::Read),
    operation("vault restore", Effect::Write),
    operation("vault check", Effect::Write),
    operation("vault move-tokens", Effect::Write),
    operation("vault move-identity", Effect::Write),
    operation("vault unlock", Effect::Write),
    operation("vault lock", Effect::Write),
];

/// Returns the workspace's vault without its store, which rekeying, checking and moving open themselves.
async fn vault_of(workspace: &Workspace) -> Result<Vault> {
    let folder = workspace.folder();
    Ok(workspace.engine.with_vaults(move |vaults| vaults.open_without_store(&folder)).await?)
}

/// Runs work on the workspace's vault without its store.
async fn with_vault<T: Send + 'static>(
    workspace: &Workspace,
    work: impl FnOnce(Vault) -> Result<T, VaultError> + Send + 'static,
) -> Result<T, VaultError> {
    let folder = workspace.folder();
    workspace.engine.with_vaults(move |vaults| work(vaults.open_without_store(&folder)?)).await
}

/// Asks the person at the terminal for the passphrase of the vault's identity, and checks it. Returns whether the identity is
/// under a passphrase: if not, nothing was asked.
///
/// # Errors
/// [`VaultError::WrongPassphrase`]; [`VaultError::MissingPassphrase`] without a terminal.
pub async fn ask_passphrase(workspace: &Workspace) -> Result<bool> {
    Ok(workspace.engine.with_vaults(|vaults| vaults.ask_passphrase()).await?)
}

/// Returns where the keys and tokens of the workspace are.
///
/// # Errors
/// The vault's.
pub async fn vault_status(workspace: &Workspace) -> Result<VaultStatusView> {
    let details = workspace.store_details().await?;
    let grants = workspace.store().await?.grants();
    let (stored, restored) = (grants.list().await?, grants.restored().await?);
    let in_keyring = stored.iter().filter(|(_, stored)| stored.grant.is_none()).count();
    let (name, folder) = (workspace.name.clone(), workspace.folder());
    let identity_file = workspace.engine.folders.identity();
    let now = workspace.clock.now();
    let unlocked = workspace.engine.with_vaults(|vaults| vaults.unlocked_identity()).await?;
    let status = with_vault(workspace, move |vault| {
        Ok(VaultStatusView {
            workspace: name,
            folder: folder.display().to_string(),
            identity: vault.identity_location(),
            identity_file: identity_file.display().to_string(),
            unlocked_until: unlocked.and_then(|unlocked| now.checked_add(unlocked.remaining).ok()),
            own_recipient: vault.own_recipient(),
            recipients: vault.recipients()?.len(),
            tokens_in_store: stored.len() - in_keyring,
            tokens_in_keyring: in_keyring,
            created_at: details.created_at,
            restored_at: details.restored_at,
            grants_from_backup: restored.len(),
            read_only: details.read_only,
            store: details.into(),
        })
    });
    Ok(status.await?)
}

/// Lists everyone who can open the vault.
///
/// # Errors
/// The vault's.
pub async fn list_recipients(workspace: &Workspace) -> Result<RecipientListView> {
    let list = with_vault(workspace, |vault| Ok(RecipientListView::new(vault.recipients()?, &vault.own_recipient())));
    Ok(list.await?)
}

/// A recipient to add.
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
    let now = workspace.clock.now();
    with_vault(workspace, move |vault| vault.add_recipient(&request.recipient, &request.label, now)).await?;
    list_recipients(workspace).await
}

/// A recipient to remove.
#[derive(Clone, Debug)]
pub struct RemoveRecipientRequest {
    /// `age1…`.
    pub recipient: String,
    /// Whether the user's own recipient may be removed.
    pub own: SelfRemoval,
}

/// Removes a recipient. Its owner may have copied the key, which [`rekey_vault`] replaces.
///
/// # Errors
/// [`crate::vault::VaultError::RecipientNotFound`], [`crate::vault::VaultError::OwnRecipient`],
/// [`crate::vault::VaultError::LastRecipient`].
pub async fn remove_recipient(workspace: &Workspace, request: RemoveRecipientRequest) -> Result<()> {
    Ok(with_vault(workspace, move |vault| vault.remove_recipient(&request.recipient, request.own)).await?)
}

/// Encrypts the store with a new key, and returns where it is.
///
/// # Errors
/// The vault's; the store then has exactly one of the two keys.
pub async fn rekey_vault(workspace: &Workspace) -> Result<StoreView> {
    Box::pin(vault_of(workspace).await?.rekey()).await?;
    Ok(workspace.store_details().await?.into())
}

/// Moves the workspace into PostgreSQL, with the tokens that are in the OS keyring, or into a file.
///
/// # Errors
/// The vault's; the workspace is then where it was, and moving again goes on.
pub async fn move_vault(workspace: &Workspace, target: MoveTarget) -> Result<VaultMoveView> {
    let vault = vault_of(workspace).await?;
    let (tokens, now) = (&workspace.engine.token_vault, workspace.clock.now());
    let moved = Box::pin(vault.move_store(target, tokens, now)).await?;
    Ok(VaultMoveView {
        workspace: workspace.name.clone(),
        store: workspace.store_details().await?.into(),
        rows: moved.rows,
        tokens_from_keyring: moved.tokens_from_keyring,
    })
}

/// Reads all of the store: every page of a file, whose schema is compared with integ's, or every row in PostgreSQL.
///
/// # Errors
/// The vault's, for the first thing that is damaged.
pub async fn check_vault(workspace: &Workspace, lost_writes: LostWritesPolicy) -> Result<()> {
    Ok(Box::pin(vault_of(workspace).await?.check(lost_writes)).await?)
}

/// Returns the identity as an identity file.
///
/// # Errors
/// [`crate::vault::VaultError::MissingIdentity`], and those of choosing a passphrase.
pub async fn export_identity(workspace: &Workspace, protection: ExportProtection) -> Result<Zeroizing<Vec<u8>>> {
    let now = workspace.clock.now();
    Ok(workspace.engine.with_vaults(move |vaults| vaults.export_identity(protection, now)).await?)
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
    let now = workspace.clock.now();
    let ImportIdentityRequest { source, contents } = request;
    Ok(workspace.engine.with_vaults(move |vaults| vaults.import_identity(&source, &contents, now)).await?.into())
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

/// Returns a backup of the store: an age file that contains a plain SQLite file.
///
/// # Errors
/// [`crate::vault::VaultError::InvalidRecipient`], [`crate::vault::VaultError::Keyring`].
pub async fn back_up_vault(workspace: &Workspace, protection: BackupProtection) -> Result<Vec<u8>> {
    let store = workspace.store().await?;
    let key = match protection {
        BackupProtection::Passphrase(passphrase) => BackupKey::Passphrase(passphrase),
        BackupProtection::Recipients(recipients) => BackupKey::Recipients(recipients),
        BackupProtection::VaultRecipients => {
            let recipients = with_vault(workspace, |vault| vault.recipients()).await?;
            BackupKey::Recipients(recipients.into_iter().map(|recipient| recipient.recipient).collect())
        }
    };
    let keyring_grants = workspace.engine.token_vault.keyring_grants(store).await?;
    workspace.back_up(keyring_grants, key).await
}

/// Returns the contents of a backup.
pub fn preview_backup(backup: &OpenedBackup) -> BackupContentsView {
    backup.contents().clone().into()
}

/// Restores a backup into the workspace, which is new or empty.
///
/// # Errors
/// [`crate::vault::VaultError::WorkspaceNotEmpty`], and those of the store: nothing has changed then.
pub async fn restore_backup(workspace: &Workspace, backup: OpenedBackup) -> Result<RestoreView> {
    let (folder, now) = (workspace.folder(), workspace.clock.now());
    if PostgresLocation::from_env().is_none() || folder.exists() {
        return restore(workspace, backup, now).await;
    }
    // A new workspace is created on the server, and the backup then takes the place of the empty one.
    let opened = workspace.engine.open_store(folder.clone(), IfAbsent::Create { now }).await?;
    let created_identity = opened.new_identity_location();
    drop(opened);
    match restore(workspace, backup, now).await {
        Ok(view) => Ok(RestoreView { new_identity_location: created_identity.or(view.new_identity_location), ..view }),
        Err(error) => {
            // Unless somebody has used the new workspace meanwhile.
            let opened = workspace.engine.open_store(folder.clone(), IfAbsent::Fail).await;
            let is_deleted = match opened {
                Ok(opened) => opened.delete_from_server_if_empty().await.unwrap_or(false),
                Err(_) => false,
            };
            if is_deleted {
                let _ = blocking(move || vault::destroy(&folder)).await;
            }
            Err(error)
        }
    }
}

async fn restore(workspace: &Workspace, backup: OpenedBackup, now: Timestamp) -> Result<RestoreView> {
    let folder = workspace.folder();
    let restored = workspace.engine.with_vaults(move |vaults| vaults.restore(&folder, backup, now)).await?;
    let RestoreResult { contents, new_identity_location, identity_location } = match restored {
        Restore::File(result) => result,
        Restore::Postgres(restore) => Box::pin(restore.finish()).await?,
    };
    Ok(RestoreView { contents: contents.into(), new_identity_location, identity_location })
}

/// Moves the tokens of every connection to the store or to the OS keyring.
///
/// # Errors
/// [`crate::vault::TokenVaultError`] of the first that cannot be moved; moving again finishes it.
pub async fn move_tokens(workspace: &Workspace, to: TokenStorage) -> Result<TokenMoveView> {
    Ok(workspace.engine.token_vault.move_tokens(workspace.store().await?, to).await?.into())
}

/// Moves the identity that opens the user's vaults.
///
/// # Errors
/// The vault's; the identity is then where it was.
pub async fn move_identity(workspace: &Workspace, to: IdentityLocation) -> Result<()> {
    let now = workspace.clock.now();
    Ok(workspace.engine.with_vaults(move |vaults| vaults.move_identity(to, now)).await?)
}

/// Asks for the passphrase of the identity, and keeps the identity unlocked for this long in a background process.
///
/// # Errors
/// [`VaultError::NoPassphrase`], [`VaultError::WrongPassphrase`], [`VaultError::AgentStart`].
pub async fn unlock_vault(workspace: &Workspace, lifetime: Duration) -> Result<VaultUnlockView> {
    let unlocked = workspace.engine.with_vaults(move |vaults| vaults.unlock_identity(lifetime)).await?;
    let until = workspace.clock.now().checked_add(unlocked.remaining).unwrap_or(Timestamp::MAX);
    Ok(VaultUnlockView { unlocked_until: until })
}

/// Ends the process that keeps the identity unlocked.
///
/// # Errors
/// None: without such a process, the vault is already locked.
pub async fn lock_vault(workspace: &Workspace) -> Result<VaultLockView> {
    let was_unlocked = workspace.engine.with_vaults(|vaults| Ok(vaults.forget_unlocked_identity())).await?;
    Ok(VaultLockView { was_unlocked })
}
