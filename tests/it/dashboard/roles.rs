//! What the roles may do.

use std::collections::BTreeSet;

use super::pages::{crawl, filled_home};
use super::{Browser, signed_in};
use crate::server::Server;

fn actions(browser: &mut Browser) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    crawl(browser, |_, page| {
        let forms = page.forms().into_iter();
        found.extend(forms.map(|form| (form.value("_method").unwrap_or_default().to_owned(), form.action)));
    });
    found
}

#[test]
fn a_viewer_changes_nothing_and_an_editor_no_rights() {
    let home = filled_home();
    let server = Server::start(&home, "");
    let (mut viewer, mut editor) = (signed_in(&home, &server, "viewer"), signed_in(&home, &server, "editor"));
    let (of_viewer, of_editor) = (actions(&mut viewer), actions(&mut editor));
    assert!(of_viewer.is_subset(&of_editor), "{of_viewer:?}");
    let only_reads = of_viewer.iter().filter(|(method, action)| {
        !action.ends_with("/test")
            && !action.ends_with("/preview")
            && !action.ends_with("/connector-reviews")
            && action != "/dashboard/sign-out"
            && method != "GET"
    });
    assert_eq!(only_reads.collect::<Vec<_>>(), Vec::<&(String, String)>::new());
    // Without a form of its own, the role still decides.
    let form = viewer.open("/dashboard/connections").form_of("POST", "/v1/connections/slack/test");
    for (method, action) in &of_editor {
        if of_viewer.contains(&(method.clone(), action.clone())) {
            continue;
        }
        let mut form = form.clone().with("_method", method);
        form.action.clone_from(action);
        let page = viewer.submit(&form, &[]);
        assert_eq!(page.status, 403, "{method} {action}: {page:?}");
    }
    let log = home.ok("audit list --json");
    let is_refusal = |line: &str| line.contains("\"actor_id\":\"viewer\"") && line.contains("missing_role");
    assert!(log.lines().any(is_refusal), "{log}");
}
