//! Apps, discovery, redirect URIs and what a sign-in may meet at real providers.

mod endpoints;
mod issuer;

use serde_json::json;

use self::issuer::{Asked, Issuer, Reply, home, metadata, run_with_secret, tokens};
use crate::harness::{has_program, needs};

/// Whether the browser of these tests is there.
fn ready() -> bool {
    needs("curl", has_program("curl"))
}

fn well_behaved() -> Issuer {
    Issuer::start(|_| None)
}

#[test]
fn field_16_an_app_is_never_sent_to_another_issuer() {
    if !ready() {
        return;
    }
    let (one, two) = (well_behaved(), well_behaved());
    let home = home();
    let ran = run_with_secret(&home, "app set oidc --client-id app-of-one", "secret-of-one");
    assert_eq!(ran.code, 0, "{ran:?}");
    home.ok(&format!("connect oidc --issuer {}", one.origin));
    assert_eq!(home.json("app list")["apps"][0]["server"], one.origin.as_str());
    home.ok(&format!("connect oidc --as two --issuer {} --client-id app-of-two", two.origin));
    home.ok("connect oidc --as two");
    let ran = home.run(&format!("connect oidc --as three --issuer {} --json", two.origin));
    assert_eq!((ran.code, ran.error_code().as_str()), (2, "missing_app"), "{ran:?}");
    assert!(ran.stderr.contains(&format!("--param issuer={}", two.origin)), "{ran:?}");
    assert!(!two.saw("app-of-one") && !two.saw("secret-of-one"));
    assert!(two.asked("/token").iter().all(|asked| asked.form["client_id"] == "app-of-two"));
    // The same name at another issuer is another server as well.
    let ran = home.run(&format!("connect oidc --issuer {} --json", two.origin));
    assert_eq!(ran.error_code(), "missing_app", "{ran:?}");
    home.ok("refresh oidc@two");
    assert!(!two.saw("secret-of-one"));
}

#[test]
fn field_16_the_environments_app_is_sent_only_where_the_environment_says() {
    if !ready() {
        return;
    }
    let (one, two) = (well_behaved(), well_behaved());
    let home = home().with("OIDC_CLIENT_ID", "app-of-one").with("OIDC_CLIENT_SECRET", "secret-of-one");
    let ran = home.run(&format!("connect oidc --issuer {} --json", one.origin));
    assert_eq!(ran.error_code(), "missing_app", "nothing says whose app it is: {ran:?}");
    let home = home.with("OIDC_ISSUER", &one.origin);
    home.ok(&format!("connect oidc --issuer {}/", one.origin));
    assert!(one.saw("secret-of-one") || one.asked("/token")[0].basic.is_some());
    let ran = home.run(&format!("connect oidc --as two --issuer {} --json", two.origin));
    assert_eq!(ran.error_code(), "missing_app", "{ran:?}");
    assert!(!two.saw("app-of-one") && !two.saw("secret-of-one"));
}

#[test]
fn field_16_an_app_is_registered_for_the_server_that_is_named() {
    if !ready() {
        return;
    }
    let (one, two) = (well_behaved(), well_behaved());
    let home = home();
    for (issuer, client) in [(&one, "app-of-one"), (&two, "app-of-two")] {
        let line = format!("app set oidc --issuer {} --client-id {client}", issuer.origin);
        assert_eq!(run_with_secret(&home, &line, &format!("secret-of-{client}")).code, 0);
    }
    home.ok(&format!("connect oidc --as b --issuer {}", two.origin));
    assert!(two.asked("/token")[0].basic.as_ref().unwrap().starts_with("app-of-two:"));
    assert!(!two.saw("app-of-one"));
    let ran = home.run("app remove oidc --json");
    assert_eq!(ran.error_code(), "several_apps", "{ran:?}");
    home.ok(&format!("app remove oidc --issuer {}", one.origin));
    assert_eq!(home.json("app list")["apps"].as_array().unwrap().len(), 1);
}

const SITES: &str = r#"
id = "sites"
name = "Sites"
category = "projects"
description = "One grant, several sites."
docs = "https://example.com/docs"
[params.as]
prompt = "Server"
[api]
base = "{as}/ex/{cloud_id}"
[auth.oauth]
label = "OAuth"
[auth.oauth.oauth2]
authorize_url = "{as}/authorize"
token_url = "{as}/token"
[auth.oauth.oauth2.follow_up]
url = "{as}/sites"
choose_by = "site"
label = "/url"
keep = { cloud_id = "/id", site_url = "/url" }
[health]
path = "/me"
account = { id = "/sub", name = "/email" }
"#;

#[test]
fn field_17_a_connection_stays_at_its_site() {
    if !ready() {
        return;
    }
    let home = home();
    home.install("sites", SITES);
    let taken = home.path().join("taken");
    let flag = taken.clone();
    let server = Issuer::start(move |asked| {
        let one = json!({ "id": "c1", "url": "https://one.example" });
        // A site that was renamed is the same site.
        let two = json!({ "id": "c2", "url": "https://renamed.example", "name": "Two" });
        match asked.path.as_str() {
            "/sites" if flag.exists() => Some(Reply::json(200, &json!([one]))),
            "/sites" => Some(Reply::json(200, &json!([one, two]))),
            path if path.ends_with("/me") => Some(Reply::json(200, &json!({ "sub": "u1", "email": "a@b.example" }))),
            _ => None,
        }
    });
    let line = format!("connect sites --param as={} --client-id app --param site=renamed.example", server.origin);
    home.ok(&line);
    home.ok("connect sites");
    std::fs::write(&taken, "").unwrap();
    let ran = home.run("connect sites --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (4, "resource_not_granted"), "{ran:?}");
    assert!(ran.stderr.contains("--as other --param site=https://one.example"), "{ran:?}");
    home.ok("api sites /x");
    assert!(server.saw("/ex/c2/x") && !server.saw("/ex/c1/"));
    // A user who says so moves it.
    let ran = home.run("connect sites --param site=one.example");
    assert!(ran.code == 0 && ran.stderr.contains("was connected to another site"), "{ran:?}");
}

#[test]
fn field_21_a_userinfo_endpoint_of_another_audience_leaves_the_grant_good() {
    if !ready() {
        return;
    }
    use base64::Engine;
    let claims = json!({ "sub": "u1", "email": "ann@example.com" }).to_string();
    let id_token = format!("e30.{}.x", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&claims));
    let server = Issuer::start(move |asked| match asked.path.as_str() {
        "/userinfo" => Some(Reply::json(401, &json!({ "error": "invalid_token" }))),
        "/token" => {
            let mut answer = tokens();
            answer["id_token"] = json!(id_token);
            Some(Reply::json(200, &answer))
        }
        _ => None,
    });
    let home = home();
    home.ok(&server.connect("--scope openid --scope api://orders/read"));
    home.ok("status --check");
    assert_eq!(home.json("test")["tests"][0]["outcome"], "unchecked");
    let connection = home.json("status")["connections"][0].clone();
    assert_eq!(connection["account"]["id"], "u1", "{connection}");
    assert_eq!(server.asked("/token").len(), 1, "nothing was refreshed");
}

#[test]
fn field_21_userinfo_may_be_a_signed_token() {
    if !ready() {
        return;
    }
    use base64::Engine;
    let claims = json!({ "sub": "u7", "email": "eve@example.com" }).to_string();
    let body = format!("e30.{}.x", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&claims));
    let server = Issuer::start(move |asked| {
        let body = body.clone();
        (asked.path == "/userinfo").then_some(Reply {
            status: 200,
            location: None,
            content_type: "application/jwt",
            body,
        })
    });
    let home = home();
    home.ok(&server.connect(""));
    assert_eq!(home.json("test")["tests"][0]["outcome"], "healthy");
    assert_eq!(home.json("status")["connections"][0]["account"]["id"], "u7");
}

#[test]
fn field_24_a_redirect_uri_is_sent_as_it_was_written() {
    if !ready() {
        return;
    }
    let server = well_behaved();
    let home = home();
    for (index, host) in ["localhost", "127.0.0.1", "[::1]"].into_iter().enumerate() {
        if host == "[::1]" && std::net::TcpListener::bind("[::1]:0").is_err() {
            continue;
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Without a slash at the end, which a URL parser would add.
        let uri = format!("http://{host}:{port}");
        home.ok(&server.connect(&format!("--as a{index} --redirect-uri {uri}")));
        let sent = server.asked("/authorize").last().unwrap().query["redirect_uri"].clone();
        assert_eq!((sent.as_str(), &server.asked("/token").last().unwrap().form["redirect_uri"]), (uri.as_str(), &uri));
    }
}

#[test]
fn field_25_offline_access_is_asked_for_only_if_it_is_listed() {
    if !ready() {
        return;
    }
    for (listed, asked_for) in [
        (json!(["openid", "profile", "email"]), "openid profile email"),
        (json!(["openid", "offline_access"]), "openid offline_access"),
        (json!(null), "openid profile email"),
    ] {
        let list = listed.clone();
        let server = Issuer::start(move |asked| {
            let mut document = metadata(&asked.origin);
            document["scopes_supported"] = list.clone();
            asked.path.contains("well-known").then(|| Reply::json(200, &document))
        });
        let home = home();
        home.ok(&server.connect(""));
        assert_eq!(server.asked("/authorize")[0].query["scope"], asked_for, "{listed}");
        home.ok(&server.connect("--as b --scope openid --scope offline_access"));
        assert_eq!(server.asked("/authorize")[1].query["scope"], "openid offline_access", "the user says so");
    }
}

#[test]
fn field_25_the_hint_of_a_refused_scope_names_the_flag() {
    if !ready() {
        return;
    }
    let server =
        Issuer::start(|asked| (asked.path == "/authorize").then(|| Reply::back(asked, &[("error", "invalid_scope")])));
    let ran = home().run(&server.connect(""));
    assert!(
        ran.code == 4 && ran.stderr.contains("hint: list the scopes of the service: `integ connector show oidc`"),
        "{ran:?}"
    );
}

fn is_oauth_document(asked: &Asked) -> bool {
    asked.path == "/.well-known/oauth-authorization-server"
}

#[test]
fn field_31_trouble_at_one_place_is_not_the_end_of_discovery() {
    if !ready() {
        return;
    }
    for status in [429, 500, 502, 503, 404, 403] {
        let server = Issuer::start(move |asked| is_oauth_document(asked).then(|| Reply::json(status, &json!({}))));
        let ran = home().run(&server.connect(""));
        assert_eq!(ran.code, 0, "{status}: {ran:?}");
    }
    let server = Issuer::start(|asked| asked.path.contains("well-known").then(|| Reply::json(503, &json!({}))));
    let ran = home().run(&server.connect("--json"));
    assert_eq!((ran.code, ran.error_code().as_str()), (5, "vendor_unavailable"), "{ran:?}");
    for place in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"] {
        assert!(ran.stderr.contains(&format!("{}{place} answered 503", server.origin)), "{ran:?}");
    }
}

#[test]
fn field_31_both_documents_are_merged() {
    if !ready() {
        return;
    }
    let server = Issuer::start(|asked| {
        let mut document = metadata(&asked.origin);
        let lacks: &[&str] =
            if is_oauth_document(asked) { &["userinfo_endpoint"] } else { &["device_authorization_endpoint"] };
        lacks.iter().for_each(|name| document[*name] = json!(null));
        asked.path.contains("well-known").then(|| Reply::json(200, &document))
    });
    let home = home();
    home.ok(&server.connect(""));
    assert_eq!(home.json("test")["tests"][0]["outcome"], "healthy", "OpenID's document names the userinfo endpoint");
}

#[test]
fn field_31_the_url_of_the_metadata_and_a_shared_tenant_are_understood() {
    if !ready() {
        return;
    }
    let server = Issuer::start(|asked| {
        let mut document = metadata(&asked.origin);
        if asked.path.contains("common") {
            document["issuer"] = json!(format!("{}/{{tenantid}}/v2.0", asked.origin));
        }
        if asked.path.contains("acme") {
            document["issuer"] = json!(format!("{}/1234/v2.0", asked.origin));
        }
        asked.path.contains("well-known").then(|| Reply::json(200, &document))
    });
    let home = home();
    let connect = |issuer: &str, name: &str| {
        home.run(&format!("connect oidc --as {name} --issuer {}{issuer} --client-id app", server.origin))
    };
    let ran = connect("/.well-known/openid-configuration", "pasted");
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = connect("/", "slash");
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = connect("/common/v2.0", "shared");
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = connect("/acme/v2.0", "named");
    assert!(ran.code == 1 && ran.stderr.contains(&format!("--param issuer={}/1234/v2.0", server.origin)), "{ran:?}");
}

#[test]
fn field_32_pkce_is_left_out_only_if_the_user_says_so() {
    if !ready() {
        return;
    }
    let server = Issuer::start(|asked| {
        let refused = [("error", "invalid_request"), ("error_description", "unknown parameter code_challenge")];
        let knows = asked.path == "/authorize" && asked.query.contains_key("code_challenge");
        knows.then(|| Reply::back(asked, &refused))
    });
    let home = home();
    let ran = home.run(&server.connect(""));
    assert!(ran.code == 4 && ran.stderr.contains("`integ connect oidc --param pkce=never`"), "{ran:?}");
    home.ok(&server.connect("--param pkce=never"));
    assert!(!server.asked("/token")[0].form.contains_key("code_verifier"));
    let ran = home.run(&server.connect("--as b --param pkce=never --allow-peer --json"));
    assert_eq!(ran.error_code(), "peer_check_required", "{ran:?}");
    for (methods, word) in [(json!([]), "does not support PKCE"), (json!(["plain"]), "only plain PKCE")] {
        let server = Issuer::start(move |asked| {
            let mut document = metadata(&asked.origin);
            document["code_challenge_methods_supported"] = methods.clone();
            asked.path.contains("well-known").then(|| Reply::json(200, &document))
        });
        let ran = home.run(&server.connect("--as c"));
        assert!(ran.stderr.contains(word) && ran.stderr.contains("--param pkce=never"), "{ran:?}");
    }
}

/// A server that takes its secret only in one way.
fn takes(way: &'static str, listed: &'static [&'static str]) -> Issuer {
    Issuer::start(move |asked| {
        let mut document = metadata(&asked.origin);
        document["token_endpoint_auth_methods_supported"] = json!(listed);
        let fits = match way {
            "basic" => asked.basic.is_some(),
            "post" => asked.form.contains_key("client_secret"),
            _ => asked.basic.is_none() && !asked.form.contains_key("client_secret"),
        };
        match asked.path.as_str() {
            "/token" if !fits => Some(Reply::json(401, &json!({ "error": "invalid_client" }))),
            path => path.contains("well-known").then(|| Reply::json(200, &document)),
        }
    })
}

#[test]
fn field_32_a_server_that_lists_both_ways_and_takes_post_gets_it() {
    if !ready() {
        return;
    }
    let server = takes("post", &["client_secret_basic", "client_secret_post"]);
    let home = home();
    let ran = run_with_secret(&home, &server.connect(""), "a+b/c=d~e");
    assert_eq!(ran.code, 0, "{ran:?}");
    let tokens = server.asked("/token");
    assert_eq!((tokens.len(), tokens[1].form["client_secret"].as_str()), (2, "a+b/c=d~e"));
    home.ok("refresh oidc");
    assert_eq!(server.asked("/token").len(), 3, "a refresh knows what the server takes");
}

#[test]
fn field_32_the_user_chooses_how_the_secret_is_sent() {
    if !ready() {
        return;
    }
    for way in ["basic", "post", "none"] {
        let server = takes(way, &["client_secret_basic"]);
        let ran = run_with_secret(&home(), &server.connect(&format!("--param client_auth={way}")), "s3cret");
        assert_eq!(ran.code, 0, "{way}: {ran:?}");
        assert_eq!(server.asked("/token").len(), 1, "{way}");
    }
    let server = takes("post", &["client_secret_basic"]);
    let ran = run_with_secret(&home(), &server.connect(""), "s3cret");
    assert!(ran.code == 1 && ran.stderr.contains("--param client_auth=post"), "{ran:?}");
    assert_eq!(server.asked("/token").len(), 1, "what is not listed is not tried");
}
