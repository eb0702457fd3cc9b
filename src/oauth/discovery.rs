//! Finding a server's endpoints from its issuer: OAuth metadata (RFC 8414) and OpenID Connect Discovery 1.0.

use std::collections::BTreeMap;

use serde_json::Value;
use url::Url;

use super::duplicate_members::has_unique_members;
use super::{OAuthError, ServerMetadata};
use crate::connector::ClientAuth;
use crate::http::{Client, HttpError, Request, Response, Route};

/// The largest metadata document that is read, in bytes: many times what any server publishes.
pub(super) const MAX_METADATA_BYTES: usize = 1 << 20;

/// The endpoints that RFC 8705 section 5 may name are fewer.
const MAX_MTLS_ENDPOINTS: usize = 32;

/// How much of what a server publishes is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataScope {
    /// The first document, as MCP clients read it.
    First,
    /// The first document of an origin that no other document has named as an issuer: MCP servers of revision 2025-03-26 are
    /// found so, and it may name any issuer of that origin.
    Origin,
    /// OAuth's document and OpenID's: servers publish both, each with endpoints that the other lacks.
    Both,
}

/// Which specification a document follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DocumentKind {
    /// RFC 8414.
    OAuth,
    /// OpenID Connect Discovery 1.0.
    OpenId,
}

/// Asks the places where metadata may be in the order of the specifications, and merges what they say below `declared`.
///
/// # Errors
/// [`OAuthError::InvalidMetadata`] where it names another issuer (RFC 8414 section 3.3) or cannot be read,
/// [`OAuthError::MetadataNotFound`] where none has metadata, [`OAuthError::DiscoveryUnavailable`] where a place may have it
/// later.
pub async fn discover(
    http: &Client,
    route: &Route,
    issuer: &str,
    scope: MetadataScope,
    declared: ServerMetadata,
) -> Result<ServerMetadata, OAuthError> {
    let unusable =
        |why: String| OAuthError::InvalidMetadata { issuer: issuer.to_owned(), reason: why, metadata_issuer: None };
    let url = Url::parse(issuer).map_err(|error| unusable(error.to_string()))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(unusable("an issuer has neither a query nor a fragment".to_owned()));
    }
    let mut tried = Vec::new();
    let mut is_temporary = false;
    let mut refused = None;
    let mut found: Option<(DocumentKind, ServerMetadata)> = None;
    for (kind, place) in metadata_urls(&url) {
        if let Some((from, known)) = &found {
            if scope != MetadataScope::Both || *from == DocumentKind::OpenId || known.is_complete() {
                break;
            }
            if kind == DocumentKind::OAuth {
                continue;
            }
        }
        let mut request = Request::new("GET", place.clone());
        request.follows_redirects = true;
        request.max_response_bytes = MAX_METADATA_BYTES;
        let response = match http.send(request, route).await {
            Ok(response) => response,
            Err(_) if found.is_some() => break,
            Err(HttpError::ConnectionLost { .. }) => {
                is_temporary = true;
                tried.push(format!("{place} gave no whole answer"));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        match metadata(&response).map(|document| parse_metadata(route, issuer, scope, &document)) {
            Some(Ok(_)) if !response.text().is_ok_and(|text| has_unique_members(text.as_bytes())) => {
                refused = refused.or_else(|| Some(unusable("a member is repeated".to_owned())));
            }
            Some(Ok(endpoints)) => {
                let known = found.map(|(_, known)| known);
                found = Some((kind, known.map_or_else(|| endpoints.clone(), |known| known.or(endpoints.clone()))));
            }
            Some(Err(error)) => refused = refused.or(Some(error)),
            None => {
                is_temporary |= response.status == 429 || response.status >= 500;
                tried.push(format!("{place} answered {}", response.status));
            }
        }
    }
    match (found, refused) {
        (Some((_, found)), _) => Ok(declared.or(found)),
        (None, Some(error)) => Err(error),
        (None, None) if is_temporary => {
            Err(OAuthError::DiscoveryUnavailable { issuer: issuer.to_owned(), reason: tried.join("; ") })
        }
        (None, None) => Err(OAuthError::MetadataNotFound { issuer: issuer.to_owned(), reason: tried.join("; ") }),
    }
}

/// Where the metadata of an issuer may be. RFC 8414 puts the well-known part between host and path, OpenID after the path,
/// and RFC 8414 section 5 lets OpenID servers do as it does. MCP's authorization specification asks in this order; the last
/// place is in none, and there are servers that use it.
fn metadata_urls(issuer: &Url) -> Vec<(DocumentKind, Url)> {
    let path = issuer.path().trim_end_matches('/');
    let at = |kind: DocumentKind, path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        (kind, url)
    };
    let mut places = vec![
        at(DocumentKind::OAuth, format!("/.well-known/oauth-authorization-server{path}")),
        at(DocumentKind::OpenId, format!("/.well-known/openid-configuration{path}")),
    ];
    if !path.is_empty() {
        places.push(at(DocumentKind::OpenId, format!("{path}/.well-known/openid-configuration")));
        places.push(at(DocumentKind::OAuth, format!("{path}/.well-known/oauth-authorization-server")));
    }
    places
}

fn metadata(response: &Response) -> Option<Value> {
    response.json().filter(|document| response.is_success() && document.get("issuer").is_some_and(Value::is_string))
}

fn parse_metadata(
    route: &Route,
    issuer: &str,
    scope: MetadataScope,
    document: &Value,
) -> Result<ServerMetadata, OAuthError> {
    let unusable =
        |why: String| OAuthError::InvalidMetadata { issuer: issuer.to_owned(), reason: why, metadata_issuer: None };
    let named = document["issuer"].as_str().unwrap_or_default();
    let is_shared = is_shared_tenant(issuer, named);
    // Compared as text: RFC 8414 section 3.3 knows no normalization. Only what a person types may differ by a last slash.
    let host = |text: &str| Url::parse(text).ok().map(|url| url.origin());
    let same_host = host(named).is_some_and(|named| Some(named) == host(issuer));
    let is_of_origin = scope == MetadataScope::Origin && same_host;
    if named.trim_end_matches('/') != issuer.trim_end_matches('/') && !is_shared && !is_of_origin {
        return Err(OAuthError::InvalidMetadata {
            issuer: issuer.to_owned(),
            reason: format!("it names the issuer {named:?}"),
            metadata_issuer: same_host.then(|| named.to_owned()),
        });
    }
    let url = |name: &str| match document.get(name).and_then(Value::as_str) {
        Some(text) => match Url::parse(text) {
            // Endpoints of an answer are held to the same hosts as those of a file: a remote issuer names no local one.
            Ok(url) => match Route::Live.resolve(&url).and(route.resolve(&url)) {
                Ok(_) => Ok(Some(url)),
                Err(error) => Err(unusable(format!("{name}: {error}"))),
            },
            Err(_) => Err(unusable(format!("{name} is not a URL"))),
        },
        None => Ok(None),
    };
    let methods = document.get("code_challenge_methods_supported").and_then(Value::as_array);
    let scopes = document.get("scopes_supported").and_then(Value::as_array).into_iter().flatten();
    Ok(ServerMetadata {
        is_published: true,
        scopes_supported: scopes.filter_map(Value::as_str).map(str::to_owned).collect(),
        // Which tenant answers is known only once somebody has signed in.
        issuer: (!is_shared).then(|| named.to_owned()),
        supports_iss_parameter: !is_shared
            && document.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true)),
        authorization_endpoint: url("authorization_endpoint")?,
        token_endpoint: url("token_endpoint")?,
        refresh_endpoint: None,
        device_authorization_endpoint: url("device_authorization_endpoint")?,
        revocation_endpoint: url("revocation_endpoint")?,
        userinfo_endpoint: url("userinfo_endpoint")?,
        registration_endpoint: url("registration_endpoint")?,
        supports_client_metadata_document: document.get("client_id_metadata_document_supported")
            == Some(&Value::Bool(true)),
        client_auth: client_auth(document),
        supports_client_secret_post: supports_auth_method(document, "client_secret_post"),
        auth_methods: document
            .get("token_endpoint_auth_methods_supported")
            .and_then(Value::as_array)
            .map(|listed| listed.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        mtls_endpoints: mtls_endpoints(route, document),
        code_challenge_methods: methods
            .map(|methods| methods.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
    })
}

/// Whether the metadata is that of all tenants: it names the issuer with a placeholder for the tenant, as Microsoft's does
/// for `common`, `organizations` and `consumers`.
fn is_shared_tenant(issuer: &str, named: &str) -> bool {
    let (issuer, named) = (issuer.trim_end_matches('/'), named.trim_end_matches('/'));
    let parts: Vec<_> = issuer.split('/').zip(named.split('/')).filter(|(one, other)| one != other).collect();
    let is_shared = |tenant: &str| ["common", "organizations", "consumers"].contains(&tenant);
    issuer.split('/').count() == named.split('/').count()
        && matches!(parts.as_slice(), [(tenant, placeholder)] if is_shared(tenant) && *placeholder == "{tenantid}")
}

/// The endpoints for clients that show a certificate (RFC 8705 section 5).
fn mtls_endpoints(route: &Route, document: &Value) -> BTreeMap<String, Url> {
    let aliases = document.get("mtls_endpoint_aliases").and_then(Value::as_object);
    let named = aliases.into_iter().flatten().filter_map(|(name, url)| {
        let url = Url::parse(url.as_str()?).ok().filter(|url| url.scheme() == "https")?;
        let is_allowed = Route::Live.resolve(&url).and(route.resolve(&url)).is_ok();
        is_allowed.then(|| (name.clone(), url))
    });
    named.take(MAX_MTLS_ENDPOINTS).collect()
}

fn supports_auth_method(document: &Value, method: &str) -> bool {
    let listed = document.get("token_endpoint_auth_methods_supported").and_then(Value::as_array);
    listed.is_some_and(|listed| listed.iter().any(|listed| listed == method))
}

/// Basic unless only post is listed (RFC 8414 section 2: Basic where nothing is).
fn client_auth(document: &Value) -> Option<ClientAuth> {
    (supports_auth_method(document, "client_secret_post") && !supports_auth_method(document, "client_secret_basic"))
        .then_some(ClientAuth::Post)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wheres(issuer: &str) -> Vec<String> {
        metadata_urls(&Url::parse(issuer).unwrap()).iter().map(|(_, url)| url.path().to_owned()).collect()
    }

    #[test]
    fn places_are_asked_in_the_order_of_the_specifications() {
        assert_eq!(
            wheres("https://as.example/tenant/one"),
            [
                "/.well-known/oauth-authorization-server/tenant/one",
                "/.well-known/openid-configuration/tenant/one",
                "/tenant/one/.well-known/openid-configuration",
                "/tenant/one/.well-known/oauth-authorization-server",
            ]
        );
        assert_eq!(
            wheres("https://as.example/"),
            ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"]
        );
    }

    #[test]
    fn fault_006_metadata_of_another_issuer_is_refused() {
        let document = |issuer: &str| json!({ "issuer": issuer, "token_endpoint": "https://as.example/token" });
        let result =
            |named: &str| parse_metadata(&Route::Live, "https://as.example", MetadataScope::Both, &document(named));
        for other in ["https://evil.example", "https://AS.example", "http://as.example", "https://as.example/x", ""] {
            assert!(matches!(result(other), Err(OAuthError::InvalidMetadata { .. })), "{other}");
        }
        // A person types no slash at the end; what the server says is then what `iss` is compared with.
        assert_eq!(result("https://as.example/").unwrap().issuer.as_deref(), Some("https://as.example/"));
    }

    #[test]
    fn the_first_revision_of_mcp_may_name_any_issuer_of_its_origin() {
        let document = |issuer: &str| json!({ "issuer": issuer, "token_endpoint": "https://as.example/token" });
        let result =
            |named: &str| parse_metadata(&Route::Live, "https://as.example", MetadataScope::Origin, &document(named));
        assert_eq!(result("https://as.example/oauth").unwrap().issuer.as_deref(), Some("https://as.example/oauth"));
        for other in ["https://evil.example/oauth", "http://as.example/oauth", "https://as.example:8443", ""] {
            assert!(result(other).is_err(), "{other}");
        }
    }

    #[test]
    fn fault_012_endpoints_that_are_not_https_are_refused() {
        for bad in ["file:///etc/passwd", "-x", "$(id)", "http://as.example/token", "javascript:1"] {
            let document = json!({ "issuer": "https://as.example", "token_endpoint": bad });
            assert!(
                parse_metadata(&Route::Live, "https://as.example", MetadataScope::Both, &document).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn declared_endpoints_win() {
        let declared = ServerMetadata {
            token_endpoint: Some(Url::parse("https://x.example/t").unwrap()),
            ..ServerMetadata::default()
        };
        let document = json!({ "issuer": "https://as.example", "token_endpoint": "https://as.example/token",
            "code_challenge_methods_supported": ["plain"] });
        let endpoints =
            declared.or(parse_metadata(&Route::Live, "https://as.example", MetadataScope::Both, &document).unwrap());
        assert_eq!(endpoints.token_endpoint.unwrap().as_str(), "https://x.example/t");
        assert_eq!(endpoints.code_challenge_methods.unwrap(), ["plain"]);
    }

    #[test]
    fn field_31_a_shared_tenant_is_known_by_its_placeholder() {
        let named = "https://login.example/{tenantid}/v2.0";
        for tenant in ["common", "organizations", "consumers"] {
            assert!(is_shared_tenant(&format!("https://login.example/{tenant}/v2.0"), named), "{tenant}");
        }
        for issuer in
            ["https://login.example/acme/v2.0", "https://evil.example/common/v2.0", "https://login.example/common"]
        {
            assert!(!is_shared_tenant(issuer, named), "{issuer}");
        }
        let document = json!({ "issuer": named, "authorization_response_iss_parameter_supported": true });
        let endpoints =
            parse_metadata(&Route::Live, "https://login.example/common/v2.0", MetadataScope::Both, &document).unwrap();
        assert_eq!((endpoints.issuer, endpoints.supports_iss_parameter), (None, false));
    }
}
