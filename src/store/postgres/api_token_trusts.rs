//! Trust in the identity tokens of CI systems.

use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::Row;

use super::api_tokens::{scopes_and_connections, scopes_column};
use super::error::is_missing_reference;
use super::row::{get, get_json, get_seconds, get_word, number, signed, to_json};
use super::value::Value;
use super::{PostgresStore, api_tokens};
use crate::clock::Timestamp;
use crate::model::{ApiTokenName, ApiTokenTrust, TokenExchange, TokenExchangeResult};
use crate::store::{ApiTokenTrusts, ApiTokenWrite, MalformedValue, StoreError};

/// How long an expired token of a trust is listed.
const RETENTION: Duration = Duration::from_secs(86_400);

#[async_trait]
impl ApiTokenTrusts for PostgresStore {
    async fn add(&self, trust: &ApiTokenTrust) -> Result<bool, StoreError> {
        let sql = "INSERT INTO integ.api_token_trusts (workspace_id, name, issuer, audience, claims, scopes, approve,
                       lifetime, created_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (workspace_id, name) DO NOTHING";
        let values: [Value<'_>; 8] = [
            &trust.name.as_str(),
            &trust.issuer,
            &trust.audience,
            &to_json(&trust.claims)?,
            &scopes_column(&trust.scopes)?,
            &trust.approve.as_str(),
            &signed(trust.lifetime.as_secs()),
            &trust.created_at.as_second(),
        ];
        let transaction = self.begin().await?;
        if transaction.execute(sql, &values).await? == 0 {
            return Ok(false);
        }
        let connections: Vec<i64> = trust.connections.iter().map(|connection| connection.0).collect();
        let sql = "INSERT INTO integ.api_token_trust_connections (workspace_id, trust, connection_id)
                   SELECT $1, $2, unnest($3::bigint[])";
        let added = transaction.execute(sql, &[&trust.name.as_str(), &connections]).await;
        if added.as_ref().is_err_and(is_missing_reference) {
            return Err(StoreError::ConnectionNotFound);
        }
        added?;
        transaction.commit().await?;
        Ok(true)
    }

    async fn list(&self) -> Result<Vec<ApiTokenTrust>, StoreError> {
        let sql = "SELECT t.name, t.issuer, t.audience, t.claims, t.scopes, t.approve, t.lifetime, t.created_at,
                       ARRAY(SELECT c.connection_id FROM integ.api_token_trust_connections c
                           WHERE c.workspace_id = $1 AND c.trust = t.name ORDER BY c.connection_id) AS connections
                   FROM integ.api_token_trusts t WHERE t.workspace_id = $1 ORDER BY t.name";
        self.rows(sql, &[]).await?.iter().map(from_row).collect()
    }

    async fn remove(&self, name: &ApiTokenName) -> Result<Option<u64>, StoreError> {
        let transaction = self.begin().await?;
        let sql = "SELECT 1 FROM integ.api_token_trusts WHERE workspace_id = $1 AND name = $2 FOR UPDATE";
        if transaction.first(sql, &[&name.as_str()]).await?.is_none() {
            return Ok(None);
        }
        let sql = "DELETE FROM integ.api_tokens WHERE workspace_id = $1 AND trust = $2";
        let tokens = transaction.execute(sql, &[&name.as_str()]).await?;
        let sql = "DELETE FROM integ.api_token_trusts WHERE workspace_id = $1 AND name = $2";
        transaction.execute(sql, &[&name.as_str()]).await?;
        transaction.commit().await?;
        Ok(Some(tokens))
    }

    async fn exchange(&self, exchange: &TokenExchange, now: Timestamp) -> Result<TokenExchangeResult, StoreError> {
        let transaction = self.begin().await?;
        let sql = "DELETE FROM integ.api_token_exchanges WHERE workspace_id = $1 AND accepted_until < $2";
        transaction.execute(sql, &[&now.as_second()]).await?;
        let before = now.checked_sub(RETENTION).unwrap_or(Timestamp::MIN).as_second();
        let sql = "DELETE FROM integ.api_tokens WHERE workspace_id = $1 AND trust IS NOT NULL AND expires_at < $2";
        transaction.execute(sql, &[&before]).await?;
        let trust = exchange.token.trust.as_ref().map(ApiTokenName::as_str);
        let sql = "SELECT 1 FROM integ.api_token_trusts WHERE workspace_id = $1 AND name = $2 FOR KEY SHARE";
        if transaction.first(sql, &[&trust]).await?.is_none() {
            return Ok(TokenExchangeResult::TrustRemoved);
        }
        // The row decides between concurrent exchanges: the others wait for its commit here.
        let sql = "INSERT INTO integ.api_token_exchanges (workspace_id, digest, accepted_until) VALUES ($1, $2, $3)
                   ON CONFLICT (workspace_id, digest) DO NOTHING";
        let until = exchange.identity_accepted_until.as_second();
        if transaction.execute(sql, &[&exchange.identity_digest.as_slice(), &until]).await? == 0 {
            return Ok(TokenExchangeResult::Repeated);
        }
        match api_tokens::insert(&transaction, &exchange.token, &exchange.hash).await? {
            ApiTokenWrite::Stored => transaction.commit().await?,
            // Its name is random.
            ApiTokenWrite::NameTaken | ApiTokenWrite::Conflict => return Err(MalformedValue::Name.into()),
        }
        Ok(TokenExchangeResult::Stored)
    }
}

fn from_row(row: &Row) -> Result<ApiTokenTrust, StoreError> {
    let (scopes, connections) = scopes_and_connections(row)?;
    Ok(ApiTokenTrust {
        name: get_word(row, "name")?,
        issuer: get(row, "issuer")?,
        audience: get(row, "audience")?,
        claims: get_json(row, "claims")?,
        scopes,
        connections,
        approve: get_word(row, "approve")?,
        lifetime: Duration::from_secs(number(row, "lifetime")?),
        created_at: get_seconds(row, "created_at")?,
    })
}
