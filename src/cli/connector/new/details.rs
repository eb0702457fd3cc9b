//! The parts of a draft, each from its flag, then from a question, then from what is usual.

use super::arguments::NewArgs;
use super::question::needed;
use crate::cli::terminal::Terminal;
use crate::connect::PromptError;
use crate::connector::{CATEGORIES, ConnectorDraft, DraftHealth};

/// # Errors
/// [`PromptError`].
pub(super) fn fill_id(args: &NewArgs, terminal: &Terminal, draft: &mut ConnectorDraft) -> Result<(), PromptError> {
    draft.id = match &args.id {
        Some(id) => id.clone(),
        None => needed(terminal, "Id", "ID, as in `integ connector new acme`", &draft.id)?,
    };
    Ok(())
}

/// What a draft says of the service and of its API.
///
/// # Errors
/// [`PromptError`].
pub(super) fn fill(args: &NewArgs, terminal: &Terminal, draft: &mut ConnectorDraft) -> Result<(), PromptError> {
    draft.name = match &args.name {
        Some(name) => name.clone(),
        None => terminal.line_or("Name of the service", &draft.usual_name())?,
    };
    draft.category = match &args.category {
        Some(category) => category.clone(),
        None => terminal.line_or(&format!("Category ({})", CATEGORIES.join(", ")), "generic")?,
    };
    draft.description = match &args.description {
        Some(description) => description.clone(),
        None => terminal.line_or("What it is for, in one line", &draft.usual_description())?,
    };
    fill_base(args, terminal, draft)?;
    draft.docs = match &args.docs {
        Some(docs) => docs.clone(),
        None => {
            let usual = draft.usual_docs(args.issuer.as_deref());
            needed(terminal, "Documentation for developers", "--docs URL", &usual)?
        }
    };
    Ok(())
}

fn fill_base(args: &NewArgs, terminal: &Terminal, draft: &mut ConnectorDraft) -> Result<(), PromptError> {
    let base = match (&args.base, &draft.base) {
        (Some(base), _) => base.clone(),
        // An OpenID server may be all there is.
        (None, None) if args.issuer.is_some() => terminal.line_or("API base URL (empty for none)", "")?,
        (None, found) => needed(terminal, "API base URL", "--base URL", found.as_deref().unwrap_or_default())?,
    };
    draft.set_base(&base);
    if args.base.is_some() {
        draft.remove_unused_params();
    }
    Ok(())
}

/// The scopes that OAuth asks for.
///
/// # Errors
/// [`PromptError`].
pub(super) fn fill_scopes(args: &NewArgs, terminal: &Terminal, draft: &mut ConnectorDraft) -> Result<(), PromptError> {
    let Some(usual) = draft.default_scopes() else { return Ok(()) };
    let mut scopes = args.scopes.clone();
    if scopes.is_empty() {
        let answer = terminal.line_or("Scopes to request, separated by spaces", &usual.join(" "))?;
        scopes = answer.split_whitespace().map(str::to_owned).collect();
    }
    let with_purpose = |scope: String| match scope.split_once('=') {
        Some((name, purpose)) => (name.to_owned(), Some(purpose.to_owned())),
        None => (scope, None),
    };
    draft.set_default_scopes(scopes.into_iter().map(with_purpose).collect());
    Ok(())
}

/// The check whether a connection works.
///
/// # Errors
/// [`PromptError`].
pub(super) fn fill_health(args: &NewArgs, terminal: &Terminal, draft: &mut ConnectorDraft) -> Result<(), PromptError> {
    let usual = draft.health.as_ref().map(|health| health.path.clone()).unwrap_or_default();
    let path = match &args.health {
        Some(path) => path.clone(),
        None => terminal.line_or("Path of a harmless GET that needs the credentials (empty for none)", &usual)?,
    };
    if path != usual || terminal.interactive {
        draft.confirm_health();
    }
    let found = draft.health.take();
    if path.is_empty() {
        return Ok(());
    }
    let found = found.filter(|health| health.path == path);
    let (id, name) = found.map(|health| (health.account_id, health.account_name)).unwrap_or_default();
    let ask = |given: &Option<String>, prompt: &str, found: Option<String>| match given {
        Some(pointer) => Ok(pointer.clone()),
        None => terminal.line_or(prompt, &found.unwrap_or_default()),
    };
    let id = ask(&args.account_id, "Where its answer has the account's id, as in /user/id (empty for nowhere)", id)?;
    let name = ask(&args.account_name, "Where it has the account's name (empty for nowhere)", name)?;
    draft.health = Some(DraftHealth::new(path, id, name));
    Ok(())
}
