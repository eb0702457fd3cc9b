//! Operations on connect links: URLs with which somebody else connects an account, once.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;
use url::Url;

use super::connectors::configured_params;
use super::sign_ins::{account_for_user, check_return_to, start_request};
use super::{Effect, Operation, OperationScope, Reach};
use crate::clock::Timestamp;
use crate::connect::ConnectRequest;
use crate::connect::pending::{SignInError, new_token, token_hash};
use crate::connector::{AuthMethod, Connector};
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::model::connect_link::{CONNECT_LINK_LIFETIME, MAX_CONNECT_LINK_LIFETIME};
use crate::model::{
    ConnectLink, ConnectLinkId, ConnectLinkMode, ConnectLinkStatus, ConnectionMode, ConnectionName, UserId,
};
use crate::runtime::Workspace;
use crate::secret::Secret;
use crate::view::connect_link::{
    ConnectFormView, ConnectLinkListView, ConnectLinkView, FormFieldView, NewConnectLinkView, OpenedConnectLinkView,
    RevokedConnectLinkView,
};

const CONNECTIONS: OperationScope = OperationScope::Connections;

/// Opening a link, which anyone does who has it.
pub const OPEN: Operation = Operation::local("connect-link open", CONNECTIONS, Effect::Write).reachable_by(Reach::Api);

/// The operations of this module.
pub const OPERATIONS: &[Operation] = &[
    OPEN,
    Operation::local("connect-link create", CONNECTIONS, Effect::Write).reachable_by(Reach::Api),
    Operation::local("connect-link list", CONNECTIONS, Effect::Read).reachable_by(Reach::Api),
    Operation::local("connect-link revoke", CONNECTIONS, Effect::Write).reachable_by(Reach::Api),
];

/// A link to create.
#[derive(Clone, Debug)]
pub struct CreateConnectLinkRequest {
    pub connector: String,
    /// The account's name in the connection; derived from the user or the account if absent.
    pub account: Option<String>,
    pub auth: Option<String>,
    /// Scopes to request, instead of the connector's defaults.
    pub scopes: Vec<String>,
    pub params: BTreeMap<String, String>,
    pub user: Option<UserId>,
    pub is_sandbox: bool,
    pub display: ConnectLinkMode,
    pub return_to: Option<Url>,
    /// For how long it is valid; a day if absent.
    pub lifetime: Option<Duration>,
    /// Whether a caller of the API chooses the parameters, and not the owner: hosts among them must be public then.
    pub is_guarded: bool,
}

/// A link that somebody opens.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenConnectLinkRequest {
    /// The last part of the URL.
    #[serde(skip, default = "Secret::empty")]
    pub secret: Secret,
    /// The values of the form, if there was one.
    #[serde(default, deserialize_with = "super::sign_ins::secrets")]
    pub values: BTreeMap<String, Secret>,
}

/// Why a connect link cannot be created or used.
#[derive(Debug, Error)]
pub enum ConnectLinkError {
    #[error("a connect link is valid for at least a minute and at most 7 days")]
    InvalidLifetime,
    #[error("connect link {id} not found")]
    NotFound { id: ConnectLinkId },
    #[error("this connect link is not valid")]
    Unknown,
    #[error("this connect link has expired")]
    Expired,
    #[error("the server has no public URL")]
    NoPublicUrl,
}

impl Remedy for ConnectLinkError {
    fn diagnostic(&self) -> Diagnostic {
        let again = || Hint::text("ask for a new link");
        match self {
            Self::InvalidLifetime => {
                Diagnostic::new(Kind::Usage, "invalid_lifetime").hint(Hint::text("write a time such as 24h or 7d"))
            }
            Self::NotFound { .. } => {
                Diagnostic::new(Kind::NotFound, "connect_link_not_found").run("integ connect-link list")
            }
            Self::Unknown => Diagnostic::new(Kind::NotFound, "unknown_connect_link").hint(again()),
            Self::Expired => Diagnostic::new(Kind::Usage, "connect_link_expired").hint(again()),
            Self::NoPublicUrl => {
                Diagnostic::new(Kind::Usage, "no_public_url").run("integ config set serve.public_url https://HOST")
            }
        }
    }
}

/// Creates a link. Its URL is returned only here.
///
/// # Errors
/// An unknown connector or method, [`ConnectLinkError::InvalidLifetime`], a return address that is not allowed.
pub async fn create(workspace: &Workspace, request: CreateConnectLinkRequest) -> Result<NewConnectLinkView> {
    const SHORTEST: Duration = Duration::from_secs(60);
    let engine = &workspace.engine;
    let connector = workspace.catalogue().get(&request.connector)?;
    connector.auth_method(request.auth.as_deref())?;
    ConnectionName::new(&connector.id, request.account.as_deref())?;
    let lifetime = request.lifetime.unwrap_or(CONNECT_LINK_LIFETIME);
    if !(SHORTEST..=MAX_CONNECT_LINK_LIFETIME).contains(&lifetime) {
        return Err(ConnectLinkError::InvalidLifetime.into());
    }
    if let Some(url) = &request.return_to {
        check_return_to(workspace, url)?;
    }
    let params = configured_params(workspace, &connector.id, request.params).await?;
    let now = workspace.clock.now();
    let link = ConnectLink {
        id: ConnectLinkId::random(),
        connector: connector.id.clone(),
        account: request.account,
        auth: request.auth,
        scopes: request.scopes,
        params,
        user: request.user,
        mode: if request.is_sandbox { ConnectionMode::Sandbox } else { ConnectionMode::Live },
        display: request.display,
        return_to: request.return_to,
        is_guarded: request.is_guarded,
        created_at: now,
        expires_at: now.checked_add(lifetime).unwrap_or(Timestamp::MAX),
        uses_left: 1,
        revoked_at: None,
    };
    let secret = new_token(&workspace.name);
    let url = engine.config.serve.connect_link_url(secret.expose()).ok_or(ConnectLinkError::NoPublicUrl)?;
    workspace.store_or_new().await?.connect_links().add(&link, &token_hash(&secret)).await?;
    Ok(NewConnectLinkView { url: url.to_string(), link: ConnectLinkView::new(&link, now) })
}

/// Returns all links, the newest first.
pub async fn list(workspace: &Workspace) -> Result<ConnectLinkListView> {
    let links = match workspace.has_vault() {
        true => workspace.store().await?.connect_links().list().await?,
        false => Vec::new(),
    };
    let now = workspace.clock.now();
    Ok(ConnectLinkListView { connect_links: links.iter().map(|link| ConnectLinkView::new(link, now)).collect() })
}

/// Revokes a link and the sign-ins that were begun with it. A connection that was made with it stays.
///
/// # Errors
/// [`ConnectLinkError::NotFound`].
pub async fn revoke(workspace: &Workspace, id: &ConnectLinkId) -> Result<RevokedConnectLinkView> {
    let not_found = || ConnectLinkError::NotFound { id: id.clone() };
    if !workspace.has_vault() {
        return Err(not_found().into());
    }
    let (links, now) = (workspace.store().await?.connect_links(), workspace.clock.now());
    let was_active = links.revoke(id, now).await?;
    let link = links.get(id).await?.ok_or_else(not_found)?;
    Ok(RevokedConnectLinkView { was_active, revoked: ConnectLinkView::new(&link, now) })
}

/// Opens a link for anyone who has it: starts its sign-in, or returns the form of the values that it needs.
///
/// The link is used up by the first sign-in that finishes; until then it can be opened again.
///
/// # Errors
/// Those of [`find`], and of [`pending::start`](crate::connect::pending::start).
pub async fn open(workspace: &Workspace, request: OpenConnectLinkRequest) -> Result<OpenedConnectLinkView> {
    let link = find(workspace, &request.secret).await?;
    if let Some(audit) = workspace.audit_entry() {
        audit.set_detail(&format!("link {}", link.id));
    }
    let connector = workspace.catalogue().get(&link.connector)?;
    let (_, auth) = connector.auth_method(link.auth.as_deref())?;
    let fields = if link.mode == ConnectionMode::Sandbox { Vec::new() } else { form(&connector, auth, &link) };
    let is_missing = |field: &FormFieldView| field.is_required && !request.values.contains_key(&field.name);
    if fields.iter().any(is_missing) {
        let (service, docs) = (connector.name.clone(), connector.docs.clone());
        return Ok(OpenedConnectLinkView::Form(ConnectFormView { next: "form", service, docs, fields }));
    }
    let return_to = link.return_to.clone();
    let id = link.id.clone();
    let connect = connect_request(workspace, link, auth, request.values).await?;
    Ok(OpenedConnectLinkView::Started(start_request(workspace, &connect, return_to, Some(id)).await?))
}

/// Finds the link with a secret, if it can be opened. The caller has chosen the workspace by
/// [`workspace_of_token`](super::sign_ins::workspace_of_token).
///
/// # Errors
/// [`ConnectLinkError::Unknown`], [`ConnectLinkError::Expired`], [`SignInError::LinkUsed`].
pub async fn find(workspace: &Workspace, secret: &Secret) -> Result<ConnectLink> {
    if !workspace.has_vault() {
        return Err(ConnectLinkError::Unknown.into());
    }
    let found = workspace.store().await?.connect_links().find_by_secret(&token_hash(secret)).await?;
    let link = found.ok_or(ConnectLinkError::Unknown)?;
    match link.status(workspace.clock.now()) {
        ConnectLinkStatus::Active => Ok(link),
        ConnectLinkStatus::Expired => Err(ConnectLinkError::Expired.into()),
        ConnectLinkStatus::Used | ConnectLinkStatus::Revoked => Err(SignInError::LinkUsed.into()),
    }
}

/// The values that the holder of a link may give: parameters that the link leaves open, and the parts of a key.
fn form(connector: &Connector, auth: &AuthMethod, link: &ConnectLink) -> Vec<FormFieldView> {
    let open = connector.params(auth).filter(|(name, _)| !link.params.contains_key(*name));
    let params = open.map(|(name, param)| FormFieldView {
        name: name.clone(),
        prompt: param.prompt.clone(),
        is_secret: false,
        is_required: param.default.is_none() && !param.optional,
        is_file: false,
        choices: param.choices.clone(),
        default: param.default.clone(),
        example: param.example.clone(),
    });
    let keys = auth.fields.iter().filter(|(name, _)| !link.params.contains_key(*name));
    let keys = keys.map(|(name, field)| FormFieldView {
        name: name.clone(),
        prompt: field.prompt.clone(),
        is_secret: field.secret,
        is_required: true,
        is_file: field.kind.is_file(),
        choices: Vec::new(),
        default: None,
        example: None,
    });
    params.chain(keys).collect()
}

/// The request of a link with the values of its form, which its holder chose.
async fn connect_request(
    workspace: &Workspace,
    link: ConnectLink,
    auth: &AuthMethod,
    values: BTreeMap<String, Secret>,
) -> Result<ConnectRequest> {
    let account = match (link.account, &link.user) {
        (None, Some(user)) => account_for_user(workspace, &link.connector, user).await?,
        (account, _) => account,
    };
    let is_guarded = link.is_guarded || !values.is_empty();
    let (keys, given): (BTreeMap<_, _>, BTreeMap<_, _>) =
        values.into_iter().filter(|(_, value)| !value.is_empty()).partition(|(name, _)| auth.fields.contains_key(name));
    let mut params: BTreeMap<String, String> =
        given.into_iter().map(|(name, value)| (name, value.expose().clone())).collect();
    // What the link says is not the holder's to change.
    params.extend(link.params);
    Ok(ConnectRequest {
        connector: link.connector,
        account,
        auth: link.auth,
        scopes: link.scopes,
        params,
        files: keys,
        user: link.user,
        is_sandbox: link.mode == ConnectionMode::Sandbox,
        is_guarded,
        ..ConnectRequest::default()
    })
}
