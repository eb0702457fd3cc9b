//! What the buttons of the pages do, compared with the description of the API.

use serde_json::Value;

use super::pages::{crawl, filled_home};
use super::{signed_in, signed_in_as_approver};
use crate::server::Server;
use crate::server::client::Client;

/// The path of the action that is done for each of several connections.
const EACH: &str = "_each_";

/// What only operators may request, which the description leaves out.
const OF_OPERATORS: [(&str, &str); 4] = [
    ("DELETE", "/v1/apps/{connector}"),
    ("POST", "/v1/approvals/{approval}/deny"),
    ("POST", "/v1/approvals/{approval}/grant"),
    ("PUT", "/v1/apps/{connector}"),
];

/// Whether a path has the form of a template: a name in braces is any one segment.
fn fits(template: &str, path: &str) -> bool {
    let (template, path): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    let same = |(one, other): (&&str, &&str)| one.starts_with('{') || one == other;
    template.len() == path.len() && template.iter().zip(&path).all(same)
}

fn is_described(document: &Value, method: &str, path: &str) -> bool {
    let paths = document["paths"].as_object().unwrap();
    let has = |operations: &Value| operations.get(method.to_ascii_lowercase()).is_some();
    paths.iter().any(|(template, operations)| fits(template, path) && has(operations))
        || OF_OPERATORS.iter().any(|(known, template)| *known == method && fits(template, path))
}

#[test]
fn each_button_does_an_operation_of_the_api() {
    let home = filled_home();
    let server = Server::start(&home, "");
    let document = Client::new(&server.url, None).get("/openapi.json").json.unwrap();
    let mut browsers = vec![signed_in(&home, &server, "viewer"), signed_in(&home, &server, "editor")];
    browsers.extend(signed_in_as_approver(&home, &server));
    let mut seen = std::collections::BTreeSet::new();
    for browser in &mut browsers {
        crawl(browser, |_, page| {
            // The values of a query are not part of a path.
            let without_query = |action: String| action.split('?').next().unwrap().to_owned();
            for form in page.forms().into_iter().filter(|form| form.action != "/dashboard/sign-out") {
                let own = (form.value("_method").unwrap().to_owned(), form.action.clone());
                for (method, action) in form.others.into_iter().chain([own]) {
                    let action = without_query(action);
                    let path = action.strip_prefix("/dashboard/do").unwrap_or_else(|| panic!("{action}"));
                    assert!(is_described(&document, &method, path), "{}: {method} {path}", page.path);
                    seen.insert((method, path.replace(EACH, "slack")));
                }
            }
        });
    }
    assert!(seen.len() > 20, "{seen:?}");
}

#[test]
fn a_template_fits_its_paths() {
    assert!(fits("/v1/apps/{connector}", "/v1/apps/slack") && !fits("/v1/apps/{connector}", "/v1/apps"));
    assert!(!fits("/v1/apps/{connector}", "/v1/app/slack"));
}
