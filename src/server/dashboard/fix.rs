//! The page that does what a hint's command does, so that a fix is one click away.

use maud::{Markup, html};
use serde_json::{Value, json};
use url::form_urlencoded::byte_serialize;

use super::context::{DashboardContext, segment};

/// Returns the fix of a hint: a link to the page that does it, or the command to copy.
pub(super) fn fix(context: &DashboardContext, hint: &str) -> Markup {
    let command = hint.split('`').nth(1).unwrap_or(hint).trim();
    match page(command) {
        Some((label, path)) => html! { a .button .primary href=(context.href(&path)) { (label) } },
        None if command.starts_with("integ ") => html! {
            p .hint { "At the machine of the server: " (super::components::code(command)) }
        },
        None => html! { p .hint { (hint) } },
    }
}

/// Returns the fix of a hint as JSON, for a script that shows it beside a form: what the link is called, and where it leads.
pub(super) fn link(context: &DashboardContext, hint: &str) -> Option<Value> {
    let (label, path) = page(hint.split('`').nth(1)?.trim())?;
    Some(json!({ "label": label, "href": context.href(&path) }))
}

/// Returns the page of a command, and what its link is called.
fn page(command: &str) -> Option<(&'static str, String)> {
    let words = shlex::split(command)?;
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words.first() != Some(&"integ") {
        return None;
    }
    words.remove(0);
    if words.first() == Some(&"-w") {
        words.drain(..words.len().min(2));
    }
    let named = |name: &str, tab: &str| format!("/dashboard/connections/{}{tab}", segment(name));
    Some(match words[..] {
        ["reconnect", name] if !name.starts_with('-') => ("Reconnect", named(name, "/reconnect")),
        ["reconnect", name, "--add-scope", scope] if !name.starts_with('-') => {
            let scope: String = byte_serialize(scope.as_bytes()).collect();
            ("Ask for the scope and reconnect", named(name, &format!("/reconnect?add={scope}")))
        }
        ["reconnect", name, ..] if !name.starts_with('-') => ("Review scopes and reconnect", named(name, "/reconnect")),
        ["connect", name, ..] if !name.starts_with('-') && !name.contains("://") => {
            let connector = name.split('@').next().unwrap_or(name);
            ("Connect", format!("/dashboard/connect/{}", segment(connector)))
        }
        ["test" | "status" | "refresh", name] if !name.starts_with('-') => ("Open the connection", named(name, "")),
        ["status", ..] => ("All connections", "/dashboard/connections".to_owned()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::page;

    #[test]
    fn commands_have_pages() {
        let path = |command: &str| page(command).map(|(_, path)| path);
        assert_eq!(path("integ reconnect slack").as_deref(), Some("/dashboard/connections/slack/reconnect"));
        assert_eq!(
            path("integ -w team reconnect 'slack@my work' --add-scope x").as_deref(),
            Some("/dashboard/connections/slack@my%20work/reconnect?add=x")
        );
        assert_eq!(path("integ connect github@work --sandbox").as_deref(), Some("/dashboard/connect/github"));
        for other in
            ["integ vault unlock", "rm -rf /", "integ", "integ reconnect --all", "integ connect https://x.example"]
        {
            assert_eq!(path(other), None, "{other}");
        }
    }
}
