//! A connection ready for use: its connector, its way of authenticating, and where its traffic goes.

use thiserror::Error;

use crate::connection::{Connection, Grant};
use crate::connector::{Auth, Connector, Health, Template, TemplateError, Values};
use crate::error::{Kind, Remedy};
use crate::http::{Request, Route, basic};
use crate::secret::Secret;

/// What it takes to talk to the vendor for one connection.
#[derive(Clone, Debug)]
pub struct Session {
    pub connection: Connection,
    pub connector: Connector,
    pub auth: Auth,
    pub route: Route,
}

#[derive(Debug, Error)]
pub enum SessionError {
    #[error("{connection} cannot be used: the connector's file leaves a value open")]
    Template { connection: String, source: TemplateError },
    #[error("{connection} has no API base, so that {path:?} leads nowhere")]
    NoBase { connection: String, path: String },
}

impl Remedy for SessionError {
    fn kind(&self) -> Kind {
        Kind::Failed
    }

    fn code(&self) -> &'static str {
        "missing_value"
    }

    fn hint(&self) -> Option<String> {
        let (Self::Template { connection, .. } | Self::NoBase { connection, .. }) = self;
        Some(format!("connect it again with the missing --param: `integ connect {connection}`"))
    }

    fn connection(&self) -> Option<String> {
        let (Self::Template { connection, .. } | Self::NoBase { connection, .. }) = self;
        Some(connection.clone())
    }
}

impl Session {
    /// What templates may name: what the user gave, what was kept, and the grant's secrets.
    pub fn values(&self, grant: Option<&Grant>) -> Values {
        let mut values = Values::default();
        for (name, param) in self.connector.params(&self.auth) {
            if let Some(default) = &param.default {
                values.set(name, default);
            }
        }
        values.extend(&self.connection.params);
        for (name, param) in self.connector.params(&self.auth) {
            let given = values.get(name).and_then(|choice| param.gives.get(choice));
            values.extend(given.into_iter().flatten());
        }
        values.extend(&self.connection.kept);
        if let Some(grant) = grant {
            values.set("access_token", grant.access_token.expose());
            for (name, value) in &grant.fields {
                values.set(name, value.expose());
            }
            if let Some(client) = &grant.client {
                values.set("client_id", &client.id);
            }
        }
        values
    }

    /// An API request that carries the connection's credentials. `path` is after the API's base, or a whole URL; one
    /// that names a value nobody gave is absent.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn request(
        &self,
        method: &'static str,
        path: &Template,
        grant: &Grant,
    ) -> Result<Option<Request>, SessionError> {
        let values = self.values(Some(grant));
        if !path.is_complete(&values) {
            return Ok(None);
        }
        let failed = |source| SessionError::Template { connection: self.connection.name.to_string(), source };
        let filled = path.fill_path(&values).map_err(failed)?;
        let text = if filled.starts_with("https://") || filled.starts_with("http://") {
            filled
        } else {
            let base = self.auth.base.as_ref().or(self.connector.api.base.as_ref());
            let base = base.filter(|base| base.is_complete(&values)).ok_or_else(|| SessionError::NoBase {
                connection: self.connection.name.to_string(),
                path: path.to_string(),
            })?;
            let base = base.fill_path(&values).map_err(failed)?;
            format!("{}/{}", base.trim_end_matches('/'), filled.trim_start_matches('/'))
        };
        let mut url = url::Url::parse(&text).map_err(|_| failed(TemplateError::Url(path.to_string())))?;
        let api = &self.connector.api;
        let send = &self.auth.send;
        let pairs = api.query.iter().chain(send.iter().flat_map(|send| &send.query));
        let mut query = Vec::new();
        for (name, value) in pairs {
            query.push((fill_name(name, &values).map_err(failed)?, value.fill(&values).map_err(failed)?));
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = Request::new(method, url).header("accept", Secret::from("application/json"));
        for (name, value) in &api.headers {
            let name = fill_name(name, &values).map_err(failed)?;
            request.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(&name));
            request = request.header(&name, Secret::new(value.fill(&values).map_err(failed)?));
        }
        request.headers.extend(self.credential_headers(grant)?);
        if method != "GET" && request.body.is_none() {
            // Vendors that take only POST want a body's length even where there is none.
            request = request.body("application/x-www-form-urlencoded", Vec::new());
        }
        request.secrets = std::iter::once(grant.access_token.clone()).chain(grant.fields.values().cloned()).collect();
        request.follow = method == "GET";
        Ok(Some(request))
    }

    /// The headers that carry the credentials; none where the URL does.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn credential_headers(&self, grant: &Grant) -> Result<Vec<(String, Secret)>, SessionError> {
        let Some(send) = &self.auth.send else {
            let bearer = Secret::new(format!("Bearer {}", grant.access_token.expose()));
            return Ok(vec![("authorization".to_owned(), bearer)]);
        };
        let values = self.values(Some(grant));
        let failed = |source| SessionError::Template { connection: self.connection.name.to_string(), source };
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

    /// The health check's declaration, where this way has one.
    pub fn health(&self) -> Option<&Health> {
        self.connector.health(&self.auth)
    }
}

/// The name of a header or a parameter, which may be a template itself.
fn fill_name(name: &str, values: &Values) -> Result<String, TemplateError> {
    Template::parse(name)?.fill(values)
}
