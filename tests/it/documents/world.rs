//! A user's home in which the lines of the documents run: sandbox connections under the names that the documents use, with
//! records, events and files; and stubs for programs of the user's own.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use url::Url;

use super::blocks::Step;

use crate::harness::{INTEG, Ran, finish};
use crate::receiver::{Answer, Receiver};
use crate::snapshots::scrub::without_times;

/// The public key of an age identity that nobody has.
const AGE1: &str = "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg";

/// Programs that lines of the documents call and that are the user's own, or would use the network.
const STUBS: &[&str] = &["curl", "gh", "my-agent", "target-jsonl", "tell-us"];

/// The same in the working folder.
const LOCAL_STUBS: &[&str] = &["report", "handle", "release", "sms"];

const ACME: &str = "id = \"acme\"\nname = \"Acme\"\ncategory = \"projects\"\ndescription = \"Projects of Acme.\"\n\
    docs = \"https://acme.example/docs\"\n[api]\nbase = \"https://api.acme.example\"\n[auth.token]\nlabel = \"Token\"\n\
    [auth.token.fields.token]\nprompt = \"Token\"\n[health]\npath = \"/me\"\n";

/// The two-way binding of the topic `mapping`, and the entities that it pushes.
const LEAD_BINDING: &str = "id = .id\nemail: text = .properties.email | lower\nlast_name? = .properties.lastname\n\
    phone? = .properties.phone\n\n[sync]\nconflict = ask\ndelete = keep\nmatch = email\n\n\
    [out]\nproperties.email = .email\n\n[out.create]\nlifecyclestage = \"lead\"\n";
const LEADS: &str = "{\"entity\": \"lead/7\", \"document\": {\"email\": \"grace@example.com\", \"phone\": \"1\"}}\n\
    {\"entity\": \"lead/8\", \"document\": {\"email\": \"bob@example.com\"}}\n";

/// Connections of the documents.
const CONNECTIONS: &[&str] = &[
    "slack",
    "slack --as work",
    "github",
    "stripe",
    "telegram",
    "twilio",
    "jira",
    "gmail",
    "google-calendar --add-scope https://www.googleapis.com/auth/calendar.freebusy \
        --add-scope https://www.googleapis.com/auth/calendar.events.owned",
    "outlook-calendar --add-scope Calendars.ReadWrite",
    "hubspot --add-scope crm.objects.contacts.write",
    "oidc",
    "mcp",
    "https://mcp.linear.app/mcp",
];

/// A description of an API, for `connector new --from-openapi`.
const OPENAPI: &str = r#"{"openapi": "3.1.0", "info": {"title": "Acme", "version": "1"},
    "servers": [{"url": "https://api.acme.example"}],
    "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}, "security": [{"key": []}],
    "paths": {"/me": {"get": {"operationId": "me", "responses": {"200": {"description": "You"}}}}}}"#;

pub struct World {
    home: TempDir,
    receiver: Receiver,
}

/// A home that is copied for each part of a document: to make it takes longer.
static PREPARED: LazyLock<(TempDir, String, String)> = LazyLock::new(|| {
    let world = World::empty();
    for connection in CONNECTIONS {
        world.ok(&format!("integ connect {connection} --sandbox"));
    }
    for line in [
        "integ config set http.allow 127.0.0.1",
        "integ sync slack/channels github/issues stripe/charges hubspot/contacts",
        "integ binding set customer --from hubspot/contacts customer.binding",
        "integ binding set person --from hubspot/contacts --template contact",
        "integ binding export > bindings.json",
        "integ endpoint send invoice.paid --data invoice.json",
        "integ vault identity export id.age",
        "mv id.age copy.age",
        "integ token stripe > key.txt",
        "integ cursor export github > cursors.json",
        "integ link add customer/42 hubspot/contacts 1500017",
        "integ link add customer/43 hubspot/contacts 1500018 --user u_17",
        "echo '{\"entity\": \"customer/7\", \"document\": {\"email\": \"ada@example.com\", \"phone\": \"1\"}}' \
            | integ binding push person -",
        "integ call hubspot contacts.update properties='{\"phone\": \"2\", \"lastname\": \"King\"}' \
            contact_id=$(integ link find customer/7 --json --jq '.links[0].object')",
        "echo '{\"entity\": \"customer/7\", \"document\": {\"last_name\": \"Byron\", \"phone\": \"3\"}}' \
            | integ binding push person -",
        "integ api-token create mobile --scope connections:read",
        "integ operator set kim --role viewer",
        "integ calendar create google-calendar --title Check-up --start 2026-12-03T09:00 --duration 45m \
            --entity appointment/123",
    ] {
        world.ok(line);
    }
    world.listening("--attempts 1 --exec false", |world| {
        world.ok("integ webhook simulate stripe invoice.paid --count 2");
    });
    let endpoint = world.ok("integ endpoint add http://127.0.0.1:3000/hook --json --jq .endpoint").trim().to_owned();
    world.ok("integ endpoint send invoice.paid --data invoice.json");
    let link = world.ok("integ connect-link create slack --json --jq .connect_link").trim().to_owned();
    let copy = tempfile::tempdir().unwrap();
    copy_folder(world.path(), copy.path());
    (copy, endpoint, link)
});

fn copy_folder(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap().success());
}

impl World {
    /// A home of somebody who has just installed integ.
    pub fn empty() -> Self {
        let world = Self { home: tempfile::tempdir().unwrap(), receiver: Receiver::start() };
        let write = |name: &str, text: &str| std::fs::write(world.path().join(name), text).unwrap();
        for name in ["invoice.json", "paid.json"] {
            write(name, "{\"amount\": 5}\n");
        }
        for name in ["report.txt", "figures.pdf"] {
            write(name, "figures\n");
        }
        write("key.txt", "sk_test_sandbox\n");
        write("secret.txt", "whsec_c2VjcmV0IG9mIHRoZSBkb2N1bWVudHM=\n");
        write("stdin.txt", "secret-of-the-documents\n");
        write("links.csv", "entity_type,entity_id,connection,resource,object\ncustomer,44,hubspot,contacts,1500019\n");
        write("openapi.json", OPENAPI);
        write(
            "customer.binding",
            "id = .id\nemail = .properties.email\n\n[example a lead]\ninput = {\"id\": \"1\"}\nerror = \"email\"\n",
        );
        write("lead.binding", LEAD_BINDING);
        write("leads.jsonl", LEADS);
        write("acme.toml", ACME);
        write("my-service.toml", &ACME.replace("acme", "my-service"));
        for name in STUBS {
            std::fs::create_dir_all(world.path().join("bin")).unwrap();
            stub(&world.path().join("bin").join(name));
        }
        for name in LOCAL_STUBS {
            stub(&world.path().join(name));
        }
        world
    }

    /// Puts a connector of the user's own where integ looks for it.
    pub fn install(&self, id: &str, toml: &str) {
        let folder = self.path().join(".local/share/integ/connectors");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{id}.toml")), toml).unwrap();
    }

    /// The text of a file of the working folder.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    /// A copy of the prepared home.
    pub fn prepared() -> Self {
        let world = Self { home: tempfile::tempdir().unwrap(), receiver: Receiver::start() };
        copy_folder(PREPARED.0.path(), world.path());
        world
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    /// A line with what the user replaces replaced, and with ports that are free.
    fn filled(&self, line: &str) -> String {
        let endpoint = if line.contains("ENDPOINT") { PREPARED.1.as_str() } else { "" };
        let link = if line.contains("CONNECT_LINK") { PREPARED.2.as_str() } else { "" };
        let address = &self.receiver.address;
        [
            ("cargo run -- ", "integ "),
            ("/usr/local/bin/tell-us", "tell-us"),
            ("ENDPOINT", endpoint),
            ("CONNECT_LINK", link),
            ("AGE1", AGE1),
            ("age1…", AGE1),
            ("127.0.0.1:3000", address),
            ("localhost:3000", address),
            ("--forward-to 3000", &format!("--forward-to {address}")),
            ("--port 9000", "--port 0"),
            ("https://HOST", "https://hooks.example.com"),
        ]
        .into_iter()
        .fold(line.to_owned(), |line, (name, value)| line.replace(name, value))
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("bash");
        let folder = Path::new(INTEG).parent().unwrap().display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .args(["-c", &self.filled(line)])
            .env_clear()
            .env("HOME", self.path())
            .env("PATH", format!("{}/bin:{folder}:{path}", self.path().display()))
            .env("INTEG_SANDBOX_SEED", "documents")
            .env("INTEG_CONNECT_SANDBOX", "1")
            .env("INTEG_WEBHOOK_LISTEN_PORT", "0")
            .env("INTEG_SERVE_BIND", "127.0.0.1:0")
            .env("INTEG_PASSPHRASE_COMMAND", "echo correct horse battery staple")
            .current_dir(self.path())
            .stdin(std::fs::File::open(self.path().join("stdin.txt")).map_or_else(|_| Stdio::null(), Stdio::from));
        command
    }

    /// Does something while a listener runs.
    fn listening<T>(&self, words: &str, work: impl FnOnce(&Self) -> T) -> T {
        let mut command = self.command(&format!("exec integ webhook listen {words} --json"));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.next().unwrap().unwrap();
        let done = work(self);
        // What was sent is handled before the listener ends.
        let _ = kill_process(Pid::from_child(&child), Signal::INT);
        lines.for_each(drop);
        child.wait().unwrap();
        done
    }

    /// A signed request, as a proxy would write it down.
    fn capture_request(&self) {
        let request: Value =
            serde_json::from_str(&self.ok("integ webhook simulate stripe invoice.paid --dry-run --json")).unwrap();
        let url: Url = request["url"].as_str().unwrap().parse().unwrap();
        let headers = request["headers"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let headers: String = headers.map(|pair| format!("{}: {}\r\n", text(&pair[0]), text(&pair[1]))).collect();
        let text = format!("POST {} HTTP/1.1\r\n{headers}\r\n{}", url.path(), request["body"].as_str().unwrap());
        std::fs::write(self.path().join("request.http"), text).unwrap();
    }

    fn ok(&self, line: &str) -> String {
        let ran = finish(self.command(line));
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        ran.stdout
    }

    /// Runs a line, and compares what it prints if the document shows that.
    pub fn run(&self, step: &Step) -> Result<(), String> {
        let line = &step.line;
        // A receiver that is tested with requests that it must refuse.
        let status = if line.contains("--invalid") { 401 } else { 204 };
        self.receiver.always("/hooks", Answer::Status(status));
        if line.contains("request.http") {
            // Its signature is valid for some minutes only.
            self.capture_request();
        }
        let ran = if line.contains("webhook simulate") && !line.contains("--to ") {
            self.listening("", |world| finish(world.command(line)))
        } else {
            finish(self.command(line))
        };
        if ran.code != step.code {
            return Err(format!("{line}: exit code {}\n{}{}", ran.code, ran.stdout, ran.stderr));
        }
        compare(line, &ran, &step.shown)
    }

    /// Runs a line until it has printed something, and interrupts it.
    pub fn serve(&self, line: &str) -> Result<(), String> {
        let mut command = self.command(&format!("exec {line}"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let _ = kill_process(Pid::from_child(&child), Signal::INT);
        let output = child.wait_with_output().unwrap();
        match output.status.code() {
            Some(0 | 130) if !first.is_empty() => Ok(()),
            code => Err(format!("{line}: {code:?}\n{first}{}", String::from_utf8_lossy(&output.stderr))),
        }
    }
}

/// The process that holds an unlocked identity is not left behind.
impl Drop for World {
    fn drop(&mut self) {
        finish(self.command("integ vault lock"));
    }
}

fn stub(path: &Path) {
    std::fs::write(path, "#!/bin/sh\ncat > /dev/null\n").unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Compares lines word by word. Times differ, `…` at the end of a line stands for any rest of it, and alone for any lines to
/// the end.
fn compare(line: &str, ran: &Ran, shown: &[String]) -> Result<(), String> {
    if shown.is_empty() {
        return Ok(());
    }
    let printed: Vec<&str> = ran.stdout.lines().collect();
    let same = |shown: &str, printed: &str| {
        let words = |text: &str| without_times(&text.split_whitespace().collect::<Vec<_>>().join(" "));
        match shown.strip_suffix('…') {
            Some(start) => words(printed).starts_with(&words(start)),
            None => words(shown) == words(printed),
        }
    };
    let is_open = shown.last().is_some_and(|line| line == "…");
    let shown = if is_open { &shown[..shown.len() - 1] } else { shown };
    let printed = if is_open { &printed[..shown.len().min(printed.len())] } else { &printed[..] };
    let fits = shown.len() == printed.len() && shown.iter().zip(printed).all(|(shown, printed)| same(shown, printed));
    if fits { Ok(()) } else { Err(format!("{line} prints\n{}\nand not\n{}", ran.stdout, shown.join("\n"))) }
}
