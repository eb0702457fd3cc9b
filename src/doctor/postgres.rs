//! Checks the PostgreSQL server that has the workspace's store.

use super::{DoctorContext, Finding};
use crate::store::PostgresStore;

/// Tokens expire by the server's clock and are asked for by this machine's.
const CLOCK_SLACK_MS: i64 = 2_000;

pub(super) async fn check_server(store: &PostgresStore, around: &DoctorContext) -> Vec<Finding> {
    vec![version(store).await, clock(store, around).await]
}

async fn version(store: &PostgresStore) -> Finding {
    match store.details().await {
        Ok(details) => Finding::ok("store", format!("in PostgreSQL {}", details.version)),
        Err(error) => Finding::failure("store", error),
    }
}

async fn clock(store: &PostgresStore, around: &DoctorContext) -> Finding {
    match store.clock_difference(around.clock.now()).await {
        Ok(difference) if difference.abs() > CLOCK_SLACK_MS => {
            let message = format!("the PostgreSQL server's clock is {difference} ms from this machine's");
            Finding::warning("store clock", message, "timedatectl set-ntp true, on both machines")
        }
        Ok(difference) => Finding::ok("store clock", format!("{difference} ms from this machine's")),
        Err(error) => Finding::failure("store clock", error),
    }
}
