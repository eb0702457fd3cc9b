//! Finds the authorization server of a resource: OAuth 2.0 Protected Resource Metadata (RFC 9728), as in the MCP
//! authorization specification (revision 2025-11-25).
//!
//! The resource is asked without a token. Its refusal names the metadata and the scopes, else the metadata is at a well-known
//! place of the same host. A server of revision 2025-03-26 has no such metadata: its authorization server is at its own
//! origin. Whatever a document names is asked through the connection's route, which leads a remote server's answers to
//! public hosts alone.

use serde_json::Value;
use thiserror::Error;
use url::Url;

use super::discovery::MAX_METADATA_BYTES;
use super::duplicate_members::has_unique_members;
use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::http::{Challenge, Client, HttpError, Request, Response, Route};

/// What a resource says of its authorization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectedResource {
    /// The resource's identifier, for which tokens are requested (RFC 8707); absent if the server has no metadata.
    pub resource: Option<String>,
    /// The issuer of its tokens.
    pub issuer: String,
    /// The scopes to ask for: those of the refusal, else those that the metadata lists.
    pub scopes: Vec<String>,
}

/// Why the authorization server of a resource is not known.
#[derive(Debug, Error)]
pub enum ResourceError {
    #[error("{url} needs no sign-in: it answered without a token")]
    NoSignIn { url: Url },
    #[error("no MCP server answers at {url}: status {status}")]
    NotFound { url: Url, status: u16 },
    #[error("{url} redirects to {target}")]
    Redirected { url: Box<Url>, target: Box<Url> },
    #[error("{url} answered {status}; try again later")]
    Unavailable { url: Url, status: u16 },
    #[error("invalid resource metadata at {url}: {reason}")]
    InvalidMetadata { url: Url, reason: String },
    #[error("{url} does not accept tokens of {issuer}, only of {}", servers.join(", "))]
    OtherIssuer { url: Box<Url>, issuer: String, servers: Vec<String> },
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl Remedy for ResourceError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NoSignIn { .. } => Diagnostic::new(Kind::Usage, "no_sign_in")
                .hint(Hint::text("there is nothing to connect: use the URL as it is")),
            Self::NotFound { .. } => Diagnostic::new(Kind::NotFound, "no_mcp_server")
                .hint(Hint::text("check the URL in the service's documentation; it usually ends in /mcp")),
            Self::Redirected { target, .. } => {
                let target = shlex::try_quote(target.as_str()).unwrap_or_default().into_owned();
                Diagnostic::new(Kind::Rejected, "redirected")
                    .hint(Hint::new("if that is the server you mean:", format!("integ connect {target}")))
            }
            Self::Unavailable { .. } => Diagnostic::new(Kind::Temporary, "vendor_unavailable"),
            Self::InvalidMetadata { .. } => Diagnostic::new(Kind::Rejected, "discovery_failed"),
            Self::OtherIssuer { .. } => Diagnostic::new(Kind::Usage, "other_issuer"),
            Self::Http(error) => error.diagnostic(),
        }
    }
}

/// Asks a resource, by requests that carry no token, and its metadata. `other` makes another one if the resource did not
/// understand `probe`. `issuer` is the authorization server that the user named, if any: it has to be one of the
/// resource's.
///
/// # Errors
/// [`ResourceError`].
pub async fn discover(
    http: &Client,
    route: &Route,
    probe: Request,
    other: impl FnOnce(&Response) -> Option<Request>,
    issuer: Option<&str>,
) -> Result<ProtectedResource, ResourceError> {
    let url = probe.url.clone();
    let mut answer = http.send(probe, route).await?;
    let is_misunderstood = (400..=499).contains(&answer.status) && !matches!(answer.status, 401 | 403 | 429);
    if is_misunderstood && let Some(other) = other(&answer) {
        answer = http.send(other, route).await?;
    }
    let challenge = answer.bearer_challenge().filter(|_| answer.status == 401);
    match answer.status {
        300..=399 => {
            if let Some(target) = answer.header("location").and_then(|target| url.join(target).ok()) {
                return Err(ResourceError::Redirected { url: Box::new(url), target: Box::new(target) });
            }
        }
        429 | 500.. => return Err(ResourceError::Unavailable { url, status: answer.status }),
        _ => {}
    }
    let scopes = challenge.as_ref().and_then(|challenge| challenge.parameter("scope")).map(split_scopes);
    let mut unavailable = None;
    for place in metadata_urls(&url, challenge.as_ref())? {
        let response = get(http, route, place.clone()).await?;
        if response.status == 429 || response.status >= 500 {
            unavailable = unavailable.or(Some((place, response.status)));
            continue;
        }
        let Some(document) = document(&response) else { continue };
        let found = parse(&url, &response, &document)
            .map_err(|reason| ResourceError::InvalidMetadata { url: place.clone(), reason })?;
        return choose(&url, found, issuer, scopes);
    }
    match (answer.status, unavailable) {
        (_, Some((url, status))) => Err(ResourceError::Unavailable { url, status }),
        (401, None) => Ok(ProtectedResource {
            resource: None,
            issuer: issuer.map_or_else(|| url.origin().ascii_serialization(), str::to_owned),
            scopes: scopes.unwrap_or_default(),
        }),
        (200..=299, None) => Err(ResourceError::NoSignIn { url }),
        (status, None) => Err(ResourceError::NotFound { url, status }),
    }
}

/// Where the metadata may be, in the order in which it is looked for (RFC 9728 sections 3.1 and 5.1).
fn metadata_urls(url: &Url, challenge: Option<&Challenge>) -> Result<Vec<Url>, ResourceError> {
    const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
    let mut places = Vec::new();
    if let Some(named) = challenge.and_then(|challenge| challenge.parameter("resource_metadata")) {
        let named = Url::parse(named).map_err(|_| ResourceError::InvalidMetadata {
            url: url.clone(),
            reason: "the refusal names no URL".to_owned(),
        })?;
        places.push(named);
    }
    let path = url.path().trim_end_matches('/');
    let mut inserted = url.clone();
    inserted.set_path(&format!("{WELL_KNOWN}{path}"));
    let mut root = inserted.clone();
    root.set_path(WELL_KNOWN);
    root.set_query(None);
    for place in [inserted, root] {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    Ok(places)
}

async fn get(http: &Client, route: &Route, url: Url) -> Result<Response, HttpError> {
    let mut request = Request::new("GET", url).header("accept", "application/json".into());
    request.follows_redirects = true;
    request.max_response_bytes = MAX_METADATA_BYTES;
    request.is_complete = Some(is_no_object);
    http.send(request, route).await
}

/// Whether an answer that has begun cannot be a JSON object, so that its end is not waited for: a server may answer every GET with
/// an endless stream of events.
fn is_no_object(body: &[u8]) -> bool {
    const BYTE_ORDER_MARK: u8 = 0xef;
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    first.is_some_and(|byte| !matches!(*byte, b'{' | BYTE_ORDER_MARK))
}

/// The document, where the answer is one: a page for people in its place is none.
fn document(response: &Response) -> Option<Value> {
    response.json().filter(|document| response.is_success() && document.get("resource").is_some_and(Value::is_string))
}

/// The resource, its authorization servers and its scopes, as its metadata says.
struct Metadata {
    resource: String,
    servers: Vec<String>,
    scopes: Vec<String>,
}

fn parse(url: &Url, response: &Response, document: &Value) -> Result<Metadata, String> {
    if !response.text().is_ok_and(|text| has_unique_members(text.as_bytes())) {
        return Err("a member is repeated".to_owned());
    }
    let resource = document["resource"].as_str().unwrap_or_default();
    if !Url::parse(resource).is_ok_and(|resource| covers(&resource, url)) {
        return Err(format!("it is of another resource, {resource:?}"));
    }
    let texts = |name: &str| match document.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
            Ok(items.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>())
        }
        Some(_) => Err(format!("{name} is not a list of texts")),
    };
    let scopes = texts("scopes_supported")?.iter().flat_map(|scope| split_scopes(scope)).collect();
    Ok(Metadata { resource: resource.to_owned(), servers: texts("authorization_servers")?, scopes })
}

/// Whether a resource is the one at `url`, or one that the path of `url` is part of. Tokens for another one are worth
/// nothing here, and an attacker who controls this server could use them (RFC 9728 section 3.3).
fn covers(resource: &Url, url: &Url) -> bool {
    let path = resource.path().trim_end_matches('/');
    let is_part = url.path().strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    resource.origin() == url.origin()
        && resource.fragment().is_none()
        && is_part
        && (resource.query().is_none() || resource.query() == url.query())
}

fn choose(
    url: &Url,
    found: Metadata,
    issuer: Option<&str>,
    scopes: Option<Vec<String>>,
) -> Result<ProtectedResource, ResourceError> {
    let bare = |issuer: &str| issuer.trim_end_matches('/').to_owned();
    let own = || url.origin().ascii_serialization();
    let issuer = match issuer {
        None => found.servers.first().cloned().unwrap_or_else(own),
        Some(named) if found.servers.is_empty() => named.to_owned(),
        Some(named) => match found.servers.iter().find(|server| bare(server) == bare(named)) {
            Some(server) => server.clone(),
            None => {
                let (url, issuer) = (Box::new(url.clone()), named.to_owned());
                return Err(ResourceError::OtherIssuer { url, issuer, servers: found.servers });
            }
        },
    };
    Ok(ProtectedResource { resource: Some(found.resource), issuer, scopes: scopes.unwrap_or(found.scopes) })
}

/// The scopes of a list, as RFC 6749 section 3.3 writes it; invalid ones are left out.
fn split_scopes(text: &str) -> Vec<String> {
    const LONGEST: usize = 256;
    let is_scope = |scope: &&str| {
        !scope.is_empty()
            && scope.len() <= LONGEST
            && scope.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
    };
    text.split(' ').filter(is_scope).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn places(resource: &str, challenge: &str) -> Vec<String> {
        let challenge = Challenge::parse_all(challenge).into_iter().next();
        let places = metadata_urls(&url(resource), challenge.as_ref()).unwrap();
        places.iter().map(Url::to_string).collect()
    }

    #[test]
    fn the_header_comes_before_the_path_and_the_path_before_the_root() {
        let named = "Bearer resource_metadata=\"https://meta.example/doc\"";
        assert_eq!(
            places("https://mcp.example/team/mcp", named),
            [
                "https://meta.example/doc",
                "https://mcp.example/.well-known/oauth-protected-resource/team/mcp",
                "https://mcp.example/.well-known/oauth-protected-resource",
            ]
        );
        assert_eq!(places("https://mcp.example/", ""), ["https://mcp.example/.well-known/oauth-protected-resource"]);
        assert_eq!(
            places("https://mcp.example/mcp?a=1", "")[0],
            "https://mcp.example/.well-known/oauth-protected-resource/mcp?a=1"
        );
        let broken = Challenge::parse_all("Bearer resource_metadata=\"../doc\"");
        assert!(metadata_urls(&url("https://mcp.example/mcp"), broken.first()).is_err());
    }

    fn read(at: &str, document: &str) -> Result<Metadata, String> {
        let response = Response::new(200, &[("content-type", "application/json")], document.as_bytes());
        let value = super::document(&response).ok_or("no document")?;
        parse(&url(at), &response, &value)
    }

    #[test]
    fn metadata_of_another_resource_is_refused() {
        for resource in
            ["https://mcp.example/mcp", "https://mcp.example/", "https://mcp.example", "https://mcp.example/mcp/"]
        {
            assert!(
                read("https://mcp.example/mcp", &json!({ "resource": resource }).to_string()).is_ok(),
                "{resource}"
            );
        }
        for resource in [
            "https://evil.example/mcp",
            "https://mcp.example:8443/mcp",
            "http://mcp.example/mcp",
            "https://mcp.example/mc",
            "https://mcp.example/mcp/other",
            "https://mcp.example/mcp#x",
            "https://mcp.example/mcp?x=1",
            "mcp",
        ] {
            assert!(
                read("https://mcp.example/mcp", &json!({ "resource": resource }).to_string()).is_err(),
                "{resource}"
            );
        }
    }

    #[test]
    fn a_document_is_read_strictly() {
        let at = "https://mcp.example/mcp";
        for bad in [
            r#"{"resource":"https://mcp.example/mcp","resource":"https://mcp.example/mcp"}"#,
            r#"{"resource":"https://mcp.example/mcp","authorization_servers":"https://as.example"}"#,
            r#"{"resource":"https://mcp.example/mcp","authorization_servers":[1]}"#,
            "[]",
            "<html>",
            "{}",
        ] {
            assert!(read(at, bad).is_err(), "{bad}");
        }
        let scopes = json!({ "resource": at, "scopes_supported": ["a b", "c\u{7}", "d\"", ""] });
        assert_eq!(read(at, &scopes.to_string()).unwrap().scopes, ["a", "b"]);
    }

    #[test]
    fn an_issuer_that_the_user_names_is_one_of_the_resource() {
        let found = || {
            let document = json!({ "resource": "https://mcp.example", "authorization_servers":
                ["https://one.example", "https://two.example/"], "scopes_supported": ["all"] });
            read("https://mcp.example/mcp", &document.to_string()).unwrap()
        };
        let at = url("https://mcp.example/mcp");
        let chosen = |issuer| choose(&at, found(), issuer, None).map(|found| found.issuer);
        assert_eq!(chosen(None).unwrap(), "https://one.example");
        assert_eq!(chosen(Some("https://two.example")).unwrap(), "https://two.example/");
        assert!(matches!(chosen(Some("https://evil.example")), Err(ResourceError::OtherIssuer { .. })));
        let asked = choose(&at, found(), None, Some(vec!["read".to_owned()])).unwrap();
        assert_eq!(asked.scopes, ["read"], "the refusal's scopes come before the metadata's");
    }
}
