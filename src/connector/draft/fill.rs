//! Fills in defaults and answers in a draft. Pure.

use url::Url;

use super::super::Template;
use super::{
    ConnectorDraft, DiscoveredOAuth2, DraftAuth, DraftAuthKind, DraftField, DraftHealth, DraftOAuth2, DraftParam,
    sentence,
};

impl ConnectorDraft {
    /// The name that a description gives, else `Acme Boards` of `acme-boards`.
    pub fn usual_name(&self) -> String {
        match self.name.as_str() {
            "" => self.id.split('-').map(sentence).collect::<Vec<_>>().join(" "),
            name => name.to_owned(),
        }
    }

    /// The description that an API's description gives, else one that holds for every service.
    pub fn usual_description(&self) -> String {
        match self.description.as_str() {
            "" => format!("The API of {}.", self.name),
            description => description.to_owned(),
        }
    }

    /// The documentation that a description names, else the origin of the API, or of the issuer if there is no API. Empty
    /// if there is nothing to derive it from.
    pub fn usual_docs(&self, issuer: Option<&str>) -> String {
        match self.docs.as_str() {
            "" => docs_origin(self.base.as_deref().or(issuer).unwrap_or_default()),
            docs => docs.to_owned(),
        }
    }

    /// Sets the base of the API; an empty one means that there is none.
    pub fn set_base(&mut self, base: &str) {
        self.base = Some(base.trim_end_matches('/').to_owned()).filter(|base| !base.is_empty());
    }

    /// Removes the parameters that the API's base does not name: variables of a server that is not used.
    pub fn remove_unused_params(&mut self) {
        let base = self.base.as_deref().unwrap_or_default();
        self.params.retain(|param| base.contains(&format!("{{{}}}", param.name)));
    }

    /// Asks for what stands in braces in the API's base and the endpoints, where nothing does so yet.
    pub fn add_missing_params(&mut self) {
        let oauth2 = self.auth.iter().filter_map(|method| match &method.kind {
            DraftAuthKind::OAuth2(oauth2) => Some(oauth2),
            DraftAuthKind::ApiKey { .. } => None,
        });
        let urls = oauth2.flat_map(|oauth2| {
            [&oauth2.issuer, &oauth2.authorize_url, &oauth2.token_url, &oauth2.device_url, &oauth2.revoke_url]
        });
        let templates = urls.chain([&self.base]).flatten().filter_map(|url| Template::parse(url).ok());
        let names: Vec<String> =
            templates.flat_map(|url| url.placeholders().map(str::to_owned).collect::<Vec<_>>()).collect();
        for name in names {
            if !self.params.iter().any(|param| param.name == name) {
                let prompt = sentence(&name);
                self.params.push(DraftParam { name, prompt, ..DraftParam::default() });
            }
        }
    }

    /// Adds what a server publishes of itself, except for its endpoints, which are returned. What is known already stays.
    pub fn add_discovered(&mut self, discovered: DiscoveredOAuth2) -> DraftOAuth2 {
        for (scope, purpose) in discovered.scopes {
            self.add_scope(scope, purpose);
        }
        self.health = self.health.take().or(discovered.health);
        discovered.oauth2
    }

    /// The scopes that the first OAuth method asks for; absent if no method is OAuth.
    pub fn default_scopes(&self) -> Option<&[String]> {
        self.auth.iter().find_map(|method| match &method.kind {
            DraftAuthKind::OAuth2(oauth2) => Some(oauth2.default_scopes.as_slice()),
            DraftAuthKind::ApiKey { .. } => None,
        })
    }

    /// Has every OAuth method ask for these scopes. A purpose that is absent is made of the scope's name.
    pub fn set_default_scopes(&mut self, scopes: Vec<(String, Option<String>)>) {
        let names: Vec<String> = scopes.iter().map(|(name, _)| name.clone()).collect();
        for (name, purpose) in scopes {
            let purpose = purpose.unwrap_or_else(|| sentence(&name));
            self.add_scope(name, purpose);
        }
        for method in &mut self.auth {
            if let DraftAuthKind::OAuth2(oauth2) = &mut method.kind {
                oauth2.default_scopes.clone_from(&names);
            }
        }
    }

    fn add_scope(&mut self, scope: String, purpose: String) {
        if !self.scopes.iter().any(|(known, _)| *known == scope) {
            self.scopes.push((scope, purpose));
        }
    }

    /// Takes back the doubt whether the health check is a good one: somebody has confirmed or replaced it.
    pub fn confirm_health(&mut self) {
        if let Some(health) = &self.health {
            let doubt = health_doubt(&health.path);
            self.unverified.retain(|line| *line != doubt);
        }
    }
}

/// The doubt about a health check that was guessed.
pub(in crate::connector) fn health_doubt(path: &str) -> String {
    format!("Whether {path} is a good check: it was guessed from the description.")
}

impl DraftAuth {
    /// A method with its usual name and label.
    pub fn new(kind: DraftAuthKind, setup_url: Option<String>) -> Self {
        let (name, label) = match &kind {
            DraftAuthKind::OAuth2(_) => ("oauth", "OAuth"),
            DraftAuthKind::ApiKey { basic: true, .. } => ("basic", "User name and password (HTTP Basic)"),
            DraftAuthKind::ApiKey { headers, query, .. } if headers.is_empty() && query.is_empty() => {
                ("token", "Token")
            }
            DraftAuthKind::ApiKey { .. } => ("key", "API key"),
        };
        Self { name: name.to_owned(), label: label.to_owned(), setup_url, kind }
    }
}

impl DraftAuthKind {
    /// A token as `Authorization: Bearer` (RFC 6750).
    pub fn bearer(prefixes: Vec<String>) -> Self {
        let fields = vec![secret_field("token", "Token", prefixes)];
        Self::ApiKey { fields, headers: Vec::new(), query: Vec::new(), basic: false }
    }

    /// A key in a header of its own.
    pub fn header(name: String, prefixes: Vec<String>) -> Self {
        let fields = vec![secret_field("key", "API key", prefixes)];
        Self::ApiKey { fields, headers: vec![(name, "{key}".to_owned())], query: Vec::new(), basic: false }
    }

    /// A key in the query.
    pub fn query(parameter: String, prefixes: Vec<String>) -> Self {
        let fields = vec![secret_field("key", "API key", prefixes)];
        Self::ApiKey { fields, headers: Vec::new(), query: vec![(parameter, "{key}".to_owned())], basic: false }
    }

    /// A name and a password (RFC 7617).
    pub fn basic() -> Self {
        let name = DraftField { secret: false, ..secret_field("username", "Name", Vec::new()) };
        let fields = vec![name, secret_field("password", "Password", Vec::new())];
        Self::ApiKey { fields, headers: Vec::new(), query: Vec::new(), basic: true }
    }
}

fn secret_field(name: &str, prompt: &str, prefixes: Vec<String>) -> DraftField {
    DraftField { name: name.to_owned(), prompt: prompt.to_owned(), secret: true, prefixes }
}

impl DraftOAuth2 {
    /// Adds the grants that the endpoints allow. Those of an issuer are known from what it publishes.
    pub fn add_grants(&mut self) {
        if self.issuer.is_none() && self.authorize_url.is_some() {
            self.grants.push("authorization_code");
        }
        if self.device_url.is_some() && !self.grants.contains(&"device_code") {
            self.grants.push("device_code");
        }
    }
}

impl DraftHealth {
    /// A check without its empty pointers.
    pub fn new(path: String, account_id: String, account_name: String) -> Self {
        let given = |pointer: String| Some(pointer).filter(|pointer| !pointer.is_empty());
        Self { path, account_id: given(account_id), account_name: given(account_name) }
    }
}

/// Where the service is, for want of a better place to send readers to.
fn docs_origin(base: &str) -> String {
    let Some((_, rest)) = base.split_once("://") else { return String::new() };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // What is open of a host comes before what belongs to the service.
    let own = host.rsplit_once('}').map_or(host, |(_, own)| own).trim_start_matches('.');
    // Documentation is read over https, whatever the base is.
    match Url::parse(&format!("https://{own}")) {
        Ok(url) if own.contains('.') => url.origin().ascii_serialization(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documentation_is_looked_for_where_the_service_is() {
        for (base, docs) in [
            ("https://{team}.acme.example/api", "https://acme.example"),
            ("http://api.acme.example:8443?x", "https://api.acme.example:8443"),
            ("https://{host}", ""),
            ("acme", ""),
        ] {
            let draft = ConnectorDraft { base: Some(base.to_owned()), ..ConnectorDraft::default() };
            assert_eq!(draft.usual_docs(Some("https://login.example")), docs, "{base}");
        }
        let draft = ConnectorDraft { id: "acme-boards".to_owned(), ..ConnectorDraft::default() };
        assert_eq!(draft.usual_docs(Some("https://login.example/x")), "https://login.example");
        assert_eq!(draft.usual_name(), "Acme Boards");
    }
}
