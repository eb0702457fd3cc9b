//! Where the emulated vendor is asked what: the paths of the connector's own templates, in the order that decides where
//! two of them meet, and fixed paths of the sandbox for endpoints that the user or discovery names.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

use super::message::Request;
use super::pattern::{Captures, Pattern, marked, opening};
use super::stream::Role;
use crate::connector::{Action, Auth, Connector, GrantKind, Method, Template};

/// The origin that stands for the sandbox in values that must be URLs; the route replaces it by the emulator's.
pub(super) const ORIGIN: &str = crate::http::SANDBOX_ORIGIN;

/// Where a person enters the user code of the device grant.
pub(super) const VERIFICATION_PATH: &str = "/sandbox/device";

/// What a request is for. Where two endpoints have the same path, the one named first here is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    Token,
    /// Where refreshing has a URL of its own.
    Refresh,
    Device,
    Revoke,
    Discovery,
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

impl Endpoint {
    pub const ALL: [Self; 12] = [
        Self::Token,
        Self::Refresh,
        Self::Device,
        Self::Revoke,
        Self::Discovery,
        Self::Authorize,
        Self::Verification,
        Self::FollowUp,
        Self::Health,
        Self::Action,
        Self::Stream,
        Self::Other,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Refresh => "refresh",
            Self::Device => "device",
            Self::Revoke => "revoke",
            Self::Discovery => "discovery",
            Self::Authorize => "authorize",
            Self::Verification => "verification",
            Self::FollowUp => "follow_up",
            Self::Health => "health",
            Self::Action => "action",
            Self::Stream => "stream",
            Self::Other => "other",
        }
    }

    /// Its path where the connector's file does not fix one.
    pub(super) fn own_path(self) -> &'static str {
        match self {
            Self::Token | Self::Refresh => "/token",
            Self::Device => "/device",
            Self::Revoke => "/revoke",
            Self::Discovery | Self::Action | Self::Stream | Self::Other => "",
            Self::Authorize => "/authorize",
            Self::Verification => VERIFICATION_PATH,
            Self::FollowUp => "/accounts",
            Self::Health => "/health",
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|endpoint| endpoint.name() == text)
            .ok_or_else(|| format!("{text:?} is no endpoint of the sandbox; there are {}", names()))
    }
}

/// An endpoint as the connector's file declares it.
pub(super) struct Declared {
    pub(super) endpoint: Endpoint,
    pub(super) method: Method,
    /// The marked template of its URL; empty where only the sandbox has a path for it.
    pub(super) url: String,
}

impl Declared {
    /// The sandbox's own path for it: where discovery names the endpoint of OpenID Connect, that one's.
    pub(super) fn own_path(&self) -> &'static str {
        match opening(&self.url) {
            Some(("userinfo_endpoint", "")) => "/userinfo",
            _ => self.endpoint.own_path(),
        }
    }
}

/// The endpoints of one way of authenticating, in the order that decides.
pub(super) fn declared(connector: &Connector, auth: &Auth) -> Vec<Declared> {
    let mut found = Vec::new();
    let mut add = |endpoint, method, url: String| found.push(Declared { endpoint, method, url });
    if let Some(oauth2) = &auth.oauth2 {
        let url = |template: &Option<_>| template.as_ref().map(marked).unwrap_or_default();
        add(Endpoint::Token, Method::Post, url(&oauth2.token_url));
        if oauth2.refresh_url.is_some() {
            add(Endpoint::Refresh, Method::Post, url(&oauth2.refresh_url));
        }
        let discovered = oauth2.issuer.is_some();
        if discovered || oauth2.grants.contains(&GrantKind::DeviceCode) {
            add(Endpoint::Device, Method::Post, url(&oauth2.device_url));
            add(Endpoint::Verification, Method::Get, String::new());
        }
        match &oauth2.revoke {
            Some(revoke) => add(Endpoint::Revoke, revoke.method, marked(&revoke.url)),
            None if discovered => add(Endpoint::Revoke, Method::Post, String::new()),
            None => {}
        }
        if oauth2.grants.contains(&GrantKind::AuthorizationCode) {
            add(Endpoint::Authorize, Method::Get, url(&oauth2.authorize_url));
        }
        if let Some(follow_up) = &oauth2.follow_up {
            add(Endpoint::FollowUp, Method::Get, marked(&follow_up.url));
        }
    }
    if let Some(fragment) = &auth.fragment {
        add(Endpoint::Authorize, Method::Get, marked(&fragment.authorize_url));
    }
    if let Some(health) = connector.health(auth) {
        let path = marked(&health.path);
        let base = auth.base.as_ref().or(connector.api.base.as_ref()).filter(|_| path.starts_with('/'));
        add(Endpoint::Health, health.method, base.map(marked).unwrap_or_default() + &path);
    }
    found.sort_by_key(|declared| declared.endpoint);
    found
}

/// Where one endpoint is.
#[derive(Clone, Debug)]
struct Place {
    endpoint: Endpoint,
    method: Method,
    path: Pattern,
    /// What stands in the URL's query and holds a value.
    query: Vec<(String, Pattern)>,
}

/// What a request asks for.
pub(super) enum Asked {
    /// One endpoint, which may be an action as well.
    Endpoint(Endpoint, Captures, Vec<(String, Captures)>),
    /// Any of these, the more particular first, with what the path gives to each.
    Actions(Vec<(String, Captures)>),
    WrongMethod(Method),
    Unknown,
}

/// The places of all endpoints, and of the actions and streams by their names.
#[derive(Clone, Debug)]
pub(super) struct Places {
    endpoints: Vec<Place>,
    actions: Vec<NamedPlace>,
    streams: Vec<(Role, NamedPlace)>,
}

/// Where an action or a stream is.
#[derive(Clone, Debug)]
struct NamedPlace {
    name: String,
    place: Place,
    /// The value that its path opens with, which whoever calls the path shows to know.
    opened: Option<(String, String)>,
}

impl Places {
    pub(super) fn new(connector: &Connector, auth: &Auth, params: &BTreeMap<String, String>) -> Self {
        let mut places: Vec<Place> = declared(connector, auth)
            .iter()
            .map(|declared| {
                let (path, query) = path_of(&declared.url, declared.own_path(), params);
                Place { endpoint: declared.endpoint, method: declared.method, path, query }
            })
            .collect();
        if let Some(issuer) = auth.oauth2.as_ref().and_then(|oauth2| oauth2.issuer.as_ref()) {
            let (path, _) = path_text(&marked(issuer), "", params);
            let path = path.trim_end_matches('/');
            for known in [
                format!("{path}/.well-known/openid-configuration"),
                format!("/.well-known/openid-configuration{path}"),
                format!("/.well-known/oauth-authorization-server{path}"),
            ] {
                places.push(Place::own(Endpoint::Discovery, &known));
            }
            places.push(Place::own(Endpoint::Health, "/userinfo"));
        }
        places.sort_by_key(|place| place.endpoint);
        Self { endpoints: places, actions: actions(connector, auth, params), streams: streams(connector, auth, params) }
    }

    pub(super) fn find(&self, request: &Request) -> Asked {
        let mut other_method = None;
        let actions = self.fitting_actions(request);
        for place in &self.endpoints {
            if let Some(captures) = place.read(request) {
                if place.method.name() == request.method.as_str() {
                    return Asked::Endpoint(place.endpoint, captures, actions);
                }
                other_method.get_or_insert(place.method);
            }
        }
        if !actions.is_empty() {
            return Asked::Actions(actions);
        }
        other_method.map_or(Asked::Unknown, Asked::WrongMethod)
    }

    /// The streams whose paths a request fits.
    pub(super) fn streams(&self, request: &Request) -> Vec<(&str, Role, Captures)> {
        let fits = |(role, place): &(Role, NamedPlace)| Some((*role, place.read(request)?));
        self.streams
            .iter()
            .filter_map(|entry| fits(entry).map(|(role, captures)| (&*entry.1.name, role, captures)))
            .collect()
    }

    /// The actions that a request fits, the more particular first.
    fn fitting_actions(&self, request: &Request) -> Vec<(String, Captures)> {
        let fits = |place: &NamedPlace| Some((place.name.clone(), place.read(request)?));
        let mut actions: Vec<_> = self.actions.iter().filter_map(fits).collect();
        actions.sort_by_key(|(_, captures)| captures.len());
        actions
    }
}

/// The places of the streams that this way of authenticating may list.
fn streams(connector: &Connector, auth: &Auth, params: &BTreeMap<String, String>) -> Vec<(Role, NamedPlace)> {
    let mut found = Vec::new();
    for (name, stream) in connector.streams.iter().filter(|(_, stream)| may(connector, auth, &stream.auth)) {
        let token = stream.token.as_ref();
        let changes = token.and_then(|token| token.path.as_ref()).map(|path| (Role::Changes, stream.method, path));
        let first = token.and_then(|token| token.first.as_ref()).map(|first| (Role::First, Method::Get, &first.path));
        let detail = stream.detail.as_ref().map(|detail| (Role::Detail, Method::Get, &detail.path));
        let list = Some((Role::List, stream.method, &stream.path));
        for (role, method, path) in [list, changes, first, detail].into_iter().flatten() {
            found.push((role, NamedPlace::new(connector, auth, params, Endpoint::Stream, name, method, path)));
        }
    }
    found
}

/// Whether what names these ways of authenticating may be done by this one.
fn may(connector: &Connector, auth: &Auth, ways: &[String]) -> bool {
    let way = connector.auth.iter().find(|(_, known)| known.label == auth.label).map(|(name, _)| name);
    ways.is_empty() || way.is_some_and(|way| ways.contains(way))
}

/// The places of the actions that this way of authenticating may do.
fn actions(connector: &Connector, auth: &Auth, params: &BTreeMap<String, String>) -> Vec<NamedPlace> {
    let place = |(name, action): (&String, &Action)| {
        NamedPlace::new(connector, auth, params, Endpoint::Action, name, action.method, &action.path)
    };
    connector.actions.iter().filter(|(_, action)| may(connector, auth, &action.auth)).map(place).collect()
}

impl NamedPlace {
    fn new(
        connector: &Connector,
        auth: &Auth,
        params: &BTreeMap<String, String>,
        endpoint: Endpoint,
        name: &str,
        method: Method,
        path: &Template,
    ) -> Self {
        let path = marked(path);
        let base = auth.base.as_ref().or(connector.api.base.as_ref()).map(marked).unwrap_or_default();
        let url = if path.starts_with('/') { format!("{base}{path}") } else { path };
        let opened = opening(&url).and_then(|(name, _)| Some((name.to_owned(), params.get(name)?.clone())));
        let (path, query) = path_of(&url, "/", params);
        Self { name: name.to_owned(), place: Place { endpoint, method, path, query }, opened }
    }

    fn read(&self, request: &Request) -> Option<Captures> {
        let mut captures = self.place.read(request).filter(|_| self.place.method.name() == request.method.as_str())?;
        captures.extend(self.opened.clone());
        Some(captures)
    }
}

impl Place {
    fn own(endpoint: Endpoint, path: &str) -> Self {
        Self { endpoint, method: Method::Get, path: Pattern::parse(path), query: Vec::new() }
    }

    fn read(&self, request: &Request) -> Option<Captures> {
        let mut captures = self.path.read_path(&request.path)?;
        if !self.query.is_empty() {
            let params = request.query_params();
            for (name, pattern) in &self.query {
                captures.extend(params.get(name).and_then(|value| pattern.read(value)).unwrap_or_default());
            }
        }
        Some(captures)
    }
}

fn path_of(url: &str, own_path: &str, params: &BTreeMap<String, String>) -> (Pattern, Vec<(String, Pattern)>) {
    let (path, query) = path_text(url, own_path, params);
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = pairs.map(|(name, value)| (name.to_owned(), Pattern::parse(value))).collect();
    (Pattern::parse(&path), query)
}

/// The marked path and query of a marked URL. A value that opens it is a URL itself: the user's, else the sandbox's.
fn path_text<'u>(url: &'u str, own_path: &str, params: &BTreeMap<String, String>) -> (String, &'u str) {
    let (before, rest) = match opening(url) {
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

impl Method {
    /// As it stands in a request.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}
