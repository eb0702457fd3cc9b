//! The authorization request: the URL that a user opens (RFC 6749 section 4.1.1, RFC 7636, RFC 9207).

use oauth2::{CsrfToken, PkceCodeChallenge};
use url::Url;

use super::callback::ExpectedCallback;
use super::{OAuthClient, OAuthError, PkceSupport};
use crate::connector::scopes::RequestedScopes;
use crate::connector::{ImplicitFlow, Pkce, Values};
use crate::secret::Secret;

/// A request that waits for its callback.
#[derive(Debug)]
pub struct PendingAuthorization {
    /// What the person opens.
    pub url: Url,
    pub redirect_uri: String,
    pub expected: ExpectedCallback,
    /// The PKCE verifier; absent where the vendor does not know PKCE.
    pub verifier: Option<Secret>,
}

/// Builds the request with a fresh S256 verifier of 43 characters. `state` must be fresh too: see [`random_state`].
///
/// # Errors
/// [`OAuthError::MissingEndpoint`], [`OAuthError::Template`], [`OAuthError::S256Unsupported`] where the metadata rules S256 out.
pub fn authorization_request(
    oauth_client: &OAuthClient<'_>,
    redirect_uri: &str,
    state: Secret,
    asked: &RequestedScopes,
) -> Result<PendingAuthorization, OAuthError> {
    let rules = oauth_client.rules;
    let mut url = oauth_client.server.authorization_endpoint.clone().ok_or(OAuthError::MissingEndpoint("authorize"))?;
    let verifier = uses_pkce(oauth_client).then(PkceCodeChallenge::new_random_sha256);
    let methods = oauth_client.server.code_challenge_methods.as_deref();
    let has_s256 = methods.map(|methods| methods.iter().any(|method| method == "S256"));
    // A server without any metadata can say nothing.
    let must_say = oauth_client.pkce == Pkce::Advertised && oauth_client.server.is_published;
    if verifier.is_some() && !has_s256.unwrap_or(!must_say) {
        return Err(OAuthError::S256Unsupported { support: PkceSupport::of(methods) });
    }
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("response_type", "code").append_pair("client_id", &oauth_client.client.id);
        query.append_pair("redirect_uri", redirect_uri).append_pair("state", state.expose());
        for (param, scopes) in asked.iter().filter(|(_, scopes)| !scopes.is_empty()) {
            query.append_pair(param, &scopes.join(&rules.scope.separator));
        }
        if let Some((challenge, _)) = &verifier {
            query.append_pair("code_challenge", challenge.as_str()).append_pair("code_challenge_method", "S256");
        }
        for (name, value) in oauth_client.fill_params(&rules.authorize_params)? {
            // A vendor's own value of a standard parameter replaces it.
            if name != "response_type" {
                query.append_pair(&name, &value);
            }
        }
    }
    Ok(PendingAuthorization {
        url: oauth_client.route.resolve(&url)?,
        redirect_uri: redirect_uri.to_owned(),
        expected: ExpectedCallback {
            state,
            issuer: oauth_client.server.issuer.clone(),
            is_iss_required: oauth_client.server.supports_iss_parameter,
        },
        verifier: verifier.map(|(_, verifier)| Secret::new(verifier.into_secret())),
    })
}

fn uses_pkce(oauth_client: &OAuthClient<'_>) -> bool {
    match oauth_client.pkce {
        Pkce::Always | Pkce::Advertised => true,
        Pkce::PublicOnly => oauth_client.client.secret.is_none(),
        Pkce::Never => false,
    }
}

/// The request of a method that returns the token in the fragment. Its `state` travels in the redirect URI, because such
/// vendors know none.
///
/// # Errors
/// [`OAuthError::Template`].
pub fn implicit_request(
    fragment: &ImplicitFlow,
    values: &Values,
    route: &crate::http::Route,
    redirect_uri: &str,
    state: Secret,
    asked: &RequestedScopes,
) -> Result<PendingAuthorization, OAuthError> {
    let mut url = fragment.authorize_url.fill_url(values)?;
    let mut target =
        Url::parse(redirect_uri).map_err(|_| crate::connector::TemplateError::InvalidUrl(redirect_uri.to_owned()))?;
    target.query_pairs_mut().append_pair("state", state.expose());
    {
        let mut query = url.query_pairs_mut();
        for (name, value) in &fragment.authorize_params {
            query.append_pair(name, &value.fill(values)?);
        }
        for (param, scopes) in asked.iter().filter(|(_, scopes)| !scopes.is_empty()) {
            query.append_pair(param, &scopes.join(&fragment.scope.separator));
        }
        query.append_pair(&fragment.redirect_param, target.as_str());
    }
    Ok(PendingAuthorization {
        url: route.resolve(&url)?,
        redirect_uri: redirect_uri.to_owned(),
        expected: ExpectedCallback { state, issuer: None, is_iss_required: false },
        verifier: None,
    })
}

/// Returns 256 bits from the operating system, as text for URLs.
pub fn random_state() -> Secret {
    let token = CsrfToken::new_random_len(32);
    Secret::new(token.into_secret())
}

/// A command must never be started with a URL that a shell or a browser could take for something else (fault 12).
///
/// # Errors
/// [`OAuthError::MalformedResponse`] for anything but https, or http on this machine.
pub fn check_openable(url: &Url) -> Result<(), OAuthError> {
    let safe =
        crate::http::Route::Live.resolve(url).is_ok() && !url.as_str().contains(['\'', '"', '`', '\\', ' ', '\n']);
    if safe {
        Ok(())
    } else {
        Err(OAuthError::MalformedResponse {
            endpoint: "the metadata",
            reason: "its authorization URL is not safe to open".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::clock::Clock;
    use crate::connector::{OAuth2, RateLimits};
    use crate::http::Route;
    use crate::model::ClientCredentials;
    use crate::oauth::ServerMetadata;
    use serde::Deserialize;

    fn with_party<T>(
        toml: &str,
        secret: bool,
        methods: Option<&[&str]>,
        check: impl FnOnce(&OAuthClient<'_>) -> T,
    ) -> T {
        let rules = OAuth2::deserialize(toml.parse::<toml::Table>().unwrap()).unwrap();
        let authorize = Some(Url::parse("https://as.example/authorize?tenant=1").unwrap());
        let http = crate::http::Client::new(std::time::Duration::from_secs(1));
        let pkce_methods = methods.map(|methods| methods.iter().map(|method| (*method).to_owned()).collect());
        check(&OAuthClient {
            rules: &rules,
            rate: &RateLimits::default(),
            errors: &[],
            credential: BTreeMap::new(),
            identity: None,
            clock_offset: std::sync::atomic::AtomicI64::new(0),
            server: ServerMetadata {
                authorization_endpoint: authorize,
                code_challenge_methods: pkce_methods,
                ..ServerMetadata::default()
            },
            pkce: rules.pkce,
            client_auth: None,
            uses_post_fallback: std::sync::atomic::AtomicBool::new(false),
            values: Values::default(),
            client: ClientCredentials { id: "id:with+odd/%&".to_owned(), secret: secret.then(|| Secret::from("s")) },
            http: &http,
            route: Route::Live,
            clock: &Clock::system(),
        })
    }

    fn query(pending: &PendingAuthorization) -> BTreeMap<String, String> {
        pending.url.query_pairs().into_owned().collect()
    }

    #[test]
    fn fault_009_pkce_is_s256_and_fresh() {
        with_party("", true, None, |oauth_client| {
            let one = authorization_request(
                oauth_client,
                "http://127.0.0.1:1/callback",
                random_state(),
                &RequestedScopes::new(),
            )
            .unwrap();
            let two = authorization_request(
                oauth_client,
                "http://127.0.0.1:1/callback",
                random_state(),
                &RequestedScopes::new(),
            )
            .unwrap();
            let verifier = one.verifier.as_ref().unwrap().expose();
            assert!((43..=128).contains(&verifier.len()), "{}", verifier.len());
            assert_ne!(verifier, two.verifier.unwrap().expose());
            assert_ne!(one.expected.state.expose(), two.expected.state.expose());
            let query = query(&one);
            assert_eq!(query["code_challenge_method"], "S256");
            assert_eq!(query["client_id"], "id:with+odd/%&");
            assert_eq!(query["tenant"], "1");
        });
    }

    #[test]
    fn fault_010_metadata_without_s256_is_refused() {
        for (methods, expected) in [(&["plain"][..], PkceSupport::PlainOnly), (&[], PkceSupport::NoMethod)] {
            with_party("", true, Some(methods), |oauth_client| {
                let refused =
                    authorization_request(oauth_client, "http://127.0.0.1:1/", random_state(), &RequestedScopes::new());
                assert!(
                    matches!(refused, Err(OAuthError::S256Unsupported { support }) if support == expected),
                    "{methods:?}"
                );
            });
        }
    }

    #[test]
    fn where_s256_must_be_advertised_metadata_that_does_not_say_so_is_refused() {
        let refusal = |methods: Option<&[&str]>, is_published| {
            with_party("pkce = \"advertised\"", false, methods, |oauth_client| {
                let server = ServerMetadata { is_published, ..oauth_client.server.clone() };
                let oauth_client = OAuthClient { server, ..copy(oauth_client) };
                authorization_request(&oauth_client, "http://127.0.0.1:1/", random_state(), &RequestedScopes::new())
                    .err()
            })
        };
        assert!(refusal(Some(&["S256"]), true).is_none());
        assert!(matches!(refusal(None, true), Some(OAuthError::S256Unsupported { support: PkceSupport::Unstated })));
        assert!(refusal(None, false).is_none(), "it has no metadata at all");
    }

    fn copy<'a>(of: &OAuthClient<'a>) -> OAuthClient<'a> {
        OAuthClient {
            rules: of.rules,
            rate: of.rate,
            errors: of.errors,
            credential: of.credential.clone(),
            identity: of.identity.clone(),
            clock_offset: std::sync::atomic::AtomicI64::new(0),
            server: of.server.clone(),
            values: of.values.clone(),
            client: of.client.clone(),
            pkce: of.pkce,
            client_auth: of.client_auth,
            uses_post_fallback: std::sync::atomic::AtomicBool::new(false),
            http: of.http,
            route: of.route.clone(),
            clock: of.clock,
        }
    }

    #[test]
    fn a_vendor_that_turns_public_by_pkce_gets_it_only_without_a_secret() {
        let rules = "pkce = \"public_only\"";
        let verifier = |oauth_client: &OAuthClient<'_>| {
            authorization_request(oauth_client, "http://localhost:1/", random_state(), &RequestedScopes::new())
                .unwrap()
                .verifier
                .is_some()
        };
        assert!(!with_party(rules, true, None, verifier));
        assert!(with_party(rules, false, None, verifier));
    }

    #[test]
    fn fault_012_only_web_urls_are_opened() {
        for bad in ["file:///etc/passwd", "javascript:alert(1)", "http://evil.example/", "https://a.example/'$(x)'"] {
            let refused = Url::parse(bad).is_err() || check_openable(&Url::parse(bad).unwrap()).is_err();
            assert!(refused, "{bad}");
        }
        assert!(Url::parse("-x").is_err());
        check_openable(&Url::parse("https://a.example/authorize?x=1").unwrap()).unwrap();
    }

    #[test]
    fn rfc_7636_appendix_b_gives_the_published_challenge() {
        let verifier = oauth2::PkceCodeVerifier::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned());
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        assert_eq!(challenge.as_str(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
