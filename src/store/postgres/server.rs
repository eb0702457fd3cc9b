//! The server of a store: its address, and how it is reached.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use thiserror::Error;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::secret::Secret;
use crate::store::StoreError;

/// Connections of one process. A statement takes about a millisecond, so that more would only wait at the server.
pub(super) const MAX_CONNECTIONS: usize = 16;

/// How long a caller waits for one of them, and for a new one.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long the server's machine may leave what it was sent unacknowledged. One that has lost its power refuses nothing, and
/// Linux would wait for a quarter of an hour; after this the next host is tried.
const SILENCE_LIMIT: Duration = Duration::from_secs(20);

/// Time without traffic before the server's machine is asked for an acknowledgement, and between two such requests.
const KEEPALIVE_DELAY: Duration = Duration::from_secs(5);

/// An address that is not one of a PostgreSQL server, or not one that may be used.
#[derive(Debug, Error)]
pub enum PostgresServerError {
    #[error("invalid PostgreSQL URL")]
    Invalid(#[source] tokio_postgres::Error),
    #[error("the PostgreSQL URL contains a password")]
    PasswordInUrl,
    #[error("the PostgreSQL URL turns TLS off for {0}")]
    TlsDisabled(String),
}

impl Remedy for PostgresServerError {
    fn diagnostic(&self) -> Diagnostic {
        let form = "integ workspace create NAME --store postgres://USER@HOST/DATABASE";
        let hint = match self {
            Self::Invalid(_) => Hint::new("the form is", form),
            Self::PasswordInUrl => {
                Hint::new("put it into a file that only you can read:", format!("{form} --store-password-file FILE"))
            }
            Self::TlsDisabled(_) => Hint::new("leave out `sslmode=disable`:", form),
        };
        Diagnostic::new(Kind::Usage, "invalid_store_url").hint(hint)
    }
}

/// A PostgreSQL server and database, with the login role and its password.
#[derive(Clone)]
pub struct PostgresServer {
    config: Config,
}

impl std::fmt::Debug for PostgresServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresServer").field("hosts", &self.config.get_hosts()).finish_non_exhaustive()
    }
}

impl PostgresServer {
    /// Parses an address without a password: `postgres://integ@db1,db2/integ?target_session_attrs=read-write`, or
    /// libpq's `host=… dbname=…`. The password, which the command line would show to everybody, comes apart from it.
    ///
    /// # Errors
    /// Of several hosts none may be reached without TLS, but those on this machine.
    pub fn parse(url: &str, password: Option<&Secret>) -> Result<Self, PostgresServerError> {
        let mut config: Config = url.parse().map_err(PostgresServerError::Invalid)?;
        if config.get_password().is_some() {
            return Err(PostgresServerError::PasswordInUrl);
        }
        if let Some(password) = password {
            config.password(password.expose());
        }
        Self::new(config)
    }

    /// Takes a configuration of the client.
    ///
    /// # Errors
    /// [`PostgresServerError::TlsDisabled`].
    pub fn new(mut config: Config) -> Result<Self, PostgresServerError> {
        if let Some(remote) = config.get_hosts().iter().find_map(remote_host) {
            let remote = remote.to_owned();
            if config.get_ssl_mode() == SslMode::Disable {
                return Err(PostgresServerError::TlsDisabled(remote));
            }
            config.ssl_mode(SslMode::Require);
        }
        config.connect_timeout(PATIENCE).application_name("integ").tcp_user_timeout(SILENCE_LIMIT);
        config
            .keepalives(true)
            .keepalives_idle(KEEPALIVE_DELAY)
            .keepalives_interval(KEEPALIVE_DELAY)
            .keepalives_retries(3);
        Ok(Self { config })
    }

    /// Returns the pool of connections. None is opened yet.
    pub(super) fn pool(&self) -> Result<Pool, StoreError> {
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(self.config.clone(), MakeRustlsConnect::new(tls_config()?), manager_config);
        let pool = Pool::builder(manager).max_size(MAX_CONNECTIONS).runtime(Runtime::Tokio1);
        let pool = pool.wait_timeout(Some(PATIENCE)).create_timeout(Some(PATIENCE)).build();
        pool.map_err(|error| StoreError::Backend(Arc::new(error)))
    }
}

/// Returns the name of a host that is not on this machine.
fn remote_host(host: &Host) -> Option<&str> {
    match host {
        Host::Tcp(name) => {
            let is_local = name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
            (!is_local).then_some(name.as_str())
        }
        #[cfg(unix)]
        Host::Unix(_) => None,
    }
}

/// Certificates are verified against the authorities of the machine, among which those of a company are, or of `SSL_CERT_FILE`; in
/// a container without any against those that browsers trust.
fn tls_config() -> Result<ClientConfig, StoreError> {
    let failed = |error: rustls::Error| StoreError::Backend(Arc::new(error));
    let builder = || {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(failed)
    };
    match builder()?.with_platform_verifier() {
        Ok(verified) => Ok(verified.with_no_client_auth()),
        Err(_) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
            Ok(builder()?.with_root_certificates(roots).with_no_client_auth())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_are_reached_with_tls_only() {
        let mode = |url: &str| PostgresServer::parse(url, None).map(|server| server.config.get_ssl_mode());
        assert_eq!(mode("postgres://integ@db.example/integ").unwrap(), SslMode::Require);
        assert_eq!(mode("postgres://integ@127.0.0.1,db.example/integ").unwrap(), SslMode::Require);
        assert_eq!(mode("postgres://integ@127.0.0.1/integ").unwrap(), SslMode::Prefer);
        assert_eq!(mode("host=/run/postgresql user=integ").unwrap(), SslMode::Prefer);
        let disabled = mode("postgres://integ@db.example/integ?sslmode=disable");
        assert!(matches!(disabled, Err(PostgresServerError::TlsDisabled(host)) if host == "db.example"));
    }

    #[test]
    fn a_password_is_no_part_of_the_url_and_shows_nowhere() {
        let url = "postgres://integ:hunter2@127.0.0.1/integ";
        assert!(matches!(PostgresServer::parse(url, None), Err(PostgresServerError::PasswordInUrl)));
        let password = Secret::from("hunter2");
        let server = PostgresServer::parse("postgres://integ@127.0.0.1/integ", Some(&password)).unwrap();
        assert_eq!(server.config.get_password(), Some(b"hunter2".as_slice()));
        assert!(!format!("{server:?}").contains("hunter2"));
        assert!(matches!(PostgresServer::parse("mysql://x", None), Err(PostgresServerError::Invalid(_))));
    }
}
