//! Errors of the server and of the way to it, grouped by what the user can do about them.

use std::error::Error as _;
use std::io;
use std::sync::Arc;

use deadpool_postgres::PoolError;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::store::StoreError;

/// Returns the store's error for one of the client.
pub(super) fn failed(error: Error) -> StoreError {
    let is_io = error.source().is_some_and(<dyn std::error::Error>::is::<io::Error>);
    if is_io || error.is_closed() {
        return StoreError::Unreachable(Arc::new(error));
    }
    let Some(code) = error.code() else { return StoreError::Backend(Arc::new(error)) };
    match code {
        code if is_absence(code) => StoreError::Unreachable(Arc::new(error)),
        code if is_contention(code) => StoreError::Contended(Arc::new(error)),
        _ => StoreError::Backend(Arc::new(error)),
    }
}

/// Whether the server is starting, stopping, full, or a replica: another try, or another host, may succeed.
fn is_absence(code: &SqlState) -> bool {
    [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ]
    .contains(code)
        || code.code().starts_with("08")
}

/// Whether other writers were in the way.
fn is_contention(code: &SqlState) -> bool {
    [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::QUERY_CANCELED,
    ]
    .contains(code)
}

/// Returns the store's error for one of the pool.
pub(super) fn pool_failed(error: PoolError) -> StoreError {
    match error {
        PoolError::Backend(error) => failed(error),
        error => StoreError::Unreachable(Arc::new(error)),
    }
}

/// Whether a statement was refused because a row that it refers to is not there.
pub(super) fn is_missing_reference(error: &StoreError) -> bool {
    has_code(error, &SqlState::FOREIGN_KEY_VIOLATION)
}

fn has_code(error: &StoreError, code: &SqlState) -> bool {
    let StoreError::Backend(error) = error else { return false };
    error.downcast_ref::<Error>().is_some_and(|error| error.code() == Some(code))
}
