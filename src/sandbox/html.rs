//! The sandbox's pages: small, without scripts, and marked so that nobody takes them for the vendor's.
//!
//! Every value is escaped here and nowhere else: nothing but [`escape`] puts text into a page.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use url::{Host, Url};

use super::account;
use super::message::SandboxResponse;
use crate::hash;

/// The parameter by which a person's decision is sent.
pub(super) const DECISION_PARAM: &str = "sandbox_decision";

/// The parameter that makes the grant cover a second account.
pub(super) const SECOND_ACCOUNT_PARAM: &str = "sandbox_second";

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1d2330;--soft:#5b6475;--line:#dfe3ea;--back:#f3f5f8;--card:#fff;--go:#1f5fd6}\
@media(prefers-color-scheme:dark){:root{--ink:#e8ebf1;--soft:#9aa4b5;--line:#2f3745;--back:#12161d;--card:#1a202a;--go:#5b93ff}}\
*{box-sizing:border-box}\
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:24px;background:var(--back);color:var(--ink);\
font:16px/1.5 system-ui,sans-serif}\
main{width:100%;max-width:440px;background:var(--card);border:1px solid var(--line);border-radius:14px;padding:28px;\
overflow-wrap:anywhere}\
.mark{display:inline-block;padding:2px 10px;border-radius:99px;background:#f5b800;color:#221a00;\
font-size:12px;font-weight:700;letter-spacing:.1em}\
h1{margin:14px 0 6px;font-size:21px;line-height:1.3}\
p{margin:0 0 14px;color:var(--soft)}\
ul{list-style:none;margin:0 0 18px;padding:0;border-top:1px solid var(--line)}\
li{padding:9px 0;border-bottom:1px solid var(--line)}\
code{display:block;color:var(--soft);font:13px/1.5 ui-monospace,monospace}\
label{display:flex;gap:8px;margin:0 0 18px}\
input[type=text]{width:100%;padding:10px;border:1px solid var(--line);border-radius:9px;background:var(--back);\
color:var(--ink);font:inherit;letter-spacing:.12em}\
.row{display:flex;gap:10px}\
button{flex:1;padding:11px;border:1px solid var(--line);border-radius:9px;background:transparent;color:var(--ink);\
font:inherit;font-weight:600;cursor:pointer}\
button.allow{border-color:var(--go);background:var(--go);color:#fff}\
button:focus-visible{outline:3px solid #f5b800;outline-offset:2px}\
footer{margin-top:18px;font-size:13px;color:var(--soft)}";

/// What a consent page shows.
pub(super) struct ConsentPage<'a> {
    pub(super) service: &'a str,
    pub(super) client: &'a str,
    /// Each with its purpose, which may be empty.
    pub(super) scopes: Vec<(&'a str, &'a str)>,
    /// Those of further lists, asked for in the person's own name.
    pub(super) additional_scopes: Vec<(&'a str, &'a str)>,
    pub(super) offers_second_account: bool,
    /// What the form sends beside the decision.
    pub(super) hidden_fields: Vec<(&'a str, &'a str)>,
    pub(super) redirect_uri: Option<&'a Url>,
}

pub(super) fn consent(consent: &ConsentPage<'_>) -> SandboxResponse {
    let mut body = format!(
        "<h1>Allow access to {}?</h1><p>The app <b>{}</b> asks for the account <b>{}</b>.</p>",
        escape(consent.service),
        escape(consent.client),
        escape(account::NAME),
    );
    let asked: Vec<_> = consent.scopes.iter().chain(&consent.additional_scopes).collect();
    if asked.is_empty() {
        body.push_str("<p>It asks for no scopes by name.</p>");
    } else {
        body.push_str("<p>It wants to:</p><ul>");
        for (scope, purpose) in asked {
            let purpose = if purpose.is_empty() { "Use this scope" } else { *purpose };
            let _ = write!(body, "<li>{}<code>{}</code></li>", escape(purpose), escape(scope));
        }
        body.push_str("</ul>");
    }
    body.push_str("<form method=\"get\">");
    for (name, value) in &consent.hidden_fields {
        let _ = write!(body, "<input type=\"hidden\" name=\"{}\" value=\"{}\">", escape(name), escape(value));
    }
    if consent.offers_second_account {
        let _ = write!(
            body,
            "<label><input type=\"checkbox\" name=\"{SECOND_ACCOUNT_PARAM}\" value=\"yes\"> Also share the account {}</label>",
            escape(account::SECOND_NAME),
        );
    }
    let _ = write!(
        body,
        "<div class=\"row\"><button name=\"{DECISION_PARAM}\" value=\"deny\">Deny</button>\
         <button class=\"allow\" name=\"{DECISION_PARAM}\" value=\"allow\">Allow</button></div></form>"
    );
    if let Some(url) = consent.redirect_uri {
        let _ = write!(body, "<footer>Either way you return to {}.</footer>", escape(&origin(url)));
    }
    page(consent.service, 200, &body, consent.redirect_uri)
}

/// Asks for the code that a device shows.
pub(super) fn user_code(service: &str, problem: Option<&str>) -> SandboxResponse {
    let mut body = format!("<h1>Connect a device to {}</h1>", escape(service));
    let _ = write!(body, "<p>{}</p>", escape(problem.unwrap_or("Enter the code that the device shows.")));
    body.push_str(
        "<form method=\"get\"><label><input type=\"text\" name=\"user_code\" aria-label=\"Code\" autocomplete=\"off\" \
         maxlength=\"9\" autofocus></label><div class=\"row\"><button class=\"allow\">Continue</button></div></form>",
    );
    page(service, if problem.is_some() { 404 } else { 200 }, &body, None)
}

/// A page that only says something.
pub(super) fn message(service: &str, status: u16, title: &str, text: &str) -> SandboxResponse {
    page(service, status, &format!("<h1>{}</h1><p>{}</p>", escape(title), escape(text)), None)
}

fn page(service: &str, status: u16, body: &str, returns_to: Option<&Url>) -> SandboxResponse {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>{} (sandbox)</title><style>{STYLE}</style></head><body><main>\
         <span class=\"mark\">SANDBOX</span>{body}<footer>This is an emulation on your own machine. Nothing here reaches \
         {}.</footer></main></body></html>",
        escape(service),
        escape(service),
    );
    SandboxResponse::html(status, html, policy(returns_to))
}

/// Only our style, and forms only to ourselves and on to where the client waits: browsers hold a form's redirect to it.
fn policy(returns_to: Option<&Url>) -> String {
    let style = STANDARD.encode(hash::sha256(STYLE.as_bytes()));
    let forms = match returns_to {
        // The policy's grammar has no IPv6 addresses (CSP level 3, section 2.3.1); the page holds no form but ours.
        Some(url) if matches!(url.host(), Some(Host::Ipv6(_))) => String::new(),
        Some(url) => format!("; form-action 'self' {}", url.origin().ascii_serialization()),
        None => "; form-action 'self'".to_owned(),
    };
    format!("default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; frame-ancestors 'none'{forms}")
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Text as it may stand in a page, between tags or in a quoted attribute.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Control and direction characters would reorder or hide what a person reads.
            '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => out.push('\u{FFFD}'),
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}
