//! The routes of the emulated vendor: the paths of the connector's templates, in order of precedence, and fixed paths
//! for endpoints from the user or discovery.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use url::Url;

use super::mcp::METADATA_PATH;
use super::message::SandboxRequest;
use super::pattern::{PathParams, TemplatePattern, leading_placeholder, mark_placeholders};
use super::relation::{RecordRelation, item_paths, relate};
use super::stream::StreamRequestKind;
use crate::connector::{Action, AuthMethod, Connector, GrantType, HealthProtocol, HttpMethod, Template};
use crate::model::words;

/// The origin that stands for the sandbox in values that must be URLs; the route replaces it by the emulator's.
pub(super) const ORIGIN: &str = crate::http::SANDBOX_ORIGIN;

/// Where a person enters the user code of the device grant.
pub(super) const VERIFICATION_PATH: &str = "/sandbox/device";

/// What a request is for. Where two endpoints have the same path, the one named first here is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmulatedEndpoint {
    Token,
    /// Where refreshing has a URL of its own.
    Refresh,
    Device,
    Revoke,
    Discovery,
    /// What a protected resource says of itself (RFC 9728).
    ResourceMetadata,
    /// Where clients register themselves (RFC 7591).
    Registration,
    Authorize,
    /// The page on which a person confirms a device.
    Verification,
    FollowUp,
    Health,
    /// An action of the connector's file.
    Action,
    /// A stream of it.
    Stream,
    /// Any other call of the API.
    Other,
}

words!(EmulatedEndpoint {
    Token => "token",
    Refresh => "refresh",
    Device => "device",
    Revoke => "revoke",
    Discovery => "discovery",
    ResourceMetadata => "resource_metadata",
    Registration => "registration",
    Authorize => "authorize",
    Verification => "verification",
    FollowUp => "follow_up",
    Health => "health",
    Action => "action",
    Stream => "stream",
    Other => "other",
});

impl EmulatedEndpoint {
    /// Its path where the connector's file does not fix one.
    pub(super) fn default_path(self) -> &'static str {
        match self {
            Self::Token | Self::Refresh => "/token",
            Self::Device => "/device",
            Self::Revoke => "/revoke",
            Self::Discovery | Self::ResourceMetadata | Self::Action | Self::Stream | Self::Other => "",
            Self::Registration => "/register",
            Self::Authorize => "/authorize",
            Self::Verification => VERIFICATION_PATH,
            Self::FollowUp => "/accounts",
            Self::Health => "/health",
        }
    }
}

/// An endpoint as the connector's file declares it.
pub(super) struct DeclaredRoute {
    pub(super) endpoint: EmulatedEndpoint,
    pub(super) method: HttpMethod,
    /// The marked template of its URL; empty where only the sandbox has a path for it.
    pub(super) url: String,
    /// An MCP server is where its clients expect it.
    is_mcp: bool,
}

impl DeclaredRoute {
    /// The sandbox's own path for it: where discovery names the endpoint of OpenID Connect, that one's.
    pub(super) fn default_path(&self) -> &'static str {
        match leading_placeholder(&self.url) {
            Some(("userinfo_endpoint", "")) => "/userinfo",
            _ if self.is_mcp => "/mcp",
            _ => self.endpoint.default_path(),
        }
    }
}

/// The endpoints of one authentication method, in the order that decides.
pub(super) fn declared_routes(connector: &Connector, auth: &AuthMethod) -> Vec<DeclaredRoute> {
    let mut found = Vec::new();
    let mut add = |endpoint, method, url: String| found.push(DeclaredRoute { endpoint, method, url, is_mcp: false });
    if let Some(oauth2) = &auth.oauth2 {
        let url = |template: &Option<_>| template.as_ref().map(mark_placeholders).unwrap_or_default();
        let is_exchange = oauth2.key_grant() == Some(GrantType::Exchange);
        let method = if is_exchange { oauth2.token_method } else { HttpMethod::Post };
        add(EmulatedEndpoint::Token, method, url(&oauth2.token_url));
        if oauth2.refresh_url.is_some() {
            add(EmulatedEndpoint::Refresh, HttpMethod::Post, url(&oauth2.refresh_url));
        }
        let discovered = oauth2.issuer.is_some();
        if discovered || oauth2.grants.contains(&GrantType::DeviceCode) {
            add(EmulatedEndpoint::Device, HttpMethod::Post, url(&oauth2.device_url));
            add(EmulatedEndpoint::Verification, HttpMethod::Get, String::new());
        }
        match &oauth2.revoke {
            Some(revoke) => add(EmulatedEndpoint::Revoke, revoke.method, mark_placeholders(&revoke.url)),
            None if discovered => add(EmulatedEndpoint::Revoke, HttpMethod::Post, String::new()),
            None => {}
        }
        if oauth2.grants.contains(&GrantType::AuthorizationCode) {
            add(EmulatedEndpoint::Authorize, HttpMethod::Get, url(&oauth2.authorize_url));
        }
        if oauth2.protected_resource.is_some() {
            add(EmulatedEndpoint::Registration, HttpMethod::Post, String::new());
        }
        if let Some(follow_up) = &oauth2.follow_up {
            add(EmulatedEndpoint::FollowUp, HttpMethod::Get, mark_placeholders(&follow_up.url));
        }
    }
    if let Some(fragment) = &auth.fragment {
        add(EmulatedEndpoint::Authorize, HttpMethod::Get, mark_placeholders(&fragment.authorize_url));
    }
    if let Some(health) = connector.health(auth) {
        let path = mark_placeholders(&health.path);
        let base = auth.base.as_ref().or(connector.api.base.as_ref()).filter(|_| path.starts_with('/'));
        let is_mcp = health.protocol == HealthProtocol::Mcp;
        let method = if is_mcp { HttpMethod::Post } else { health.request_method() };
        let url = base.map(mark_placeholders).unwrap_or_default() + &path;
        found.push(DeclaredRoute { endpoint: EmulatedEndpoint::Health, method, url, is_mcp });
    }
    found.sort_by_key(|declared| declared.endpoint);
    found
}

/// Where one endpoint is.
#[derive(Clone, Debug)]
struct EmulatedRoute {
    endpoint: EmulatedEndpoint,
    method: HttpMethod,
    path: TemplatePattern,
    /// The part of the URL's query that has a value.
    query: Vec<(String, TemplatePattern)>,
}

/// What a request asks for.
pub(super) enum RouteMatch {
    /// One endpoint, which may be an action as well.
    Endpoint(EmulatedEndpoint, PathParams, Vec<(String, PathParams)>),
    /// Any of these, the more particular first, with what the path gives to each.
    Actions(Vec<(String, PathParams)>),
    WrongMethod(HttpMethod),
    Unknown,
}

/// The places of all endpoints, and of the actions and streams by their names.
#[derive(Clone, Debug)]
pub(super) struct RouteTable {
    endpoints: Vec<EmulatedRoute>,
    actions: Vec<NamedRoute>,
    streams: Vec<(StreamRequestKind, NamedRoute)>,
    /// Where single records are, beside the paths of actions.
    items: Vec<(NamedRoute, RecordRelation)>,
    /// What actions do to the records of streams, by their names.
    relations: BTreeMap<String, RecordRelation>,
    /// Whether a GET may be a POST, and the other way round.
    get_or_post: bool,
}

/// Where an action or a stream is.
#[derive(Clone, Debug)]
struct NamedRoute {
    name: String,
    route: EmulatedRoute,
    /// The value that its path opens with, which the caller of the path shows to know.
    url_param: Option<(String, String)>,
}

impl RouteTable {
    pub(super) fn new(connector: &Connector, auth: &AuthMethod, params: &BTreeMap<String, String>) -> Self {
        let mut places: Vec<EmulatedRoute> = declared_routes(connector, auth)
            .iter()
            .map(|declared| {
                let (path, query) = path_of(&declared.url, declared.default_path(), params);
                EmulatedRoute { endpoint: declared.endpoint, method: declared.method, path, query }
            })
            .collect();
        if let Some(issuer) = auth.oauth2.as_ref().and_then(|oauth2| oauth2.issuer.as_ref()) {
            let (path, _) = path_text(&mark_placeholders(issuer), "", params);
            let path = path.trim_end_matches('/');
            for known in [
                format!("{path}/.well-known/openid-configuration"),
                format!("/.well-known/openid-configuration{path}"),
                format!("/.well-known/oauth-authorization-server{path}"),
            ] {
                places.push(EmulatedRoute::own(EmulatedEndpoint::Discovery, &known));
            }
            places.push(EmulatedRoute::own(EmulatedEndpoint::Health, "/userinfo"));
        }
        if let Some(resource) = auth.oauth2.as_ref().and_then(|oauth2| oauth2.protected_resource.as_ref()) {
            let (path, _) = path_text(&mark_placeholders(resource), "", params);
            for known in [format!("{METADATA_PATH}{}", path.trim_end_matches('/')), METADATA_PATH.to_owned()] {
                places.push(EmulatedRoute::own(EmulatedEndpoint::ResourceMetadata, &known));
            }
        }
        places.sort_by_key(|place| place.endpoint);
        let items = item_paths(connector).into_iter().map(|(path, relation)| {
            let stream = relation.stream.clone();
            let route =
                NamedRoute::at(connector, auth, params, EmulatedEndpoint::Stream, &stream, HttpMethod::Get, path);
            (route, relation)
        });
        let relations = connector
            .actions
            .iter()
            .filter_map(|(name, action)| relate(connector, name, action).map(|relation| (name.clone(), relation)));
        Self {
            endpoints: places,
            actions: actions(connector, auth, params),
            streams: streams(connector, auth, params),
            items: items.collect(),
            relations: relations.collect(),
            get_or_post: connector.api.get_or_post,
        }
    }

    /// What an action does to the records of a stream.
    pub(super) fn relation(&self, action: &str) -> Option<&RecordRelation> {
        self.relations.get(action)
    }

    /// The records that the path of a request may be about.
    pub(super) fn items(&self, request: &SandboxRequest) -> Vec<(&RecordRelation, PathParams)> {
        let found = self.items.iter().filter_map(|(place, relation)| Some((relation, place.read(request, false)?)));
        found.collect()
    }

    /// Whether an endpoint of this method answers a request.
    fn takes(&self, endpoint: EmulatedEndpoint, method: HttpMethod, request: &SandboxRequest) -> bool {
        let is_call = endpoint == EmulatedEndpoint::Health;
        method.as_str() == request.method.as_str()
            || (method == HttpMethod::Get && request.method == hyper::Method::HEAD)
            || (is_call && self.get_or_post && is_get_or_post(method, request))
    }

    pub(super) fn find(&self, request: &SandboxRequest) -> RouteMatch {
        let mut other_method = None;
        let actions = self.fitting_actions(request);
        for place in &self.endpoints {
            if let Some(captures) = place.read(request) {
                if self.takes(place.endpoint, place.method, request) {
                    return RouteMatch::Endpoint(place.endpoint, captures, actions);
                }
                other_method.get_or_insert(place.method);
            }
        }
        if !actions.is_empty() {
            return RouteMatch::Actions(actions);
        }
        other_method.map_or(RouteMatch::Unknown, RouteMatch::WrongMethod)
    }

    /// The streams with a path that matches a request.
    pub(super) fn streams(&self, request: &SandboxRequest) -> Vec<(&str, StreamRequestKind, PathParams)> {
        let fits =
            |(role, place): &(StreamRequestKind, NamedRoute)| Some((*role, place.read(request, self.get_or_post)?));
        self.streams
            .iter()
            .filter_map(|entry| fits(entry).map(|(role, captures)| (&*entry.1.name, role, captures)))
            .collect()
    }

    /// The actions that a request fits, the more particular first.
    fn fitting_actions(&self, request: &SandboxRequest) -> Vec<(String, PathParams)> {
        let fits = |place: &NamedRoute| Some((place.name.clone(), place.read(request, self.get_or_post)?));
        let mut actions: Vec<_> = self.actions.iter().filter_map(fits).collect();
        actions.sort_by_key(|(_, captures)| captures.len());
        actions
    }
}

/// The places of the streams that this authentication method may list.
fn streams(
    connector: &Connector,
    auth: &AuthMethod,
    params: &BTreeMap<String, String>,
) -> Vec<(StreamRequestKind, NamedRoute)> {
    let mut found = Vec::new();
    for (name, stream) in connector.streams.iter().filter(|(_, stream)| is_allowed(connector, auth, &stream.auth)) {
        let token = stream.token.as_ref();
        let changes =
            token.and_then(|token| token.path.as_ref()).map(|path| (StreamRequestKind::Changes, stream.method, path));
        let first = token
            .and_then(|token| token.first.as_ref())
            .map(|first| (StreamRequestKind::InitialToken, HttpMethod::Get, &first.path));
        let detail = stream.detail.as_ref().map(|detail| (StreamRequestKind::Record, HttpMethod::Get, &detail.path));
        let list = Some((StreamRequestKind::List, stream.method, &stream.path));
        for (role, method, path) in [list, changes, first, detail].into_iter().flatten() {
            found.push((role, NamedRoute::new(connector, auth, params, EmulatedEndpoint::Stream, name, method, path)));
        }
    }
    found
}

/// Whether what names these authentication methods may be done by this one.
fn is_allowed(connector: &Connector, auth: &AuthMethod, ways: &[String]) -> bool {
    let way = connector.auth.iter().find(|(_, known)| known.label == auth.label).map(|(name, _)| name);
    ways.is_empty() || way.is_some_and(|way| ways.contains(way))
}

/// The places of the actions that this authentication method may do.
fn actions(connector: &Connector, auth: &AuthMethod, params: &BTreeMap<String, String>) -> Vec<NamedRoute> {
    let place = |(name, action): (&String, &Action)| {
        NamedRoute::new(connector, auth, params, EmulatedEndpoint::Action, name, action.method, &action.path)
    };
    connector.actions.iter().filter(|(_, action)| is_allowed(connector, auth, &action.auth)).map(place).collect()
}

impl NamedRoute {
    fn new(
        connector: &Connector,
        auth: &AuthMethod,
        params: &BTreeMap<String, String>,
        endpoint: EmulatedEndpoint,
        name: &str,
        method: HttpMethod,
        path: &Template,
    ) -> Self {
        Self::at(connector, auth, params, endpoint, name, method, mark_placeholders(path))
    }

    /// Where a marked path is.
    fn at(
        connector: &Connector,
        auth: &AuthMethod,
        params: &BTreeMap<String, String>,
        endpoint: EmulatedEndpoint,
        name: &str,
        method: HttpMethod,
        path: String,
    ) -> Self {
        let base = auth.base.as_ref().or(connector.api.base.as_ref()).map(mark_placeholders).unwrap_or_default();
        let url = if path.starts_with('/') { format!("{base}{path}") } else { path };
        let opened = leading_placeholder(&url).and_then(|(name, _)| Some((name.to_owned(), params.get(name)?.clone())));
        let (path, query) = path_of(&url, "/", params);
        Self { name: name.to_owned(), route: EmulatedRoute { endpoint, method, path, query }, url_param: opened }
    }

    fn read(&self, request: &SandboxRequest, get_or_post: bool) -> Option<PathParams> {
        let method = self.route.method;
        let takes = method.as_str() == request.method.as_str()
            || (method == HttpMethod::Get && request.method == hyper::Method::HEAD)
            || (get_or_post && is_get_or_post(method, request));
        let mut captures = self.route.read(request).filter(|_| takes)?;
        captures.extend(self.url_param.clone());
        Some(captures)
    }
}

fn is_get_or_post(method: HttpMethod, request: &SandboxRequest) -> bool {
    matches!(method, HttpMethod::Get | HttpMethod::Post)
        && matches!(request.method, hyper::Method::GET | hyper::Method::POST | hyper::Method::HEAD)
}

impl EmulatedRoute {
    fn own(endpoint: EmulatedEndpoint, path: &str) -> Self {
        Self { endpoint, method: HttpMethod::Get, path: TemplatePattern::parse(path), query: Vec::new() }
    }

    fn read(&self, request: &SandboxRequest) -> Option<PathParams> {
        let mut captures = self.path.match_path(&request.path)?;
        if !self.query.is_empty() {
            let params = request.query_params();
            for (name, pattern) in &self.query {
                captures.extend(params.get(name).and_then(|value| pattern.match_text(value)).unwrap_or_default());
            }
        }
        Some(captures)
    }
}

fn path_of(
    url: &str,
    own_path: &str,
    params: &BTreeMap<String, String>,
) -> (TemplatePattern, Vec<(String, TemplatePattern)>) {
    let (path, query) = path_text(url, own_path, params);
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = pairs.map(|(name, value)| (name.to_owned(), TemplatePattern::parse(value))).collect();
    (TemplatePattern::parse(&path), query)
}

/// The marked path and query of a marked URL. A value that opens it is a URL itself: the user's, else the sandbox's.
fn path_text<'u>(url: &'u str, own_path: &str, params: &BTreeMap<String, String>) -> (String, &'u str) {
    let (before, rest) = match leading_placeholder(url) {
        Some((name, rest)) => {
            let given = params.get(name).and_then(|value| Url::parse(value).ok());
            (given.map(|url| url.path().trim_end_matches('/').to_owned()).unwrap_or_default(), rest)
        }
        None => match url.split_once("://") {
            Some((_, rest)) => (String::new(), rest.find(['/', '?', '#']).map_or("", |at| &rest[at..])),
            None => (String::new(), url),
        },
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = match (before + path, url.contains("://")) {
        (path, false) if path.is_empty() => own_path.to_owned(),
        (path, true) if path.is_empty() => "/".to_owned(),
        (path, _) => path,
    };
    (path, query)
}
