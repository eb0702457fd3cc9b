//! Guides a user at a terminal through the vendor's setup steps, and collects the resulting values. Without a terminal
//! nothing here runs, and a missing value is an error with a command.

use std::sync::atomic::Ordering;

use url::Url;

use super::flow::ConnectFlow;
use super::{ConnectCommand, ConnectError, ConnectEvent, DefaultAnswer, PromptError, PromptQuestion, Prompter};
use crate::connector::scopes::RequestedScopes;
use crate::connector::{AuthorizationServer, ClientSecretPolicy, Connector, setup};
use crate::error::Result;
use crate::model::{ClientCredentials, OAuthApp};
use crate::runtime::Session;
use crate::secret::Secret;

/// How often to ask again after an invalid value.
const MAX_ATTEMPTS: usize = 3;

/// Asks until the answer is valid, and returns what `parse` makes of it. The error of the last attempt ends it.
pub(super) fn prompt_valid<T>(
    prompter: &dyn Prompter,
    question: &PromptQuestion<'_>,
    parse: impl Fn(Secret) -> Result<T, ConnectError>,
) -> Result<T, ConnectError> {
    let mut attempt = 1;
    loop {
        let error = match prompter.prompt(question).map_err(ConnectError::from).and_then(&parse) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        match correctable_reason(&error).filter(|_| attempt < MAX_ATTEMPTS && prompter.is_interactive()) {
            Some(reason) => prompter.notify(&ConnectEvent::InvalidAnswer { reason: &reason }),
            None => return Err(error),
        }
        attempt += 1;
    }
}

/// What is wrong with an answer, if another one can be better.
fn correctable_reason(error: &ConnectError) -> Option<String> {
    match error {
        ConnectError::Prompt(PromptError::Empty) => Some("nothing was entered".to_owned()),
        ConnectError::Prompt(PromptError::File { path, source }) => Some(format!("cannot read {path:?}: {source}")),
        ConnectError::InvalidParam { expected, .. } => Some(format!("it must be {expected}")),
        ConnectError::InvalidKey { why, .. } => Some(why.clone()),
        ConnectError::InvalidClient { reason, .. } => Some((*reason).to_owned()),
        ConnectError::InvalidCallback => Some("it is not the address that this sign-in ends at".to_owned()),
        _ => None,
    }
}

impl ConnectFlow<'_> {
    /// Shows, once, what to do at the vendor, and offers to open its page.
    pub(super) fn show_setup(&self, connector: &Connector, auth: &str) -> Result<()> {
        if !self.prompter.is_interactive() || self.is_guided.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let port = self.request.sign_in.redirect.port;
        let guide = setup(connector, Some(auth), port)?;
        let ConnectCommand { command, .. } = self.request.command();
        self.prompter.notify(&ConnectEvent::Setup {
            service: &connector.name,
            docs: &connector.docs,
            guide: &guide,
            command: &command,
        });
        let page = guide.url.as_deref().and_then(|url| Url::parse(url).ok()).filter(|url| url.scheme() == "https");
        if let Some(page) = page.filter(|_| self.request.sign_in.open_browser)
            && self
                .prompter
                .confirm(&format!("Open {page} in the browser?"), DefaultAnswer::Yes)
                .map_err(ConnectError::from)?
            && self.prompter.open_browser(&page).is_none()
        {
            self.prompter.notify(&ConnectEvent::BrowserNotFound);
        }
        Ok(())
    }

    /// Leads the person through registering an app, and stores it in the workspace: a sign-in that fails does not cost
    /// its secret.
    pub(super) async fn register_app(
        &self,
        session: &Session,
        server: Option<&AuthorizationServer>,
        secret: Option<ClientSecretPolicy>,
    ) -> Result<ClientCredentials> {
        self.show_setup(&session.connector, &session.connection.auth)?;
        let client = self.prompt_client(secret)?;
        let app = OAuthApp {
            connector: session.connector.id.clone(),
            server: server.map(|server| server.url.clone()),
            client: client.clone(),
            updated_at: self.workspace.clock.now(),
        };
        self.workspace.store().await?.apps().set(&app).await?;
        self.prompter.notify(&ConnectEvent::AppStored { connector: &app.connector });
        Ok(client)
    }

    fn prompt_client(&self, secret: Option<ClientSecretPolicy>) -> Result<ClientCredentials, ConnectError> {
        let question =
            |prompt, is_secret, flag_hint| PromptQuestion::Text { prompt, example: None, is_secret, flag_hint };
        let invalid = |value, reason| ConnectError::InvalidClient { value, reason };
        let id =
            prompt_valid(
                self.prompter,
                &question("Client ID", false, "--client-id ID"),
                |id| match check_client_value(id.expose()) {
                    Some(reason) => Err(invalid("client id", reason)),
                    None if id.is_empty() => Err(PromptError::Empty.into()),
                    None => Ok(id.expose().clone()),
                },
            )?;
        let Some(policy) = secret else { return Ok(ClientCredentials { id, secret: None }) };
        let is_required = policy == ClientSecretPolicy::Required;
        let prompt = if is_required { "Client secret" } else { "Client secret (Enter if the app has none)" };
        let secret = prompt_valid(self.prompter, &question(prompt, true, "--client-secret-file FILE"), |secret| {
            match check_client_value(secret.expose()) {
                Some(reason) => Err(invalid("client secret", reason)),
                None if *secret.expose() == id => Err(invalid("client secret", "that is the client id")),
                None if secret.is_empty() && is_required => Err(PromptError::Empty.into()),
                None => Ok(secret),
            }
        })?;
        Ok(ClientCredentials { id, secret: Some(secret).filter(|secret| !secret.is_empty()) })
    }

    /// Shows what will be requested from the vendor, before any page opens.
    pub(super) fn show_scopes(&self, connector: &Connector, client_id: &str, asked: &RequestedScopes) {
        let scopes: Vec<(&str, &str)> = asked
            .values()
            .flatten()
            .map(|scope| (scope.as_str(), connector.scopes.get(scope).map_or("", |known| known.purpose())))
            .collect();
        let app = Some(client_id).filter(|_| !self.request.is_sandbox);
        self.prompter.notify(&ConnectEvent::Scopes { service: &connector.name, app, scopes: &scopes });
    }
}

/// Why a text cannot be a client id or a client secret (RFC 6749 appendix A: visible ASCII and spaces; no vendor uses
/// spaces).
fn check_client_value(text: &str) -> Option<&'static str> {
    if text.contains("://") {
        Some("it is a URL")
    } else if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        Some("it contains white space")
    } else if !text.is_ascii() {
        Some("it contains letters that no client id or secret has")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_copied_by_mistake_is_no_client_value() {
        for good in ["Iv1.8a61f9b3a7aba766", "123.apps.googleusercontent.com", "a-b_c~d/e+f=", ""] {
            assert_eq!(check_client_value(good), None, "{good}");
        }
        for bad in ["https://github.com/settings", "two words", "a\tb", "идентификатор", "a\u{1b}b"] {
            assert!(check_client_value(bad).is_some(), "{bad:?}");
        }
    }
}
