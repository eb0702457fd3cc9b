//! Sign-ins that one process begins and any other finishes, for a server: the callback comes over HTTP, and to any of its
//! processes.
//!
//! 1. [`start()`] does what [`connect`](super::connect) does up to the page that the person opens, and stores the rest in the
//!    encrypted store, by the hash of `state`: client, PKCE verifier, the server that was asked.
//! 2. [`finish()`] finds it by the callback's `state`, checks the callback, and uses the state up in a commit of its own. Then
//!    it exchanges the code, identifies the account and stores the connection, with the functions of
//!    [`connect`](super::connect).
//! 3. The result is stored for an hour, for anyone who shows it. A process that is killed between the two commits of step 2
//!    leaves a state that is used up and a sign-in that counts as failed.
//!
//! Nobody is asked anything: what would be asked is an error that names the value.

mod details;
mod error;
mod finish;
mod start;

pub use error::SignInError;
pub use finish::{CallbackReply, finish, poll};
pub use start::{SignInTarget, StartedSignIn, start};

use url::{Url, form_urlencoded};

use super::callback::approve;
use crate::error::Result;
use crate::hash;
use crate::http::Route;
use crate::model::{SignIn, SignInId, WorkspaceName};
use crate::oauth::authorize::random_state;
use crate::runtime::Workspace;
use crate::secret::Secret;

/// Returns a sign-in, pending or ended.
///
/// # Errors
/// [`SignInError::NotFound`].
pub async fn find(workspace: &Workspace, id: &SignInId) -> Result<SignIn> {
    let not_found = || SignInError::NotFound { id: id.clone() };
    if !workspace.has_vault() {
        return Err(not_found().into());
    }
    Ok(workspace.store().await?.sign_ins().find(id).await?.ok_or_else(not_found)?)
}

/// Consents at the sandbox's page of a sign-in in the person's place, and returns the query of the callback, for
/// [`finish()`]. For programs that have no browser; the sandbox must be that of this process.
///
/// # Errors
/// [`SignInError::NotSandbox`]; [`ConnectError::SandboxConsentFailed`](super::ConnectError::SandboxConsentFailed).
pub async fn follow_consent(workspace: &Workspace, authorization_url: &Url) -> Result<String> {
    if !workspace.has_emulator_at(authorization_url) {
        return Err(SignInError::NotSandbox { url: authorization_url.to_string() }.into());
    }
    let callback = approve(&workspace.engine.http, authorization_url, &Route::Live).await?;
    Ok(callback.query().unwrap_or_default().to_owned())
}

/// Returns a random text of 256 bits that names its workspace, for `state` and for the secrets of links: anyone who gets it
/// knows which store to ask.
pub fn new_token(workspace: &WorkspaceName) -> Secret {
    Secret::new(format!("{}.{workspace}", random_state().expose()))
}

/// Returns the workspace that a text of [`new_token`] names.
pub fn workspace_of_token(token: &str) -> Option<WorkspaceName> {
    token.split_once('.')?.1.parse().ok()
}

/// Returns the workspace that the `state` of a callback's query names.
pub fn workspace_of_callback(query: &str) -> Option<WorkspaceName> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    workspace_of_token(&pairs.find(|(name, _)| name == "state")?.1)
}

/// Returns the hash by which a text of [`new_token`] is stored. It has 256 random bits, so that no salt is needed.
pub fn token_hash(token: &Secret) -> [u8; 32] {
    hash::sha256(token.expose().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_workspace() {
        let name: WorkspaceName = "team-1".parse().unwrap();
        let token = new_token(&name);
        assert_eq!(workspace_of_token(token.expose()), Some(name.clone()));
        assert_ne!(new_token(&name).expose(), token.expose());
        assert!(token.expose().split_once('.').unwrap().0.len() >= 43);
        let query = format!("code=a&state={}&iss=x", token.expose());
        assert_eq!(workspace_of_callback(&query), Some(name));
        for other in ["", "code=a", "state=abc", "state=a.B%20c", "state=.", "state=a.../../etc"] {
            assert_eq!(workspace_of_callback(other), None, "{other}");
        }
    }
}
