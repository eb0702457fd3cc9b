//! The request after a grant that finds what it gives access to, with a choice if there are several.

use std::collections::BTreeMap;

use serde_json::Value;
use url::Url;

use super::flow::ConnectFlow;
use super::{ConnectError, ConnectRequest};
use crate::connector::FollowUp;
use crate::error::Result;
use crate::model::Grant;
use crate::oauth::callback_listener::WaitingBrowser;
use crate::oauth::outcome_page::SignInOutcome;
use crate::runtime::Session;

/// The follow-up call, and the choice where it lists several.
pub(super) async fn select_resource(
    flow: &ConnectFlow<'_>,
    session: &Session,
    follow_up: &FollowUp,
    grant: &Grant,
    browser: &mut Option<WaitingBrowser>,
) -> Result<BTreeMap<String, String>> {
    let ConnectFlow { workspace, request, prompter, .. } = flow;
    let url = session.path(&follow_up.url, grant)?.ok_or(ConnectError::EmptyGrant)?;
    let call = session.request_to("GET", &url, grant)?;
    let response = workspace.engine.http.send(call, &session.route).await?;
    if !response.is_success() {
        return Err(ConnectError::FollowUp { status: response.status }.into());
    }
    let document = response.json().unwrap_or_default();
    let found = follow_up.items.as_ref().map_or(Some(&document), |at| at.find(&document));
    let items: Vec<&Value> = match found {
        Some(Value::Array(items)) => items.iter().collect(),
        Some(item @ Value::Object(_)) => vec![item],
        _ => Vec::new(),
    };
    let kept = |item: &Value| -> BTreeMap<String, String> {
        follow_up.keep.iter().filter_map(|(name, at)| Some((name.clone(), at.text(item)?))).collect()
    };
    let labels: Vec<String> =
        items.iter().map(|item| follow_up.label.text(item).unwrap_or_else(|| "(unnamed)".to_owned())).collect();
    let param = follow_up.choose_by.clone();
    // The connection stays at its place: scripts would otherwise write into another one under the same name.
    let before = flow.previous.as_ref().filter(|before| before.connection.auth == session.connection.auth);
    let before = before.and_then(|before| resource_id(follow_up, &before.connection.metadata));
    let chosen = match (request.params.get(&param), items.len()) {
        (_, 0) => return Err(ConnectError::EmptyGrant.into()),
        (Some(given), _) => {
            let fits = |index: &usize| {
                labels[*index].eq_ignore_ascii_case(given)
                    || kept(items[*index]).values().any(|value| matches_resource(value, given))
            };
            let found = (0..items.len()).find(fits);
            found.ok_or_else(|| ConnectError::UnknownChoice {
                command: request.command(),
                value: given.clone(),
                param,
                labels: labels.clone(),
            })?
        }
        (None, _) if before.is_some() => {
            let same = |index: &usize| before == resource_id(follow_up, &kept(items[*index]));
            let found = (0..items.len()).find(same);
            found.ok_or_else(|| {
                let kept = flow.previous.as_ref().map(|before| &before.connection.metadata);
                let shown = kept.and_then(|kept| follow_up.keep.keys().filter_map(|name| kept.get(name)).next_back());
                ConnectError::ResourceNotGranted {
                    command: request.command(),
                    current: shown.cloned().unwrap_or_default().into(),
                    param: param.into(),
                    labels: labels.clone(),
                    command_for_new_name: other_command(request).into(),
                }
            })?
        }
        (None, 1) => 0,
        (None, _) if prompter.is_interactive() => {
            // Nobody answers the terminal while the browser seems to be busy.
            if let Some(browser) = browser.take() {
                browser.show_outcome(flow.outcome_page(&session.connector, SignInOutcome::Asking)).await;
            }
            prompter.select("The grant covers several. Which one?", &labels).map_err(ConnectError::from)?
        }
        (None, _) => {
            return Err(ConnectError::ChoiceRequired { command: request.command(), param, labels }.into());
        }
    };
    Ok(kept(items[chosen]))
}

/// Returns the id of an item: the first of the stored values. Items with the same id are the same.
pub(super) fn resource_id(follow_up: &FollowUp, kept: &BTreeMap<String, String>) -> Option<String> {
    kept.get(follow_up.keep.keys().next()?).cloned()
}

/// The command that connects under a name that is free for another place.
fn other_command(request: &ConnectRequest) -> String {
    let account = request.account.as_ref().map_or_else(|| "other".to_owned(), |account| format!("{account}-other"));
    ConnectRequest {
        connector: request.connector.clone(),
        account: Some(account),
        auth: request.auth.clone(),
        origin: request.origin.clone(),
        is_sandbox: request.is_sandbox,
        ..ConnectRequest::default()
    }
    .command()
    .command
}

/// Whether a stored value is what the user typed: in any case, with or without a slash at its end, or its host alone.
fn matches_resource(value: &str, given: &str) -> bool {
    let host = Url::parse(value).ok().and_then(|url| url.host_str().map(str::to_owned));
    value.trim_end_matches('/').eq_ignore_ascii_case(given.trim_end_matches('/'))
        || host.is_some_and(|host| host.eq_ignore_ascii_case(given))
}
