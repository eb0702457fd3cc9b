//! The vendor's own description of its endpoints (RFC 8414, OpenID Connect Discovery).

use serde_json::json;
use url::Url;

use super::account::urls;
use super::address::{Endpoint, declared};
use super::message::Reply;
use super::vendor::Vendor;
use crate::connector::{ClientAuth, GrantKind, Template, Values};

impl Vendor {
    /// The issuer, character by character as the connection names it (RFC 9207 section 2.4 compares it so).
    pub(super) fn issuer(&self) -> Option<String> {
        let template = self.auth.oauth2.as_ref()?.issuer.as_ref()?;
        template.fill(&self.values()).ok()
    }

    fn values(&self) -> Values {
        let mut values = Values::default();
        values.extend(&urls(&self.connector, &self.auth)).extend(&self.params);
        values
    }

    pub(super) fn discovery(&self) -> Reply {
        let (Some(issuer), Some(oauth2)) = (self.issuer(), &self.auth.oauth2) else {
            return Reply::json(404, &json!({"error": "not_found"}));
        };
        let origin = Url::parse(&issuer).map(|url| url.origin().ascii_serialization()).unwrap_or_default();
        let values = self.values();
        let at = |endpoint: Endpoint, template: Option<&Template>| match template.map(|url| url.fill_url(&values)) {
            Some(Ok(url)) => url.to_string(),
            _ => format!("{origin}{}", endpoint.own_path()),
        };
        let client_auth = match oauth2.client_auth {
            ClientAuth::Basic => "client_secret_basic",
            ClientAuth::Post => "client_secret_post",
            ClientAuth::None => "none",
        };
        let device_grant = "urn:ietf:params:oauth:grant-type:device_code";
        let mut grants = vec!["refresh_token", device_grant];
        grants.extend(oauth2.grants.iter().filter_map(|grant| match grant {
            GrantKind::AuthorizationCode => Some("authorization_code"),
            GrantKind::ClientCredentials => Some("client_credentials"),
            GrantKind::DeviceCode => None,
        }));
        let scopes: Vec<&String> = self.connector.scopes.keys().chain(&oauth2.scope.default).collect();
        let mut document = json!({
            "issuer": issuer,
            "authorization_endpoint": at(Endpoint::Authorize, oauth2.authorize_url.as_ref()),
            "token_endpoint": at(Endpoint::Token, oauth2.token_url.as_ref()),
            "device_authorization_endpoint": at(Endpoint::Device, oauth2.device_url.as_ref()),
            "revocation_endpoint": at(Endpoint::Revoke, oauth2.revoke.as_ref().map(|revoke| &revoke.url)),
            "userinfo_endpoint": format!("{origin}/userinfo"),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": grants,
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": [client_auth, "none"],
            "revocation_endpoint_auth_methods_supported": [client_auth, "none"],
            "authorization_response_iss_parameter_supported": true,
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        });
        if !scopes.is_empty() {
            document["scopes_supported"] = json!(scopes);
        }
        // A vendor whose endpoints the file fixes may lack some of these: only what is served is announced.
        let served = declared(&self.connector, &self.auth);
        if !served.iter().any(|declared| declared.endpoint == Endpoint::Authorize)
            && let Some(members) = document.as_object_mut()
        {
            members.remove("authorization_endpoint");
        }
        Reply::json(200, &document)
    }
}
