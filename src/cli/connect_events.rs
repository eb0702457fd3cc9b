//! Output while an account is connected, for people and programs.

use std::time::Duration;

use super::escape::{escape, wrap};
use crate::connect::{ConnectEvent, WaitsFor};
use crate::connector::{SetupGuide, SetupKind};
use crate::duration;
use crate::view::connection::ConnectEventView;

/// The widest scope that has its purpose beside it.
const SCOPE_COLUMN: usize = 32;

/// An event for programs; absent for what only helps a person.
pub(super) fn view(event: &ConnectEvent<'_>) -> Option<ConnectEventView> {
    Some(match event {
        ConnectEvent::Reconnecting { connection, position, total, .. } => {
            ConnectEventView::Reconnecting { connection: connection.to_string(), position: *position, total: *total }
        }
        ConnectEvent::Authorize { url, redirect_uri, .. } => {
            ConnectEventView::Authorize { url: url.to_string(), redirect_uri: (*redirect_uri).to_owned() }
        }
        ConnectEvent::DeviceCode { verification_uri, verification_uri_complete, user_code, expires_in } => {
            ConnectEventView::DeviceCode {
                verification_uri: (*verification_uri).to_owned(),
                verification_uri_complete: verification_uri_complete.map(ToOwned::to_owned),
                user_code: (*user_code).to_owned(),
                expires_in: *expires_in,
            }
        }
        ConnectEvent::SandboxConsented => ConnectEventView::SandboxConsented,
        ConnectEvent::Setup { .. }
        | ConnectEvent::BrowserNotFound
        | ConnectEvent::InvalidAnswer { .. }
        | ConnectEvent::AppStored { .. }
        | ConnectEvent::Scopes { .. }
        | ConnectEvent::Waiting { .. }
        | ConnectEvent::WaitEnded => return None,
    })
}

/// An event as lines of text, `width` columns wide where that is possible; none for the countdown, which is one line that
/// changes. Somebody who can be asked gets more.
pub(super) fn text(event: &ConnectEvent<'_>, is_interactive: bool, width: usize) -> Vec<String> {
    match event {
        ConnectEvent::Setup { service, docs, guide, command } => {
            let mut lines = setup(service, docs, guide, width);
            lines.extend(alternatives(guide, command));
            lines
        }
        ConnectEvent::BrowserNotFound => vec!["No browser can be started here; open the address yourself.".to_owned()],
        ConnectEvent::InvalidAnswer { reason } => vec![escape(&format!("Not accepted: {reason}. Try again."))],
        ConnectEvent::AppStored { connector } => vec![
            escape(&format!("Stored as the app of {connector}; `integ app set {connector}` changes it.")),
            String::new(),
        ],
        ConnectEvent::Scopes { service, app, scopes } if is_interactive => scope_list(service, *app, scopes, width),
        ConnectEvent::Reconnecting { connection, reason, position, total } => {
            let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            let heading = escape(&format!("{connection} ({position} of {total}){reason}"));
            if *position == 1 { vec![heading] } else { vec![String::new(), heading] }
        }
        ConnectEvent::Authorize { url, opens_browser, .. } => {
            let lead = if is_interactive && *opens_browser {
                "Opening your browser. If no page appears, open this one:"
            } else {
                "Open this URL in your browser:"
            };
            let mut lines = vec![lead.to_owned(), escape(&format!("  {url}"))];
            lines.extend(is_interactive.then(String::new));
            lines
        }
        ConnectEvent::DeviceCode { verification_uri, verification_uri_complete, user_code, expires_in } => {
            let mut lines = vec![escape(&format!("Open {verification_uri} and enter the code {user_code}"))];
            lines.extend(verification_uri_complete.map(|complete| escape(&format!("or open {complete}"))));
            lines.push(format!("The code expires in {} minutes.", expires_in / 60));
            lines
        }
        ConnectEvent::SandboxConsented => {
            vec!["No browser opened the consent page, so the sandbox accepted it.".to_owned()]
        }
        ConnectEvent::Scopes { .. } | ConnectEvent::Waiting { .. } | ConnectEvent::WaitEnded => Vec::new(),
    }
}

/// The same without a terminal, once: `Waiting up to 5m for the browser.`
pub(super) fn wait(waits_for: WaitsFor, limit: Duration) -> String {
    format!("Waiting up to {} for {}.", duration::format(limit), awaited(waits_for))
}

fn awaited(waits_for: WaitsFor) -> &'static str {
    match waits_for {
        WaitsFor::Browser => "the browser",
        WaitsFor::DeviceCode => "the code to be entered",
    }
}

/// `Waiting for the browser (4:32 left), Ctrl-C to cancel`.
pub(super) fn countdown(waits_for: WaitsFor, remaining: Duration) -> String {
    let what = awaited(waits_for);
    let seconds = remaining.as_millis().div_ceil(1000);
    format!("Waiting for {what} ({}:{:02} left), Ctrl-C to cancel", seconds / 60, seconds % 60)
}

fn setup(service: &str, docs: &str, guide: &SetupGuide, width: usize) -> Vec<String> {
    let has_files = guide.prompts.iter().any(|prompt| prompt.is_file);
    let (need, first, last) = match guide.kind {
        SetupKind::App if has_files => (
            "needs an app of your own, which you register once.",
            "Register an app",
            "Copy its client id here, and name the files. What they hold is stored in the encrypted vault.",
        ),
        SetupKind::App => (
            "needs an app of your own, which you register once.",
            "Register an app",
            "Copy its client id and client secret here. They are stored in the encrypted vault.",
        ),
        SetupKind::Key if has_files => (
            "needs a key of your account.",
            "Create the key, and download its file",
            "Give its path here. What the file holds is stored in the encrypted vault.",
        ),
        SetupKind::Key => (
            "needs a key of your account.",
            "Create or copy the key",
            "Paste it here. It is stored in the encrypted vault.",
        ),
    };
    let mut lines = vec![String::new(), format!("{} {need}", escape(service)), String::new()];
    let mut step = |number: usize, text: &str| {
        let wrapped = wrap(text, width.saturating_sub(5));
        lines.extend(wrapped.into_iter().enumerate().map(|(index, line)| match (index, number) {
            (0, 1..) => format!("  {number}. {line}"),
            _ => format!("     {line}"),
        }));
    };
    match &guide.url {
        Some(url) => {
            step(1, &format!("{first} at"));
            step(0, url);
        }
        None => {
            step(1, &format!("{first}; the documentation is at"));
            step(0, docs);
        }
    }
    let note = guide.note.as_deref().unwrap_or_default();
    note.lines().for_each(|line| step(0, line));
    if let Some(redirect) = guide.redirect_uris.first().filter(|redirect| !note.contains(&redirect.uri)) {
        step(0, &format!("Redirect URI: {}", redirect.uri));
    }
    if note.is_empty() {
        guide.settings.iter().for_each(|what| step(0, &format!("Turn on {what}.")));
    }
    let form = guide.prompts.iter().find(|prompt| prompt.secret).and_then(|prompt| prompt.format_hint.as_ref());
    if let Some(form) = form {
        step(0, &format!("It {form}."));
    }
    step(2, last);
    lines.push(String::new());
    lines
}

/// The commands for other authentication methods, unless the user has chosen this one.
fn alternatives(guide: &SetupGuide, command: &str) -> Vec<String> {
    if guide.other_methods.is_empty() || command.contains(" --auth ") {
        return Vec::new();
    }
    let mut lines = vec!["Other authentication methods:".to_owned()];
    lines.extend(
        guide.other_methods.iter().map(|(auth, label)| escape(&format!("  {command} --auth {auth}  ({label})"))),
    );
    lines.push(String::new());
    lines
}

fn scope_list(service: &str, app: Option<&str>, scopes: &[(&str, &str)], width: usize) -> Vec<String> {
    if scopes.is_empty() {
        return Vec::new();
    }
    let app = app.map_or_else(|| "integ".to_owned(), |app| format!("your app {app}"));
    let mut lines = vec![escape(&format!("{service} will ask whether {app} may:"))];
    let fitting = scopes.iter().map(|(scope, _)| scope.chars().count()).filter(|length| *length <= SCOPE_COLUMN);
    let column = fitting.max().unwrap_or(0);
    for (scope, purpose) in scopes {
        let length = scope.chars().count();
        let scope = escape(scope);
        if purpose.is_empty() {
            lines.push(format!("  {scope}"));
        } else if length > column {
            lines.push(format!("  {scope}"));
            lines.extend(wrap(purpose, width.saturating_sub(6)).into_iter().map(|line| format!("      {line}")));
        } else {
            let indent = " ".repeat(column + 4);
            let mut purpose = wrap(purpose, width.saturating_sub(column + 4)).into_iter();
            let first = purpose.next().unwrap_or_default();
            lines.push(format!("  {scope}{}  {first}", " ".repeat(column - length)));
            lines.extend(purpose.map(|line| format!("{indent}{line}")));
        }
    }
    lines.push(String::new());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_countdown_counts_whole_seconds() {
        let shown = |millis| countdown(WaitsFor::Browser, Duration::from_millis(millis));
        assert_eq!(shown(272_000), "Waiting for the browser (4:32 left), Ctrl-C to cancel");
        assert_eq!(shown(59_001), "Waiting for the browser (1:00 left), Ctrl-C to cancel");
        assert_eq!(shown(0), "Waiting for the browser (0:00 left), Ctrl-C to cancel");
    }

    #[test]
    fn scopes_stand_beside_their_purposes_and_long_ones_above() {
        let long = "https://www.example.com/auth/calendar.events.readonly";
        let scopes = [("read", "Read things"), ("chat:write", "Send messages"), (long, "See events"), ("bare", "")];
        let lines = scope_list("Slack", Some("id-1"), &scopes, 40);
        assert_eq!(
            lines,
            [
                "Slack will ask whether your app id-1 may:",
                "  read        Read things",
                "  chat:write  Send messages",
                &format!("  {long}"),
                "      See events",
                "  bare",
                "",
            ]
        );
    }
}
