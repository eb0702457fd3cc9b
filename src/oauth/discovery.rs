//! Finding a server's endpoints from its issuer: OAuth metadata (RFC 8414) and OpenID Connect Discovery 1.0.

use serde_json::Value;
use url::Url;

use super::{Endpoints, OAuthError};
use crate::connector::ClientAuth;
use crate::http::{Client, Request, Response, Route};

/// Asks the places where metadata may lie, OAuth's first, and lays what it says under `declared`.
///
/// # Errors
/// [`OAuthError::Discovery`] where none has metadata, or where it names another issuer (RFC 8414 section 3.3).
pub async fn discover(
    http: &Client,
    route: &Route,
    issuer: &str,
    declared: Endpoints,
) -> Result<Endpoints, OAuthError> {
    let unusable = |why: String| OAuthError::Discovery { issuer: issuer.to_owned(), why };
    let url = Url::parse(issuer).map_err(|error| unusable(error.to_string()))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(unusable("an issuer has neither a query nor a fragment".to_owned()));
    }
    let mut tried = Vec::new();
    for place in places(&url) {
        let mut request = Request::new("GET", place.clone());
        request.follow = true;
        let response = http.send(request, route).await?;
        match metadata(&response) {
            Some(document) => return read(route, issuer, &document, declared),
            None => tried.push(format!("{place} answered {}", response.status)),
        }
        if response.status == 429 || response.status >= 500 {
            return Err(OAuthError::Temporary { status: response.status, after: None });
        }
    }
    Err(unusable(tried.join("; ")))
}

/// RFC 8414 puts the well-known part between host and path, OpenID after the path; servers serve one, the other or both.
fn places(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url
    };
    let mut places = vec![
        at(format!("/.well-known/oauth-authorization-server{path}")),
        at(format!("{path}/.well-known/openid-configuration")),
    ];
    if !path.is_empty() {
        places.push(at(format!("/.well-known/openid-configuration{path}")));
        places.push(at(format!("{path}/.well-known/oauth-authorization-server")));
    }
    places
}

fn metadata(response: &Response) -> Option<Value> {
    response.json().filter(|document| response.is_success() && document.get("issuer").is_some_and(Value::is_string))
}

fn read(route: &Route, issuer: &str, document: &Value, declared: Endpoints) -> Result<Endpoints, OAuthError> {
    let unusable = |why: String| OAuthError::Discovery { issuer: issuer.to_owned(), why };
    let named = document["issuer"].as_str().unwrap_or_default();
    // Compared as text: RFC 8414 section 3.3 knows no normalization. Only what a person types may lack the last slash.
    if named != issuer && named.strip_suffix('/') != Some(issuer) {
        return Err(unusable(format!("it names the issuer {named:?}")));
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
    Ok(Endpoints {
        scopes: scopes.filter_map(Value::as_str).map(str::to_owned).collect(),
        issuer: Some(named.to_owned()),
        sends_issuer: document.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true)),
        authorize: declared.authorize.or(url("authorization_endpoint")?),
        token: declared.token.or(url("token_endpoint")?),
        refresh: declared.refresh,
        device: declared.device.or(url("device_authorization_endpoint")?),
        revoke: declared.revoke.or(url("revocation_endpoint")?),
        userinfo: declared.userinfo.or(url("userinfo_endpoint")?),
        client_auth: client_auth(document),
        s256: methods.map(|methods| methods.iter().any(|method| method == "S256")),
    })
}

/// Basic unless only post is listed (RFC 8414 section 2: Basic where nothing is).
fn client_auth(document: &Value) -> Option<ClientAuth> {
    let listed = document.get("token_endpoint_auth_methods_supported")?.as_array()?;
    let lists = |method: &str| listed.iter().any(|listed| listed == method);
    (lists("client_secret_post") && !lists("client_secret_basic")).then_some(ClientAuth::Post)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wheres(issuer: &str) -> Vec<String> {
        places(&Url::parse(issuer).unwrap()).iter().map(|url| url.path().to_owned()).collect()
    }

    #[test]
    fn path_issuers_are_asked_in_all_four_places() {
        assert_eq!(
            wheres("https://as.example/tenant/one"),
            [
                "/.well-known/oauth-authorization-server/tenant/one",
                "/tenant/one/.well-known/openid-configuration",
                "/.well-known/openid-configuration/tenant/one",
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
        let result = |named: &str| read(&Route::Live, "https://as.example", &document(named), Endpoints::default());
        for other in ["https://evil.example", "https://AS.example", "http://as.example", "https://as.example/x", ""] {
            assert!(matches!(result(other), Err(OAuthError::Discovery { .. })), "{other}");
        }
        // A person types no slash at the end; what the server says is then what `iss` is compared with.
        assert_eq!(result("https://as.example/").unwrap().issuer.as_deref(), Some("https://as.example/"));
    }

    #[test]
    fn fault_012_endpoints_that_are_not_https_are_refused() {
        for bad in ["file:///etc/passwd", "-x", "$(id)", "http://as.example/token", "javascript:1"] {
            let document = json!({ "issuer": "https://as.example", "token_endpoint": bad });
            assert!(read(&Route::Live, "https://as.example", &document, Endpoints::default()).is_err(), "{bad}");
        }
    }

    #[test]
    fn declared_endpoints_win() {
        let declared = Endpoints { token: Some(Url::parse("https://x.example/t").unwrap()), ..Endpoints::default() };
        let document = json!({ "issuer": "https://as.example", "token_endpoint": "https://as.example/token",
            "code_challenge_methods_supported": ["plain"] });
        let endpoints = read(&Route::Live, "https://as.example", &document, declared).unwrap();
        assert_eq!(endpoints.token.unwrap().as_str(), "https://x.example/t");
        assert_eq!(endpoints.s256, Some(false));
    }
}
