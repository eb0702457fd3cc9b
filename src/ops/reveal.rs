//! The operation that decides whether the credential of a connection may be handed out.

use super::{Effect, Operation, OperationScope};
use crate::error::Result;
use crate::model::{ConnectionName, RevealPolicy};
use crate::runtime::Workspace;
use crate::view::connection::RevealView;

/// The operations of this module.
pub const OPERATIONS: &[Operation] = &[Operation::local("reveal", OperationScope::Connections, Effect::Write)];

/// Sets whether `token`, `exec`, `export`, `git-credential` and the API may hand out the credential of a connection. Calls,
/// syncs and refreshes go on in any case. The caller asks the owner before it sets [`RevealPolicy::Allowed`].
pub async fn set_reveal_policy(
    workspace: &Workspace,
    connection: &ConnectionName,
    policy: RevealPolicy,
) -> Result<RevealView> {
    let found = workspace.connection(connection).await?;
    workspace.store().await?.connections().set_reveal_policy(found.id, policy).await?;
    Ok(RevealView { connection: found.name, reveal: policy, previous: found.reveal })
}

/// Returns the present policy of a connection.
pub async fn reveal_policy(workspace: &Workspace, connection: &ConnectionName) -> Result<RevealPolicy> {
    Ok(workspace.connection(connection).await?.reveal)
}
