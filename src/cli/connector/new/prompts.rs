//! What a draft still lacks: from flags, then from questions, then from what is usual.

use url::Url;

use super::auth;
use super::{NewArgs, Ui};
use crate::cli::terminal::Terminal;
use crate::connect::PromptError;
use crate::connector::{CATEGORIES, ConnectorDraft, DraftAuthKind, DraftHealth, OperationSummary, sentence};
use crate::error::Result;
use crate::runtime::Workspace;

/// Operations shown to choose from; the others can be named as well.
const SHOWN: usize = 30;

/// A question with its flag. Where there is neither an answer nor a terminal nor a default, the flag is what is missing.
///
/// # Errors
/// [`PromptError`].
pub(super) fn needed(terminal: &Terminal, prompt: &str, flag: &str, default: &str) -> Result<String, PromptError> {
    let answer = terminal.line_or(prompt, default)?;
    match answer.as_str() {
        "" if terminal.interactive => Err(PromptError::Empty),
        "" => Err(PromptError::NoTerminal { prompt: prompt.to_owned(), missing: flag.to_owned() }),
        _ => Ok(answer),
    }
}

/// # Errors
/// [`PromptError`], and those of discovery.
pub(super) fn complete(workspace: &Workspace, ui: &Ui, args: &NewArgs, draft: &mut ConnectorDraft) -> Result<()> {
    let terminal = ui.terminal();
    draft.id = match &args.id {
        Some(id) => id.clone(),
        None => needed(&terminal, "Id", "ID, as in `integ connector new acme`", &draft.id)?,
    };
    // Before anything else is asked: nobody should answer ten questions for nothing.
    if args.output.is_none() {
        workspace.engine.catalogue.vacant(&draft.id, args.replace)?;
    }
    let described = !draft.name.is_empty();
    let usual_name = if described { draft.name.clone() } else { title(&draft.id) };
    draft.name = match &args.name {
        Some(name) => name.clone(),
        None => terminal.line_or("Name of the service", &usual_name)?,
    };
    draft.category = match &args.category {
        Some(category) => category.clone(),
        None => terminal.line_or(&format!("Category ({})", CATEGORIES.join(", ")), "generic")?,
    };
    let usual_description = match draft.description.as_str() {
        "" => format!("The API of {}.", draft.name),
        told => told.to_owned(),
    };
    draft.description = match &args.description {
        Some(description) => description.clone(),
        None => terminal.line_or("What it is for, in one line", &usual_description)?,
    };
    fill_base(args, &terminal, draft)?;
    let usual_docs = if draft.docs.is_empty() { origin(draft, args) } else { draft.docs.clone() };
    draft.docs = match &args.docs {
        Some(docs) => docs.clone(),
        None => needed(&terminal, "Documentation for developers", "--docs URL", &usual_docs)?,
    };
    auth::fill(workspace, ui, args, draft)?;
    fill_scopes(args, &terminal, draft)?;
    fill_health(args, &terminal, draft)?;
    draft.add_missing_params();
    Ok(())
}

fn fill_base(args: &NewArgs, terminal: &Terminal, draft: &mut ConnectorDraft) -> Result<(), PromptError> {
    let base = match (&args.base, &draft.base) {
        (Some(base), _) => base.clone(),
        // An OpenID server may be all there is.
        (None, None) if args.issuer.is_some() => terminal.line_or("API base URL (empty for none)", "")?,
        (None, found) => needed(terminal, "API base URL", "--base URL", found.as_deref().unwrap_or_default())?,
    };
    draft.base = Some(base.trim_end_matches('/').to_owned()).filter(|base| !base.is_empty());
    if args.base.is_some() {
        // Variables of a server that is not the one.
        let base = draft.base.clone().unwrap_or_default();
        draft.params.retain(|param| base.contains(&format!("{{{}}}", param.name)));
    }
    Ok(())
}

fn fill_scopes(args: &NewArgs, terminal: &Terminal, draft: &mut ConnectorDraft) -> Result<(), PromptError> {
    let is_oauth2 = |kind: &DraftAuthKind| matches!(kind, DraftAuthKind::OAuth2(_));
    if !draft.auth.iter().any(|way| is_oauth2(&way.kind)) {
        return Ok(());
    }
    let mut given = args.scopes.clone();
    if given.is_empty() {
        let usual = draft.auth.iter().find_map(|way| match &way.kind {
            DraftAuthKind::OAuth2(oauth2) => Some(oauth2.default_scopes.join(" ")),
            DraftAuthKind::ApiKey { .. } => None,
        });
        let answer = terminal.line_or("Scopes to ask for, parted by spaces", &usual.unwrap_or_default())?;
        given = answer.split_whitespace().map(str::to_owned).collect();
    }
    let mut default_scopes = Vec::new();
    for scope in given {
        let (name, purpose) = match scope.split_once('=') {
            Some((name, purpose)) => (name.to_owned(), purpose.to_owned()),
            None => (scope.clone(), sentence(&scope)),
        };
        if !draft.scopes.iter().any(|(known, _)| *known == name) {
            draft.scopes.push((name.clone(), purpose));
        }
        default_scopes.push(name);
    }
    for way in &mut draft.auth {
        if let DraftAuthKind::OAuth2(oauth2) = &mut way.kind {
            oauth2.default_scopes.clone_from(&default_scopes);
        }
    }
    Ok(())
}

fn fill_health(args: &NewArgs, terminal: &Terminal, draft: &mut ConnectorDraft) -> Result<(), PromptError> {
    let found = draft.health.take();
    let usual = found.as_ref().map(|health| health.path.clone()).unwrap_or_default();
    let path = match &args.health {
        Some(path) => path.clone(),
        None => terminal.line_or("Path of a harmless GET that needs the credentials (empty for none)", &usual)?,
    };
    if path != usual || terminal.interactive {
        // The user said it: it is no guess any more.
        draft.unverified.retain(|line| !line.contains("is a good check"));
    }
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
    let given = |pointer: String| Some(pointer).filter(|pointer| !pointer.is_empty());
    draft.health = Some(DraftHealth { path, account_id: given(id), account_name: given(name) });
    Ok(())
}

/// Which operations become actions; absent for the first few that create things.
///
/// # Errors
/// [`PromptError`].
pub(super) fn choose_actions(ui: &Ui, offers: &[OperationSummary]) -> Result<Option<Vec<String>>, PromptError> {
    let terminal = ui.terminal();
    if !terminal.interactive || offers.is_empty() {
        return Ok(None);
    }
    for (index, offer) in offers.iter().take(SHOWN).enumerate() {
        ui.note(&format!("  {:>2}  {}  {}", index + 1, flat(&offer.id), flat(&offer.description)));
    }
    if offers.len() > SHOWN {
        ui.note(&format!("  and {} more, by their operation ids", offers.len() - SHOWN));
    }
    let prompt = "Actions: numbers or operation ids, parted by commas (none; empty for the first that create things)";
    let answer = terminal.line_or(prompt, "")?;
    let by_number = |word: &str| {
        let index = word.parse::<usize>().ok()?.checked_sub(1)?;
        offers.get(index).map(|offer| offer.id.clone())
    };
    let words = answer.split(',').map(str::trim).filter(|word| !word.is_empty());
    Ok(match answer.trim() {
        "" => None,
        "none" => Some(Vec::new()),
        _ => Some(words.map(|word| by_number(word).unwrap_or_else(|| word.to_owned())).collect()),
    })
}

/// What comes from a description cannot end a line of ours.
fn flat(text: &str) -> String {
    crate::cli::ui::escape(text)
}

/// `Acme Boards` of `acme-boards`.
fn title(id: &str) -> String {
    id.split('-').map(sentence).collect::<Vec<_>>().join(" ")
}

/// Where the service is, for want of a better place to send readers to.
fn origin(draft: &ConnectorDraft, args: &NewArgs) -> String {
    let base = draft.base.as_deref().or(args.issuer.as_deref()).unwrap_or_default();
    let Some((_, rest)) = base.split_once("://") else { return String::new() };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // What is open of a host stands before what belongs to the service.
    let own = host.rsplit_once('}').map_or(host, |(_, own)| own).trim_start_matches('.');
    // Documentation is read over https, whatever the base is.
    match Url::parse(&format!("https://{own}")) {
        Ok(url) if own.contains('.') => url.origin().ascii_serialization(),
        _ => String::new(),
    }
}
