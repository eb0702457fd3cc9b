//! `integ api-token login`: an API token for a CI job, in exchange for its identity.

use clap::Args;
use thiserror::Error;
use url::Url;

use crate::cli::client_secret::read_token;
use crate::cli::ui::{Render, Ui};
use crate::env;
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::ops::api_tokens::{self as ops, ApiTokenLoginRequest, IdentitySource};
use crate::runtime::Workspace;
use crate::view::api_token::ApiTokenLoginView;

/// Get an API token for a CI job from a server and print it; it is shown only once
///
/// The job presents the identity token of its CI system (OIDC): in GitHub Actions it is requested, elsewhere it is read from
/// stdin. The server must trust it; see `integ api-token trust add`.
#[derive(Debug, Args)]
pub(super) struct LoginArgs {
    /// Sign in with the identity token of the CI system
    #[arg(long, required = true)]
    oidc: bool,
    /// Audience to request in GitHub Actions (default: the URL of the server)
    #[arg(long, value_name = "AUDIENCE")]
    audience: Option<String>,
}

/// Why a job cannot begin to sign in.
#[derive(Debug, Error)]
enum LoginInputError {
    #[error("no server was given")]
    NoServer,
    #[error("{name} is not a URL")]
    InvalidUrl { name: &'static str },
}

impl Remedy for LoginInputError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NoServer => Diagnostic::new(Kind::Usage, "no_server")
                .hint(Hint::text("give its URL with --server, or set INTEG_SERVER")),
            Self::InvalidUrl { .. } => Diagnostic::new(Kind::Usage, "invalid_url"),
        }
    }
}

fn url_of(variable: &env::EnvVariable) -> Result<Option<Url>, LoginInputError> {
    let invalid = |_| LoginInputError::InvalidUrl { name: variable.name };
    env::var(variable).map(|text| Url::parse(&text).map_err(invalid)).transpose()
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: LoginArgs) -> Result<u8> {
    let server = ui.server.clone().ok_or(LoginInputError::NoServer)?;
    let actions = url_of(&env::ACTIONS_REQUEST_URL)?.zip(env::secret(&env::ACTIONS_REQUEST_TOKEN));
    let source = match actions {
        Some((url, request_token)) => IdentitySource::GitHubActions { url, request_token },
        None => IdentitySource::Token(read_token(&ui.terminal())?),
    };
    let request = ApiTokenLoginRequest { server, source, audience: args.audience };
    let login = workspace.run(ops::log_in(workspace, request))?;
    ui.show(&login)?;
    ui.note(&format!("The token {} expires at {}.", login.id, login.expires_at));
    Ok(0)
}

/// The token alone, so that a script can store it.
impl Render for ApiTokenLoginView {
    fn text(&self, _ui: &Ui) -> String {
        self.token.expose().clone()
    }
}
