//! The authentication method of a draft.

use clap::ValueEnum;

use super::arguments::{AuthMethodArg, NewArgs};
use super::question::{Questions, anything, url};
use crate::connect::{PromptError, Prompter};
use crate::connector::{ConnectorDraft, DraftAuth, DraftAuthKind, DraftOAuth2};
use crate::error::Result;
use crate::ops::connectors::discover_oauth2;
use crate::runtime::Workspace;

const AUTH_METHODS: [(AuthMethodArg, &str); 5] = [
    (AuthMethodArg::Bearer, "a key as Authorization: Bearer"),
    (AuthMethodArg::Header, "a key in a custom header"),
    (AuthMethodArg::Query, "a key in the query"),
    (AuthMethodArg::Basic, "name and password (HTTP Basic)"),
    (AuthMethodArg::Oauth2, "OAuth 2.0"),
];

/// # Errors
/// [`PromptError`], and those of discovery.
pub(super) fn fill(
    workspace: &Workspace,
    questions: &Questions,
    args: &NewArgs,
    draft: &mut ConnectorDraft,
) -> Result<()> {
    let Some(method) = chosen(args, questions, !draft.auth.is_empty())? else {
        for method in &mut draft.auth {
            method.setup_url = method.setup_url.take().or_else(|| args.setup_url.clone());
        }
        return Ok(());
    };
    let name_of = |given: &Option<String>, prompt: &str, flag: &'static str, usual: &str| match given {
        Some(name) => Ok(name.clone()),
        None => questions.ask_needed(flag, prompt, usual, anything),
    };
    let prefixes = args.prefixes.clone();
    let kind = match method {
        AuthMethodArg::Bearer => DraftAuthKind::bearer(prefixes),
        AuthMethodArg::Header => {
            DraftAuthKind::header(name_of(&args.header, "Header", "--header NAME", "X-API-Key")?, prefixes)
        }
        AuthMethodArg::Query => {
            let parameter = name_of(&args.parameter, "Query parameter", "--parameter NAME", "api_key")?;
            DraftAuthKind::query(parameter, prefixes)
        }
        AuthMethodArg::Basic => DraftAuthKind::basic(),
        AuthMethodArg::Oauth2 => DraftAuthKind::OAuth2(Box::new(oauth2(workspace, args, questions, draft)?)),
    };
    let setup_url = match &args.setup_url {
        Some(url) => url.clone(),
        None => {
            let prompt = "Page where users find the key or register the app (empty if unknown)";
            questions.ask("--setup-url URL", prompt, "", url)?
        }
    };
    let setup_url = Some(setup_url).filter(|url| !url.is_empty());
    draft.auth = vec![DraftAuth::new(kind, setup_url)];
    Ok(())
}

/// What the flags say or imply, else what the user chooses; absent if a description has it.
fn chosen(args: &NewArgs, questions: &Questions, described: bool) -> Result<Option<AuthMethodArg>, PromptError> {
    let oauth2 = [&args.issuer, &args.authorize_url, &args.token_url, &args.device_url];
    let implied = if args.auth.is_some() {
        args.auth
    } else if oauth2.into_iter().any(Option::is_some) {
        Some(AuthMethodArg::Oauth2)
    } else if args.header.is_some() {
        Some(AuthMethodArg::Header)
    } else if args.parameter.is_some() {
        Some(AuthMethodArg::Query)
    } else {
        None
    };
    if implied.is_some() || described {
        return Ok(implied);
    }
    if !questions.terminal().interactive {
        let prompt = "the way of authenticating".to_owned();
        return Err(PromptError::NoTerminal { prompt, missing: "--auth bearer|header|query|basic|oauth2".to_owned() });
    }
    let labels: Vec<String> = AUTH_METHODS.iter().map(|(_, label)| (*label).to_owned()).collect();
    let number = questions.terminal().select("How do requests carry the credentials?", &labels)?;
    let method = AUTH_METHODS[number].0;
    if let Some(word) = method.to_possible_value() {
        questions.note("--auth METHOD", word.get_name());
    }
    Ok(Some(method))
}

fn oauth2(
    workspace: &Workspace,
    args: &NewArgs,
    questions: &Questions,
    draft: &mut ConnectorDraft,
) -> Result<DraftOAuth2> {
    let mut oauth2 = match &args.issuer {
        Some(issuer) => draft.add_discovered(workspace.run(discover_oauth2(workspace, issuer))?),
        None => DraftOAuth2::default(),
    };
    let known = oauth2.issuer.is_some();
    let ask = |given: &Option<String>, prompt: &str, flag: &'static str| match given {
        Some(url) => Ok(Some(url.clone())),
        None if known => Ok(None),
        None => questions.ask_needed(flag, prompt, "", url).map(Some),
    };
    if args.device_url.is_none() || args.authorize_url.is_some() || questions.terminal().interactive {
        oauth2.authorize_url = ask(&args.authorize_url, "Authorization URL", "--authorize-url URL")?;
    }
    oauth2.token_url = ask(&args.token_url, "Token URL", "--token-url URL")?;
    oauth2.device_url.clone_from(&args.device_url);
    oauth2.revoke_url.clone_from(&args.revoke_url);
    oauth2.add_grants();
    Ok(oauth2)
}
