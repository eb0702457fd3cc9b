//! What the commands for monitoring print.

use super::session::session;

#[test]
fn monitoring() {
    session(
        "monitoring",
        |_| {},
        "metrics
        logs
        . connect github --sandbox --user u_1
        ~ metrics
        ~ metrics github
        metrics gihub
        metrics --since soon
        metrics --format prometheus
        ~ logs
        ~ logs github --limit 1
        logs --follow --limit 3",
    );
}
