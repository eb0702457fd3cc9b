//! The vendor's own description of its endpoints (RFC 8414, OpenID Connect Discovery).

use serde_json::json;
use url::Url;

use super::account::emulated_urls;
use super::message::SandboxResponse;
use super::routes::{EmulatedEndpoint, declared_routes};
use super::vendor_emulator::VendorEmulator;
use crate::connector::{GrantType, Template, Values};

impl VendorEmulator {
    /// The issuer, character by character as the connection names it (RFC 9207 section 2.4 compares it so).
    pub(super) fn issuer(&self) -> Option<String> {
        let template = self.auth.oauth2.as_ref()?.issuer.as_ref()?;
        template.fill(&self.values()).ok()
    }

    pub(super) fn values(&self) -> Values {
        let mut values = Values::default();
        values.extend(&emulated_urls(&self.connector, &self.auth)).extend(&self.params);
        values
    }

    pub(super) fn discovery(&self) -> SandboxResponse {
        let (Some(issuer), Some(oauth2)) = (self.issuer(), &self.auth.oauth2) else {
            return SandboxResponse::json(404, &json!({"error": "not_found"}));
        };
        let origin = Url::parse(&issuer).map(|url| url.origin().ascii_serialization()).unwrap_or_default();
        let values = self.values();
        let at =
            |endpoint: EmulatedEndpoint, template: Option<&Template>| match template.map(|url| url.fill_url(&values)) {
                Some(Ok(url)) => url.to_string(),
                _ => format!("{origin}{}", endpoint.default_path()),
            };
        let client_auth = oauth2.client_auth.registered_name();
        let device_grant = "urn:ietf:params:oauth:grant-type:device_code";
        let mut grants = vec!["refresh_token", device_grant];
        grants.extend(oauth2.grants.iter().filter_map(|grant| match grant {
            GrantType::AuthorizationCode => Some("authorization_code"),
            GrantType::ClientCredentials => Some("client_credentials"),
            GrantType::JwtBearer => Some("urn:ietf:params:oauth:grant-type:jwt-bearer"),
            GrantType::DeviceCode | GrantType::Exchange => None,
        }));
        let scopes: Vec<&String> = self.connector.scopes.keys().chain(&oauth2.scope.default).collect();
        let mut document = json!({
            "issuer": issuer,
            "authorization_endpoint": at(EmulatedEndpoint::Authorize, oauth2.authorize_url.as_ref()),
            "token_endpoint": at(EmulatedEndpoint::Token, oauth2.token_url.as_ref()),
            "device_authorization_endpoint": at(EmulatedEndpoint::Device, oauth2.device_url.as_ref()),
            "revocation_endpoint": at(EmulatedEndpoint::Revoke, oauth2.revoke.as_ref().map(|revoke| &revoke.url)),
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
        if oauth2.protected_resource.is_some() {
            document["registration_endpoint"] = json!(at(EmulatedEndpoint::Registration, None));
        }
        // A vendor whose endpoints the file fixes may lack some of these: only what is served is announced.
        let served = declared_routes(&self.connector, &self.auth);
        if !served.iter().any(|declared| declared.endpoint == EmulatedEndpoint::Authorize)
            && let Some(members) = document.as_object_mut()
        {
            members.remove("authorization_endpoint");
        }
        SandboxResponse::json(200, &document)
    }
}
