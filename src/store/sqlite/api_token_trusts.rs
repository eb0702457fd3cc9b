//! Trust in the identity tokens of CI systems.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{ErrorCode, OptionalExtension, Transaction, params};

use super::row::{Row, collect, get_json, get_seconds, get_word, query, to_json};
use super::{MalformedValue, SqliteStore, StoreError, api_tokens};
use crate::clock::Timestamp;
use crate::model::{ApiTokenName, ApiTokenTrust, ConnectionId, TokenExchange, TokenExchangeResult};
use crate::store::{ApiTokenTrusts, ApiTokenWrite};

/// How long an expired token of a trust is listed.
const RETENTION: Duration = Duration::from_secs(86_400);

const SELECT: &str = "SELECT name, issuer, audience, claims, scopes, approve, lifetime, created_at, \
    (SELECT group_concat(connection_id) FROM (SELECT connection_id FROM api_token_trust_connections \
    WHERE trust = api_token_trusts.name ORDER BY connection_id)) AS connections FROM api_token_trusts ORDER BY name";

#[async_trait]
impl ApiTokenTrusts for SqliteStore {
    async fn add(&self, trust: &ApiTokenTrust) -> Result<bool, StoreError> {
        let trust = trust.clone();
        self.write(move |transaction| add(transaction, &trust)).await
    }

    async fn list(&self) -> Result<Vec<ApiTokenTrust>, StoreError> {
        self.read(|sqlite| {
            let mut statement = sqlite.prepare_cached(SELECT)?;
            collect(query(&mut statement, [])?, from_row)
        })
        .await
    }

    async fn remove(&self, name: &ApiTokenName) -> Result<Option<u64>, StoreError> {
        let name = name.clone();
        self.write(move |transaction| {
            let sql = "SELECT count(*) FROM api_tokens WHERE trust = ?1";
            let tokens: u64 = transaction.query_row(sql, [name.as_str()], |row| row.get(0))?;
            let removed = transaction.execute("DELETE FROM api_token_trusts WHERE name = ?1", [name.as_str()])?;
            Ok((removed > 0).then_some(tokens))
        })
        .await
    }

    async fn exchange(&self, exchange: &TokenExchange, now: Timestamp) -> Result<TokenExchangeResult, StoreError> {
        let exchange = exchange.clone();
        self.write(move |transaction| store_exchange(transaction, &exchange, now)).await
    }
}

fn add(transaction: &Transaction<'_>, trust: &ApiTokenTrust) -> Result<bool, StoreError> {
    let sql = "INSERT OR IGNORE INTO api_token_trusts (name, issuer, audience, claims, scopes, approve, lifetime, \
               created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let added = transaction.execute(
        sql,
        params![
            trust.name.as_str(),
            trust.issuer,
            trust.audience,
            to_json(&trust.claims)?,
            to_json(&trust.scopes.iter().map(ToString::to_string).collect::<Vec<_>>())?,
            trust.approve.as_str(),
            trust.lifetime.as_secs(),
            trust.created_at.as_second(),
        ],
    )?;
    if added == 0 {
        return Ok(false);
    }
    let sql = "INSERT INTO api_token_trust_connections (trust, connection_id) VALUES (?1, ?2)";
    for connection in &trust.connections {
        let added = transaction.execute(sql, (trust.name.as_str(), connection.0));
        added.map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => StoreError::ConnectionNotFound,
            _ => error.into(),
        })?;
    }
    Ok(true)
}

fn store_exchange(
    transaction: &Transaction<'_>,
    exchange: &TokenExchange,
    now: Timestamp,
) -> Result<TokenExchangeResult, StoreError> {
    transaction.execute("DELETE FROM api_token_exchanges WHERE accepted_until < ?1", [now.as_second()])?;
    let before = now.checked_sub(RETENTION).unwrap_or(Timestamp::MIN).as_second();
    transaction.execute("DELETE FROM api_tokens WHERE trust IS NOT NULL AND expires_at < ?1", [before])?;
    let trust = exchange.token.trust.as_ref().map(ApiTokenName::as_str);
    let sql = "SELECT 1 FROM api_token_trusts WHERE name = ?1";
    if transaction.query_row(sql, [trust], |_| Ok(())).optional()?.is_none() {
        return Ok(TokenExchangeResult::TrustRemoved);
    }
    let sql = "INSERT OR IGNORE INTO api_token_exchanges (digest, accepted_until) VALUES (?1, ?2)";
    let values = params![exchange.identity_digest.as_slice(), exchange.identity_accepted_until.as_second()];
    if transaction.execute(sql, values)? == 0 {
        return Ok(TokenExchangeResult::Repeated);
    }
    match api_tokens::insert(transaction, &exchange.token, &exchange.hash)? {
        ApiTokenWrite::Stored => Ok(TokenExchangeResult::Stored),
        // Its name is random.
        ApiTokenWrite::NameTaken | ApiTokenWrite::Conflict => Err(MalformedValue::Name.into()),
    }
}

fn from_row(row: &Row<'_>) -> Result<ApiTokenTrust, StoreError> {
    let scopes: Vec<String> = get_json(row, "scopes")?;
    let scopes = scopes.iter().map(|word| word.parse().map_err(|_| MalformedValue::EnumValue(word.clone())));
    // Numbers with commas between them; NULL for none.
    let connections: Option<String> = row.get("connections")?;
    let connections = connections.unwrap_or_default();
    Ok(ApiTokenTrust {
        name: get_word(row, "name")?,
        issuer: row.get("issuer")?,
        audience: row.get("audience")?,
        claims: get_json(row, "claims")?,
        scopes: scopes.collect::<Result<_, _>>()?,
        connections: connections.split(',').filter_map(|id| id.parse().ok().map(ConnectionId)).collect(),
        approve: get_word(row, "approve")?,
        lifetime: Duration::from_secs(row.get("lifetime")?),
        created_at: get_seconds(row, "created_at")?,
    })
}
