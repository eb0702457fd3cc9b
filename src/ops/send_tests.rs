//! Every operation can run in a task of its own: its future is `Send`. This is checked when the tests are compiled.

use std::ops::ControlFlow;

use super::sync::{self, SingerTarget};
use super::webhooks::{self, ListenObserver, ListenStarted, SimulationObserver, SimulationTarget};
use super::{
    Operation, alerts, api_tokens, approvals, audit, bindings, bundles, calendar, calls, connect_links, connections,
    connectors, consents, endpoints, git_credential, idempotency, links, logs, mcp, metrics, operators, proxy, reveal,
    sandbox, serving, sign_ins, tokens, users, vault, workspaces,
};
use crate::error::Result;
use crate::runtime::Workspace;
use crate::view::listen::ListenEventView;
use crate::view::sync::SyncListView;
use crate::view::webhook::SentEventView;

struct Nobody;

impl SingerTarget for Nobody {
    fn synced(&mut self, _: &SyncListView, _: bool) {}

    fn message(&mut self, _: &str) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }

    fn flush(&mut self) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }
}

impl ListenObserver for Nobody {
    fn reveals_secrets(&self) -> bool {
        false
    }

    fn started(&self, _: &ListenStarted) -> Result<()> {
        Ok(())
    }

    fn happened(&self, _: ListenEventView) {}
}

impl SimulationObserver for Nobody {
    fn starts(&mut self, _: &SimulationTarget) {}

    fn sent(&mut self, _: SentEventView) -> Result<()> {
        Ok(())
    }
}

/// Any value; the code that takes it never runs.
fn any<T>() -> T {
    unreachable!()
}

fn check<F: Future + Send>(_: impl FnOnce() -> F) {}

fn api_tokens_are_send(workspace: &Workspace) {
    check(|| api_tokens::create_token(workspace, any(), any()));
    check(|| api_tokens::list_tokens(workspace, any()));
    check(|| api_tokens::show_token(workspace, any(), any()));
    check(|| api_tokens::update_token(workspace, any(), any()));
    check(|| api_tokens::rotate_token(workspace, any(), any()));
    check(|| api_tokens::revoke_token(workspace, any(), any()));
    check(|| api_tokens::preview_revocation(workspace, any()));
    check(|| api_tokens::token_usage(workspace, any(), any(), any()));
    check(|| api_tokens::authenticate(workspace, any()));
    check(|| api_tokens::admit(workspace, any()));
    check(|| api_tokens::record_usage(workspace, any()));
    check(|| api_tokens::add_trust(workspace, any()));
    check(|| api_tokens::list_trusts(workspace));
    check(|| api_tokens::remove_trust(workspace, any()));
    check(|| api_tokens::exchange_token(any(), any(), any()));
    check(|| api_tokens::log_in(workspace, any()));
}

fn approvals_are_send(workspace: &Workspace) {
    check(|| approvals::claim_approval(workspace, any()));
    check(|| approvals::list_approvals(workspace, any(), any()));
    check(|| approvals::show_approval(workspace, any(), any()));
    check(|| approvals::grant_approval(workspace, any(), any()));
    check(|| approvals::deny_approval(workspace, any()));
    check(|| reveal::set_reveal_policy(workspace, any(), any()));
    check(|| reveal::reveal_policy(workspace, any()));
    check(|| vault::ask_passphrase(workspace));
}

fn operators_are_send(workspace: &Workspace) {
    check(|| operators::list_operators(workspace));
    check(|| operators::set_operator(workspace, any(), any()));
    check(|| operators::remove_operator(workspace, any()));
    check(|| operators::role_of(workspace, any()));
    check(|| operators::create_dashboard_link(workspace, any()));
    check(|| operators::show_link(workspace, any()));
    check(|| operators::sign_in(workspace, any(), any()));
    check(|| operators::find_session(workspace, any()));
    check(|| operators::sign_out(workspace, any(), any(), any()));
}

fn audit_are_send(workspace: &Workspace) {
    check(|| audit::list_entries(workspace, any()));
    check(|| audit::verify_log(workspace, any()));
    check(|| audit::export_log(workspace, |_| Ok(ControlFlow::Continue(()))));
    check(|| async {
        let ticket = any::<&Operation>().begin(workspace, any()).await?;
        ticket.run(users::list_users(workspace)).await
    });
}

fn consents_are_send(workspace: &Workspace) {
    check(|| consents::grant_consent(workspace, any()));
    check(|| consents::revoke_consents(workspace, any()));
    check(|| consents::list_consents(workspace, any()));
    check(|| consents::consent_status(workspace, any()));
}

fn users_are_send(workspace: &Workspace) {
    check(|| users::list_users(workspace));
    check(|| users::show_user(workspace, any()));
    check(|| users::delete_user(workspace, any()));
}

fn bindings_are_send(workspace: &Workspace) {
    check(|| bindings::list_bindings(workspace));
    check(|| bindings::show_binding(workspace, any()));
    check(|| bindings::set_binding(workspace, any()));
    check(|| bindings::remove_binding(workspace, any()));
    check(|| bindings::bound_mapper(workspace, any()));
    check(|| bindings::event_mapper(workspace, any()));
    check(|| bindings::preview_binding(workspace, any()));
    check(|| bindings::test_bindings(workspace, any()));
    check(|| bindings::export_bindings(workspace, any()));
    check(|| bindings::import_bindings(workspace, any()));
    check(|| bindings::retry_binding(workspace, any(), |_| Ok(())));
    check(|| bindings::push_entities(workspace, any(), |_| Ok(())));
    check(|| bindings::sync_binding(workspace, any(), |_| Ok(())));
    check(|| bindings::list_conflicts(workspace, any()));
    check(|| bindings::resolve_conflict(workspace, any(), |_| Ok(())));
}

fn calendar_are_send(workspace: &Workspace) {
    check(|| calendar::list_calendars(workspace, any()));
    check(|| calendar::list_events(workspace, any()));
    check(|| calendar::export_events(workspace, any()));
    check(|| calendar::free_busy(workspace, any()));
    check(|| calendar::list_conflicts(workspace, any()));
    check(|| calendar::list_slots(workspace, any()));
    check(|| calendar::create_event(workspace, any()));
    check(|| calendar::update_event(workspace, any()));
    check(|| calendar::delete_event(workspace, any()));
}

fn calls_are_send(workspace: &Workspace) {
    check(|| calls::action_effect(workspace, any(), any()));
    check(|| calls::request_effect(workspace, any(), any()));
    check(|| calls::call_page(workspace, any(), any()));
    check(|| calls::list_actions(workspace, any()));
    check(|| calls::find_action(workspace, any(), ""));
    check(|| calls::call_action(workspace, any()));
    check(|| calls::preview_action(workspace, any()));
    check(|| calls::call_path(workspace, any(), |_| Ok(ControlFlow::Continue(()))));
}

fn connections_are_send(workspace: &Workspace) {
    check(|| connections::connect(workspace, any(), any()));
    check(|| connections::reconnect(workspace, any(), any()));
    check(|| connections::rename(workspace, any()));
    check(|| connections::preview_disconnect(workspace, any()));
    check(|| connections::disconnect(workspace, any()));
    check(|| connections::status(workspace, any()));
    check(|| connections::list_connection_names(workspace));
    check(|| connections::refresh(workspace, any()));
    check(|| connections::test(workspace, any(), any()));
}

fn proxy_is_send(workspace: &Workspace) {
    check(|| proxy::lend_connection(workspace, any(), |_| Ok(())));
}

fn connectors_are_send(workspace: &Workspace) {
    check(|| connectors::list_connectors(workspace, any()));
    check(|| connectors::show_connector(workspace, ""));
    check(|| connectors::show_connector_file(workspace, ""));
    check(|| connectors::show_connector_part(workspace, "", ""));
    check(|| connectors::describe_connector(workspace, ""));
    check(|| connectors::search_connectors(workspace, any()));
    check(|| connectors::validate_connectors(workspace, any()));
    check(|| connectors::setup_guide(workspace, "", any()));
    check(|| connectors::review_install(workspace, any()));
    check(|| connectors::install_connector(workspace, any()));
    check(|| connectors::review_removal(workspace, ""));
    check(|| connectors::remove_connector(workspace, ""));
    check(|| connectors::write_draft(workspace, any()));
    check(|| connectors::discover_oauth2(workspace, ""));
    check(|| connectors::download_document(workspace, any(), 0));
    check(|| connectors::review_connector_url(workspace, any()));
    check(|| connectors::install_connector_url(workspace, any()));
    check(|| connectors::list_installed(workspace));
    check(|| connectors::show_installed(workspace, ""));
    check(|| connectors::configure_installed(workspace, "", any()));
    check(|| connectors::remove_installed(workspace, ""));
    check(|| connectors::configured_params(workspace, "", any()));
}

fn endpoints_are_send(workspace: &Workspace) {
    check(|| endpoints::add_endpoint(workspace, any()));
    check(|| endpoints::list_endpoints(workspace));
    check(|| endpoints::show_endpoint(workspace, any()));
    check(|| endpoints::update_endpoint(workspace, any()));
    check(|| endpoints::remove_endpoint(workspace, any()));
    check(|| endpoints::rotate_endpoint_secret(workspace, any()));
    check(|| endpoints::enable_endpoint(workspace, any()));
    check(|| endpoints::disable_endpoint(workspace, any()));
    check(|| endpoints::send_message(workspace, any()));
    check(|| endpoints::prune_messages(workspace, any()));
    check(|| endpoints::deliver_messages(workspace, any(), std::future::pending(), |_| {}));
    check(|| endpoints::list_deliveries(workspace, any()));
    check(|| endpoints::show_delivery(workspace, any()));
    check(|| endpoints::retry_deliveries(workspace, any()));
    check(|| endpoints::add_event_type(workspace, any()));
    check(|| endpoints::list_event_types(workspace));
    check(|| endpoints::remove_event_type(workspace, any()));
}

fn links_are_send(workspace: &Workspace) {
    check(|| links::add_link(workspace, any()));
    check(|| links::read_links(workspace, any(), |_| Ok(ControlFlow::Continue(()))));
    check(|| links::list_links(workspace, any()));
    check(|| links::find_links(workspace, any()));
    check(|| links::remove_link(workspace, any()));
    check(|| links::import_links(workspace, any()));
}

fn mcp_are_send(workspace: &Workspace) {
    check(|| mcp::relay(workspace, any(), any()));
    check(|| mcp::preview_install(workspace, any()));
}

fn monitoring_are_send(workspace: &Workspace) {
    check(|| logs::list_logs(workspace, any()));
    check(|| alerts::list_alerts(workspace, any()));
    check(|| metrics::connection_metrics(workspace, any(), any()));
    check(|| metrics::workspace_metrics(workspace, any()));
}

fn sandbox_are_send(workspace: &Workspace) {
    check(|| sandbox::run_emulators(workspace, any(), std::future::pending(), |_| Ok(())));
    check(|| sandbox::list_faults(workspace, any()));
    check(|| sandbox::add_fault(workspace, any()));
    check(|| sandbox::clear_faults(workspace, any()));
    check(|| sandbox::advance_sandbox(workspace, any()));
    check(|| sandbox::set_sandbox_records(workspace, any()));
    check(|| sandbox::reset_sandbox(workspace, any()));
}

fn sync_are_send(workspace: &Workspace) {
    check(|| sync::list_cursors(workspace, any()));
    check(|| sync::set_cursor(workspace, any()));
    check(|| sync::clear_cursors(workspace, any()));
    check(|| sync::export_cursors(workspace, any()));
    check(|| sync::import_cursors(workspace, any()));
    check(|| sync::list_jobs(workspace, any()));
    check(|| sync::show_job(workspace, any()));
    check(|| sync::retry_job(workspace, any(), any()));
    check(|| sync::retry_job_allowing_deletes(workspace, any(), any()));
    check(|| sync::cancel_job(workspace, any()));
    check(|| sync::stream_of_binding(workspace, any()));
    check(|| sync::read_records(workspace, any(), |_| Ok(ControlFlow::Continue(()))));
    check(|| sync::sync_streams(workspace, any(), any()));
    check(|| sync::sync_streams_allowing_deletes(workspace, any(), any()));
    check(|| sync::sync_due(workspace, any()));
    check(|| sync::plan_sync(workspace, any()));
    check(|| sync::set_schedule(workspace, any()));
    check(|| sync::list_schedules(workspace, None));
    check(|| sync::list_stored_streams(workspace, any(), any()));
    check(|| sync::list_synced_streams(workspace));
    check(|| sync::write_record_files(workspace, any(), any()));
    check(|| sync::write_records(workspace, any(), any(), Vec::new()));
    check(|| sync::remove_schedule(workspace, any()));
    check(|| sync::sync_to_singer(workspace, any(), any(), any::<&mut Nobody>()));
}

fn tokens_are_send(workspace: &Workspace) {
    check(|| bundles::export(workspace, any()));
    check(|| git_credential::git_credential(workspace, any(), any()));
    check(|| tokens::access_token(workspace, any()));
    check(|| tokens::credential(workspace, any()));
    check(|| tokens::id_token(workspace, any()));
    check(|| tokens::token(workspace, any()));
    check(|| tokens::token_headers(workspace, any()));
    check(|| tokens::token_variables(workspace, any(), any()));
    check(|| tokens::credential_variables(workspace, any()));
}

fn vault_are_send(workspace: &Workspace) {
    check(|| vault::vault_status(workspace));
    check(|| vault::list_recipients(workspace));
    check(|| vault::add_recipient(workspace, any()));
    check(|| vault::remove_recipient(workspace, any()));
    check(|| vault::rekey_vault(workspace));
    check(|| vault::move_vault(workspace, any()));
    check(|| vault::check_vault(workspace, any()));
    check(|| vault::export_identity(workspace, any()));
    check(|| vault::import_identity(workspace, any()));
    check(|| vault::back_up_vault(workspace, any()));
    check(|| vault::restore_backup(workspace, any()));
    check(|| vault::move_tokens(workspace, any()));
    check(|| vault::move_identity(workspace, any()));
    check(|| vault::unlock_vault(workspace, any()));
    check(|| vault::lock_vault(workspace));
}

fn webhooks_are_send(workspace: &Workspace) {
    check(|| webhooks::list_events(workspace, any()));
    check(|| webhooks::show_event(workspace, any()));
    check(|| webhooks::read_event_body(workspace, any()));
    check(|| webhooks::retry_events(workspace, any()));
    check(|| webhooks::resolve_conflict(workspace, any()));
    check(|| webhooks::prune_events(workspace, any()));
    check(|| webhooks::listen(workspace, any(), &Nobody, std::future::pending()));
    check(|| webhooks::replay_events(workspace, any(), |_| Ok(())));
    check(|| webhooks::backfill_events(workspace, any(), |_| Ok(())));
    check(|| webhooks::show_webhook_url(workspace, any()));
    check(|| webhooks::set_public_url(workspace, any()));
    check(|| webhooks::show_webhook_secret(workspace, any()));
    check(|| webhooks::reveal_webhook_secret(workspace, any()));
    check(|| webhooks::set_webhook_secret(workspace, any()));
    check(|| webhooks::list_sample_events(workspace, any()));
    check(|| webhooks::preview_simulation(workspace, any(), any::<&mut Nobody>()));
    check(|| webhooks::simulate_events(workspace, any(), any::<&mut Nobody>()));
    check(|| webhooks::subscribe(workspace, any()));
    check(|| webhooks::preview_subscription(workspace, any()));
    check(|| webhooks::unsubscribe(workspace, any()));
    check(|| webhooks::verify_request(workspace, any()));
}

fn workspaces_are_send(workspace: &Workspace) {
    check(|| workspaces::list_workspaces(workspace));
    check(|| workspaces::create_workspace(&workspace.engine, any()));
    check(|| workspaces::show_workspace(&workspace.engine, any()));
    check(|| workspaces::status_of_all_workspaces(&workspace.engine));
    check(|| workspaces::preview_workspace_deletion(&workspace.engine, any()));
    check(|| workspaces::delete_workspace(&workspace.engine, any()));
    check(|| workspaces::set_app(workspace, any()));
    check(|| workspaces::list_apps(workspace));
    check(|| workspaces::remove_app(workspace, any()));
}

fn sign_ins_are_send(workspace: &Workspace) {
    check(|| sign_ins::start(workspace, any()));
    check(|| sign_ins::finish(workspace, any()));
    check(|| sign_ins::show(workspace, any()));
}

fn connect_links_are_send(workspace: &Workspace) {
    check(|| connect_links::create(workspace, any()));
    check(|| connect_links::list(workspace));
    check(|| connect_links::revoke(workspace, any()));
    check(|| connect_links::find(workspace, any()));
    check(|| connect_links::open(workspace, any()));
}

fn idempotency_is_send(workspace: &Workspace) {
    check(|| idempotency::claim_key(workspace, any(), "", any()));
    check(|| idempotency::finish_key(workspace, any(), any()));
}

fn serving_is_send(workspace: &Workspace) {
    check(|| serving::prepare(workspace));
    check(|| serving::check_readiness(workspace));
    check(|| serving::store_activity(workspace));
}

#[test]
fn no_operation_is_missing_here() {
    let _: [fn(&Workspace); 26] = [
        api_tokens_are_send,
        approvals_are_send,
        audit_are_send,
        bindings_are_send,
        calendar_are_send,
        calls_are_send,
        connect_links_are_send,
        connections_are_send,
        connectors_are_send,
        consents_are_send,
        endpoints_are_send,
        idempotency_is_send,
        links_are_send,
        mcp_are_send,
        monitoring_are_send,
        operators_are_send,
        proxy_is_send,
        sandbox_are_send,
        serving_is_send,
        sign_ins_are_send,
        sync_are_send,
        tokens_are_send,
        users_are_send,
        vault_are_send,
        webhooks_are_send,
        workspaces_are_send,
    ];
    let own = include_str!("send_tests.rs");
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops");
    let mut files = vec![folder];
    let mut operations = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let Some(name) = line.strip_prefix("pub async fn ").and_then(|rest| rest.split(['(', '<']).next()) else {
                continue;
            };
            operations += 1;
            assert!(own.contains(&format!("::{name}(")), "{name} of {}", path.display());
        }
    }
    assert!(operations > 100, "{operations}");
}
