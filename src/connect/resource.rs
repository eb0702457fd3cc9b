//! Connects a server by its URL: its metadata names the authorization server (RFC 9728), and integ registers itself
//! there (RFC 7591) unless the user has a client.

use std::borrow::Cow;

use url::Url;

use super::flow::{ConnectFlow, Previous};
use super::{ConnectError, ConnectRequest, find_client};
use crate::connector::{AuthMethod, AuthorizationServer, MCP, OAuth2};
use crate::env;
use crate::error::Result;
use crate::http::{Response, is_loopback};
use crate::mcp_client;
use crate::model::{ClientCredentials, Connection, ConnectionName};
use crate::oauth::discovery::{self, MetadataScope};
use crate::oauth::protected_resource;
use crate::oauth::registration::{self, ClientRegistration};
use crate::oauth::{OAuthError, ServerMetadata};
use crate::runtime::{Session, Workspace, template_values};

/// The scope that asks for a refresh token (OpenID Connect Core 1.0 section 11).
const OFFLINE_ACCESS: &str = "offline_access";

/// The authorization server: a parameter where the user names it, and what a connection's metadata calls it.
const ISSUER: &str = "issuer";

/// The parameter that holds the server's URL.
const URL_PARAM: &str = "url";

/// Parses the URL of a server that is to be connected: https, or http on this machine.
///
/// # Errors
/// [`ConnectError::InvalidUrl`].
pub fn parse_url(text: &str) -> Result<Url, ConnectError> {
    let invalid = |reason: &'static str| ConnectError::InvalidUrl { url: text.into(), reason };
    let url = Url::parse(text.trim()).map_err(|_| invalid("it is not a URL"))?;
    if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(&url)) {
        return Err(invalid("it is neither https nor http on this machine"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // The error is printed, and may be kept in a log.
        let mut shown = url.clone();
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        return Err(ConnectError::InvalidUrl {
            url: shown.as_str().into(),
            reason: "it held a user name or a password",
        });
    }
    if url.fragment().is_some() {
        return Err(invalid("it has a fragment"));
    }
    Ok(url)
}

/// The request for a connector that the request for a URL stands for, with a name for the connection: the one that is
/// connected to this URL already, else a free one after the host.
pub(super) async fn request_for_url(
    workspace: &Workspace,
    request: &ConnectRequest,
    url: &Url,
) -> Result<ConnectRequest> {
    let mut request = request.clone();
    MCP.clone_into(&mut request.connector);
    request.params.insert(URL_PARAM.to_owned(), url.to_string());
    if request.account.is_none() {
        let name = available_name(workspace, &request, url).await?;
        request.account = name.account().map(str::to_owned);
    }
    Ok(request)
}

async fn available_name(workspace: &Workspace, request: &ConnectRequest, url: &Url) -> Result<ConnectionName> {
    let connections = workspace.store_or_new().await?.connections();
    let is_same = |connection: &Connection| {
        connection.has_target(request.mode(), request.origin.as_ref())
            && connection.params.get(URL_PARAM).is_some_and(|known| known == url.as_str())
    };
    let known = connections.list().await?;
    let mut own = known.iter().filter(|connection| connection.name.connector() == MCP);
    if let Some(same) = own.find(|connection| is_same(connection)) {
        return Ok(same.name.clone());
    }
    let (short, long) = account_names(url);
    let numbered = (2..).map(|number| format!("{long}-{number}"));
    for account in [short, long.clone()].into_iter().chain(numbered) {
        let name = ConnectionName::new(MCP, Some(&account))?;
        if !known.iter().any(|connection| connection.name == name) {
            return Ok(name);
        }
    }
    Ok(ConnectionName::new(MCP, None)?)
}

/// `linear` and `mcp-linear-app` for `https://mcp.linear.app/mcp`: the label that names the service, and the whole host.
fn account_names(url: &Url) -> (String, String) {
    const GENERIC: [&str; 4] = ["mcp", "api", "www", "app"];
    /// No longer than what countries have below them: `co.uk`, `com.au`.
    const LONGEST_SUFFIX: usize = 3;
    let host = url.host_str().unwrap_or_default();
    let plain = |text: &str| {
        let text: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        text.trim_matches('-').chars().take(60).collect::<String>()
    };
    let port = url.port().map(|port| format!("-{port}")).unwrap_or_default();
    let long = format!("{}{port}", plain(host));
    if url.domain().is_none() || !host.contains('.') {
        return (long.clone(), long);
    }
    let mut labels: Vec<&str> = host.split('.').filter(|label| !label.is_empty()).collect();
    while labels.len() > 2 && GENERIC.contains(&labels[0]) {
        labels.remove(0);
    }
    labels.pop();
    if labels.len() > 1 && labels.last().is_some_and(|label| label.len() <= LONGEST_SUFFIX) {
        labels.pop();
    }
    let short = plain(labels.last().copied().unwrap_or(host));
    (if short.is_empty() { long.clone() } else { short }, long)
}

impl ConnectFlow<'_> {
    /// Refuses to put another server into the place of the one that a connection leads to.
    pub(super) fn ensure_same_resource(&self, auth: &AuthMethod, connection: &Connection) -> Result<(), ConnectError> {
        let (Some(rules), Some(Previous { connection: before, .. })) = (&auth.oauth2, &self.previous) else {
            return Ok(());
        };
        let resource = |params| {
            let mut values = crate::connector::Values::default();
            rules.protected_resource.as_ref()?.fill_path(values.extend(params)).ok()
        };
        match (resource(&before.params), resource(&connection.params)) {
            (Some(known), Some(asked)) if known != asked => Err(ConnectError::OtherResource {
                name: before.name.clone(),
                known: known.into(),
                command: self.request.command_as("OTHER").into(),
            }),
            _ => Ok(()),
        }
    }
}

/// A protected resource and its authorization server.
pub(super) struct ResourceServer {
    pub(super) metadata: ServerMetadata,
    /// The scopes to ask for.
    pub(super) scopes: Vec<String>,
}

/// Finds the authorization server of the session's resource, if its connector is for one, and notes in the session what
/// requests name.
pub(super) async fn discover(
    flow: &ConnectFlow<'_>,
    session: &mut Session,
    rules: &OAuth2,
) -> Result<Option<ResourceServer>> {
    let Some(template) = &rules.protected_resource else { return Ok(None) };
    let values = template_values(&session.connector, &session.auth, &session.connection, None);
    let url = template.fill_url(&values).map_err(|error| flow.oauth_error(error.into()))?;
    let named = session.connection.params.get(ISSUER).map(String::as_str);
    let http = &flow.workspace.engine.http;
    let probe = mcp_client::discover_probe(url.clone());
    let other = |answer: &Response| mcp_client::session_probe(url, answer);
    let found = protected_resource::discover(http, &session.route, probe, other, named).await;
    let found =
        found.map_err(|source| ConnectError::Resource { command: flow.request.command(), source: Box::new(source) })?;
    let scope = if found.resource.is_some() { MetadataScope::First } else { MetadataScope::Origin };
    let declared = ServerMetadata::default();
    let published = discovery::discover(http, &session.route, &found.issuer, scope, declared).await;
    let metadata = match published {
        // A server of revision 2025-03-26 may publish nothing, and has its endpoints at usual places.
        Err(OAuthError::MetadataNotFound { .. }) if found.resource.is_none() && named.is_none() => {
            usual_endpoints(&found.issuer)
        }
        metadata => metadata,
    }
    .map_err(|error| flow.oauth_error(error))?;
    let text = |url: &Option<Url>| url.as_ref().map(Url::to_string);
    let kept = if metadata.is_published {
        [("issuer", Some(found.issuer)), ("resource", found.resource)]
    } else {
        [("authorize_url", text(&metadata.authorization_endpoint)), ("token_url", text(&metadata.token_endpoint))]
    };
    let kept = kept.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    session.connection.metadata.extend(kept);
    let mut scopes = found.scopes;
    let has_offline = metadata.scopes_supported.iter().any(|scope| scope == OFFLINE_ACCESS);
    if has_offline && !scopes.is_empty() && !scopes.iter().any(|scope| scope == OFFLINE_ACCESS) {
        scopes.push(OFFLINE_ACCESS.to_owned());
    }
    Ok(Some(ResourceServer { metadata, scopes }))
}

/// The endpoints of a server without metadata (MCP revision 2025-03-26, "Fallbacks for Servers without Metadata Discovery").
fn usual_endpoints(issuer: &str) -> Result<ServerMetadata, OAuthError> {
    let at = |path: &str| {
        let url = Url::parse(issuer).and_then(|issuer| issuer.join(path));
        url.map(Some).map_err(|error| OAuthError::InvalidMetadata {
            issuer: issuer.to_owned(),
            reason: error.to_string(),
            metadata_issuer: None,
        })
    };
    Ok(ServerMetadata {
        authorization_endpoint: at("/authorize")?,
        token_endpoint: at("/token")?,
        registration_endpoint: at("/register")?,
        ..ServerMetadata::default()
    })
}

/// The client to sign in with: the user's own, that of a metadata document, or one that is registered now for this very
/// redirect URI. A registration of an earlier sign-in is not used again: the server may have forgotten it, and its page would
/// then say so to a person who can do nothing about it.
pub(super) async fn client(
    flow: &ConnectFlow<'_>,
    session: &mut Session,
    resource: &ResourceServer,
    redirect_uri: &str,
    scopes: &[String],
) -> Result<ClientCredentials> {
    let server = &resource.metadata;
    if let Some(own) = own_client(flow, session).await? {
        return Ok(own);
    }
    let engine = &flow.workspace.engine;
    let document = engine.config.mcp.client_metadata_url.as_ref();
    let metadata = &mut session.connection.metadata;
    if let Some(url) = document.filter(|_| server.supports_client_metadata_document) {
        metadata.extend([ClientRegistration::MetadataDocument.entry()]);
        return Ok(ClientCredentials { id: url.to_string(), secret: None });
    }
    let Some(endpoint) = &server.registration_endpoint else {
        let issuer = metadata.get(ISSUER).cloned().unwrap_or_default();
        return Err(ConnectError::RegistrationUnsupported { command: flow.request.command(), issuer }.into());
    };
    let now = flow.workspace.clock.now();
    let registered =
        registration::register(&engine.http, &session.route, endpoint, server, redirect_uri, scopes, now).await;
    let registered = registered.map_err(|error| flow.oauth_error(error))?;
    metadata.extend(registered.entries());
    Ok(registered.client)
}

/// The user's own client at this server: given, registered with integ, or that of the connection.
async fn own_client(flow: &ConnectFlow<'_>, session: &Session) -> Result<Option<ClientCredentials>> {
    if let Some(given) = &flow.request.client {
        if given.id.is_empty() {
            return Err(ConnectError::MissingApp { command: flow.request.command() }.into());
        }
        let from_env = || flow.reads_environment().then(|| env::secret(&env::CLIENT_SECRET)).flatten();
        let secret = given.secret.clone().or_else(from_env);
        return Ok(Some(ClientCredentials { id: given.id.clone(), secret }));
    }
    // The emulated server registers clients, and is shown no secret of a real one.
    let issuer = session.connection.metadata.get(ISSUER).filter(|_| !flow.request.is_sandbox);
    let Some(issuer) = issuer else { return Ok(None) };
    let at = AuthorizationServer {
        url: issuer.trim_end_matches('/').to_owned(),
        param: ISSUER.to_owned(),
        value: issuer.clone(),
        has_default: false,
    };
    // One that belongs to no server yet must not be given to the first that a document names.
    let registered =
        find_client(flow.workspace, &session.connector.id, Some(&at)).await?.filter(|app| !app.is_unassigned);
    if let Some(app) = registered {
        return Ok(Some(app.client));
    }
    let Some(Previous { connection, loaded: Some(loaded) }) = &flow.previous else { return Ok(None) };
    let is_same = connection.metadata.get(ISSUER).map(|known| known.trim_end_matches('/')) == Some(&*at.url);
    let is_own = is_same && ClientRegistration::of(&connection.metadata).is_none();
    Ok(loaded.grant.client.clone().filter(|client| is_own && !client.id.is_empty()))
}

/// A URL as a word of a command.
pub(super) fn quoted(url: &Url) -> Cow<'_, str> {
    shlex::try_quote(url.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(url: &str) -> (String, String) {
        account_names(&Url::parse(url).unwrap())
    }

    #[test]
    fn a_connection_is_named_after_the_service() {
        for (url, short, long) in [
            ("https://mcp.linear.app/mcp", "linear", "mcp-linear-app"),
            ("https://mcp.notion.com/mcp", "notion", "mcp-notion-com"),
            ("https://api.githubcopilot.com/mcp/", "githubcopilot", "api-githubcopilot-com"),
            ("https://huggingface.co/mcp", "huggingface", "huggingface-co"),
            ("https://docs.mcp.cloudflare.com/mcp", "cloudflare", "docs-mcp-cloudflare-com"),
            ("https://mcp.acme.co.uk/", "acme", "mcp-acme-co-uk"),
            ("https://mcp.x.ai/mcp", "x", "mcp-x-ai"),
            ("https://app.io/mcp", "app", "app-io"),
            ("http://localhost:8931/mcp", "localhost-8931", "localhost-8931"),
            ("http://127.0.0.1:9000/mcp", "127-0-0-1-9000", "127-0-0-1-9000"),
            ("http://[::1]:9000/mcp", "1-9000", "1-9000"),
        ] {
            let (found_short, found_long) = names(url);
            assert_eq!(found_long, long, "{url}");
            assert_eq!(found_short, short, "{url}");
            ConnectionName::new(MCP, Some(&found_short)).unwrap();
        }
    }

    #[test]
    fn only_urls_that_are_safe_to_ask_are_taken() {
        for good in ["https://mcp.linear.app/mcp", "http://localhost:1/mcp", " https://a.example/x?y=1 "] {
            parse_url(good).unwrap();
        }
        for bad in [
            "http://mcp.linear.app/mcp",
            "ftp://a.example/",
            "https://u:p@a.example/",
            "https://a.example/#x",
            "https://",
        ] {
            let error = parse_url(bad).unwrap_err().to_string();
            assert!(!error.contains("u:p"), "{bad}: {error}");
        }
    }
}
