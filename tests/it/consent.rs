//! Consents: what is refused without one, and what ends when one is revoked.

use std::sync::Arc;

use integ::config::{Config, Folders};
use integ::model::{ConnectionName, StreamParams, SyncMode, WorkspaceName};
use integ::notify::Notifier;
use integ::ops::consents::{RevokeConsentRequest, revoke_consents};
use integ::runtime::{Engine, Workspace};
use integ::secret::Secret;
use integ::sync::{self, StoredPage, SyncObserver, SyncOutcome, SyncRequest};
use integ::vault::{PassphrasePrompt, PassphraseSource};

use crate::harness::Home;

#[test]
fn what_needs_a_consent_is_refused_without_one_and_says_so() {
    let home = Home::new();
    home.ok("connect slack --sandbox --user u_1");
    home.ok("connect hubspot --sandbox");
    home.ok("config set consents.required sync,call");
    let refused = home.run("call slack users.list --json");
    assert_eq!((refused.code, refused.error_code().as_str()), (4, "consent_required"), "{refused:?}");
    assert!(refused.stderr.contains("integ consent grant u_1 call --resource slack"), "{refused:?}");
    // A connection without a user needs none.
    home.ok("sync hubspot/contacts");
    let sync = home.run("sync slack/users --json");
    assert_eq!(sync.code, 4, "{sync:?}");
    home.ok("consent grant u_1 sync --resource slack");
    home.ok("sync slack/users");
    assert_eq!(home.run("call slack users.list").code, 4);
    home.ok("consent grant u_1 call --resource connector:slack");
    home.ok("call slack users.list");
    home.ok("rename slack slack@work");
    home.ok("sync slack@work/users");
    let entry = home.json("audit list --operation sync --limit 1");
    assert!(entry["consent"].as_str().unwrap().starts_with("cns_"), "{entry}");

    home.ok("config set consents.policy_version 2");
    let outdated = home.run("sync slack@work/users --json");
    assert_eq!(outdated.code, 4, "{outdated:?}");
    let status = home.json("consent status u_1");
    let states: Vec<_> = status["consents"].as_array().unwrap().iter().map(|row| row["state"].clone()).collect();
    assert_eq!(states, ["outdated", "outdated"]);
    home.ok("consent grant u_1 sync");
    home.ok("sync slack@work/users");
    home.ok("consent revoke --user u_1 --purpose sync");
    assert_eq!(home.run("sync slack@work/users").code, 4);
}

#[test]
fn a_revoked_consent_ends_what_it_allowed_although_none_is_required() {
    let home = Home::new();
    home.ok("connect slack --sandbox --user u_1");
    home.ok("sync slack/users");
    home.ok("consent grant u_1 sync --resource slack");
    home.ok("sync slack/users");
    home.ok("consent revoke --user u_1");
    let refused = home.run("sync slack/users");
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.stdout.contains("revoked") || refused.stderr.contains("revoked"), "{refused:?}");
    // The records that were synced stay until the user or the connection is removed.
    assert!(!home.ok("records slack/users").is_empty());
}

struct Nobody;

impl PassphraseSource for Nobody {
    fn ask(&self, _: PassphrasePrompt) -> std::io::Result<Option<Secret>> {
        Ok(None)
    }
}

/// Revokes the user's consents as soon as a page is stored.
/// It holds up the runtime, which would have to read the answers of PostgreSQL.
struct Revoker<'a>(&'a Workspace);

impl SyncObserver for Revoker<'_> {
    fn page_stored(&self, _: &ConnectionName, _: &str, _: StoredPage) {
        let user = "u_1".parse().unwrap();
        let request = RevokeConsentRequest::OfUser { user, purpose: None, resource: None };
        std::thread::scope(|scope| {
            let revoke = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                // It is revoked already at the next page, if there is one.
                let _ = runtime.block_on(revoke_consents(self.0, request));
            };
            scope.spawn(revoke);
        });
    }
}

#[test]
fn a_running_sync_ends_before_its_next_page_when_the_consent_is_revoked() {
    let home = Home::in_files();
    home.ok("connect slack --sandbox --user u_1");
    home.ok("sandbox data slack/users --records 3000");
    home.ok("consent grant u_1 sync");
    let config = Config::default();
    let notifier = Box::new(Notifier::new(&config));
    let engine = Arc::new(Engine::new(Folders::under(home.path()), config, Box::new(Nobody), notifier));
    let workspace = Workspace::new(engine, WorkspaceName::default());
    let request = SyncRequest {
        connection: "slack".parse().unwrap(),
        streams: vec!["users".to_owned()],
        mode: SyncMode::Full,
        since: None,
        until: None,
        params: StreamParams::new(),
        allow_deletes: false,
    };
    let observer = Revoker(&workspace);
    let reports = workspace.run(sync::run(&workspace, &request, &observer)).unwrap();
    let SyncOutcome::Failed(error) = &reports[0].outcome else { panic!("{:?}", reports[0]) };
    assert_eq!(error.code(), "consent_required");
    drop(workspace);
    let stored = home.json("records slack")["streams"][0]["records"].as_u64().unwrap();
    assert!((1..3000).contains(&stored), "{stored}");
}
