//! A connection ready for use: its connector, authentication method, and route.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;
use url::Url;

use crate::connector::{AuthMethod, Connector, Health, Stream, Template, TemplateError, Values};
use crate::error::{Diagnostic, Kind, Remedy};
use crate::http::{ClientIdentity, Request, Route, basic};
use crate::model::{Connection, Grant, reconnect_command};
use crate::secret::Secret;

/// Everything needed to call the vendor for one connection.
#[derive(Clone, Debug)]
pub struct Session {
    pub connection: Connection,
    pub connector: Arc<Connector>,
    pub auth: AuthMethod,
    pub route: Route,
}

/// Why the requests of a connection cannot be built from the connector's file.
#[derive(Debug, Error)]
pub enum SessionError {
    #[error("cannot use {connection}: a placeholder of the connector's file has no value")]
    Template { connection: String, reconnect: String, source: TemplateError },
    #[error("{connection} has no API base for the path {path:?}")]
    MissingBaseUrl { connection: String, reconnect: String, path: String },
    #[error("the client certificate of {connection} cannot be used")]
    InvalidCertificate { connection: String, reconnect: String },
}

impl Remedy for SessionError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Template { connection, reconnect, .. } | Self::MissingBaseUrl { connection, reconnect, .. } => {
                Diagnostic::new(Kind::Conflict, "missing_value")
                    .run(format!("{reconnect} --param NAME=VALUE"))
                    .connection(connection)
            }
            Self::InvalidCertificate { connection, reconnect } => {
                Diagnostic::new(Kind::Conflict, "invalid_certificate").run(reconnect).connection(connection)
            }
        }
    }
}

impl Session {
    /// Returns the values for templates: the user's, the stored ones, and the grant's secrets.
    pub fn values(&self, grant: Option<&Grant>) -> Values {
        template_values(&self.connector, &self.auth, &self.connection, grant)
    }

    /// Returns a path of the connector's file with its values; None if a value is missing.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn path(&self, path: &Template, grant: &Grant) -> Result<Option<String>, SessionError> {
        let values = self.values(Some(grant));
        if !path.is_complete(&values) {
            return Ok(None);
        }
        path.fill_path(&values).map(Some).map_err(|source| self.template_error(source))
    }

    /// Builds an API request with the connection's credentials, to a path relative to the API's base or a full URL.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn request_to(&self, method: &'static str, path: &str, grant: &Grant) -> Result<Request, SessionError> {
        let mut request = self.anonymous_request(method, path, grant)?;
        let values = self.values(Some(grant));
        for (name, value) in self.auth.send.iter().flat_map(|send| &send.query) {
            let name = fill_name(name, &values).map_err(|source| self.template_error(source))?;
            let value = value.fill(&values).map_err(|source| self.template_error(source))?;
            request.url.query_pairs_mut().append_pair(&name, &value);
        }
        request.headers.extend(self.credential_headers(grant)?);
        request.identity = self.client_identity(&grant.fields)?;
        Ok(request)
    }

    /// Builds an API request without credentials, for URLs that need none.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn anonymous_request(&self, method: &'static str, path: &str, grant: &Grant) -> Result<Request, SessionError> {
        let values = self.values(Some(grant));
        let failed = |source| self.template_error(source);
        let url = self.url(path, &values)?;
        let mut request = Request::new(method, url).header("accept", Secret::from("application/json"));
        // A page of records may be as large as the settings allow.
        request.max_response_bytes = usize::MAX;
        for (name, value) in &self.connector.api.query {
            let name = fill_name(name, &values).map_err(failed)?;
            request.url.query_pairs_mut().append_pair(&name, &value.fill(&values).map_err(failed)?);
        }
        for (name, value) in &self.connector.api.headers {
            let name = fill_name(name, &values).map_err(failed)?;
            request.set_header(&name, Secret::new(value.fill(&values).map_err(failed)?));
        }
        if !matches!(method, "GET" | "HEAD") {
            // Vendors that take only POST want a body's length even where there is none.
            request = request.body("application/x-www-form-urlencoded", Vec::new());
        }
        request.secrets = std::iter::once(grant.access_token.clone()).chain(grant.fields.values().cloned()).collect();
        request.traces_response = true;
        request.follows_redirects = method == "GET";
        Ok(request)
    }

    /// Returns the URL of a path of the API; a full URL is not changed.
    fn url(&self, path: &str, values: &Values) -> Result<Url, SessionError> {
        let wrong = || self.template_error(TemplateError::InvalidUrl(path.to_owned()));
        if path.starts_with("https://") || path.starts_with("http://") {
            return Url::parse(path).map_err(|_| wrong());
        }
        let base = self.auth.base.as_ref().or(self.connector.api.base.as_ref());
        let base = base.filter(|base| base.is_complete(values)).ok_or_else(|| SessionError::MissingBaseUrl {
            connection: self.connection.name.to_string(),
            reconnect: reconnect_command(&self.connection.name),
            path: path.to_owned(),
        })?;
        let base = base.fill_path(values).map_err(|source| self.template_error(source))?;
        Url::parse(&format!("{}/{}", base.trim_end_matches('/'), path.trim_start_matches('/'))).map_err(|_| wrong())
    }

    /// Returns whether the connection's credentials may be sent to this URL: only to hosts of the connector's file,
    /// also for links in responses and pasted URLs. If all traffic goes to another origin, that is allowed too.
    pub fn is_own_host(&self, url: &Url) -> bool {
        let values = self.values(None);
        let actions = self.connector.actions.values().map(|action| &action.path);
        let streams = self.connector.streams.values().flat_map(Stream::paths);
        let base = self.auth.base.as_ref().or(self.connector.api.base.as_ref());
        let health = self.health().map(|health| &health.path);
        let own = |template: &Template| {
            let host = template.origin(&values)?;
            Some(host.origin() == url.origin())
        };
        if let Route::Origin(origin) | Route::Sandbox(origin) = &self.route
            && origin.origin() == url.origin()
        {
            return true;
        }
        actions.chain(streams).chain(base).chain(health).any(|template| own(template) == Some(true))
    }

    fn template_error(&self, source: TemplateError) -> SessionError {
        SessionError::Template {
            connection: self.connection.name.to_string(),
            reconnect: reconnect_command(&self.connection.name),
            source,
        }
    }

    /// Returns the headers with the credentials; none if they are in the URL.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn credential_headers(&self, grant: &Grant) -> Result<Vec<(String, Secret)>, SessionError> {
        let Some(send) = &self.auth.send else {
            let bearer = Secret::new(format!("Bearer {}", grant.access_token.expose()));
            return Ok(vec![("authorization".to_owned(), bearer)]);
        };
        let values = self.values(Some(grant));
        let failed = |source| self.template_error(source);
        let mut headers = Vec::new();
        for (name, value) in &send.headers {
            let value = value.fill(&values).map_err(failed)?;
            headers.push((fill_name(name, &values).map_err(failed)?, Secret::new(value)));
        }
        if let Some(pair) = &send.basic {
            let username = pair.username.fill(&values).map_err(failed)?;
            let password = pair.password.fill(&values).map_err(failed)?;
            headers.push(("authorization".to_owned(), basic(&username, &password)));
        }
        Ok(headers)
    }

    /// Returns the client certificate for connections to the service, if the method has one.
    ///
    /// # Errors
    /// [`SessionError::InvalidCertificate`].
    pub fn client_identity(
        &self,
        fields: &BTreeMap<String, Secret>,
    ) -> Result<Option<Arc<ClientIdentity>>, SessionError> {
        let Some(tls) = &self.auth.tls else { return Ok(None) };
        let unusable = || SessionError::InvalidCertificate {
            connection: self.connection.name.to_string(),
            reconnect: reconnect_command(&self.connection.name),
        };
        let part = |name: &String| fields.get(name).ok_or_else(unusable);
        let identity = ClientIdentity::from_pem(part(&tls.certificate)?, part(&tls.key)?).map_err(|_| unusable())?;
        Ok(Some(Arc::new(identity)))
    }

    /// Returns the definition of the health check, if the method has one.
    pub fn health(&self) -> Option<&Health> {
        self.connector.health(&self.auth)
    }
}

/// Returns the values for templates without sending anything: the user's, the stored ones, and the grant's secrets.
pub fn template_values(
    connector: &Connector,
    auth: &AuthMethod,
    connection: &Connection,
    grant: Option<&Grant>,
) -> Values {
    let mut values = Values::default();
    for (name, param) in connector.params(auth) {
        if let Some(default) = &param.default {
            values.set(name, default);
        }
    }
    values.extend(&connection.params);
    connector.add_derived_values(auth, &mut values);
    values.extend(&connection.metadata);
    if let Some(grant) = grant {
        values.set("access_token", grant.access_token.expose());
        for (name, value) in &auth.credential_values(&grant.fields) {
            values.set(name, value.expose());
        }
        if let Some(client) = &grant.client {
            values.set("client_id", &client.id);
        }
    }
    values
}

/// Fills in the name of a header or parameter, which may be a template.
fn fill_name(name: &str, values: &Values) -> Result<String, TemplateError> {
    Template::parse(name)?.fill(values)
}
