//! The declarations of the operations: who may ask for what.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use integ::model::API_SCOPES;
use integ::ops::{Effect, Operation, Reach, operations};

use super::assert_snap;

/// Operations that run a program of the user's.
const RUN_PROGRAMS: &[&str] = &["connect", "exec", "sandbox run", "sync --to", "webhook listen"];

/// Operations that read or write a path of this machine that the caller chooses, or that print one.
const NAME_LOCAL_PATHS: &[&str] = &[
    "config path",
    "connector install",
    "connector new",
    "records --output",
    "sync --to",
    "vault backup",
    "vault identity export",
    "vault identity import",
    "vault move-identity",
    "vault restore",
    "vault status",
    "webhook listen",
    "workspace show",
];

/// Operations that choose where credentials or the requests of services are sent. Endpoints are not among them: they get
/// the messages of the caller that adds them, signed with a secret of their own, and the egress guard checks each delivery.
const CHANGE_ORIGINS: &[&str] = &[
    "app set --issuer",
    "app set --param",
    "config set",
    "connect",
    "connector install",
    "connector new",
    "connector remove",
    "webhook listen",
    "webhook replay",
    "webhook simulate --to",
    "webhook subscribe --url",
    "webhook url --public-url",
];

/// Operations that reveal credentials or keys, put them elsewhere, or decide who can open the vault.
const EXPORT_KEYS: &[&str] = &[
    "exec",
    "export",
    "git-credential",
    "vault backup",
    "vault identity export",
    "vault identity import",
    "vault move-identity",
    "vault move-tokens",
    "vault recipients add",
    "vault recipients remove",
    "vault rekey",
    "vault restore",
    "webhook secret --print-secret",
    "webhook secret --set",
    "webhook simulate --dry-run",
    "webhook subscribe --dry-run",
];

/// Operations that lift a limit on how much is lost.
const LIFT_LIMITS: &[&str] = &["job retry --allow-deletes", "sync --allow-deletes", "sync --to"];

/// The lists of what only the owner at the machine may ask for.
const LOCAL: &[&[&str]] = &[RUN_PROGRAMS, NAME_LOCAL_PATHS, CHANGE_ORIGINS, EXPORT_KEYS, LIFT_LIMITS];

#[test]
fn the_table_of_operations() {
    let mut table = String::new();
    let mut row = |cells: [&str; 4]| {
        let [name, scope, effect, reach] = cells;
        writeln!(table, "{name:<30} {scope:<12} {effect:<8} {reach}").unwrap();
    };
    row(["name", "scope", "effect", "reach"]);
    for Operation { name, scope, effect, reach, .. } in operations() {
        row([name, scope.as_str(), effect.as_str(), reach.as_str()]);
    }
    assert_snap("operations", &table);
}

/// A token of the HTTP API needs the scope; an operation that only the owner may ask for has none.
#[test]
fn the_scopes_that_api_tokens_need() {
    let of_tokens = || operations().filter(|operation| operation.reach >= Reach::Api);
    let mut table = String::new();
    for operation in of_tokens() {
        writeln!(table, "{:<30} {}", operation.name, operation.api_scope()).unwrap();
    }
    assert_snap("api_scopes", &table);
    let is_listed = |scope| API_SCOPES.iter().any(|(known, _)| *known == scope);
    let missing: BTreeSet<String> = of_tokens()
        .map(Operation::api_scope)
        .filter(|scope| !is_listed(*scope))
        .map(|scope| scope.to_string())
        .collect();
    assert!(missing.is_empty(), "say in API_SCOPES what {missing:?} allows");
}

#[test]
fn each_operation_is_declared_once() {
    let mut names = BTreeSet::new();
    let twice: Vec<_> = operations().map(|operation| operation.name).filter(|name| !names.insert(*name)).collect();
    assert_eq!(twice, [""; 0], "declared twice");
}

#[test]
fn only_the_owner_runs_programs_names_paths_changes_origins_and_exports_keys() {
    for name in LOCAL.iter().copied().flatten() {
        let operation = operations().find(|operation| operation.name == *name);
        let operation = operation.unwrap_or_else(|| panic!("no operation is called {name:?}"));
        assert_eq!(operation.reach, Reach::Local, "{name} must not be reachable by others than the owner");
    }
    for list in LOCAL {
        assert!(list.is_sorted(), "sort {list:?}");
    }
}

#[test]
fn agents_write_by_calls_and_syncs_alone() {
    let of_agents = || operations().filter(|operation| operation.reach == Reach::Agent);
    let that = |effect| of_agents().filter(move |operation| operation.effect == effect).map(|operation| operation.name);
    // A call has the effect of its action, and one that destroys needs an approval.
    assert_eq!(that(Effect::Destroy).collect::<Vec<_>>(), ["call"]);
    assert_eq!(that(Effect::Write).collect::<Vec<_>>(), ["sync", "sync --due"]);
}
