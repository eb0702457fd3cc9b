//! Signing in and out, and who asks: one-time links, sessions, and the proof that a form is one of our own pages'.

use hyper::body::Bytes;
use maud::{Markup, html};
use subtle::ConstantTimeEq;
use url::form_urlencoded;

use super::layout::bare;
use super::{DASHBOARD, Dashboard, DashboardRequest, page_reply, see_other};
use crate::clock::Timestamp;
use crate::error::{Error, Hint};
use crate::hash::hmac_sha256;
use crate::hex;
use crate::http::peer::{self, PeerOwner};
use crate::http::serve::{FullResponse, StatusCode};
use crate::model::{Operator, OperatorRole};
use crate::ops::operators;
use crate::ops::sign_ins::workspace_of_token;
use crate::secret::Secret;
use crate::server::authentication::Tenant;

pub(super) const SIGN_IN: &str = "/sign-in";
pub(super) const SIGN_OUT: &str = "/sign-out";

/// The field of a form that proves that it is of a page of this session.
pub(super) const CSRF_FIELD: &str = "_csrf";

/// An operator with a session.
pub(super) struct SignedIn {
    pub(super) tenant: Tenant,
    pub(super) operator: Operator,
    /// When the session ends.
    pub(super) ends_at: Timestamp,
    secret: Secret,
}

impl SignedIn {
    /// Returns what the forms of the session hold: it follows from the cookie, which no other site can read.
    pub(super) fn csrf_token(&self) -> String {
        hex::encode(&hmac_sha256(self.secret.expose().as_bytes(), &[b"integ dashboard form"]))
    }

    /// Whether the fields of a form hold the token of the session.
    pub(super) fn is_form_own(&self, fields: &[(String, String)]) -> bool {
        let sent = fields.iter().find(|(name, _)| name == CSRF_FIELD).map(|(_, value)| value.as_bytes());
        sent.is_some_and(|sent| bool::from(self.csrf_token().as_bytes().ct_eq(sent)))
    }
}

impl Dashboard {
    /// Finds the session of a request.
    pub(super) async fn signed_in(&self, request: &DashboardRequest) -> Option<SignedIn> {
        let secret = self.cookies.session(&request.cookies)?;
        let tenant = self.tenant(&secret)?;
        match operators::find_session(&tenant.workspace, &secret).await {
            Ok(session) => {
                let session = session?;
                let ends_at = session.ends_at();
                Some(SignedIn { tenant: tenant.clone(), operator: session.operator, ends_at, secret })
            }
            Err(error) => {
                tracing::error!("cannot read a session: {}", error.on_one_line());
                None
            }
        }
    }

    /// Returns the workspace that a secret names.
    fn tenant(&self, secret: &Secret) -> Option<&Tenant> {
        let name = workspace_of_token(secret.expose())?;
        self.tenants.iter().find(|tenant| tenant.workspace.name == name)
    }

    /// Shows whom a link signs in. It uses up nothing, as mail programs fetch links in advance.
    pub(super) async fn show_link(&self, request: &DashboardRequest) -> FullResponse {
        let Some(link) = secret_of(&request.pairs()) else { return signed_out(self, false) };
        let shown = match self.tenant(&link) {
            Some(tenant) => operators::show_link(&tenant.workspace, &link).await,
            None => Err(operators::OperatorError::InvalidLink.into()),
        };
        match shown {
            Ok(operator) => page_reply(StatusCode::OK, &self.sign_in_page(&operator, &link)),
            Err(error) => self.refused_link(&error),
        }
    }

    fn sign_in_page(&self, operator: &Operator, link: &Secret) -> Markup {
        let body = html! {
            h1 { "Sign in as " (operator.name) }
            p { "You can " (abilities(operator.role)) "." }
            form method="post" action={ (self.base) "/dashboard" (SIGN_IN) } {
                input type="hidden" name="link" value=(link.expose());
                button .primary .wide type="submit" { "Sign in" }
            }
            p .hint { "The link works once. The session ends after 12 hours, or 2 hours without use." }
        };
        bare(&self.base, "Sign in", &body)
    }

    /// Uses up a link and starts a session.
    pub(super) async fn sign_in(&self, request: &DashboardRequest, body: &Bytes) -> FullResponse {
        let fields: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
        let Some(link) = secret_of(&fields) else { return signed_out(self, false) };
        if self.is_foreign_account(request).await {
            let body = html! {
                h1 { "Not signed in" }
                p { "The browser runs as another user of this machine." }
            };
            return page_reply(StatusCode::FORBIDDEN, &bare(&self.base, "Not signed in", &body));
        }
        let session = match self.tenant(&link) {
            Some(tenant) => operators::sign_in(&tenant.workspace, &link, request.source()).await,
            None => Err(operators::OperatorError::InvalidLink.into()),
        };
        match session {
            Ok(secret) => self.cookies.with_session(see_other(DASHBOARD), &secret),
            Err(error) => self.refused_link(&error),
        }
    }

    /// Whether another user of this machine asks, who could have read the link among the arguments of the browser. A proxy may
    /// run as anyone.
    async fn is_foreign_account(&self, request: &DashboardRequest) -> bool {
        match request.peer {
            Some(pair) if self.is_local => matches!(peer::identify(pair).await, PeerOwner::OtherUser(_)),
            _ => false,
        }
    }

    fn refused_link(&self, error: &Error) -> FullResponse {
        let hint = error.hint().as_ref().map(Hint::to_string);
        let body = html! {
            h1 { "Not signed in" }
            p { (error.message()) }
            @if let Some(hint) = hint { p .hint { (hint) } }
        };
        page_reply(StatusCode::UNAUTHORIZED, &bare(&self.base, "Not signed in", &body))
    }

    /// Ends a session.
    pub(super) async fn sign_out(&self, request: &DashboardRequest, signed_in: SignedIn, body: &Bytes) -> FullResponse {
        let fields: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
        if !signed_in.is_form_own(&fields) {
            return refused_form(self);
        }
        let SignedIn { tenant, operator, secret, .. } = &signed_in;
        if let Err(error) = operators::sign_out(&tenant.workspace, secret, operator, request.source()).await {
            let body = html! { h1 { "Not signed out" } p { (error.on_one_line()) } };
            return page_reply(StatusCode::SERVICE_UNAVAILABLE, &bare(&self.base, "Not signed out", &body));
        }
        let body = html! { h1 { "Signed out" } (how_to_sign_in()) };
        self.cookies.without_session(page_reply(StatusCode::OK, &bare(&self.base, "Signed out", &body)))
    }
}

/// What an operator can do with a role.
pub(super) fn abilities(role: OperatorRole) -> &'static str {
    match role {
        OperatorRole::Viewer => "see everything but credentials",
        OperatorRole::Editor => "see everything but credentials, and change connections and what belongs to them",
        OperatorRole::Approver => {
            "see everything but credentials, change it, grant approvals, and manage API tokens, consents and users"
        }
    }
}

fn secret_of(fields: &[(String, String)]) -> Option<Secret> {
    let link = fields.iter().find(|(name, _)| name == "link");
    link.map(|(_, value)| Secret::new(value.clone())).filter(|link| !link.is_empty())
}

fn how_to_sign_in() -> Markup {
    html! {
        p { "To sign in, make a link at the machine of the server:" }
        pre { "integ dashboard link --as NAME" }
    }
}

/// The page of a browser without a session.
pub(super) fn signed_out(dashboard: &Dashboard, is_script: bool) -> FullResponse {
    if is_script {
        return super::submit::json(StatusCode::UNAUTHORIZED, &serde_json::json!({ "error": "You are signed out." }));
    }
    let body = html! { h1 { "You are signed out" } (how_to_sign_in()) };
    page_reply(StatusCode::UNAUTHORIZED, &bare(&dashboard.base, "Signed out", &body))
}

/// The answer to a form that no page of this session has sent.
pub(super) fn refused_form(dashboard: &Dashboard) -> FullResponse {
    let body = html! {
        h1 { "Nothing was changed" }
        p { "The form is not of a page of this session. Open the page again." }
        p { a href={ (dashboard.base) "/dashboard" } { "To the dashboard" } }
    };
    page_reply(StatusCode::FORBIDDEN, &bare(&dashboard.base, "Nothing was changed", &body))
}
