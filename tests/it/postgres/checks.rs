//! What is found out about the tests' server, whose faults are known.

use integ::clock::Clock;
use integ::store::{FindingSeverity, PostgresServer, PostgresStore, ServerFinding};

use super::{PostgresWorkspace, runtime, server};

#[test]
fn the_faults_of_the_server_and_of_the_role_are_found() {
    runtime().block_on(async {
        let Some(workspace) = PostgresWorkspace::create().await else { return };
        let now = Clock::system().now_millis();
        let findings = workspace.open().await.check_server(now).await.unwrap();
        let bad: Vec<_> =
            findings.iter().filter(|finding| finding.severity() == FindingSeverity::Serious).collect();
        // It runs without fsync, which nobody's data should.
        assert_eq!(bad, [&ServerFinding::CrashSafety { fsync: false, full_page_writes: true }]);
        let has = |expected: ServerFinding| assert!(findings.contains(&expected), "{expected:?} in {findings:#?}");
        has(ServerFinding::Encoding { name: "UTF8".to_owned() });
        let ahead = |finding: &ServerFinding| matches!(finding, ServerFinding::PartitionsAhead { days } if *days >= 28);
        assert!(findings.iter().any(ahead), "{findings:#?}");
        has(ServerFinding::Autovacuum { is_on: true });
        has(ServerFinding::Standbys { connected: 0, synchronous: Some(0), names: String::new() });
        has(ServerFinding::Role {
            name: "node".to_owned(),
            is_superuser: false,
            bypasses_row_security: false,
            sees_all_rows: false,
        });
        let clock = |finding: &ServerFinding| matches!(finding, ServerFinding::ClockDifference { millis } if millis.abs() < 5000);
        assert!(findings.iter().any(clock), "{findings:#?}");
        let owner = PostgresServer::new(server::server().unwrap()).unwrap();
        let store = PostgresStore::open(&owner, &workspace.id, &workspace.key).await.unwrap();
        let findings = store.check_server(now).await.unwrap();
        let superuser = |finding: &&ServerFinding| matches!(finding, ServerFinding::Role { is_superuser: true, sees_all_rows: true, .. });
        assert_eq!(findings.iter().find(superuser).map(ServerFinding::severity), Some(FindingSeverity::Serious));
    });
}

#[test]
fn events_whose_month_has_no_partition_are_found() {
    runtime().block_on(async {
        let Some(workspace) = PostgresWorkspace::create().await else { return };
        let store = workspace.open().await;
        super::barriers::plant(&store).await;
        let has_recent = async || {
            let findings = store.check_server(Clock::system().now_millis()).await.unwrap();
            findings.iter().any(|finding| matches!(finding, ServerFinding::DefaultPartition { has_recent: true, .. }))
        };
        assert!(!has_recent().await);
        // A month for which there is none yet.
        let sql = format!(
            "UPDATE integ.events SET id = integ.first_event_of((clock_timestamp() AT TIME ZONE 'UTC')::date + 70) + 1
             WHERE workspace_id = {}",
            workspace.number()
        );
        server::owner().await.batch_execute(&sql).await.unwrap();
        assert!(has_recent().await);
    });
}
