//! Webhooks and the vendors' own SDKs: they judge what integ signs, and integ judges what they sign.
//!
//! The table that this prints stands in `tests/README.md`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use integ::clock::Timestamp;
use integ::connector::Catalogue;
use integ::secret::Secret;
use integ::signing::request::WebhookRequest;
use integ::signing::sign::{EmulatorKeys, sign};
use integ::signing::verify::SigningContext;
use integ::webhook::simulate::corrupt::{Corruption, corrupt};
use serde_json::{Value, json};
use url::Url;

use crate::harness::{Home, Running, finish, has_program, needs, peers};
use crate::webhook::{Listening, events, post};

/// What befalls a request, in the order of the table's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Good,
    OtherKey,
    Tampered,
    Stale,
    Ahead,
}

const CASES: [Case; 5] = [Case::Good, Case::OtherKey, Case::Tampered, Case::Stale, Case::Ahead];

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Taken,
    Refused,
    /// The scheme signs no time, or says that none is judged.
    NoTime,
    /// Nothing makes such a request.
    None,
}

use Verdict::{NoTime, None as Never, Refused, Taken};

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Taken => "taken",
            Refused => "refused",
            NoTime => "no time",
            Never => "",
        }
    }
}

/// A scheme: the peer's name for it, the connection that integ sends for, the one that receives, and an event.
pub struct Scheme {
    pub name: &'static str,
    shown: &'static str,
    from: &'static str,
    pub to: &'static str,
    event: &'static str,
    /// What the SDK says of stale requests and of those from the future.
    sdk: [Verdict; 2],
    /// What integ says of them.
    own: [Verdict; 2],
}

const fn scheme(
    name: &'static str,
    shown: &'static str,
    connection: &'static str,
    event: &'static str,
    sdk: [Verdict; 2],
    own: [Verdict; 2],
) -> Scheme {
    Scheme { name, shown, from: connection, to: connection, event, sdk, own }
}

const TIMELESS: [Verdict; 2] = [NoTime, NoTime];
const BOTH: [Verdict; 2] = [Refused, Refused];
/// A day ahead is as good as now to these SDKs.
const PAST_ALONE: [Verdict; 2] = [Refused, Taken];

pub const SCHEMES: [Scheme; 20] = [
    scheme("stripe", "Stripe", "stripe", "charge.refunded", PAST_ALONE, BOTH),
    scheme("github", "GitHub", "github", "push", TIMELESS, TIMELESS),
    scheme("slack", "Slack", "slack", "message", PAST_ALONE, BOTH),
    scheme("twilio-form", "Twilio, form", "twilio", "message_status", TIMELESS, TIMELESS),
    scheme("twilio-json", "Twilio, JSON", "twilio", "message_status", TIMELESS, TIMELESS),
    scheme("notion", "Notion", "notion", "page.created", TIMELESS, TIMELESS),
    scheme("hubspot-v1", "HubSpot v1", "hubspot", "contact.creation", TIMELESS, TIMELESS),
    scheme("hubspot-v2", "HubSpot v2", "hubspot", "contact.creation", TIMELESS, TIMELESS),
    scheme("hubspot-v3", "HubSpot v3", "hubspot", "contact.creation", PAST_ALONE, BOTH),
    // The SDK leaves the time to whoever calls it.
    scheme("discord", "Discord", "discord", "APPLICATION_AUTHORIZED", [Taken, Taken], BOTH),
    scheme("gitlab", "GitLab, signing token", "gitlab", "Push Hook", BOTH, BOTH),
    scheme("webhook", "Standard Webhooks", "webhook", "contact.created", BOTH, BOTH),
    scheme("endpoint", "`integ endpoint send`", "", "", [Never, Never], [Never, Never]),
    Scheme { to: "gmail-rule", ..scheme("google", "Google OIDC token", "gmail", "mailbox_changed", BOTH, BOTH) },
    Scheme {
        to: "paypal-rule",
        ..scheme("paypal", "PayPal", "paypal", "PAYMENT.CAPTURE.COMPLETED", [Taken, Taken], TIMELESS)
    },
    scheme("typeform", "Typeform", "typeform", "form_response", TIMELESS, TIMELESS),
    scheme("trello", "Trello", "trello", "createCard", TIMELESS, TIMELESS),
    scheme("quickbooks", "QuickBooks", "quickbooks", "qbo.invoice.created.v1", TIMELESS, TIMELESS),
    scheme("whatsapp", "WhatsApp", "whatsapp", "messages", TIMELESS, TIMELESS),
    scheme("jira", "Jira", "jira", "jira:issue_created", TIMELESS, TIMELESS),
];

const AUDIENCE: &str = "https://hooks.example.com/gmail";
const ACCOUNT: &str = "push@sandbox.iam.gserviceaccount.com";
const WEBHOOK_ID: &str = "4JH86294D6297924G";
/// The first two keys of RFC 8032 section 7.1, private and public.
const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const OTHER_SEED: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
const OTHER_PUBLIC: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
/// base64 of 32 bytes after its prefix, which is a text to the schemes that take any.
const OTHER_SECRET: &str = "whsec_b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGU=";
const JSON: &str = r#"{"MessageSid":"SM00000000000000000000000000000001","MessageStatus":"delivered"}"#;

/// The Node process with the SDKs.
pub struct Peer {
    running: Running,
    url: Url,
    sdks: Value,
}

impl Peer {
    fn start() -> Self {
        let mut command = Command::new("node");
        command.arg(peers().join("webhook-sdk.mjs"));
        let mut running = Running::start(command);
        let ready = running.event();
        Self { url: ready["url"].as_str().unwrap().parse().unwrap(), sdks: ready["sdks"].clone(), running }
    }

    pub fn ask(&mut self, wish: &Value) -> Value {
        writeln!(self.running.stdin.as_mut().unwrap(), "{wish}").unwrap();
        self.running.event()
    }

    fn hook(&self, scheme: &Scheme) -> Url {
        self.url.join(scheme.name).unwrap()
    }
}

/// A home with a sandbox connection of each, and two that believe in the peer's keys.
pub struct World {
    pub home: Home,
    pub peer: Peer,
    /// Where the sandbox's vendors publish their keys.
    published: BTreeMap<String, String>,
    _sandbox: Running,
}

impl World {
    pub fn new() -> Self {
        let home = Home::new();
        let peer = Peer::start();
        for name in SCHEMES.iter().map(|scheme| scheme.from).filter(|name| !name.is_empty()) {
            if home.run(&format!("status {name}")).code != 0 {
                home.ok(&format!("connect {name} --sandbox"));
            }
        }
        for name in ["gmail", "paypal"] {
            home.install(&format!("{name}-rule"), &with_the_rule_of(name));
            let line = format!("connect {name}-rule --with-token --origin {}", peer.url.origin().ascii_serialization());
            let ran = home.run_with_input(&line, "key");
            assert_eq!(ran.code, 0, "{ran:?}");
        }
        for name in ["gmail", "gmail-rule"] {
            home.ok(&format!("webhook secret {name} --param audience={AUDIENCE} --param service_account={ACCOUNT}"));
        }
        for name in ["paypal", "paypal-rule"] {
            home.ok(&format!("webhook secret {name} --param webhook_id={WEBHOOK_ID}"));
        }
        home.ok("config set http.allow 127.0.0.1");
        home.ok(&format!("webhook secret discord --param public_key={PUBLIC}"));
        std::fs::write(home.path().join("seed"), SEED).unwrap();
        std::fs::write(home.path().join("twilio.json"), JSON).unwrap();
        let mut sandbox = Running::start(home.command(["sandbox", "run", "gmail", "paypal", "--json"]));
        let serving = [sandbox.event(), sandbox.event()];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let published = serving.iter().map(|line| (text(&line["connector"]), text(&line["origin"]))).collect();
        Self { home, peer, published, _sandbox: sandbox }
    }

    /// What both sides sign and verify with; another where the key is to be wrong.
    pub fn key(&self, scheme: &Scheme, other: bool) -> Value {
        match scheme.name {
            "google" => json!({
                "audience": AUDIENCE, "email": ACCOUNT, "other": other,
                "keys": if other { self.peer.url.join("/oauth2/v3/certs").unwrap().to_string() }
                        else { format!("{}oauth2/v3/certs", self.published["gmail"]) },
            }),
            "paypal" => json!({
                "webhook_id": WEBHOOK_ID, "other": other,
                "certificates": if other { self.peer.url.as_str() } else { &self.published["paypal"] },
            }),
            "discord" if other => json!({ "seed": OTHER_SEED, "public": OTHER_PUBLIC }),
            "discord" => json!({ "seed": SEED, "public": PUBLIC }),
            _ if other => json!(OTHER_SECRET),
            _ => json!(self.home.ok(&format!("webhook secret {} --print-secret", scheme.from))),
        }
    }

    /// What the SDK says of a request of integ's.
    fn out(&mut self, scheme: &Scheme, case: Case) -> Verdict {
        if scheme.name == "endpoint" {
            return self.endpoint(scheme, case);
        }
        let key = self.key(scheme, case == Case::OtherKey);
        self.peer.ask(&json!({ "verify": scheme.name, "key": key }));
        let fault = match case {
            Case::Good | Case::OtherKey => None,
            // A token says nothing of the body.
            Case::Tampered if scheme.name == "google" => Some(Corruption::Signature),
            Case::Tampered => Some(Corruption::Body),
            Case::Stale => Some(Corruption::PastTimestamp),
            Case::Ahead => Some(Corruption::FutureTimestamp),
        };
        let to = self.peer.hook(scheme);
        if let Some(version) = scheme.name.strip_prefix("hubspot-").filter(|version| *version != "v3") {
            return self.older(scheme, version, fault, &to);
        }
        let mut words = vec!["webhook", "simulate", scheme.from, scheme.event, "--json", "--to", to.as_str()];
        words.extend(fault.iter().flat_map(|fault| ["--invalid", fault.as_str()]));
        match scheme.name {
            "discord" => words.extend(["--secret-file", "seed"]),
            "twilio-json" => words.extend(["--data", "twilio.json"]),
            _ => {}
        }
        let ran = finish(self.home.command(words));
        if ran.error_code() == "not_verifiable" {
            return NoTime;
        }
        let sent: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}: {ran:?}", scheme.name));
        let verdict = said(sent["status"].as_u64());
        let wanted = if fault.is_some() { Refused } else { Taken };
        assert_eq!(ran.code == 0, verdict == wanted, "{}: {ran:?}", scheme.name);
        verdict
    }

    /// HubSpot's older signatures, which no event is signed by alone: made by the same rule.
    fn older(&self, scheme: &Scheme, version: &str, fault: Option<Corruption>, to: &Url) -> Verdict {
        if matches!(fault, Some(Corruption::PastTimestamp | Corruption::FutureTimestamp)) {
            return NoTime;
        }
        let connector = Catalogue::new(Path::new("/nonexistent")).get("hubspot").unwrap();
        let rules = connector.webhook.as_ref().unwrap();
        let of_version = |proof: &&integ::connector::SignatureScheme| {
            proof.when.as_ref().is_some_and(|when| when.headers.values().any(|value| value == version))
        };
        let proof = rules.proofs.iter().find(of_version).unwrap();
        let secret = self.home.ok("webhook secret hubspot --print-secret");
        let keys = SigningContext { secrets: vec![Secret::from(secret.as_str())], ..SigningContext::default() };
        let mut request = self.sample(scheme, to);
        request.set_header("X-HubSpot-Signature-Version", version);
        let mut document = serde_json::from_slice(&request.body).unwrap();
        sign(proof, &rules.event, &mut request, &mut document, &keys, &EmulatorKeys::default(), Timestamp::now())
            .unwrap();
        if let Some(fault) = fault {
            corrupt(fault, proof, &mut request, &document[0]);
        }
        said(post(to, &request).map(u64::from))
    }

    /// A message of integ's own endpoints. Nothing sends a wrong one.
    fn endpoint(&mut self, scheme: &Scheme, case: Case) -> Verdict {
        if !matches!(case, Case::Good | Case::OtherKey) {
            return Never;
        }
        let added = self.home.json(&format!("endpoint add {} --policy none", self.peer.hook(scheme)));
        let secret = if case == Case::Good { added["secret"].clone() } else { json!(OTHER_SECRET) };
        self.peer.ask(&json!({ "verify": scheme.name, "key": secret }));
        let sent = self.home.run("endpoint send contact.created --wait --json");
        let sent: Value = serde_json::from_str(&sent.stdout).unwrap();
        self.home.ok(&format!("endpoint remove {} --yes", added["endpoint"].as_str().unwrap()));
        if sent["deliveries"][0]["status"] == "delivered" { Taken } else { Refused }
    }

    /// A sample as the vendor would send it, without anything that proves it.
    pub fn sample(&self, scheme: &Scheme, url: &Url) -> WebhookRequest {
        let mut words = vec!["webhook", "simulate", scheme.from, scheme.event, "--dry-run", "--json"];
        if scheme.name == "discord" {
            words.extend(["--secret-file", "seed"]);
        }
        let ran = finish(self.home.command(words));
        assert_eq!(ran.code, 0, "{}: {ran:?}", scheme.name);
        let made: Value = serde_json::from_str(&ran.stdout).unwrap();
        let proves = |name: &str| {
            let name = name.to_ascii_lowercase();
            name == "authorization"
                || name.starts_with("paypal-")
                || ["signature", "timestamp", "trello-webhook"].iter().any(|word| name.contains(word))
        };
        let headers: Vec<(String, String)> = serde_json::from_value(made["headers"].clone()).unwrap();
        let called: Url = made["url"].as_str().unwrap().parse().unwrap();
        let mut url = url.clone();
        url.set_query(called.query());
        WebhookRequest {
            method: "POST".to_owned(),
            url: url.to_string(),
            headers: headers.into_iter().filter(|(name, _)| !proves(name)).collect(),
            body: made["body"].as_str().unwrap().as_bytes().to_vec(),
        }
    }

    /// What integ says of a request that the SDK signed.
    fn received(&mut self, scheme: &Scheme, case: Case, listening: &mut Listening) -> Verdict {
        // Far from the tolerance of everybody, and a token's hour is over; a quarter of an hour is what SDKs take.
        const STALE: i64 = 7200;
        const AHEAD: i64 = 960;
        let times = matches!(case, Case::Stale | Case::Ahead);
        if scheme.to.is_empty() {
            return Never;
        }
        if times && scheme.own == TIMELESS {
            return NoTime;
        }
        let mut request = self.sample(scheme, &listening.url(scheme.to));
        if scheme.name == "twilio-json" {
            request.set_header("Content-Type", "application/json");
            let sid = request.body.windows(34).find(|text| text.starts_with(b"SM")).unwrap();
            request.body = JSON.replace("SM00000000000000000000000000000001", std::str::from_utf8(sid).unwrap()).into();
        }
        let now = Timestamp::now().as_second();
        let at = match case {
            Case::Stale => now - STALE,
            Case::Ahead => now + AHEAD,
            Case::Good | Case::OtherKey | Case::Tampered => now,
        };
        let signed = self.peer.ask(&json!({
            "sign": scheme.name, "key": self.key(scheme, case == Case::OtherKey), "at": at,
            "url": request.url, "body": String::from_utf8(request.body.clone()).unwrap(),
        }));
        for (name, value) in signed["headers"].as_object().unwrap() {
            request.set_header(name, value.as_str().unwrap());
        }
        if case == Case::Tampered && scheme.name == "google" {
            let token = request.single_header("Authorization").unwrap().replace(".eyJ", ".eyK");
            request.set_header("Authorization", &token);
        } else if case == Case::Tampered {
            request.body.push(b' ');
        }
        let status = post(&signed["url"].as_str().unwrap().parse().unwrap(), &request);
        // What the vendor says of an event later is another test's.
        let line = of_a_request(listening);
        assert_eq!(line["connection"], scheme.to, "{line}");
        let verdict = said(status.map(u64::from));
        let event = if verdict == Taken { "received" } else { "rejected" };
        assert_eq!(line["event"], event, "{} {case:?}: {line}", scheme.name);
        if verdict == Taken {
            // PayPal signs a CRC of the body, and is asked.
            let verified = scheme.name != "paypal";
            assert_eq!((&line["verified"], &line["duplicate"]), (&json!(verified), &json!(false)), "{line}");
        }
        verdict
    }
}

/// The next line that tells of a request, and not of what its vendor said of it later.
fn of_a_request(listening: &mut Listening) -> Value {
    loop {
        let line = listening.event();
        if line["reason"] != "not_confirmed" && line["event"] != "verified" {
            return line;
        }
    }
}

fn said(status: Option<u64>) -> Verdict {
    match status {
        Some(200..300) => Taken,
        Some(401) => Refused,
        other => panic!("{other:?}"),
    }
}

/// A connector with the webhook rule of another, and a key in place of its OAuth, so that its keys can be the peer's.
fn with_the_rule_of(name: &str) -> String {
    let file = std::fs::read_to_string(format!("{}/connectors/{name}.toml", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let rule = &file[file.find("[webhook]").unwrap()..file.find("[webhook.subscribe]").unwrap()];
    let confirm = file.find("[webhook.confirm]").map(|from| {
        let rest = &file[from..];
        let action = "[actions.\"webhooks_events.get\"]\nabout = \"Get an event\"\nmethod = \"GET\"\npath = \"/events/{event_id}\"\n\
                      params.event_id = { about = \"Id\", required = true }\n";
        format!("{}\n{action}", &rest[..rest.find("\n[webhook.backfill]").unwrap()])
    });
    let confirm = confirm.unwrap_or_default();
    format!(
        "id = \"{name}-rule\"\nname = \"The rule of {name}\"\ncategory = \"generic\"\ndescription = \"A test's.\"\n\
         docs = \"https://example.com\"\n[api]\nbase = \"https://example.com\"\n[auth.key]\nlabel = \"Key\"\n\
         [auth.key.fields.key]\nprompt = \"Key\"\n{rule}\n{confirm}"
    )
}

pub fn is_here() -> bool {
    let installed = peers().join("node_modules/google-auth-library").is_dir();
    needs("node, openssl and tests/peers/node_modules", has_program("node") && has_program("openssl") && installed)
}

#[test]
fn the_vendors_sdks_take_what_is_simulated_and_what_they_sign_is_taken() {
    if !is_here() {
        return;
    }
    let mut world = World::new();
    let mut listening = Listening::start(&world.home, "", None);
    let mut rows = Vec::new();
    let mut wrong = Vec::new();
    let mut taken = 0;
    for scheme in &SCHEMES {
        let expected = |times: [Verdict; 2], none: bool| {
            if none { [Never; 5] } else { [Taken, Refused, Refused, times[0], times[1]] }
        };
        let out = CASES.map(|case| world.out(scheme, case));
        let received = CASES.map(|case| world.received(scheme, case, &mut listening));
        let mut wanted = expected(scheme.sdk, false);
        if scheme.name == "endpoint" {
            wanted[2] = Never;
        }
        for (way, got, wanted) in [("out", out, wanted), ("in", received, expected(scheme.own, scheme.to.is_empty()))] {
            if got != wanted {
                wrong.push(format!("{} {way}: {got:?}, not {wanted:?}", scheme.name));
            }
        }
        taken += received.iter().filter(|verdict| **verdict == Taken).count();
        let sdk = &world.peer.sdks[scheme.name];
        let (sdk, version) = (sdk["sdk"].as_str().unwrap(), sdk["version"].as_str().unwrap());
        let cells: Vec<&str> = out.iter().chain(&received).map(|verdict| verdict.word()).collect();
        let sdk = format!("{sdk} {version}");
        rows.push(format!("| {} | {} | {} |", scheme.shown, sdk.trim_end(), cells.join(" | ")));
    }
    // Past the test runner's capture: the table is what this is for.
    let _ = writeln!(std::io::stderr(), "{}", rows.join("\n"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(events(&world.home, "").len(), taken, "what was refused is no event");
    let readme = std::fs::read_to_string(format!("{}/tests/README.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
    for row in &rows {
        assert!(readme.lines().any(|line| line == row), "tests/README.md does not have: {row}");
    }
}

/// A URL that is called with a port may be signed without it, and one without may be signed with its scheme's.
#[test]
fn fault_071_twilios_sdk_signs_with_and_without_the_port() {
    if !is_here() {
        return;
    }
    let mut world = World::new();
    let scheme = SCHEMES.iter().find(|scheme| scheme.name == "twilio-form").unwrap();
    for (public, signed) in [
        ("https://hooks.example.com:8443", ["https://hooks.example.com:8443", "https://hooks.example.com"]),
        ("https://hooks.example.com", ["https://hooks.example.com:443", "https://hooks.example.com"]),
        ("https://[2001:db8::1]", ["https://[2001:db8::1]:443", "https://[2001:db8::1]"]),
    ] {
        let mut listening = Listening::start(&world.home, &format!("twilio --public-url {public}"), None);
        let receives = listening.url("twilio");
        let wrong = ["http://hooks.example.com:8443", "https://hooks.example.com:444", "https://other.example.com"];
        for (origin, verdict) in signed.iter().map(|origin| (origin, Taken)).chain(wrong.iter().map(|o| (o, Refused))) {
            let mut request = world.sample(scheme, &receives);
            let path = &request.url[receives.origin().ascii_serialization().len()..];
            let signed = world.peer.ask(&json!({
                "sign": scheme.name, "key": world.key(scheme, false), "url": format!("{origin}{path}"),
                "body": String::from_utf8(request.body.clone()).unwrap(),
            }));
            request.set_header("X-Twilio-Signature", signed["headers"]["X-Twilio-Signature"].as_str().unwrap());
            let status = post(&request.url.parse().unwrap(), &request);
            assert_eq!(said(status.map(u64::from)), verdict, "{public}: {origin}");
            listening.event();
        }
    }
}

#[test]
fn what_the_sandbox_signs_is_believed_in_the_sandbox_alone() {
    if !is_here() {
        return;
    }
    let mut world = World::new();
    let mut listening = Listening::start(&world.home, "", None);
    for name in ["gmail", "paypal"] {
        let scheme = SCHEMES.iter().find(|scheme| scheme.from == name).unwrap();
        let simulate = |world: &World, to: &Url| {
            let words = ["webhook", "simulate", name, scheme.event, "--json", "--to", to.as_str()];
            let sent: Value = serde_json::from_str(&finish(world.home.command(words)).stdout).unwrap();
            said(sent["status"].as_u64())
        };
        // The first of each fetches the keys, under the same URL: neither believes the other's from then on.
        for _ in 0..2 {
            assert_eq!(simulate(&world, &listening.url(scheme.from)), Taken, "{name}");
            assert_eq!(of_a_request(&mut listening)["event"], "received");
            assert_eq!(simulate(&world, &listening.url(scheme.to)), Refused, "{name}");
            assert_eq!(of_a_request(&mut listening)["reason"], "signature", "{name}");
            assert_eq!(world.received(scheme, Case::Good, &mut listening), Taken, "{name}");
        }
    }
}
