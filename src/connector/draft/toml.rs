//! Drafts as files.

use std::fmt::Write;

use super::super::charset::strip_hidden;
use super::{ConnectorDraft, DraftAction, DraftAuth, DraftAuthKind, DraftOAuth2};

impl ConnectorDraft {
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for (key, value) in [
            ("id", &self.id),
            ("name", &self.name),
            ("category", &self.category),
            ("description", &self.description),
            ("docs", &self.docs),
        ] {
            write_pair(&mut out, key, value);
        }
        if !self.unverified.is_empty() {
            write_line(&mut out, &format!("unsure = {}", list(&self.unverified)));
        }
        for param in &self.params {
            write_line(&mut out, &format!("\n[params.{}]", key(&param.name)));
            write_pair(&mut out, "prompt", &param.prompt);
            if let Some(default) = &param.default {
                write_pair(&mut out, "default", default);
            }
            if !param.choices.is_empty() {
                write_line(&mut out, &format!("choices = {}", list(&param.choices)));
            }
        }
        if let Some(base) = &self.base {
            write_line(&mut out, "\n[api]");
            write_pair(&mut out, "base", base);
            if let Some(names) = self.param_case {
                write_pair(&mut out, "names", names);
            }
        }
        self.auth.iter().for_each(|way| write_auth_method(&mut out, way));
        if !self.scopes.is_empty() {
            write_line(&mut out, "\n[scopes]");
            for (scope, purpose) in &self.scopes {
                write_pair(&mut out, &key(scope), purpose);
            }
        }
        if let Some(health) = &self.health {
            write_line(&mut out, "\n[health]");
            write_pair(&mut out, "path", &health.path);
            let account = [("id", &health.account_id), ("name", &health.account_name)];
            let account: Vec<(String, String)> =
                account.into_iter().filter_map(|(name, pointer)| Some((name.to_owned(), pointer.clone()?))).collect();
            if !account.is_empty() {
                write_line(&mut out, &format!("account = {}", table(&account)));
            }
        }
        self.actions.iter().for_each(|action| write_action(&mut out, action));
        out
    }
}

fn write_auth_method(out: &mut String, way: &DraftAuth) {
    let at = format!("auth.{}", key(&way.name));
    write_line(out, &format!("\n[{at}]"));
    write_pair(out, "label", &way.label);
    if let Some(url) = &way.setup_url {
        write_pair(out, "setup_url", url);
    }
    match &way.kind {
        DraftAuthKind::ApiKey { fields, headers, query, basic } => {
            let mut send = Vec::new();
            if !headers.is_empty() {
                send.push(format!("headers = {}", table(headers)));
            }
            if !query.is_empty() {
                send.push(format!("query = {}", table(query)));
            }
            if *basic {
                send.push("basic = { username = \"{username}\", password = \"{password}\" }".to_owned());
            }
            if !send.is_empty() {
                write_line(out, &format!("send = {{ {} }}", send.join(", ")));
            }
            for field in fields {
                write_line(out, &format!("\n[{at}.fields.{}]", key(&field.name)));
                write_pair(out, "prompt", &field.prompt);
                if !field.secret {
                    write_line(out, "secret = false");
                }
                if !field.prefixes.is_empty() {
                    write_line(out, &format!("prefixes = {}", list(&field.prefixes)));
                }
            }
        }
        DraftAuthKind::OAuth2(oauth2) => write_oauth2(out, &at, oauth2),
    }
}

fn write_oauth2(out: &mut String, at: &str, oauth2: &DraftOAuth2) {
    out.push('\n');
    if !oauth2.discovered.is_empty() {
        write_line(out, "# What the issuer publishes, which integ asks for by itself:");
        oauth2.discovered.iter().for_each(|found| write_line(out, &format!("#   {found}")));
    }
    write_line(out, &format!("[{at}.oauth2]"));
    if oauth2.grants != ["authorization_code"] {
        write_line(out, &format!("grants = {}", list(&oauth2.grants)));
    }
    for (name, url) in [
        ("issuer", &oauth2.issuer),
        ("authorize_url", &oauth2.authorize_url),
        ("token_url", &oauth2.token_url),
        ("refresh_url", &oauth2.refresh_url),
        ("device_url", &oauth2.device_url),
    ] {
        if let Some(url) = url {
            write_pair(out, name, url);
        }
    }
    if oauth2.client_auth_post {
        write_pair(out, "client_auth", "post");
    }
    if let Some(url) = &oauth2.revoke_url {
        write_line(out, &format!("revoke = {{ url = {} }}", quoted(url)));
    }
    if !oauth2.default_scopes.is_empty() {
        write_line(out, &format!("scope = {{ default = {} }}", list(&oauth2.default_scopes)));
    }
}

fn write_action(out: &mut String, action: &DraftAction) {
    let at = format!("actions.{}", key(&action.name));
    write_line(out, &format!("\n[{at}]"));
    write_pair(out, "about", &action.description);
    if action.method != "POST" {
        write_pair(out, "method", action.method);
    }
    write_pair(out, "path", &action.path);
    if !action.scopes.is_empty() {
        write_line(out, &format!("scopes = {}", list(&action.scopes)));
    }
    if let Some(body) = action.body {
        write_pair(out, "body", body);
    }
    if action.status != 200 {
        write_line(out, &format!("status = {}", action.status));
    }
    if !action.result.is_empty() {
        write_line(out, &format!("result = {}", table(&action.result)));
    }
    if action.params.is_empty() {
        return;
    }
    write_line(out, &format!("\n[{at}.params]"));
    for param in &action.params {
        let mut parts = vec![format!("about = {}", quoted(&param.description))];
        if param.kind != "string" {
            parts.push(format!("type = {}", quoted(param.kind)));
        }
        if param.required {
            parts.push("required = true".to_owned());
        }
        if let Some(place) = param.location {
            parts.push(format!("in = {}", quoted(place)));
        }
        if let Some(to) = &param.to {
            parts.push(format!("to = {}", quoted(to)));
        }
        if !param.choices.is_empty() {
            parts.push(format!("choices = {}", list(&param.choices)));
        }
        write_line(out, &format!("{} = {{ {} }}", key(&param.name), parts.join(", ")));
    }
}

fn write_line(out: &mut String, text: &str) {
    // Writing into a String does not fail.
    let _ = writeln!(out, "{text}");
}

fn write_pair(out: &mut String, key: &str, value: &str) {
    write_line(out, &format!("{key} = {}", quoted(value)));
}

/// A TOML string on one line, without characters that no file may hold.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in strip_hidden(text).chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { quoted(name) }
}

fn list(items: &[impl AsRef<str>]) -> String {
    /// Columns of a line, as in the files that people write.
    const WIDTH: usize = 110;
    let items: Vec<String> = items.iter().map(|item| quoted(item.as_ref())).collect();
    let short = format!("[{}]", items.join(", "));
    if short.chars().count() <= WIDTH { short } else { format!("[\n  {},\n]", items.join(",\n  ")) }
}

fn table(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{} = {}", key(name), quoted(value))).collect();
    format!("{{ {} }}", pairs.join(", "))
}
