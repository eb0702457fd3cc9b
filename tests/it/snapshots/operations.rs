//! The declarations of the operations: who may ask for what.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use integ::model::API_SCOPES;
use integ::ops::{Effect, Operation, Reach, operations};

use super::assert_snap;
use super::session::session;
use crate::tidy::source::TREE;

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

/// Operations that run on both stores in other tests than the sessions, and the test.
const RUN_BY_TESTS: &[(&str, &str)] = &[
    ("alert list", "a_failing_connection_is_an_alert_until_it_works_again"),
    ("api-token login", "a_job_signs_in_on_the_command_line"),
    ("app set --issuer", "field_16_an_app_is_registered_for_the_server_that_is_named"),
    ("approval deny", "a_grant_for_a_while_is_used_again_until_it_is_denied"),
    ("approval grant", "a_request_waits_for_a_person_and_is_made_once"),
    ("approval show", "a_request_waits_for_a_person_and_is_made_once"),
    ("binding retry", "what_fails_is_kept_and_mapped_once_the_binding_is_changed"),
    ("connect finish", "a_connection_is_made_tested_synced_and_ended_by_forms"),
    ("connect show", "what_has_no_command_answers_on_both_stores"),
    ("connect start", "what_has_no_command_answers_on_both_stores"),
    ("connect-link open", "opening_a_connect_link_is_audited"),
    ("connector configure", "a_connector_is_reviewed_then_installed_and_removed_once_nothing_uses_it"),
    ("connector install-url", "a_connector_is_reviewed_installed_configured_and_uninstalled"),
    ("connector installed", "a_connector_is_reviewed_then_installed_and_removed_once_nothing_uses_it"),
    ("connector review", "a_connector_is_reviewed_then_installed_and_removed_once_nothing_uses_it"),
    ("connector uninstall", "a_connector_is_reviewed_then_installed_and_removed_once_nothing_uses_it"),
    ("cursor import", "cursors_are_read_put_back_carried_elsewhere_and_remembered"),
    ("dashboard sign-in", "a_link_signs_in_once_and_programs_that_fetch_it_use_up_nothing"),
    ("dashboard sign-out", "a_link_signs_in_once_and_programs_that_fetch_it_use_up_nothing"),
    ("export", "a_key_leaves_in_a_bundle_and_renews_its_token_elsewhere"),
    ("git-credential", "git_gets_the_token_for_hosts_of_the_service_alone"),
    ("job cancel", "a_job_is_cancelled_after_its_page_and_goes_on_later"),
    ("job retry --allow-deletes", "field_01_a_sweep_of_more_than_half_asks_first"),
    ("mcp proxy", "it_works_with_the_sandbox_and_says_what_is_no_server"),
    ("mcp serve", "reading_is_offered_and_more_is_allowed_by_effect"),
    ("proxy", "what_destroys_needs_an_approval_of_the_exact_request"),
    ("records --output", "all_streams_are_written_into_a_folder_in_one_shape"),
    ("sandbox run", "servers"),
    ("sync --allow-deletes", "field_01_a_sweep_of_more_than_half_asks_first"),
    ("sync --to", "what_a_target_did_not_confirm_comes_again"),
    ("vault identity import", "attack_a4_an_identity_is_exported_and_imported_under_a_passphrase"),
    ("vault move", "a_workspace_moves_to_the_server_and_back"),
    ("vault unlock", "an_unlocked_vault_asks_for_no_passphrase_until_it_is_locked"),
    ("webhook listen", "servers"),
    ("webhook replay", "kept_events_are_sent_again_signed_anew"),
    ("webhook resolve", "field_09_a_conflict_is_shown_resolved_handled_and_sent_again"),
    ("webhook samples", "what_has_no_command_answers_on_both_stores"),
    ("webhook show --body", "kept_events_are_sent_again_signed_anew"),
    ("webhook simulate --to", "what_was_missed_is_asked_for_and_taken_in_once"),
];

/// Runs what no session of a group of commands does.
#[test]
fn operations_of_no_group() {
    session(
        "operations",
        |world| world.write("secret", "whsec_c2VjcmV0IG9mIHRoZSB2ZW5kb3Igb2YgdGVzdHM=\n"),
        ". connect stripe --sandbox
        . connect telegram --sandbox
        . sandbox data stripe/customers --records 2
        . sync stripe/customers
        . api-token create ci --scope connections:read
        api-token update ci --tier pro
        sync --due
        ~ status --all-workspaces
        webhook secret stripe --set secret
        webhook secret stripe --print-secret
        webhook subscribe telegram --url https://hooks.example",
    );
}

/// The command lines that succeed in the sessions of a store: those that show the store have snapshots of their own.
fn succeeded(in_postgres: bool) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots/snaps");
    let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<String> = names.filter(|name| name.starts_with("json_")).collect();
    let is_of_store = |name: &String| match name.strip_suffix("_postgres.snap") {
        Some(_) => in_postgres,
        None => !in_postgres || !names.contains(&name.replace(".snap", "_postgres.snap")),
    };
    let mut lines = Vec::new();
    for name in names.iter().filter(|name| is_of_store(name)) {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        for step in text.split("\n$ integ ").skip(1) {
            let line = step.lines().next().unwrap();
            if !step.lines().any(|line| line.starts_with("exit code")) {
                lines.push(line.strip_prefix("-w other ").unwrap_or(line).to_owned());
            }
        }
    }
    lines
}

/// Whether a command line runs an operation, whose name may end with flags.
fn runs(line: &str, operation: &str) -> bool {
    let (command, flags) = operation.split_once(" --").unwrap_or((operation, ""));
    let rest = line.strip_prefix(command).filter(|rest| rest.starts_with(' '));
    rest.is_some_and(|rest| flags.is_empty() || rest.split(' ').any(|word| word == format!("--{flags}")))
}

/// The sessions run on both stores, and so do these tests with `tests/run --all`.
#[test]
fn each_operation_runs_on_both_stores() {
    for in_postgres in [false, true] {
        let lines = succeeded(in_postgres);
        let missing = operations().map(|operation| operation.name);
        let missing: BTreeSet<&str> = missing.filter(|name| !lines.iter().any(|line| runs(line, name))).collect();
        let known: BTreeSet<&str> = RUN_BY_TESTS.iter().map(|(name, _)| *name).collect();
        assert_eq!(missing, known, "in PostgreSQL: {in_postgres}");
    }
    for (operation, test) in RUN_BY_TESTS {
        let head = format!("fn {test}() {{\n");
        let body = TREE.tests.iter().find_map(|file| file.text.split_once(&head)?.1.split("\n}\n").next());
        let body = body.unwrap_or_else(|| panic!("{operation}: test {test} not found"));
        assert!(!body.contains("skipped_on_postgres"), "{operation}: {test} does not run on PostgreSQL");
    }
}
