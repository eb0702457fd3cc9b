//! Who makes a request: the holder of an API token or an operator, in which workspace, and with which connections.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::problem::{Problem, RequestError};
use super::usage::UsageLog;
use crate::error::Result;
use crate::http::serve::header::{AUTHORIZATION, HeaderMap, WWW_AUTHENTICATE};
use crate::model::{ApiScope, ApiToken, ApprovalPolicy, AuditActor, ConnectionAccess, Operator, ScopeGrant};
use crate::ops::agents::CredentialRegistry;
use crate::ops::api_tokens::{self, ApiTokenError};
use crate::runtime::Workspace;
use crate::webhook::inbound::server::WebhookHandler;

/// A workspace that is served.
#[derive(Clone)]
pub(super) struct Tenant {
    pub(super) workspace: Arc<Workspace>,
    /// What answers the requests to its webhook URLs.
    pub(super) webhooks: Arc<WebhookHandler>,
    /// The requests of its tokens.
    pub(super) usage: Arc<UsageLog>,
    /// What no agent gets to see.
    pub(super) credentials: Arc<CredentialRegistry>,
}

/// Who makes a request.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    ApiToken(Box<ApiToken>),
    /// Signed in to the dashboard.
    Operator(Operator),
}

impl Caller {
    /// Returns the token that limits what the caller sees and makes; none for an operator, who sees what the owner does.
    pub(super) fn token(&self) -> Option<&ApiToken> {
        match self {
            Self::ApiToken(token) => Some(token),
            Self::Operator(_) => None,
        }
    }

    /// Whether the caller may run the operations of a scope.
    pub(super) fn allows(&self, scope: &ApiScope) -> bool {
        match self {
            Self::ApiToken(token) => token.allows(scope),
            Self::Operator(operator) => operator.role.allows(*scope),
        }
    }

    /// Checks that the caller may hand out scopes: an operator gives no token more than their role has. What a token may give
    /// is checked by its operations.
    ///
    /// # Errors
    /// [`ApiTokenError::ExceedsRole`].
    pub(super) fn check_grants(&self, grants: &[ScopeGrant]) -> Result<()> {
        match self {
            Self::ApiToken(_) => Ok(()),
            Self::Operator(operator) => match operator.role.excess(grants) {
                None => Ok(()),
                Some(grant) => Err(ApiTokenError::ExceedsRole { role: operator.role, grant }.into()),
            },
        }
    }

    /// Returns which of the caller's requests need a person's approval: none of a person's own.
    pub(super) fn approval_policy(&self) -> ApprovalPolicy {
        self.token().map_or(ApprovalPolicy::None, |token| token.approve)
    }

    /// Returns who it is in the audit log.
    pub(super) fn actor(&self) -> AuditActor {
        match self {
            Self::ApiToken(token) => AuditActor::ApiToken(token.id.to_string()),
            Self::Operator(operator) => AuditActor::Operator(operator.name.to_string()),
        }
    }
}

/// A token with the connections that it may use now.
pub(super) struct AuthenticatedToken {
    pub(super) token: ApiToken,
    pub(super) access: ConnectionAccess,
}

/// Finds the workspace and the token of a request (RFC 6750, section 2.1).
///
/// # Errors
/// [`RequestError::NoToken`]; [`RequestError::InvalidToken`] for a token of no workspace that is served.
pub(super) async fn authenticate<'t>(
    tenants: &'t [Tenant],
    headers: &HeaderMap,
) -> Result<(&'t Tenant, AuthenticatedToken), Problem> {
    let presented = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
    let Some(presented) = presented else {
        return Err(Problem::from(RequestError::NoToken).with_header(WWW_AUTHENTICATE, &"Bearer realm=\"integ\""));
    };
    for tenant in tenants {
        if let Some(token) = api_tokens::authenticate(&tenant.workspace, presented).await? {
            let access = access(&tenant.workspace, &token).await?;
            return Ok((tenant, AuthenticatedToken { token, access }));
        }
    }
    let challenge = "Bearer realm=\"integ\", error=\"invalid_token\"";
    Err(Problem::from(RequestError::InvalidToken).with_header(WWW_AUTHENTICATE, &challenge))
}

/// Returns the connections that a token may use: those that it names, of the user that it is limited to.
async fn access(workspace: &Workspace, token: &ApiToken) -> Result<ConnectionAccess> {
    let Some(user) = &token.user else {
        return Ok(match &token.connections {
            Some(named) => ConnectionAccess::Only(named.iter().copied().collect()),
            None => ConnectionAccess::All,
        });
    };
    let connections = workspace.connections().await?.into_iter();
    let own = connections.filter(|connection| connection.user.as_ref() == Some(user)).map(|connection| connection.id);
    Ok(ConnectionAccess::Only(own.filter(|id| token.allows_connection(*id)).collect::<BTreeSet<_>>()))
}

/// Returns the token of an `Authorization` header. The scheme's case does not matter (RFC 9110, section 11.1).
pub(super) fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::bearer;

    #[test]
    fn a_bearer_token_is_read_from_its_header() {
        assert_eq!(bearer("Bearer integ_x"), Some("integ_x"));
        assert_eq!(bearer("bearer  integ_x "), Some("integ_x"));
        assert_eq!(bearer("Basic aW50ZWc="), None);
        assert_eq!(bearer("integ_x"), None);
    }
}
