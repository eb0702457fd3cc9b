//! The parts of a draft, each from its flag, a question, or a default.

use super::arguments::NewArgs;
use super::question::{Questions, anything, category, path, pointer, url};
use crate::connect::PromptError;
use crate::connector::{CATEGORIES, ConnectorDraft, DraftHealth};

/// # Errors
/// [`PromptError`].
pub(super) fn fill_id(args: &NewArgs, questions: &Questions, draft: &mut ConnectorDraft) -> Result<(), PromptError> {
    draft.id = match &args.id {
        Some(id) => id.clone(),
        None => questions.ask_needed("ID", "Id", &draft.id, anything)?,
    };
    Ok(())
}

/// What a draft says of the service and of its API.
///
/// # Errors
/// [`PromptError`].
pub(super) fn fill(args: &NewArgs, questions: &Questions, draft: &mut ConnectorDraft) -> Result<(), PromptError> {
    draft.name = match &args.name {
        Some(name) => name.clone(),
        None => questions.ask("--name NAME", "Name of the service", &draft.usual_name(), anything)?,
    };
    draft.category = match &args.category {
        Some(category) => category.clone(),
        None => {
            let prompt = format!("Category ({})", CATEGORIES.join(", "));
            questions.ask("--category CATEGORY", &prompt, "generic", category)?
        }
    };
    draft.description = match &args.description {
        Some(description) => description.clone(),
        None => {
            let usual = draft.usual_description();
            questions.ask("--description TEXT", "Description, in one line", &usual, anything)?
        }
    };
    fill_base(args, questions, draft)?;
    draft.docs = match &args.docs {
        Some(docs) => docs.clone(),
        None => {
            let usual = draft.usual_docs(args.issuer.as_deref());
            questions.ask_needed("--docs URL", "Documentation for developers", &usual, url)?
        }
    };
    Ok(())
}

fn fill_base(args: &NewArgs, questions: &Questions, draft: &mut ConnectorDraft) -> Result<(), PromptError> {
    let base = match (&args.base, &draft.base) {
        (Some(base), _) => base.clone(),
        // An OpenID server may be all there is.
        (None, None) if args.issuer.is_some() => {
            questions.ask("--base URL", "API base URL (empty for none)", "", url)?
        }
        (None, found) => {
            questions.ask_needed("--base URL", "API base URL", found.as_deref().unwrap_or_default(), url)?
        }
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
pub(super) fn fill_scopes(
    args: &NewArgs,
    questions: &Questions,
    draft: &mut ConnectorDraft,
) -> Result<(), PromptError> {
    let Some(usual) = draft.default_scopes() else { return Ok(()) };
    let mut scopes = args.scopes.clone();
    if scopes.is_empty() {
        let prompt = "Scopes to request, separated by spaces";
        let answer = questions.ask_list("--scope SCOPE", prompt, &usual.join(" "))?;
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
pub(super) fn fill_health(
    args: &NewArgs,
    questions: &Questions,
    draft: &mut ConnectorDraft,
) -> Result<(), PromptError> {
    let usual = draft.health.as_ref().map(|health| health.path.clone()).unwrap_or_default();
    let found_path = match &args.health {
        Some(given) => given.clone(),
        None => {
            let prompt = "Path of a harmless GET that needs the credentials (empty for none)";
            questions.ask("--health PATH", prompt, &usual, path)?
        }
    };
    if found_path != usual || questions.terminal().interactive {
        draft.confirm_health();
    }
    let found = draft.health.take();
    if found_path.is_empty() {
        return Ok(());
    }
    let found = found.filter(|health| health.path == found_path);
    let (id, name) = found.map(|health| (health.account_id, health.account_name)).unwrap_or_default();
    let ask = |given: &Option<String>, flag: &'static str, prompt: &str, found: Option<String>| match given {
        Some(pointer) => Ok(pointer.clone()),
        None => questions.ask(flag, prompt, &found.unwrap_or_default(), pointer),
    };
    let prompt = "JSON Pointer to the account ID in its response, such as /user/id (empty for none)";
    let id = ask(&args.account_id, "--account-id POINTER", prompt, id)?;
    let prompt = "JSON Pointer to the account name (empty for none)";
    let name = ask(&args.account_name, "--account-name POINTER", prompt, name)?;
    draft.health = Some(DraftHealth::new(found_path, id, name));
    Ok(())
}
