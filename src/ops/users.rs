//! Operations on users: the caller's own end users.

use thiserror::Error;

use super::{Effect, Operation, OperationScope, Reach};
use crate::connect::{self, DisconnectResult};
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::files::shell_quoted;
use crate::model::{Connection, ConsentFilter, UserCounts, UserId};
use crate::runtime::Workspace;
use crate::view::user::{
    DeletedUserView, ErasedConnectionView, UserDetailView, UserListView, UserSummaryView, UserView,
};

/// The operations of this module.
pub const OPERATIONS: &[Operation] = &[
    Operation::local("user list", OperationScope::Users, Effect::Read).reachable_by(Reach::Api),
    Operation::local("user show", OperationScope::Users, Effect::Read).reachable_by(Reach::Api),
    Operation::local("user delete", OperationScope::Users, Effect::Destroy).reachable_by(Reach::Api),
];

/// Why an operation on a user cannot be done.
#[derive(Debug, Error)]
pub enum UserOperationError {
    #[error("user \"{user}\" not found")]
    NotFound { user: UserId },
    #[error("cannot revoke {} of user {user}: {reason}", connections.join(", "))]
    NotRevoked { user: UserId, connections: Vec<String>, reason: String },
}

impl Remedy for UserOperationError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NotFound { .. } => Diagnostic::new(Kind::NotFound, "user_not_found").run("integ user list"),
            Self::NotRevoked { user, .. } => {
                let user = shell_quoted(std::path::Path::new(user.as_str()));
                let erase = format!("integ user delete {user} --force");
                Diagnostic::new(Kind::Partial, "not_revoked")
                    .hint(Hint::new("try again, or erase the user although the grants stay valid:", erase))
            }
        }
    }
}

/// Returns the users that anything names, in the order of their IDs.
pub async fn list_users(workspace: &Workspace) -> Result<UserListView> {
    let counts = match workspace.has_vault() {
        true => workspace.store().await?.users().counts(None).await?,
        false => Vec::new(),
    };
    let connections = counts.iter().map(|user| user.connections).sum();
    Ok(UserListView {
        summary: UserSummaryView::new(counts.len() as u64, connections),
        users: counts.into_iter().map(UserView::from).collect(),
    })
}

/// Returns what belongs to a user.
///
/// # Errors
/// [`UserOperationError::NotFound`].
pub async fn show_user(workspace: &Workspace, user: UserId) -> Result<UserDetailView> {
    let (counts, connections) = find(workspace, &user).await?;
    let store = workspace.store().await?;
    let filter = ConsentFilter { user: Some(user), ..Default::default() };
    let version = workspace.engine.config.consents.policy_version;
    let consents = store.consents().list(&filter, u32::MAX).await?;
    let mut records = 0;
    for connection in &connections {
        for stream in store.streams().list(connection.id).await? {
            records += store.records().count(stream.id).await?;
        }
    }
    Ok(UserDetailView {
        user: counts.user,
        connections: connections.into_iter().map(|connection| connection.name).collect(),
        records,
        links: counts.links,
        consents: consents
            .into_iter()
            .map(|consent| crate::view::consent::ConsentView::new(consent, version))
            .collect(),
    })
}

/// Returns the connections of a user; none if the workspace has no vault yet.
pub(super) async fn connections_of(workspace: &Workspace, user: &UserId) -> Result<Vec<Connection>> {
    let mut connections = match workspace.has_vault() {
        true => workspace.store().await?.connections().list().await?,
        false => Vec::new(),
    };
    connections.retain(|connection| connection.user.as_ref() == Some(user));
    Ok(connections)
}

async fn find(workspace: &Workspace, user: &UserId) -> Result<(UserCounts, Vec<Connection>)> {
    let not_found = || UserOperationError::NotFound { user: user.clone() };
    if !workspace.has_vault() {
        return Err(not_found().into());
    }
    if let Some(audit) = workspace.audit_entry() {
        audit.set_user(user);
    }
    let store = workspace.store().await?;
    let counts = store.users().counts(Some(user)).await?.pop().ok_or_else(not_found)?;
    Ok((counts, connections_of(workspace, user).await?))
}

/// The user to delete.
#[derive(Clone, Debug)]
pub struct DeleteUserRequest {
    pub user: UserId,
    /// Erases connections as well whose grants cannot be revoked.
    pub force: bool,
}

/// Deletes a user: revokes the grants of their connections, and erases everything that names them but audit entries, the
/// pages of the store's file that held it included.
///
/// # Errors
/// [`UserOperationError::NotFound`]; [`UserOperationError::NotRevoked`], after which the user's links and consents are still there.
pub async fn delete_user(workspace: &Workspace, request: DeleteUserRequest) -> Result<DeletedUserView> {
    let DeleteUserRequest { user, force } = request;
    let (counts, connections) = find(workspace, &user).await?;
    let names: Vec<_> = connections.iter().map(|connection| connection.name.clone()).collect();
    let (mut erased, mut failed, mut reason) = (Vec::new(), Vec::new(), None);
    for connection in connections {
        let name = connection.name.clone();
        let (result, error) = match connect::disconnect(workspace, connection.clone(), false).await {
            Ok(result) => (result, None),
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) if force => {
                connect::disconnect(workspace, connection, true).await?;
                (DisconnectResult::LocalOnly, Some(error.on_one_line()))
            }
            Err(error) => {
                failed.push(name.to_string());
                reason.get_or_insert(error.on_one_line());
                continue;
            }
        };
        erased.push(ErasedConnectionView { connection: name, result, error });
    }
    if let Some(reason) = reason {
        return Err(UserOperationError::NotRevoked { user, connections: failed, reason }.into());
    }
    let installed = workspace.store().await?.installed_connectors().list().await?;
    let connectors = installed.into_iter().filter(|row| row.user.as_ref() == Some(&user)).map(|row| row.connector);
    let connectors = connectors.collect();
    let users = workspace.store().await?.users();
    users.erase(&user, &names).await?;
    let purged = users.purge().await?;
    Ok(DeletedUserView {
        user,
        connections: erased,
        links: counts.links,
        consents: counts.consents,
        connectors,
        purged,
    })
}
