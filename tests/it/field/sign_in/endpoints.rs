//! Endpoints, fragments and refusals that differ from server to server.

use serde_json::json;
use url::Url;

use super::issuer::{Issuer, Reply, home, metadata, run_with_secret, tokens};
use super::{ready, well_behaved};
use crate::harness::Running;

#[test]
fn field_44_endpoints_that_end_in_a_slash_are_asked_there() {
    if !ready() {
        return;
    }
    let server = Issuer::start(|asked| match asked.path.as_str() {
        "/o/authorize/" => Some(Reply::back(asked, &[("code", "c")])),
        "/o/token/" => Some(Reply::json(200, &tokens())),
        _ => Some(Reply::json(404, &json!({}))),
    });
    let url = |path: &str| format!("{}{path}", server.origin);
    home().ok(&format!(
        "connect oauth2 --client-id app --param authorize_url={} --param token_url={}",
        url("/o/authorize/"),
        url("/o/token/")
    ));
    assert_eq!(server.asked("/o/token/").len(), 1);
}

#[test]
fn field_45_a_token_in_the_fragment_is_pasted_with_its_state() {
    let server = well_behaved();
    let home = home();
    let line = format!("connect trello --paste --client-id key --origin {} --json", server.origin);
    let mut running = Running::start(home.command(line.split_whitespace()));
    let event = running.event();
    let url = Url::parse(event["url"].as_str().unwrap()).unwrap();
    let back = url.query_pairs().find(|(name, _)| name == "return_url").unwrap().1.into_owned();
    use std::io::Write;
    writeln!(running.stdin.as_mut().unwrap(), "{back}#token=pasted-token").unwrap();
    assert_eq!(running.event()["event"], "connected");
    assert_eq!(running.code(), 0);
    assert_eq!(home.ok("token trello"), "pasted-token");
}

#[test]
fn field_45_hints_of_a_timeout_name_what_the_connector_has() {
    let ran = home().run("connect trello --client-id key --no-browser --timeout 1s");
    assert!(ran.stderr.contains("--paste needs no redirect") && !ran.stderr.contains("--device"), "{ran:?}");
    assert!(ran.stderr.contains("`integ connect trello --timeout 15m`"), "{ran:?}");
}

#[test]
fn field_32_a_refusal_by_device_is_tried_by_post_as_well() {
    let server = Issuer::start(|asked| {
        let mut document = metadata(&asked.origin);
        document["token_endpoint_auth_methods_supported"] = json!(["client_secret_basic", "client_secret_post"]);
        let posted = asked.form.contains_key("client_secret");
        match asked.path.as_str() {
            "/device" | "/token" if !posted => Some(Reply::json(401, &json!({ "error": "invalid_client" }))),
            "/device" => Some(Reply::json(
                200,
                &json!({ "device_code": "d", "user_code": "ABCD", "verification_uri": format!("{}/enter", asked.origin),
                    "expires_in": 600, "interval": 1 }),
            )),
            path => path.contains("well-known").then(|| Reply::json(200, &document)),
        }
    });
    let ran = run_with_secret(&home(), &server.connect("--device --no-browser"), "s3cret");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(server.asked("/token").len(), 1, "what the device endpoint took is sent at once");
}
