//! Hints that connect an account again lead to the place where the connection is.

use serde::Deserialize;

use super::*;
use crate::clock::Timestamp;
use crate::connector::AuthMethod;
use crate::http::Route;
use crate::model::{Connection, ConnectionId, ConnectionMode, Expiry, GrantStatus, RevealPolicy};

const SANDBOX: (&str, ConnectionMode, Option<&str>) = ("x@work", ConnectionMode::Sandbox, None);
const ORIGIN: (&str, ConnectionMode, Option<&str>) = ("x", ConnectionMode::Live, Some("http://127.0.0.1:9/"));
const LIVE: (&str, ConnectionMode, Option<&str>) = ("x", ConnectionMode::Live, None);

fn session((name, mode, origin): (&str, ConnectionMode, Option<&str>)) -> Session {
    let text = "id='x'\nname='X'\ncategory='generic'\ndescription=''\ndocs=''\n[auth.bot]\nlabel='bot'";
    let connector = Connector::deserialize(text.parse::<toml::Table>().unwrap()).unwrap();
    let auth: AuthMethod = connector.auth["bot"].clone();
    let connection = Connection {
        id: ConnectionId(1),
        name: name.parse().unwrap(),
        mode,
        auth: "bot".to_owned(),
        origin: origin.map(|origin| origin.parse().unwrap()),
        params: Default::default(),
        metadata: Default::default(),
        account: None,
        user: None,
        reveal: RevealPolicy::Allowed,
        scopes_requested: Vec::new(),
        scopes_granted: Some(Vec::new()),
        grant_status: GrantStatus::Active,
        status_reason: None,
        connected_at: Timestamp::UNIX_EPOCH,
        expiry: Expiry::default(),
        last_check: None,
        error_count: 0,
        last_error: None,
    };
    Session { connection, connector: connector.into(), auth, route: Route::Live }
}

fn command(error: &ApiError) -> String {
    error.hint().and_then(|hint| hint.command).unwrap()
}

#[test]
fn the_hint_for_another_authentication_keeps_mode_and_origin() {
    let hint = |place| command(&check_allowed(&session(place), "send", &["user".to_owned()], &[]).unwrap_err());
    assert_eq!(hint(SANDBOX), "integ connect x --as other --sandbox --auth user");
    assert_eq!(hint(ORIGIN), "integ connect x --as other --origin http://127.0.0.1:9 --auth user");
    assert_eq!(hint(LIVE), "integ connect x --as other --auth user");
}

#[test]
fn the_hint_for_missing_scopes_reconnects_the_connection() {
    let hint = |place| command(&check_allowed(&session(place), "send", &[], &["write".to_owned()]).unwrap_err());
    assert_eq!(hint(SANDBOX), "integ reconnect x@work --add-scope write");
    assert_eq!(hint(ORIGIN), "integ reconnect x --add-scope write");
}

#[test]
fn the_hint_for_a_missing_value_reconnects_the_connection() {
    let hint = |place| {
        let missing = TemplateError::MissingValue("host".into());
        command(&ApiError::from((&session(place), "send", missing)))
    };
    assert_eq!(hint(SANDBOX), "integ reconnect x@work --param NAME=VALUE");
    assert_eq!(hint(ORIGIN), "integ reconnect x --param NAME=VALUE");
    assert_eq!(hint(LIVE), "integ reconnect x --param NAME=VALUE");
}
