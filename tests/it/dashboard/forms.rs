//! Every form on every page: it does what the API has, and only for a page of this session.

use std::collections::BTreeSet;

use super::browser::{Form, Page};
use super::pages::{crawl, filled_home};
use super::{Browser, signed_in, signed_in_as_approver};
use crate::server::Server;

#[test]
fn every_form_needs_its_token_and_its_origin() {
    let home = filled_home();
    let server = Server::start(&home, "");
    let before = home.json("status")["summary"].clone();
    let mut browsers = vec![signed_in(&home, &server, "editor")];
    browsers.extend(signed_in_as_approver(&home, &server));
    let mut stranger = Browser::new(&server.url);
    let (mut tried, mut actions) = (BTreeSet::new(), BTreeSet::new());
    let mut check = |browser: &mut Browser, page: &Page| {
        let origin = browser.origin();
        let forms = page.forms().into_iter();
        let all = forms.flat_map(|form| {
            let others: Vec<Form> = form.others.iter().map(|(_, action)| form.clone().other(action)).collect();
            others.into_iter().chain([form])
        });
        for form in all {
            let method = form.value("_method").unwrap_or("POST").to_owned();
            if !tried.insert((form.action.clone(), method.clone())) {
                continue;
            }
            let own: [(&str, &str); 2] = [("origin", &origin), ("sec-fetch-site", "same-origin")];
            let mut without = form.clone();
            without.fields.retain(|(name, _)| name != "_csrf");
            let refused = [
                browser.send(&without, &own),
                browser.send(&form.clone().with("_csrf", &"0".repeat(64)), &own),
                browser.send(&form.clone().with("_csrf", ""), &own),
                browser.send(&form, &[]),
                browser.send(&form, &[("origin", "https://evil.example")]),
                browser.send(&form, &[("origin", "null")]),
                browser.send(&form, &[("origin", &origin), ("sec-fetch-site", "cross-site")]),
            ];
            for page in refused {
                assert_eq!(page.status, 403, "{method} {}: {page:?}", form.action);
            }
            assert_eq!(stranger.send(&form, &own).status, 401, "{method} {}", form.action);
            actions.insert((method, form.action.clone()));
        }
    };
    for browser in &mut browsers {
        crawl(browser, &mut check);
    }
    assert!(actions.len() > 25, "{actions:?}");
    assert_eq!(home.json("status")["summary"], before, "nothing was changed");
}

#[test]
fn a_form_of_another_session_is_refused() {
    let home = filled_home();
    let server = Server::start(&home, "");
    let (mut one, mut other) = (signed_in(&home, &server, "editor"), signed_in(&home, &server, "viewer"));
    let form = one.open("/dashboard/connections").form_of("POST", "/v1/connections/slack/test");
    assert_eq!(other.submit(&form, &[]).status, 403);
    let foreign = form.clone().with("_return", "https://evil.example/");
    let page = one.submit(&foreign, &[]);
    assert_eq!((page.status, page.path.as_str()), (200, "/dashboard"), "it leads to no other site: {page:?}");
}

/// A form can name any route, and gets no further than the role allows.
#[test]
fn a_form_does_nothing_that_the_api_does_not_have() {
    let home = filled_home();
    let server = Server::start(&home, "");
    let mut browser = signed_in(&home, &server, "editor");
    let form = browser.open("/dashboard/connections").form_of("POST", "/v1/connections/slack/test");
    let at = |action: &str, method: &str| {
        let mut form = form.clone().with("_method", method);
        form.action = action.to_owned();
        form
    };
    for (action, method, status) in [
        ("/dashboard/do/v1/nothing", "POST", 404),
        ("/dashboard/do/v1/connections/slack/test", "PUT", 404),
        ("/dashboard/do/v1/connections/slack/test", "G ET", 404),
        ("/dashboard/do/", "POST", 404),
        ("/dashboard/do/v1/connections/slack/token", "POST", 403),
        ("/dashboard/do/v1/api-tokens", "POST", 403),
        ("/dashboard/do/v1/connections/gitlab", "DELETE", 404),
    ] {
        let page = browser.submit(&at(action, method), &[]);
        assert_eq!(page.status, status, "{method} {action}: {page:?}");
    }
}
