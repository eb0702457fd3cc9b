//! The sandbox's pages: small, without scripts, and marked so that they are not mistaken for the vendor's.
//!
//! Every value is escaped here and nowhere else: nothing but [`escape`] puts text into a page. The design is [`html`]'s.

use std::fmt::Write;

use url::{Host, Url};

use super::message::SandboxResponse;
use crate::http::html::{self, document, escape};

/// The parameter by which a person's decision is sent.
pub(super) const DECISION_PARAM: &str = "sandbox_decision";

/// The parameter that makes the grant cover a second account.
pub(super) const SECOND_ACCOUNT_PARAM: &str = "sandbox_second";

/// What a consent page shows.
pub(super) struct ConsentPage<'a> {
    pub(super) service: &'a str,
    pub(super) client: &'a str,
    /// The person who consents, and the account that the consent may also cover.
    pub(super) account: &'a str,
    pub(super) second_account: Option<&'a str>,
    /// Each with its purpose, which may be empty.
    pub(super) scopes: Vec<(&'a str, &'a str)>,
    /// Those of further lists, requested in the person's own name.
    pub(super) additional_scopes: Vec<(&'a str, &'a str)>,
    /// What the form sends beside the decision.
    pub(super) hidden_fields: Vec<(&'a str, &'a str)>,
    pub(super) redirect_uri: Option<&'a Url>,
}

pub(super) fn consent(consent: &ConsentPage<'_>) -> SandboxResponse {
    let mut body = format!(
        "<h1>Allow access to {}?</h1><p>The app <b>{}</b> requests access to the account <b>{}</b>.</p>",
        escape(consent.service),
        escape(consent.client),
        escape(consent.account),
    );
    let asked: Vec<_> = consent.scopes.iter().chain(&consent.additional_scopes).collect();
    if asked.is_empty() {
        body.push_str("<p>It requests no scopes.</p>");
    } else {
        body.push_str("<p>It asks for permission to:</p><ul>");
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
    if let Some(second) = consent.second_account {
        let _ = write!(
            body,
            "<label><input type=\"checkbox\" name=\"{SECOND_ACCOUNT_PARAM}\" value=\"yes\"> Also share the account {}</label>",
            escape(second),
        );
    }
    let _ = write!(
        body,
        "<div class=\"row\"><button name=\"{DECISION_PARAM}\" value=\"deny\">Deny</button>\
         <button class=\"allow\" name=\"{DECISION_PARAM}\" value=\"allow\">Allow</button></div></form>"
    );
    if let Some(url) = consent.redirect_uri {
        let _ = write!(body, "<footer>You will be returned to {}.</footer>", escape(&origin(url)));
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

fn page(name: &str, status: u16, body: &str, returns_to: Option<&Url>) -> SandboxResponse {
    let service = escape(name);
    let body = format!(
        "<span class=\"mark\">SANDBOX</span>{body}<footer>This is an emulation on your own machine. Nothing here reaches \
         {service}.</footer>"
    );
    let html = document(&format!("{name} (sandbox)"), &body);
    SandboxResponse::html(status, html, policy(returns_to))
}

/// Forms only to ourselves and on to where the client waits: browsers hold a form's redirect to it.
fn policy(returns_to: Option<&Url>) -> String {
    let forms = match returns_to {
        // The policy's grammar has no IPv6 addresses (CSP level 3, section 2.3.1); the page holds no form but ours.
        Some(url) if matches!(url.host(), Some(Host::Ipv6(_))) => String::new(),
        Some(url) => format!("; form-action 'self' {}", url.origin().ascii_serialization()),
        None => "; form-action 'self'".to_owned(),
    };
    format!("{}{forms}", html::policy())
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}
