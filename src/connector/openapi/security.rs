//! Converts security schemes to authentication methods.

use serde_json::Value;

use super::OpenApiDescription;
use super::text::{no_full_stop, one_line, slug, snake};
use crate::connector::draft::{DraftAuth, DraftAuthKind, DraftField, DraftOAuth2, sentence};

/// Where OpenID Connect Discovery puts a server's metadata, below its issuer.
const DISCOVERY: &str = "/.well-known/openid-configuration";

type Scopes = Vec<(String, String)>;

impl OpenApiDescription {
    fn schemes(&self) -> impl Iterator<Item = (&String, &Value)> {
        let schemes = if self.is_swagger() {
            &self.root["securityDefinitions"]
        } else {
            &self.root["components"]["securitySchemes"]
        };
        schemes.as_object().into_iter().flatten().map(|(name, scheme)| (name, self.resolve(scheme)))
    }

    /// Whether a security scheme is OAuth; only its scopes have a meaning.
    pub(super) fn is_oauth2(&self, name: &str) -> bool {
        self.schemes().any(|(known, scheme)| known == name && scheme["type"] == "oauth2")
    }

    /// The authentication methods, with the document's default ones first, and their scopes.
    pub(super) fn auth_methods(&self) -> (Vec<DraftAuth>, Scopes) {
        let mut ways: Vec<DraftAuth> = Vec::new();
        let mut scopes = Scopes::new();
        let mut done: Vec<&str> = Vec::new();
        let wanted = self.root["security"].as_array().into_iter().flatten().filter_map(Value::as_object);
        for requirement in wanted {
            let named: Vec<(&String, &Value)> =
                self.schemes().filter(|(name, _)| requirement.contains_key(*name)).collect();
            if named.len() > 1 {
                // Several at once are one way with several keys.
                if let Some(way) = several(&named) {
                    ways.push(way);
                }
            } else if let Some((name, scheme)) = named.first() {
                ways.extend(self.auth_method(name, scheme, &mut scopes));
            }
            done.extend(named.iter().map(|(name, _)| name.as_str()));
        }
        for (name, scheme) in self.schemes().filter(|(name, _)| !done.contains(&name.as_str())) {
            ways.extend(self.auth_method(name, scheme, &mut scopes));
        }
        let mut names: Vec<String> = Vec::new();
        for way in &mut ways {
            while names.contains(&way.name) {
                way.name.push_str("-2");
            }
            names.push(way.name.clone());
        }
        (ways, scopes)
    }

    fn auth_method(&self, name: &str, scheme: &Value, scopes: &mut Scopes) -> Option<DraftAuth> {
        let kind = match scheme["type"].as_str()? {
            "oauth2" => DraftAuthKind::OAuth2(Box::new(self.oauth2(scheme, scopes)?)),
            "openIdConnect" => {
                let url = scheme["openIdConnectUrl"].as_str()?;
                let issuer = Some(url.strip_suffix(DISCOVERY)?.to_owned());
                let grants = vec!["authorization_code"];
                DraftAuthKind::OAuth2(Box::new(DraftOAuth2 { issuer, grants, ..DraftOAuth2::default() }))
            }
            "basic" => DraftAuthKind::basic(),
            "http" if is(scheme, "scheme", "basic") => DraftAuthKind::basic(),
            "http" if is(scheme, "scheme", "bearer") => {
                key(vec![field("token", "Token", scheme)], Vec::new(), Vec::new())
            }
            "apiKey" => {
                let carrier = credential_params(scheme, "key")?;
                let (headers, query) = carrier;
                key(vec![field("key", "API key", scheme)], headers, query)
            }
            _ => return None,
        };
        let label = match &kind {
            DraftAuthKind::OAuth2(_) => "OAuth".to_owned(),
            DraftAuthKind::ApiKey { basic: true, .. } => "User name and password (HTTP Basic)".to_owned(),
            DraftAuthKind::ApiKey { headers, query, .. } if headers.is_empty() && query.is_empty() => {
                "Token".to_owned()
            }
            DraftAuthKind::ApiKey { .. } => "API key".to_owned(),
        };
        let slug = slug(name);
        let name = if slug.is_empty() { "key".to_owned() } else { slug };
        Some(DraftAuth { name, label, setup_url: None, kind })
    }

    fn oauth2(&self, scheme: &Value, scopes: &mut Scopes) -> Option<DraftOAuth2> {
        let url = |flow: &Value, name: &str| flow[name].as_str().and_then(|url| self.absolute(url));
        // Version 2 has one flow in the scheme itself, under other names.
        let flow = |name: &str, old: &str| {
            if self.is_swagger() {
                Some(scheme).filter(|scheme| is(scheme, "flow", old))
            } else {
                scheme["flows"].get(name)
            }
        };
        let mut found = DraftOAuth2::default();
        let flows = [
            ("authorization_code", flow("authorizationCode", "accessCode")),
            ("device_code", flow("deviceAuthorization", "")),
            ("client_credentials", flow("clientCredentials", "application")),
        ];
        for (grant, flow) in flows {
            let Some(flow) = flow else { continue };
            let Some(token_url) = url(flow, "tokenUrl") else { continue };
            match grant {
                "authorization_code" => found.authorize_url = Some(url(flow, "authorizationUrl")?),
                "device_code" => found.device_url = Some(url(flow, "deviceAuthorizationUrl")?),
                _ => {}
            }
            found.token_url = found.token_url.or(Some(token_url));
            found.refresh_url = found.refresh_url.or_else(|| url(flow, "refreshUrl"));
            found.grants.push(grant);
            for (scope, purpose) in flow["scopes"].as_object().into_iter().flatten() {
                if !scope.is_empty() && !scopes.iter().any(|(known, _)| known == scope) {
                    let purpose = no_full_stop(&one_line(purpose.as_str().unwrap_or_default(), 100));
                    let purpose = if purpose.is_empty() { sentence(scope) } else { purpose };
                    scopes.push((scope.clone(), purpose));
                }
            }
        }
        found.refresh_url = found.refresh_url.filter(|url| found.token_url.as_ref() != Some(url));
        // What only knows flows that RFC 9700 has given up is not a way.
        (!found.grants.is_empty()).then_some(found)
    }
}

fn is(scheme: &Value, member: &str, word: &str) -> bool {
    scheme[member].as_str().is_some_and(|value| value.eq_ignore_ascii_case(word))
}

fn field(name: &str, prompt: &str, scheme: &Value) -> DraftField {
    // A description of a key that is short says where it is found; a long one is documentation.
    let told = scheme["description"].as_str().map(|text| no_full_stop(&one_line(text, 60)));
    let told = told.filter(|text| !text.is_empty() && !text.ends_with('…'));
    DraftField {
        name: name.to_owned(),
        prompt: told.unwrap_or_else(|| prompt.to_owned()),
        secret: true,
        prefixes: Vec::new(),
    }
}

fn key(fields: Vec<DraftField>, headers: Vec<(String, String)>, query: Vec<(String, String)>) -> DraftAuthKind {
    DraftAuthKind::ApiKey { fields, headers, query, basic: false }
}

type CredentialParams = (Vec<(String, String)>, Vec<(String, String)>);

/// The header or the query parameter of an API key; cookies are for browsers.
fn credential_params(scheme: &Value, field: &str) -> Option<CredentialParams> {
    let name = scheme["name"].as_str().filter(|name| !name.is_empty())?.to_owned();
    // Names are templates, where a brace would open a value.
    let pair = vec![(name.replace('{', "{{").replace('}', "}}"), format!("{{{field}}}"))];
    match scheme["in"].as_str()? {
        "header" => Some((pair, Vec::new())),
        "query" => Some((Vec::new(), pair)),
        _ => None,
    }
}

/// Several API keys that go together.
fn several(schemes: &[(&String, &Value)]) -> Option<DraftAuth> {
    let (mut fields, mut headers, mut query) = (Vec::new(), Vec::new(), Vec::new());
    for (name, scheme) in schemes {
        let field_name = snake(name);
        if scheme["type"] != "apiKey" {
            return None;
        }
        let (header, parameter) = credential_params(scheme, &field_name)?;
        headers.extend(header);
        query.extend(parameter);
        fields.push(field(&field_name, &sentence(&field_name), scheme));
    }
    let label = "API keys".to_owned();
    Some(DraftAuth { name: "keys".to_owned(), label, setup_url: None, kind: key(fields, headers, query) })
}
