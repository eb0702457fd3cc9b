//! Drafts of connectors: discovery of a server, and writing the file.

use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use crate::connector::{ClientAuth, ConnectorDraft, DiscoveredOAuth2, DraftHealth, DraftOAuth2, sentence};
use crate::error::Result;
use crate::http::Route;
use crate::oauth::ServerMetadata;
use crate::oauth::discovery::{self, MetadataScope};
use crate::runtime::{Workspace, route_to};
use crate::task::blocking;
use crate::view::draft::DraftView;

/// The scopes of OpenID Connect and what they are for (Core 1.0 sections 5.4 and 11).
const OPENID_SCOPES: [(&str, &str); 6] = [
    ("openid", "Identify the user"),
    ("profile", "Read name and picture"),
    ("email", "Read the e-mail address"),
    ("offline_access", "Stay connected: get a refresh token"),
    ("address", "Read the postal address"),
    ("phone", "Read the telephone number"),
];

/// The first OpenID Connect scopes are requested by default if the server lists them.
const DEFAULT_OPENID_SCOPES: usize = 4;

/// Checks that a user's connector may have this ID.
///
/// # Errors
/// [`crate::connector::DraftError`] for an invalid id, and for what has it already.
pub fn check_draft_id(workspace: &Workspace, id: &str, replace: bool) -> Result<()> {
    Ok(workspace.catalogue().vacant(id, replace)?)
}

/// Discovers what a connector file can contain about an OAuth or OpenID server.
///
/// # Errors
/// Those of [`discovery::discover`].
pub async fn discover_oauth2(workspace: &Workspace, issuer: &str) -> Result<DiscoveredOAuth2> {
    let route = Url::parse(issuer).map_or(Route::Live, |url| route_to(&url));
    let metadata =
        discovery::discover(&workspace.engine.http, &route, issuer, MetadataScope::Both, ServerMetadata::default())
            .await?;
    Ok(discovered(&metadata))
}

/// The file contains the issuer, whose endpoints are discovered at every sign-in: they may change, and `iss` is
/// checked.
fn discovered(metadata: &ServerMetadata) -> DiscoveredOAuth2 {
    let endpoints = [
        ("authorize", &metadata.authorization_endpoint),
        ("token", &metadata.token_endpoint),
        ("device", &metadata.device_authorization_endpoint),
        ("revoke", &metadata.revocation_endpoint),
        ("userinfo", &metadata.userinfo_endpoint),
    ];
    let endpoints = endpoints.iter().filter_map(|(name, url)| Some(format!("{name} {}", url.as_ref()?)));
    let purpose = |scope: &str| OPENID_SCOPES.iter().find(|(known, _)| *known == scope).map(|(_, purpose)| *purpose);
    let with_purpose = |scope: &String| (scope.clone(), purpose(scope).map_or_else(|| sentence(scope), str::to_owned));
    let default_scopes = OPENID_SCOPES[..DEFAULT_OPENID_SCOPES].iter().map(|(scope, _)| (*scope).to_owned());
    let mut grants = Vec::new();
    grants.extend(metadata.authorization_endpoint.is_some().then_some("authorization_code"));
    grants.extend(metadata.device_authorization_endpoint.is_some().then_some("device_code"));
    DiscoveredOAuth2 {
        oauth2: DraftOAuth2 {
            grants,
            issuer: metadata.issuer.clone(),
            client_auth_post: metadata.client_auth == Some(ClientAuth::Post),
            default_scopes: default_scopes.filter(|scope| metadata.scopes_supported.contains(scope)).collect(),
            discovered: endpoints.collect(),
            ..DraftOAuth2::default()
        },
        scopes: metadata.scopes_supported.iter().map(with_purpose).collect(),
        health: metadata.userinfo_endpoint.is_some().then(|| DraftHealth {
            path: "{userinfo_endpoint}".to_owned(),
            account_id: Some("/sub".to_owned()),
            account_name: Some("/email".to_owned()),
        }),
    }
}

/// A draft to write.
#[derive(Debug)]
pub struct WriteDraftRequest {
    pub draft: ConnectorDraft,
    /// The user's folder of connectors if absent.
    pub output: Option<PathBuf>,
    /// Replace a file that exists.
    pub replace: bool,
}

/// Writes a draft as a connector's file.
///
/// # Errors
/// [`crate::connector::DraftError`], and those of writing it.
pub async fn write_draft(workspace: &Workspace, request: WriteDraftRequest) -> Result<DraftView> {
    let WriteDraftRequest { draft, output, replace } = request;
    let text = draft.to_toml()?;
    let is_outside_catalogue = output.is_some();
    let (engine, id) = (Arc::clone(&workspace.engine), draft.id.clone());
    let file = blocking(move || engine.catalogue.keep(&id, &text, output.as_deref(), replace)).await?;
    let (file, id) = (file.display().to_string(), &draft.id);
    let mut next_steps = vec![format!("integ connector validate {file}")];
    if is_outside_catalogue {
        next_steps.push(format!("integ connector install {file}"));
    }
    next_steps.push(format!("integ connect {id} --sandbox && integ test {id}"));
    next_steps.push(format!("integ connector setup {id}"));
    Ok(DraftView::new(&draft, file, next_steps))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::{DraftAuth, DraftAuthKind};

    #[test]
    fn a_server_that_publishes_itself_needs_no_more_than_its_issuer() {
        let url = |path: &str| Some(Url::parse(&format!("https://login.acme.example{path}")).unwrap());
        let endpoints = ServerMetadata {
            issuer: Some("https://login.acme.example".to_owned()),
            authorization_endpoint: url("/authorize"),
            token_endpoint: url("/token"),
            device_authorization_endpoint: url("/device"),
            userinfo_endpoint: url("/me"),
            client_auth: Some(ClientAuth::Post),
            scopes_supported: ["openid", "email", "offline_access", "cards.read"].map(str::to_owned).into(),
            ..ServerMetadata::default()
        };
        let mut draft = ConnectorDraft {
            id: "acme".to_owned(),
            name: "Acme".to_owned(),
            category: "generic".to_owned(),
            description: "x".to_owned(),
            docs: "https://acme.example".to_owned(),
            ..ConnectorDraft::default()
        };
        let oauth2 = draft.add_discovered(discovered(&endpoints));
        draft.auth.push(DraftAuth::new(DraftAuthKind::OAuth2(Box::new(oauth2)), None));
        let file = draft.to_toml().unwrap();
        let (_, method) = file.split_once("\n\n").unwrap();
        insta::assert_snapshot!(method, @r#"
        [auth.oauth]
        label = "OAuth"

        # What the issuer publishes, which integ asks for by itself:
        #   authorize https://login.acme.example/authorize
        #   token https://login.acme.example/token
        #   device https://login.acme.example/device
        #   userinfo https://login.acme.example/me
        [auth.oauth.oauth2]
        grants = ["authorization_code", "device_code"]
        issuer = "https://login.acme.example"
        client_auth = "post"
        scope = { default = ["openid", "email", "offline_access"] }

        [scopes]
        openid = "Identify the user"
        email = "Read the e-mail address"
        offline_access = "Stay connected: get a refresh token"
        "cards.read" = "Cards read"

        [health]
        path = "{userinfo_endpoint}"
        account = { id = "/sub", name = "/email" }
        "#);
    }
}
