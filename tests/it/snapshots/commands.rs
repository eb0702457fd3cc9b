//! What each command prints, a group of commands a session.

use super::session::{World, documents, session};
use super::{assert_snap, scrub};
use crate::harness::{Home, Ran, Running, on_postgres};
use crate::receiver::{Answer, Receiver};
use crate::schemas::check_output;
use crate::webhook::{Listening, Maker};

/// A connector of the user's own.
const ACME: &str = r#"id = "acme"
name = "Acme"
category = "projects"
description = "Projects of Acme."
docs = "https://acme.example/docs"

[api]
base = "https://api.acme.example"

[auth.token]
label = "Token"

[auth.token.fields.token]
prompt = "Token"

[health]
path = "/me"
"#;

/// Commands in no session, and why.
const WITHOUT_SESSION: &[(&str, &str)] = &[
    ("completions", "its scripts are in completions/"),
    ("connector schema", "it is connectors/schema.json"),
    ("export", "a bundle differs each time: see `bundle`"),
    ("git-credential", "it reads its request from stdin: see `bundle`"),
    ("mcp proxy", "its client is a program: see `mcp_proxy`"),
    ("mcp serve", "its client is a program: see `agents`"),
    ("proxy", "it runs until it is ended: see `proxy`"),
    ("vault move", "it needs a server: see `postgres`"),
    ("sandbox run", "it runs until it is ended: see `servers`"),
    ("serve", "it runs until it is ended: see `server`"),
];

#[test]
fn every_command_is_in_a_session() {
    let sessions = [
        include_str!("commands.rs"),
        include_str!("mapping.rs"),
        include_str!("monitoring.rs"),
        include_str!("sharing.rs"),
        USAGE,
    ]
    .concat();
    let shown = |words: &str| {
        sessions.lines().any(|line| {
            let line = line.trim().trim_start_matches(['"', '~', ' ']).trim_start_matches("sorted ~ ");
            let line = line.strip_prefix("-w other ").unwrap_or(line);
            line.strip_prefix(words).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '"']))
        })
    };
    let mut missing = Vec::new();
    for words in super::help::all_commands() {
        let words = words.join(" ");
        let known = WITHOUT_SESSION.iter().any(|(command, _)| *command == words);
        assert!(!(known && shown(&words)), "{words} has a session");
        if !known && !shown(&words) {
            missing.push(words);
        }
    }
    assert!(missing.is_empty(), "no session runs {missing:?}");
}

#[test]
fn connections() {
    session(
        "connections",
        |_| {},
        "status
        test
        connect slack --sandbox --as work
        connect stripe --sandbox
        connect github --sandbox --no-browser --scope repo
        connect github --sandbox --device --no-browser --as device
        disconnect github@device --yes
        connect slac --sandbox
        ~ status
        ~ status stripe --check
        ~ test
        test stripe --format junit
        token slack@work
        token slack@work --format header
        token slack@work --format env
        token slack@work --format json
        ~ refresh slack@work
        refresh stripe
        ~ refresh --all
        exec stripe -- true
        api stripe /v1/account
        api stripe /v1/account --include
        . sandbox fault slack revoked_grant
        refresh slack@work
        . sandbox fault stripe server_error --endpoint health
        ~ test
        ~ status
        ~ status --check
        reconnect slack@work
        reconnect slack@nowhere
        reconnect --all
        reveal stripe allowed
        reveal stripe never
        token stripe
        exec stripe -- true
        api stripe /v1/account
        reveal nothing never
        rename slack@work ops
        rename slack@ops slack@ops
        rename stripe a/b
        rename slack@ops work
        . connect slack@a --sandbox
        . connect slack@b --sandbox
        . sandbox fault slack revoked_grant
        refresh slack@a slack@b
        reconnect
        . sandbox fault slack --clear
        . sandbox fault slack server_error --endpoint revoke
        disconnect slack@a --yes
        disconnect stripe --yes
        disconnect slack@work --local --yes
        disconnect github",
    );
}

#[test]
fn mcp_clients() {
    session(
        "mcp_clients",
        |_| {},
        ". connect mcp --sandbox
        . connect slack --sandbox
        mcp install vscode mcp --scope project --dry-run
        mcp install vscode mcp --scope project
        mcp install vscode mcp --scope project --yes
        mcp install vscode mcp --scope project --yes
        mcp install codex mcp --scope project --ignore-tool 'delete*' --yes
        mcp uninstall vscode mcp --scope project --yes
        mcp install codex slack --scope project
        mcp install emacs mcp",
    );
}

#[test]
fn calls() {
    session(
        "calls",
        |_| {},
        ". connect slack --sandbox
        call slack
        call slack chat.postMessage
        call slack chat.postMessage channel=C1 text=hello --dry-run
        call slack chat.postMessage channel=C1 text=hello
        call slack chat.postMessage chanel=C1
        call slack chat.post",
    );
}

#[test]
fn syncs() {
    session(
        "syncs",
        |_| {},
        ". connect slack --sandbox
        . connect stripe --sandbox
        . sandbox data slack/channels --records 3
        . sandbox data slack/users --records 2
        job list
        cursor get slack/channels
        schedule list
        sync slack --dry-run
        ~ sync slack/channels
        ~ sync slack/users
        ~ sync slack/channels --mode full
        records slack/channels --limit 1
        records slack/users --limit 1 --format csv
        ~ records
        ~ records slack
        records stripe
        ~ cursor get slack/channels
        ~ cursor get slack/channels --history
        cursor export slack
        cursor set slack/channels 2026-01-01T00:00:00Z
        cursor clear slack/channels
        ~ job list
        ~ job show 1
        job cancel 1
        ~ job retry 1
        job show 99
        schedule set slack 'every 15m'
        schedule set slack/users every
        ~ schedule list
        schedule remove slack
        schedule remove slack
        sync slack/nope
        ~ sync slack/users
        ~ sync slack/channels
        . sandbox fault slack rate_limit --endpoint stream --seconds 3600
        ~ sync slack/channels
        . sandbox fault slack --clear
        . sandbox fault slack malformed
        ~ sync slack/channels
        ~ job list",
    );
}

#[test]
fn calendars() {
    session(
        "calendars",
        |_| {},
        ". connect google-calendar --sandbox --add-scope https://www.googleapis.com/auth/calendar.freebusy --add-scope https://www.googleapis.com/auth/calendar.events.owned
        . connect outlook-calendar --sandbox
        . connect slack --sandbox
        calendar list outlook-calendar --jq '.calendars[:2]'
        calendar events --week=2031-01-07 --zone Europe/Berlin
        calendar freebusy google-calendar outlook-calendar --day=2031-01-08 --zone Europe/Berlin
        calendar conflicts --week=2031-01-07 --zone Europe/Berlin
        calendar slots google-calendar --duration 1h --hours 09:00-17:00 --day=2031-01-08 --zone Europe/Berlin
        calendar create google-calendar --title Check-up --start 2031-01-07T09:00 --duration 45m --entity appointment/1 --zone Europe/Berlin --jq .outcome
        calendar update google-calendar --entity appointment/1 --start 2031-01-07T10:00 --zone Europe/Berlin --jq .event.end
        calendar update google-calendar --entity appointment/1
        calendar delete google-calendar --entity appointment/1 --zone Europe/Berlin
        calendar delete google-calendar --entity appointment/1
        calendar create outlook-calendar --title Demo --start 2031-01-07T09:00 --duration 45m --zone Europe/Berlin
        calendar create outlook-calendar --title Demo --start 2031-01-07 --duration 45m --zone Europe/Berlin
        calendar create outlook-calendar --title Demo --start 2031-01-07T09:00 --end 2031-01-07T08:00 --zone Europe/Berlin
        calendar events slack --day
        calendar events --from 2031-01-07 --to 2031-01-07 --zone Europe/Berlin
        calendar events --week=soon",
    );
}

#[test]
fn endpoints() {
    session(
        "endpoints",
        |world| {
            let receiver = Receiver::start();
            receiver.always("/broken", Answer::Status(500));
            world.name("receiver", receiver.url(""));
            world.write("invoice.json", "{\"amount\": 5}\n");
            world.write("schema.json", "{\"type\": \"object\", \"required\": [\"amount\"]}\n");
        },
        ". config set http.allow 127.0.0.1
        endpoint list
        endpoint deliveries
        endpoint event list
        endpoint add {receiver}/hook --events 'invoice.*' --description Invoices
        let hook = endpoint list --jq '.endpoints[0].endpoint'
        . endpoint add {receiver}/broken --rate 10/s --policy linear --attempts 3 --ttl 1h --timeout 5s
        let broken = endpoint list --jq '.endpoints[]|select(.url|endswith(\"broken\"))|.endpoint'
        endpoint list
        endpoint show {hook}
        endpoint show {broken}
        endpoint show ep_none
        endpoint event add invoice.paid --description Paid
        endpoint event list
        ~ endpoint send invoice.paid --data invoice.json --id first
        ~ endpoint send invoice.paid --data invoice.json --id first
        ~ endpoint deliveries
        sorted ~ endpoint deliver --once
        ~ endpoint deliveries first
        ~ endpoint deliveries dlv_1
        ~ endpoint deliveries dlv_2
        ~ endpoint retry dlv_2
        endpoint retry dlv_none
        ~ endpoint retry --failed --since 1h
        endpoint retry --failed
        endpoint prune
        endpoint update {hook} --rate 5/s --events '*'
        endpoint rotate {hook}
        ~ endpoint disable {hook}
        ~ endpoint list
        endpoint enable {hook}
        endpoint event remove invoice.paid
        endpoint remove {broken} --yes",
    );
}

/// A signed request to the connection of Stripe, as a proxy would write it down.
fn captured(home: &Home) -> String {
    let url: url::Url = home.json("webhook url stripe")["url"].as_str().unwrap().parse().unwrap();
    let request = Maker::of(home, "stripe").make("charge.refunded", &url, "00000000000000000000000000000001");
    let headers: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("POST {} HTTP/1.1\r\n{headers}\r\n{}", url.path(), String::from_utf8_lossy(&request.body))
}

#[test]
fn webhooks() {
    session(
        "webhooks",
        |world| {
            world.home.ok("connect stripe --sandbox");
            world.home.ok("connect telegram --sandbox");
            let mut listening = Listening::start(&world.home, "--attempts 1 --exec false", None);
            for line in ["stripe charge.refunded", "telegram message", "stripe invoice.paid"] {
                world.home.ok(&format!("webhook simulate {line}"));
                listening.until("failed");
            }
            listening.signal(rustix::process::Signal::INT);
            assert_eq!(listening.running.code(), 130);
            world.write("request", &captured(&world.home));
        },
        "webhook url stripe
        webhook url telegram --public-url https://hooks.example/in
        webhook secret telegram
        webhook secret telegram --rotate
        webhook simulate telegram
        webhook simulate stripe charge.refunded --dry-run
        webhook simulate stripe nope
        webhook simulate stripe charge.refunded --to http://127.0.0.1:1/
        ~ webhook events
        ~ webhook events telegram --status dead
        webhook show 1
        webhook show 1 --headers
        webhook show 99
        webhook resolve 1 --keep all
        ~ webhook verify stripe --request request
        ~ webhook verify stripe --request request --at 2030-01-01T00:00:00Z
        webhook replay stripe --since 1h --to http://127.0.0.1:1/
        webhook backfill stripe --since 1h
        webhook retry 1
        ~ webhook events
        webhook prune --dry-run --keep 0s --dead
        webhook prune --keep 0s --dead
        ~ webhook events
        webhook show 3
        webhook subscribe telegram --dry-run
        webhook subscribe telegram
        webhook url telegram
        webhook unsubscribe telegram",
    );
}

#[test]
fn connectors() {
    session(
        "connectors",
        |world| {
            world.write("acme.toml", ACME);
            world.write("wrong.toml", &ACME.replace("docs =", "documentation ="));
        },
        "connector list
        connector show telegram
        connector show github
        connector show telegram sendMessage
        connector show slack messages
        connector show slak
        connector descriptor telegram
        connector search pull requests
        connector search nothing-of-the-kind
        connector setup github
        connector setup stripe
        connector validate
        connector validate wrong.toml
        connector validate acme.toml
        connector install acme.toml
        connector install acme.toml --yes
        connector install acme.toml --yes
        connector show acme
        connector new beta --name Beta --category projects --base https://api.beta.example --auth bearer --health /me --output -
        connector remove acme --yes
        connector remove acme --yes",
    );
}

#[test]
fn sandbox() {
    session(
        "sandbox",
        |_| {},
        "sandbox fault slack
        sandbox fault slack rate_limit --endpoint stream --times 2 --seconds 30
        sandbox fault slack server_error --after 1
        sandbox fault slack
        sandbox fault slack --clear
        sandbox data slack/channels --records 3
        sandbox data slack/nope --records 3
        sandbox advance slack --ticks 2
        sandbox reset slack
        sandbox reset",
    );
}

#[test]
fn apps() {
    session(
        "apps",
        |_| {},
        "app list
        app set slack --client-id 123.456
        app set gitlab --client-id abc --param instance=https://git.example.com --global
        app list
        app remove slack
        app remove slack
        app remove gitlab --global",
    );
}

#[test]
fn workspaces_and_vault() {
    session(
        "vault",
        |_| {},
        "workspace list
        workspace create other
        workspace create other
        workspace list
        ~ workspace show other
        workspace show none
        . connect stripe --sandbox
        ~ vault status
        ~ vault recipients
        vault recipients add age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg
        ~ vault recipients list
        vault recipients add nonsense
        vault recipients remove age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg
        vault rekey
        vault check
        vault backup out.age
        vault backup out.age
        -w other vault restore out.age --yes
        -w other vault restore out.age --yes
        vault identity export copy.age
        vault move-tokens store
        vault move-identity file
        vault unlock --for 30m
        vault lock
        workspace delete other --yes
        workspace delete other --yes",
    );
}

#[test]
fn settings() {
    session(
        "settings",
        |_| {},
        "config show
        ~ config path
        config set http.timeout 20s
        config set http.timeuot 20s
        config set vault.tokens nowhere
        config show
        ~ config get http.timeout
        config get notify.url
        config get http.timeuot
        config unset http.timeout
        config unset http.timeout
        config redacted",
    );
}

/// What a command prints that runs until it is ended: its first line, then what follows each other command, up to a word.
fn watched(world: &World, line: &str, events: &[(&str, &str)]) -> String {
    let mut running = Running::start(world.home.command(line.split_whitespace()));
    let mut seen = vec![running.line()];
    for (command, last) in events {
        world.home.ok(command);
        while !seen.last().unwrap().contains(last) {
            seen.push(running.line());
        }
        // The next wait is for another line.
        seen.push(String::new());
    }
    // It is killed, and another one may listen.
    drop(running);
    world.home.expire_leases();
    seen.retain(|line| !line.is_empty());
    seen.join("\n")
}

#[test]
fn servers() {
    let world = World::new();
    world.home.ok("connect stripe --sandbox");
    let listen = "webhook listen stripe --port 0 --attempts 1 --exec false";
    let good = "webhook simulate stripe invoice.paid";
    let wrong = "webhook simulate stripe invoice.paid --invalid signature";
    let text = watched(&world, listen, &[(good, "dead"), (wrong, "rejected")]);
    let json = watched(&world, &format!("{listen} --json"), &[(good, "\"failed\""), (wrong, "\"rejected\"")]);
    let sandbox = watched(&world, "sandbox run stripe", &[]);
    let sandbox_json = watched(&world, "sandbox run stripe --json", &[]);
    for (line, printed) in [("webhook listen --json", &json), ("sandbox run stripe --json", &sandbox_json)] {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        check_output(&words, &Ran { code: 0, stdout: printed.clone(), stderr: String::new() });
    }
    let documents = |text: &str| documents(&world, text, false).join("\n");
    let json = format!(
        "$ integ {listen} --json\n{}\n\n$ integ sandbox run stripe --json\n{}\n",
        documents(&json),
        documents(&sandbox_json),
    );
    assert_snap("servers", &json);
    // Ids in PostgreSQL begin with the day, and are cut.
    if !on_postgres() {
        let text = scrub::text(&text, world.home.path());
        let text = text.lines().map(scrub::without_times).collect::<Vec<_>>().join("\n");
        let sandbox = scrub::text(&sandbox, world.home.path());
        let shown = format!("$ integ {listen}\n{text}\n\n$ integ sandbox run stripe\n{sandbox}\n");
        assert_snap("servers_text", &shown);
    }
}

/// What the checks of a machine find differs; what they are called does not.
#[test]
fn doctor() {
    session(
        "doctor",
        |_| {},
        "doctor --jq '[.findings[].check]'
        doctor --jq 'keys_unsorted'
        doctor --jq '[.findings[]|keys_unsorted]|unique'",
    );
}

/// Command lines that are refused.
const USAGE: &str = include_str!("usage.txt");

/// The command lines of that session; one that begins with `. ` prepares something.
pub fn usage_lines() -> impl Iterator<Item = &'static str> {
    USAGE.lines().map(str::trim)
}

/// The errors of the command line itself: those of the library are in `errors`.
#[test]
fn usage() {
    session(
        "usage",
        |world| {
            world.write("empty", "");
            world.write("text", "nonsense");
        },
        USAGE,
    );
}
