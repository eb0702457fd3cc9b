//! The operation that gives git the credential of a connection.

use url::Url;

use super::{Effect, Operation, OperationScope};
use crate::clock::Timestamp;
use crate::env_variables::{TOKEN, check_value};
use crate::error::Result;
use crate::http::Route;
use crate::model::{ApiVerb, ConnectionMode, ConnectionName};
use crate::oauth::refresh::Freshness;
use crate::oauth::reveal::revealed_grant;
use crate::runtime::{Session, Workspace};
use crate::view::token::GitCredentialView;

/// The operations of this module, which reveal credentials.
pub const OPERATIONS: &[Operation] =
    &[Operation::local("git-credential", OperationScope::Tokens, Effect::Read).requires(ApiVerb::Reveal)];

/// The user name that GitLab requires with an OAuth token; GitHub accepts any.
const USERNAME: &str = "oauth2";

/// The request from git (gitcredentials(7), git-credential(1)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitCredentialRequest {
    pub protocol: String,
    /// With its port, if it is not the default.
    pub host: String,
    /// The user name in the repository's URL.
    pub username: Option<String>,
}

/// Returns the credential of a connection for a host that belongs to its service; None for any other host, for which git
/// asks elsewhere.
///
/// # Errors
/// A connection without a token that works.
pub async fn git_credential(
    workspace: &Workspace,
    name: &ConnectionName,
    request: GitCredentialRequest,
) -> Result<Option<GitCredentialView>> {
    let connection = workspace.connection(name).await?;
    let Some(url) = repository_url(&request) else { return Ok(None) };
    // No host of the world knows a sandbox's token.
    if connection.mode == ConnectionMode::Sandbox {
        return Ok(None);
    }
    let session = workspace.session(connection).await?;
    if !is_git_host(&session, &url) {
        return Ok(None);
    }
    let loaded = revealed_grant(workspace, name, Freshness::Usable).await?;
    let password = loaded.grant.access_token;
    // git takes the rest of a line for the value, and the next line for another attribute.
    check_value(name, TOKEN, &password)?;
    Ok(Some(GitCredentialView {
        protocol: request.protocol,
        host: request.host,
        username: request.username.unwrap_or_else(|| USERNAME.to_owned()),
        password,
        expires_at: loaded.grant.expires_at.map(Timestamp::as_second),
    }))
}

/// Returns the origin that git requests; None if credentials must not be sent there, such as plain http to another
/// machine.
fn repository_url(request: &GitCredentialRequest) -> Option<Url> {
    // A host with a slash or an at sign would be another one.
    if request.host.contains(['/', '@', '\\', '?', '#']) {
        return None;
    }
    Route::parse_origin(&format!("{}://{}", request.protocol, request.host)).ok()
}

/// Whether repositories of the connection's service are on this host: where its API is, or where users sign in to it. If
/// the connection has another origin, that is the only one.
fn is_git_host(session: &Session, url: &Url) -> bool {
    if let Route::Origin(origin) | Route::Sandbox(origin) = &session.route {
        return origin.origin() == url.origin();
    }
    let values = session.values(None);
    let sign_in = session.connector.auth.values().filter_map(|auth| auth.oauth2.as_ref());
    let sign_in = sign_in.filter_map(|rules| rules.authorize_url.as_ref());
    let mut templates = sign_in.chain(&session.auth.base).chain(&session.connector.api.base);
    templates.any(|template| template.origin(&values).is_some_and(|own| own.origin() == url.origin()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_encrypted_or_local_host_is_a_place_for_a_credential() {
        let url = |protocol: &str, host: &str| {
            let request = GitCredentialRequest { protocol: protocol.to_owned(), host: host.to_owned(), username: None };
            repository_url(&request).map(|url| url.to_string())
        };
        assert_eq!(url("https", "github.com").as_deref(), Some("https://github.com/"));
        assert_eq!(url("https", "git.acme.example:8443").as_deref(), Some("https://git.acme.example:8443/"));
        assert_eq!(url("http", "127.0.0.1:3000").as_deref(), Some("http://127.0.0.1:3000/"));
        for (protocol, host) in [
            ("http", "github.com"),
            ("ssh", "github.com"),
            ("https", "github.com/evil"),
            ("https", "github.com@evil.example"),
            ("https", ""),
            ("", "github.com"),
        ] {
            assert_eq!(url(protocol, host), None, "{protocol} {host}");
        }
    }
}
