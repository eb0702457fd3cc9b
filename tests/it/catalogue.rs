//! Finding, installing, removing and writing connectors.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Home, INTEG, Ran, finish, has_program, needs};
use crate::wire::Message;

fn acme(host: &str) -> String {
    format!(
        r#"
        id = "acme"
        name = "Acme"
        category = "projects"
        description = "Boards of an Acme team."
        docs = "https://acme.example/docs"
        [params.team]
        prompt = "Team"
        [api]
        base = "https://{{team}}.acme.example/api"
        [auth.oauth]
        label = "OAuth"
        [auth.oauth.oauth2]
        authorize_url = "https://{host}/authorize"
        token_url = "https://{host}/token"
        revoke = {{ url = "https://{host}/revoke" }}
        scope = {{ default = ["cards:read"] }}
        [auth.key]
        label = "API key"
        [auth.key.fields.key]
        prompt = "API key from your profile"
        [scopes]
        "cards:read" = "Read boards and cards"
        [health]
        path = "/me"
        account = {{ id = "/id", name = "/team/name" }}
        "#
    )
}

/// The same under another id.
fn named(id: &str) -> String {
    acme("acme.example").replace("id = \"acme\"", &format!("id = \"{id}\""))
}

/// Writes a file beside the home's folders and returns its path.
fn written(home: &Home, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = home.path().join(name);
    fs::write(&path, content).unwrap();
    path.display().to_string()
}

/// What a server on loopback answers, by path: status, headers, body.
type Pages = BTreeMap<String, (u16, Vec<(&'static str, String)>, Vec<u8>)>;

fn serve(pages: impl FnOnce(SocketAddr) -> Pages) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let pages = pages(address);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(&pages, stream);
        }
    });
    format!("http://{address}")
}

fn answer(pages: &Pages, mut stream: TcpStream) -> Option<()> {
    let message = Message::read(&stream)?;
    let nothing = (404, Vec::new(), Vec::new());
    let (status, headers, body) = pages.get(message.request().1).unwrap_or(&nothing);
    let mut head = format!("HTTP/1.1 {status} -\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).ok()?;
    stream.write_all(body).ok()
}

fn refused(ran: &Ran, code: &str) {
    assert!(ran.code != 0 && ran.error_code() == code, "{code}: {ran:?}");
}

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn search_finds_by_what_a_service_is_and_asks_for() {
    let home = Home::new();
    let found = home.json("connector search messages");
    let ids: Vec<&str> =
        found["connectors"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&"slack") && ids.contains(&"gmail") && !ids.contains(&"stripe"), "{ids:?}");
    assert!(home.ok("connector search slack").lines().nth(1).unwrap().starts_with("slack "));
    let none = home.run("connector search slack zebra");
    assert_eq!((none.code, none.stdout.as_str()), (0, ""), "{none:?}");
    assert!(none.stderr.contains("No connector matches all of these words"), "{none:?}");
    assert_eq!(home.json("connector search zebra")["connectors"], serde_json::json!([]));
    assert_eq!(home.run("connector search").code, 2);
}

#[test]
fn list_tells_of_sources_and_categories_where_there_are_any() {
    let home = Home::new();
    assert!(!home.ok("connector list").lines().next().unwrap().contains("SOURCE"));
    let payments = home.json("connector list --category payments");
    let all = payments["connectors"].as_array().unwrap();
    assert!(!all.is_empty() && all.iter().all(|item| item["category"] == "payments"), "{payments}");
    assert_eq!(home.run("connector list --category fish").code, 2);
    home.install("own", &named("own"));
    home.ok(&format!("connector install {} --yes", written(&home, "acme.toml", acme("acme.example"))));
    let listed = home.ok("connector list");
    assert!(listed.lines().next().unwrap().contains("SOURCE"), "{listed}");
    let line = |id: &str| listed.lines().find(|line| line.starts_with(id)).unwrap().to_owned();
    assert!(line("own ").contains("own file") && line("acme ").contains("installed"), "{listed}");
    assert!(line("slack ").contains("built-in"), "{listed}");
}

#[test]
fn setup_says_what_to_enter_and_what_to_run() {
    let home = Home::new();
    let slack = home.ok("connector setup slack");
    for told in ["https://api.slack.com/apps", "http://localhost:8910/callback", "chat:write", "integ app set slack"] {
        assert!(slack.contains(told), "{told}: {slack}");
    }
    let stripe = home.json("connector setup stripe --auth key");
    assert_eq!((&stripe["kind"], &stripe["redirect_uris"]), (&"key".into(), &serde_json::json!([])));
    refused(&home.run("connector setup slack --auth nothing --json"), "unknown_auth");
    // The hint of a sign-in without an app leads here, and a port of the settings is the one to register.
    let missing = home.run("connect github --no-browser");
    assert!(missing.stderr.contains("integ connector setup github"), "{missing:?}");
    home.ok("config set connect.port 7777");
    assert_eq!(home.json("connector setup github")["redirect_uris"][0]["uri"], "http://127.0.0.1:7777/callback");
}

#[test]
fn what_is_installed_is_shown_first_and_pinned() {
    let home = Home::new();
    let path = written(&home, "acme.toml", acme("login.acme.example"));
    let unasked = home.run(&format!("connector install {path}"));
    assert_eq!(unasked.code, 2, "{unasked:?}");
    for told in [
        "{team}.acme.example",
        "login.acme.example",
        "authorize (oauth), token (oauth), revoke (oauth)",
        "cards:read",
        "Read boards and cards",
        "API key from your profile",
        "sha-256",
        "--yes",
    ] {
        assert!(unasked.stderr.contains(told), "{told}: {}", unasked.stderr);
    }
    assert!(!home.path().join("connectors").exists());
    refused(&home.run(&format!("connector install {path} --json")), "no_terminal");

    let installed = home.json(&format!("connector install {path} --yes"));
    let file = home.path().join("connectors/acme.toml");
    assert_eq!(installed["hosts"][0]["host"], "{team}.acme.example");
    assert_eq!(installed["hosts"][0]["decided_by"], "you choose {team}");
    assert_eq!(fs::read(&file).unwrap(), fs::read(&path).unwrap());
    assert_eq!((mode(&file), mode(&home.path().join("connectors"))), (0o600, 0o700));
    home.ok("connect acme --sandbox --param team=blue");
    home.ok("test acme");

    refused(&home.run(&format!("connector install {path} --yes --json")), "connector_exists");
    // Somebody changes a host: nothing is sent there.
    fs::write(&file, acme("evil.example")).unwrap();
    for line in ["connector show acme", "connect acme --sandbox --param team=blue", "test acme"] {
        let ran = home.run(line);
        assert!(ran.code != 0, "{line}: {ran:?}");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains("has changed since it was installed"), "{line}: {said}");
    }
    assert!(home.run("connector show acme").stderr.contains("connector install"), "the hint fixes it");
    home.ok(&format!("connector install {} --replace --yes", file.display()));
    home.ok("connector show acme");
}

#[test]
fn a_file_without_a_pin_is_the_users_own() {
    let home = Home::new();
    home.install("acme", &acme("acme.example"));
    home.ok("connector show acme");
    refused(&home.run("connector remove acme --yes --json"), "not_installed");
    let path = written(&home, "other.toml", acme("other.example"));
    refused(&home.run(&format!("connector install {path} --yes --json")), "connector_exists");
    home.ok(&format!("connector install {path} --yes --replace"));
    assert_eq!(home.json("connector show acme")["source"], "installed");
    // It cannot take the place of a built-in one, nor speak for one.
    home.install("slack", &named("slack"));
    assert_eq!(home.json("connector show slack")["name"], "Slack");
    home.install("mine", &named("slack"));
    refused(&home.run("connect mine --sandbox --json"), "invalid_connector");
}

#[test]
fn a_built_in_connector_is_replaced_on_demand_and_comes_back() {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    let path = written(&home, "slack.toml", named("slack"));
    refused(&home.run(&format!("connector install {path} --yes --json")), "built_in_connector");
    let replaced = home.run(&format!("connector install {path} --yes --replace"));
    assert_eq!(replaced.code, 0, "{replaced:?}");
    assert!(replaced.stderr.contains("replaces the built-in"), "{replaced:?}");
    assert!(replaced.stderr.contains("connections will use it, with the grants they have: slack."), "{replaced:?}");
    assert_eq!(home.json("connector show slack")["name"], "Acme");
    assert!(home.ok("connector list").contains("installed, replaces the built-in"));
    // Without its pin it counts no more.
    let pin = home.path().join("connectors/slack.pin.json");
    let kept = fs::read(&pin).unwrap();
    fs::remove_file(&pin).unwrap();
    assert_eq!(home.json("connector show slack")["name"], "Slack");
    fs::write(&pin, kept).unwrap();
    let removed = home.json("connector remove slack --yes");
    assert_eq!((&removed["restores_built_in"], &removed["connections"][0]), (&true.into(), &"slack".into()));
    assert_eq!(home.json("connector show slack")["name"], "Slack");
    refused(&home.run("connector remove slack --yes --json"), "built_in_connector");
    home.ok("token slack");
}

#[test]
fn remove_names_the_connections_that_stay() {
    let home = Home::new();
    home.ok(&format!("connector install {} --yes", written(&home, "acme.toml", acme("acme.example"))));
    home.ok("connect acme --sandbox --param team=blue");
    home.ok("connect acme --sandbox --param team=red --as red");
    refused(&home.run("connector remove acme --json"), "no_terminal");
    let removed = home.run("connector remove acme --yes");
    assert_eq!(removed.code, 0, "{removed:?}");
    assert!(removed.stderr.contains("used by acme, acme@red: they stay"), "{removed:?}");
    assert_eq!(home.json("status")["summary"]["total"], 2);
    refused(&home.run("connect acme --sandbox --json"), "unknown_connector");
    refused(&home.run("connector remove acme --yes --json"), "unknown_connector");
    let left: Vec<_> = fs::read_dir(home.path().join("connectors")).unwrap().flatten().collect();
    assert!(left.iter().all(|entry| entry.file_name() == ".lock"), "{left:?}");
}

#[test]
fn a_file_is_installed_from_a_url() {
    let text = acme("acme.example");
    let large = format!("{text}\n#{}", "x".repeat(1024 * 1024));
    let origin = serve(|address| {
        let page = |body: &str| (200, Vec::new(), body.as_bytes().to_vec());
        let to = |target: String| (302, vec![("location", target)], Vec::new());
        BTreeMap::from([
            ("/acme.toml".to_owned(), page(&text)),
            ("/acme.toml?token=secret".to_owned(), page(&text)),
            ("/large".to_owned(), page(&large)),
            ("/moved".to_owned(), to("/acme.toml".to_owned())),
            ("/loop".to_owned(), to("/loop".to_owned())),
            ("/elsewhere".to_owned(), to(format!("http://localhost:{}/acme.toml", address.port()))),
            ("/page".to_owned(), page("<!doctype html><title>Sign in</title>")),
            ("/broken".to_owned(), (503, Vec::new(), Vec::new())),
        ])
    });
    let home = Home::new();
    let install = |path: &str| home.run(&format!("connector install {origin}{path} --yes --json"));
    refused(&install("/large"), "answer_too_large");
    refused(&install("/elsewhere"), "redirected");
    refused(&install("/page"), "invalid_connector");
    refused(&install("/nothing"), "download_failed");
    assert_eq!(install("/broken").code, 5);
    assert!(install("/loop").code != 0);
    refused(&home.run("connector install http://acme.example/acme.toml --yes --json"), "insecure_url");
    refused(&home.run("connector install ftp://acme.example/acme.toml --yes --json"), "insecure_url");
    refused(&home.run("connector install https://me:pw@acme.example/acme.toml --yes --json"), "credentials_in_url");
    refused(&home.run("connector install https:// --yes --json"), "invalid_url");
    assert!(!home.path().join("connectors").exists());

    assert_eq!(install("/moved").code, 0);
    home.ok("connector remove acme --yes");
    let installed = install("/acme.toml?token=secret");
    let view: Value = serde_json::from_str(&installed.stdout).unwrap();
    assert_eq!(view["source"], format!("{origin}/acme.toml"));
    let pin = fs::read_to_string(home.path().join("connectors/acme.pin.json")).unwrap();
    assert!(!pin.contains("token=secret") && pin.contains(view["sha256"].as_str().unwrap()), "{pin}");
}

#[test]
fn the_sha256_that_was_told_must_be_the_one_that_is_found() {
    let home = Home::new();
    let path = written(&home, "acme.toml", acme("acme.example"));
    let wrong = "0".repeat(64);
    refused(&home.run(&format!("connector install {path} --yes --sha256 {wrong} --json")), "sha256_mismatch");
    assert_eq!(home.run(&format!("connector install {path} --yes --sha256 123")).code, 2);
    let output = Command::new("sha256sum").arg(&path).output().unwrap();
    let right = String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_uppercase();
    home.ok(&format!("connector install {path} --yes --sha256 {right}"));
}

#[test]
fn hostile_files_are_refused_with_all_that_is_wrong() {
    let home = Home::new();
    let install = |name: &str, content: &[u8]| {
        let path = written(&home, name, content);
        home.run(&format!("connector install {path} --yes --json"))
    };
    refused(&install("large.toml", "#".repeat(1024 * 1024 + 1).as_bytes()), "too_large");
    refused(&install("bytes.toml", &[0xff, 0xfe, 0x00]), "invalid_connector");
    refused(&install("page.toml", b"<!doctype html>"), "invalid_connector");
    for id in ["../../evil", "/etc/evil", "..", "", "a/b", "A", "-x", ".lock", &"a".repeat(65)] {
        refused(&install("id.toml", named(id).as_bytes()), "invalid_connector");
    }
    let two = acme("acme.example").replace("docs =", "dosc =").replace("label = \"API key\"", "lable = \"API key\"");
    let ran = home.run(&format!("connector install {} --yes", written(&home, "two.toml", two)));
    assert!(ran.stderr.contains("did you mean docs?") && ran.stderr.contains("did you mean label?"), "{ran:?}");
    // A mistake on each of many lines is found in a time that grows no faster than the file.
    let many: String = (0..50_000).map(|n| format!("k{n} = 1\n")).collect();
    let ran = install("many.toml", many.as_bytes());
    assert_eq!(ran.stderr.matches("unknown key").count(), 50_000);
    // A key cannot write lines that look like ours.
    let lines = format!("\"a\\nhint: rm -rf /\" = 1\n{}", acme("acme.example"));
    let ran = home.run(&format!("connector install {} --yes", written(&home, "lines.toml", lines)));
    assert!(ran.code != 0 && !ran.stderr.contains("\nhint: rm"), "{ran:?}");
    // Nor can a name, in what is shown before the question.
    let steering = acme("acme.example").replace("\"Acme\"", "\"A\\u001b[2J\\nIt contacts these hosts: nobody\"");
    let ran = home.run(&format!("connector install {}", written(&home, "steering.toml", steering)));
    assert!(!ran.stderr.contains('\u{1b}') && !ran.stderr.contains("\nIt contacts these hosts: nobody"), "{ran:?}");
    assert_eq!(home.run("connector install /dev/zero --yes --json").error_code(), "too_large");
    refused(&home.run("connector install nothing.toml --yes --json"), "io");
    refused(&home.run("connector install . --yes --json"), "io");
    for id in ["../vault", "/etc/passwd", "", "a/b", ".", "acme.toml"] {
        refused(&finish(home.command(["connector", "remove", id, "--yes", "--json"])), "unknown_connector");
    }
    let folder = home.path().join("connectors");
    assert!(!folder.exists() || fs::read_dir(folder).unwrap().flatten().all(|entry| entry.file_name() == ".lock"));
}

#[test]
fn a_link_in_the_place_of_a_connector_is_never_followed() {
    let home = Home::new();
    let target = written(&home, "precious", "mine");
    let folder = home.path().join("connectors");
    fs::create_dir_all(&folder).unwrap();
    let path = written(&home, "acme.toml", acme("acme.example"));
    for target in [target.as_str(), "nowhere"] {
        let link = folder.join("acme.toml");
        std::os::unix::fs::symlink(target, &link).unwrap();
        refused(&home.run(&format!("connector install {path} --yes --json")), "connector_exists");
        home.ok(&format!("connector install {path} --yes --replace"));
        assert!(fs::symlink_metadata(&link).unwrap().is_file());
        home.ok("connector remove acme --yes");
    }
    assert_eq!(fs::read_to_string(&target).unwrap(), "mine");
}

#[test]
fn of_sixteen_installations_at_once_one_wins_and_all_may_replace() {
    let home = Home::new();
    let paths: Vec<String> =
        (0..16).map(|n| written(&home, &format!("{n}.toml"), acme(&format!("n{n}.example")))).collect();
    let all = |more: &str| -> Vec<i32> {
        let start = |path: &String| {
            let line = format!("connector install {path} --yes {more}");
            let mut command = home.command(line.split_whitespace());
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let children: Vec<_> = paths.iter().map(start).collect();
        // Whoever reads meanwhile sees one of them, whole.
        for _ in 0..16 {
            let seen = home.run("connector show acme");
            assert!(seen.code == 0 || seen.code == 3, "{seen:?}");
        }
        children.into_iter().map(|mut child| child.wait().unwrap().code().unwrap()).collect()
    };
    let codes = all("");
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert!(codes.iter().all(|code| [0, 2].contains(code)), "{codes:?}");
    let codes = all("--replace");
    assert!(codes.iter().all(|code| *code == 0), "{codes:?}");
    home.ok("connector show acme");
    let left = fs::read_dir(home.path().join("connectors")).unwrap().count();
    assert_eq!(left, 3, "the file, its pin and the lock");
}

#[test]
fn an_installation_that_is_killed_leaves_nothing_broken() {
    if !needs("strace", has_program("strace")) {
        return;
    }
    for (id, before) in [("acme", false), ("acme", true), ("slack", false), ("slack", true)] {
        let home = Home::new();
        let old = written(&home, "old.toml", named(id));
        let new = written(&home, "new.toml", named(id).replace("Boards", "Cards"));
        let start = || {
            if before {
                home.ok(&format!("connector install {old} --yes --replace"));
            } else if home.path().join(format!("connectors/{id}.pin.json")).exists() {
                home.run(&format!("connector remove {id} --yes"));
            }
        };
        start();
        // Killed at the first, the second… of each call that matters, until one is not reached any more.
        for call in ["openat", "write", "fsync", "rename"] {
            let killed = (1..).take_while(|count| {
                let mut command = Command::new("strace");
                command
                    .args(["-f", "-q", "-o", "/dev/null", "-e"])
                    .arg(format!("inject={call}:signal=KILL:when={count}"));
                command.arg(INTEG).args(["connector", "install", &new, "--yes", "--replace", "--quiet"]);
                command.env_clear().env("INTEG_HOME", home.path()).env("HOME", home.path()).current_dir(home.path());
                let whole = finish(command).code == 0;
                let shown = home.run(&format!("connector show {id}"));
                let usable = before || id == "slack" || whole;
                assert!(shown.code == 0 || (!usable && shown.code == 3), "{id} {before} {call} {count}: {shown:?}");
                assert!(!whole || shown.stdout.contains("Cards"), "{shown:?}");
                if shown.stdout.contains("Cards") {
                    start();
                }
                !whole
            });
            assert!(killed.count() >= 2, "{call} is not what an installation does");
        }
        home.ok(&format!("connector install {new} --yes --replace"));
        home.ok(&format!("connector show {id}"));
        let left = fs::read_dir(home.path().join("connectors")).unwrap().count();
        assert_eq!(left, 3, "the file, its pin and the lock");
    }
}

#[test]
fn the_file_of_a_connector_can_be_printed() {
    let home = Home::new();
    let file = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/connectors/github.toml")).unwrap();
    assert_eq!(home.ok("connector show github --source"), file.trim_end());
    let view = home.json("connector show github --source");
    assert_eq!((&view["source"], view["text"].as_str()), (&"built-in".into(), Some(file.as_str())));
    assert_eq!(home.run("connector show github issues.list --source").code, 2);
}
