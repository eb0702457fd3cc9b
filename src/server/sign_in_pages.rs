//! The pages of sign-ins: the callback that a service sends the browser to, and connect links.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use url::form_urlencoded;

use crate::audit::AuditCaller;
use crate::error::{Error, Result};
use crate::hash::sha256;
use crate::http::html::{document, escape, policy};
use crate::http::serve::{FullResponse, StatusCode, header, page};
use crate::model::{AuditActor, WorkspaceName};
use crate::oauth::callback_listener::fragment_page;
use crate::oauth::outcome_page::sentence;
use crate::ops::connect_links::{self, OpenConnectLinkRequest};
use crate::ops::sign_ins::{self, FinishSignInRequest, SignInCallback, workspace_of_callback, workspace_of_token};
use crate::runtime::Workspace;
use crate::secret::Secret;
use crate::view::connect_link::{ConnectFormView, OpenedConnectLinkView};
use crate::view::sign_in::{FinishedSignInView, StartedSignInView};

const HTML: &str = "text/html; charset=utf-8";

/// The pages of the workspaces that are served.
pub(super) struct SignInPages {
    pub(super) workspaces: Vec<Arc<Workspace>>,
}

impl SignInPages {
    fn workspace(&self, name: Option<WorkspaceName>) -> Option<Arc<Workspace>> {
        let name = name?;
        self.workspaces.iter().find(|workspace| workspace.name == name).cloned()
    }

    /// Answers a callback. What has begun is finished although the browser leaves.
    pub(super) async fn callback(&self, query: String, source: Option<String>, request_id: String) -> FullResponse {
        let Some(workspace) = self.workspace(workspace_of_callback(&query)) else {
            return message(
                StatusCode::NOT_FOUND,
                "Unknown sign-in",
                "It has expired, or is already complete. Start again from the page that sent you here.",
            );
        };
        let task = tokio::spawn(async move {
            let request = FinishSignInRequest { query: Secret::new(query) };
            let caller =
                AuditCaller { actor: AuditActor::Worker, source, request_id: Some(request_id), approval: None };
            sign_ins::FINISH.begin(&workspace, caller).await?.run(sign_ins::finish(&workspace, request)).await
        });
        match task.await {
            Ok(Ok(SignInCallback::Finished(finished))) => outcome(&finished),
            Ok(Ok(SignInCallback::FragmentPage)) => fragment_page(),
            Ok(Err(error)) => failure(&error),
            Err(_) => message(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Sign-in failed",
                "Start again from the page that sent you here.",
            ),
        }
    }

    /// Opens a connect link; `form` is what its form sent.
    pub(super) async fn connect_link(
        &self,
        secret: String,
        form: &Bytes,
        source: Option<String>,
        request_id: String,
    ) -> FullResponse {
        let Some(workspace) = self.workspace(workspace_of_token(&secret)) else {
            return message(
                StatusCode::NOT_FOUND,
                "Unknown link",
                "This connect link is not valid. Ask for a new one.",
            );
        };
        let values: BTreeMap<String, Secret> = form_urlencoded::parse(form)
            .map(|(name, value)| (name.into_owned(), Secret::trimmed(value.into_owned())))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let request = OpenConnectLinkRequest { secret: Secret::new(secret), values };
        let caller = AuditCaller { actor: AuditActor::Worker, source, request_id: Some(request_id), approval: None };
        match Box::pin(open_link(&workspace, request, caller)).await {
            Ok(OpenedConnectLinkView::Form(form)) => form_response(&form),
            Ok(OpenedConnectLinkView::Started(StartedSignInView::Redirect { authorization_url, .. })) => {
                redirect(&authorization_url)
            }
            Ok(OpenedConnectLinkView::Started(StartedSignInView::DeviceCode {
                user_code, verification_uri, ..
            })) => device_code(&user_code, &verification_uri),
            Ok(OpenedConnectLinkView::Started(StartedSignInView::Connected { connected })) => {
                let text = format!("{} is connected. You can close this page.", connected.connection.name);
                connected_page(&text)
            }
            Err(error) => failure(&error),
        }
    }
}

/// Opens a connect link for a browser that has no token: its proof is in the URL. A link that does not exist is not recorded,
/// so that nobody fills the log.
async fn open_link(
    workspace: &Workspace,
    request: OpenConnectLinkRequest,
    caller: AuditCaller,
) -> Result<OpenedConnectLinkView> {
    connect_links::find(workspace, &request.secret).await?;
    connect_links::OPEN.begin(workspace, caller).await?.run(connect_links::open(workspace, request)).await
}

fn outcome(finished: &FinishedSignInView) -> FullResponse {
    if let Some(origin) = &finished.opener_origin {
        return popup(finished, origin);
    }
    if let Some(url) = &finished.return_to {
        return redirect(url);
    }
    match &finished.sign_in.error {
        None => {
            let text = format!("{} is connected. You can close this page.", finished.sign_in.connection);
            connected_page(&text)
        }
        Some(error) => not_connected(StatusCode::BAD_REQUEST, &error.message),
    }
}

/// The page in the window of a connect button: it tells the page that opened it how the sign-in ended, and closes. Only that
/// page's origin gets the message.
fn popup(finished: &FinishedSignInView, origin: &str) -> FullResponse {
    const SCRIPT: &str = "const d=document.currentScript.dataset;\
        if(opener)opener.postMessage({sign_in:d.id,status:d.status,connection:d.connection},d.origin);close()";
    let view = &finished.sign_in;
    let data = [
        ("id", view.sign_in.to_string()),
        ("status", view.status.to_string()),
        ("connection", view.connection.clone()),
        ("origin", origin.to_owned()),
    ];
    let data: String = data.iter().map(|(name, value)| format!(" data-{name}=\"{}\"", escape(value))).collect();
    let body =
        format!("<span class=\"name\">integ</span><h1>You can close this window</h1><script{data}>{SCRIPT}</script>");
    let hash = STANDARD.encode(sha256(SCRIPT.as_bytes()));
    let policy = format!("{}; script-src 'sha256-{hash}'", policy());
    page(StatusCode::OK, HTML, &document("Signed in", &body), &policy)
}

fn redirect(url: &str) -> FullResponse {
    let mut response = message(StatusCode::SEE_OTHER, "Continue", "Your browser is being redirected.");
    match header::HeaderValue::try_from(url) {
        Ok(url) => drop(response.headers_mut().insert(header::LOCATION, url)),
        Err(_) => {
            return message(
                StatusCode::BAD_GATEWAY,
                "Sign-in failed",
                "The address of the service is invalid. Ask the person who sent you here.",
            );
        }
    }
    response
}

fn failure(error: &Error) -> FullResponse {
    let status = StatusCode::from_u16(error.kind().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    not_connected(status, &error.on_one_line())
}

fn connected_page(text: &str) -> FullResponse {
    marked(StatusCode::OK, ("good", "✓"), "Connected", &format!("<p>{}</p>", escape(text)))
}

/// The visitor may be a stranger to integ, so the page says whom to ask.
fn not_connected(status: StatusCode, reason: &str) -> FullResponse {
    let text = format!(
        "<p>{}</p><footer>Try again from the page or the link that you came from. If that does not help, send this message \
         to the person who asked you to connect.</footer>",
        escape(&sentence(reason))
    );
    marked(status, ("bad", "✕"), "Not connected", &text)
}

fn marked(status: StatusCode, (kind, sign): (&str, &str), title: &str, rest: &str) -> FullResponse {
    let body = format!(
        "<span class=\"name\">integ</span><div class=\"sign {kind}\" aria-hidden=\"true\">{sign}</div><h1>{title}</h1>{rest}"
    );
    page(status, HTML, &document(title, &body), &policy())
}

/// The page of a sign-in with a code. The address is a link only if it is an https URL, which the browser opens as a page.
fn device_code(user_code: &str, verification_uri: &str) -> FullResponse {
    let address = escape(verification_uri);
    let address = match verification_uri.starts_with("https://") {
        true => format!("<a href=\"{address}\" rel=\"noreferrer\">{address}</a>"),
        false => format!("<b>{address}</b>"),
    };
    let body = format!(
        "<span class=\"name\">integ</span><h1>Enter a code</h1><p>Open {address} and enter this code:</p><pre>{}</pre>\
         <footer>You can close this page when you have entered it.</footer>",
        escape(user_code)
    );
    page(StatusCode::OK, HTML, &document("Enter a code", &body), &policy())
}

fn message(status: StatusCode, title: &str, text: &str) -> FullResponse {
    let body = format!("<span class=\"name\">integ</span><h1>{}</h1><p>{}</p>", escape(title), escape(text));
    page(status, HTML, &document(title, &body), &policy())
}

/// The page of the form. A browser sends `Origin: null` with a form of a page without referrers (Fetch, append a request
/// `Origin` header), which the check of origins refuses, so this page lets referrers through to the server itself.
fn form_response(form: &ConnectFormView) -> FullResponse {
    let mut response = page(StatusCode::OK, HTML, &form_page(form), &form_policy());
    let within = header::HeaderValue::from_static("same-origin");
    response.headers_mut().insert(header::REFERRER_POLICY, within);
    response
}

/// A form for the values that a person has to give: parameters and the parts of a key.
fn form_page(form: &ConnectFormView) -> String {
    let service = escape(&form.service);
    let mut body = format!("<span class=\"name\">integ</span><h1>Connect {service}</h1><form method=\"post\">");
    for field in &form.fields {
        let (name, prompt) = (escape(&field.name), escape(&field.prompt));
        let kind = if field.is_secret { "password" } else { "text" };
        let required = if field.is_required { " required" } else { "" };
        let value = escape(field.default.as_deref().unwrap_or_default());
        let _ = write!(body, "<p><b>{prompt}</b></p><p>");
        if field.choices.is_empty() {
            let _ = write!(
                body,
                "<input type=\"{kind}\" name=\"{name}\" value=\"{value}\" autocomplete=\"off\" aria-label=\"{prompt}\"{required}>"
            );
        } else {
            let _ = write!(body, "<select name=\"{name}\" aria-label=\"{prompt}\"{required}>");
            for choice in &field.choices {
                let _ = write!(body, "<option>{}</option>", escape(choice));
            }
            body.push_str("</select>");
        }
        body.push_str("</p>");
    }
    body.push_str("<div class=\"row\"><button class=\"allow\">Connect</button></div></form>");
    if !form.docs.is_empty() {
        let docs = escape(&form.docs);
        let docs = match form.docs.starts_with("https://") {
            true => format!("<a href=\"{docs}\" target=\"_blank\" rel=\"noreferrer\">{docs}</a>"),
            false => docs,
        };
        let _ = write!(body, "<footer>Where to find these values: {docs}</footer>");
    }
    document(&format!("Connect {}", form.service), &body)
}

/// The form is sent to this server, which redirects to the service: browsers hold that redirect to the policy as well.
fn form_policy() -> String {
    format!("{}; form-action 'self' https: http://127.0.0.1:* http://localhost:*", policy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_sent_with_its_origin_and_may_be_redirected_to_the_service() {
        let form = ConnectFormView {
            next: "form",
            service: "Acme".to_owned(),
            docs: "https://acme.example".to_owned(),
            fields: Vec::new(),
        };
        let response = form_response(&form);
        assert_eq!(response.headers()["referrer-policy"], "same-origin", "else a browser sends `Origin: null`");
        let policy = response.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("form-action 'self' https:"), "{policy}");
    }
}
