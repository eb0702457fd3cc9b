//! What services send: secrets, types and members in their several forms.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use integ::clock::Timestamp;
use ring::hmac;
use serde_json::json;

use super::{JSON, hex, home, lines, send, sha256, stripe, taken};
use crate::harness::Home;
use crate::webhook::{Listening, events};

#[test]
fn field_38_a_secret_is_read_in_every_form_in_which_services_write_it() {
    let key: Vec<u8> = (0..32).map(|byte: u8| byte.wrapping_mul(37) | 0xf0).collect();
    let (standard, unpadded, url_safe) =
        (STANDARD.encode(&key), STANDARD_NO_PAD.encode(&key), URL_SAFE_NO_PAD.encode(&key));
    assert!(url_safe.contains(['-', '_']), "{url_safe}");
    for secret in [
        format!("whsec_{standard}"),
        format!("v1,whsec_{standard}"),
        format!("whsec_{unpadded}"),
        format!("v1,whsec_{url_safe}"),
        url_safe.clone(),
    ] {
        let home = Home::new();
        home.ok("connect webhook --sandbox");
        let set = home.run_with_input("webhook secret webhook --set -", &secret);
        assert_eq!(set.code, 0, "{secret}: {set:?}");
        let mut listening = Listening::start(&home, "webhook", None);
        let (body, at) = (br#"{"type":"order.paid"}"#, Timestamp::now().as_second());
        let tag =
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &[format!("m1.{at}.").as_bytes(), body].concat());
        let headers = [
            JSON.to_owned(),
            "webhook-id: m1".to_owned(),
            format!("webhook-timestamp: {at}"),
            format!("webhook-signature: v1,{}", STANDARD.encode(tag)),
        ];
        assert_eq!(taken(&mut listening, "webhook", &headers, body)["verified"], true, "{secret}");
    }
    let home = Home::new();
    home.ok("connect webhook --sandbox");
    for wrong in ["v1,whsec_not base64", "whsec_ab!"] {
        let set = home.run_with_input("webhook secret webhook --set - --json", wrong);
        assert_eq!((set.code, set.error_code().as_str()), (2, "weak_webhook_secret"), "{wrong}: {set:?}");
        assert!(set.stderr.contains("whsec_"), "{set:?}");
    }
}

fn slack(form: &[(&str, &str)]) -> (Vec<String>, Vec<u8>) {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish().into_bytes();
    let at = Timestamp::now().as_second();
    let tag = sha256(&[format!("v0:{at}:").as_bytes(), &body].concat());
    let kind = "Content-Type: application/x-www-form-urlencoded".to_owned();
    (vec![kind, format!("X-Slack-Request-Timestamp: {at}"), format!("X-Slack-Signature: v0={}", hex(&tag))], body)
}

#[test]
fn field_39_slacks_buttons_modals_and_commands_have_types_teams_and_people() {
    let home = home("slack");
    let mut listening =
        Listening::start(&home, "slack --append out.jsonl --events block_actions,view_*,slash_command,shortcut", None);
    let actions = json!({ "type": "block_actions", "trigger_id": "1.1", "team": { "id": "T1" }, "user": { "id": "U1" },
        "channel": { "id": "C1" }, "actions": [{ "action_id": "go", "action_ts": "1764300000.5" }] });
    let submission =
        json!({ "type": "view_submission", "team": { "id": "T1" }, "user": { "id": "U1" }, "view": { "id": "V1" } });
    // A shortcut of an organization that spans teams.
    let shortcut =
        json!({ "type": "shortcut", "team": null, "user": { "id": "U1", "team_id": "T1" }, "callback_id": "cb" });
    let command = [("team_id", "T1"), ("channel_id", "C1"), ("user_id", "U1"), ("command", "/deploy"), ("text", "now")];
    let forms = [
        ("block_actions", "C1", slack(&[("payload", &actions.to_string())])),
        ("view_submission", "V1", slack(&[("payload", &submission.to_string())])),
        ("shortcut", "cb", slack(&[("payload", &shortcut.to_string())])),
        ("slash_command", "C1", slack(&command)),
    ];
    for (kind, _, (headers, body)) in &forms {
        assert_eq!(taken(&mut listening, "slack", headers, body)["type"], *kind);
    }
    for ((kind, resource, _), event) in forms.iter().zip(lines(&home.path().join("out.jsonl"), 4)) {
        let told = [&event["type"], &event["account"], &event["actor"], &event["resource"]];
        assert_eq!(told, [kind, "T1", "U1", resource].map(|text| json!(text)).each_ref(), "{event}");
    }
    // What is not chosen is kept, whatever it is.
    let (headers, body) = slack(&[("payload", "no JSON")]);
    assert_eq!(send(&listening.url("slack"), &headers, &body).status(), 200);
    assert_eq!(events(&home, "--type event").len(), 1);
}

#[test]
fn field_39_stripes_second_version_has_its_time_resource_and_account() {
    let home = home("stripe");
    let mut listening = Listening::start(&home, "stripe --append out.jsonl", None);
    let body = json!({ "id": "evt_v2", "object": "v2.core.event", "type": "v1.billing.meter.error_report_triggered",
        "created": "2025-11-28T03:20:00.000Z", "context": "acct_1", "related_object": { "id": "mtr_1" } })
    .to_string();
    taken(&mut listening, "stripe", &stripe(body.as_bytes()), body.as_bytes());
    let event = &lines(&home.path().join("out.jsonl"), 1)[0];
    let told = [&event["time"], &event["resource"], &event["account"]];
    assert_eq!(told, ["2025-11-28T03:20:00Z", "mtr_1", "acct_1"].map(|text| json!(text)).each_ref(), "{event}");
}
