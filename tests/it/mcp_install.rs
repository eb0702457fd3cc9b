//! `integ mcp install`: the settings of MCP clients, and what clients make of them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Home, Running, has_program, needs, peers};
use crate::wire;

/// A home with an MCP server of the sandbox.
fn home() -> Home {
    let home = Home::new();
    home.ok("connect mcp --sandbox");
    home
}

fn write(home: &Home, name: &str, text: &str) -> PathBuf {
    let path = home.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn json_of(path: &PathBuf) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_client_starts_the_proxy_that_was_installed() {
    let home = home();
    let shown = home.run("mcp install claude-code mcp --dry-run");
    let path = home.path().join(".claude.json");
    assert!(shown.code == 0 && shown.stderr.contains("+    \"mcp\": {") && !path.exists(), "{shown:?}");
    let asked = home.run("mcp install claude-code mcp --json");
    assert_eq!((asked.code, asked.error_code().is_empty(), path.exists()), (2, false, false), "{asked:?}");
    let view = home.json("mcp install claude-code mcp --yes --ignore-tool count");
    assert_eq!((&view["is_written"], &view["name"]), (&json!(true), &json!("mcp")));
    let server = json_of(&path)["mcpServers"]["mcp"].clone();
    assert_eq!(server["args"], json!(["mcp", "proxy", "mcp", "--ignore-tool=count"]));
    // What a client does with it.
    let args = server["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
    let mut command = Command::new(server["command"].as_str().unwrap());
    command.args(args).env_clear();
    for (name, value) in server["env"].as_object().unwrap() {
        command.env(name, value.as_str().unwrap());
    }
    let mut running = Running::start(command);
    writeln!(running.stdin.as_mut().unwrap(), r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list"}}"#).unwrap();
    let tools = running.event()["result"]["tools"].clone();
    assert_eq!((tools.as_array().unwrap().len(), &tools[0]["name"]), (1, &json!("echo")), "{tools}");
    let token = home.ok("token mcp");
    assert!(!fs::read_to_string(&path).unwrap().contains(&token));
}

#[test]
fn installing_twice_changes_nothing_and_uninstalling_takes_it_out_again() {
    let home = home();
    for (client, line, name, before) in [
        ("claude-code", "--scope project", ".mcp.json", "{\n  \"mcpServers\": {},\n  \"x\": 1.00\n}\n"),
        (
            "claude-code",
            "",
            ".claude.json",
            "{\"numStartups\":7,\"mcpServers\":{\"a\":{\"type\":\"http\",\"url\":\"https://a.example\"}}}",
        ),
        (
            "vscode",
            "--scope project",
            ".vscode/mcp.json",
            "{\n\t// shared\n\t\"servers\": {\n\t},\n\t\"inputs\": []\n}\n",
        ),
        ("vscode", "", ".config/Code/User/mcp.json", "{ \"servers\": { \"a\": { \"url\": \"x\" } /* a */, }, }"),
        ("codex", "--scope project", ".codex/config.toml", "# ours\n[mcp_servers.a]\ncommand = \"a\"\n"),
    ] {
        let path = write(&home, name, before);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        home.ok(&format!("mcp install {client} mcp {line} --yes"));
        let installed = fs::read_to_string(&path).unwrap();
        assert!(installed.contains("proxy") && installed != before, "{installed}");
        for comment in ["// shared", "/* a */", "# ours", "1.00"] {
            assert_eq!(installed.contains(comment), before.contains(comment), "{comment}: {installed}");
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640, "{name}");
        let again = home.ok(&format!("mcp install {client} mcp {line} --yes"));
        assert!(again.ends_with("needs no change"), "{again}");
        assert_eq!(fs::read_to_string(&path).unwrap(), installed);
        home.ok(&format!("mcp uninstall {client} mcp {line} --yes"));
        let removed = fs::read_to_string(&path).unwrap();
        assert!(!removed.contains("proxy"), "{removed}");
        assert!(home.ok(&format!("mcp uninstall {client} mcp {line}")).ends_with("needs no change"));
    }
    // A new file, of the user and of a named workspace.
    home.ok("workspace create team");
    home.ok("-w team connect mcp --sandbox");
    home.ok("-w team mcp install codex mcp --name tools --yes");
    let codex = fs::read_to_string(home.path().join(".codex/config.toml")).unwrap();
    assert!(
        codex.contains("[mcp_servers.tools]")
            && codex.contains("args = [\"-w\", \"team\", \"mcp\", \"proxy\", \"mcp\"]"),
        "{codex}"
    );
}

#[test]
fn a_file_that_cannot_be_edited_is_left_alone() {
    let home = home();
    let other = r#"{"mcpServers":{"mcp":{"command":"npx","args":["mcp-remote","https://x.example"]}}}"#;
    for (text, code) in [
        ("{\"mcpServers\": {", "malformed_settings"),
        ("[]", "malformed_settings"),
        (r#"{"mcpServers":{},"mcpServers":{}}"#, "malformed_settings"),
        (other, "name_taken"),
    ] {
        let path = write(&home, ".mcp.json", text);
        let ran = home.run("mcp install claude-code mcp --scope project --yes --json");
        assert_eq!((&*ran.error_code(), ran.code != 0), (code, true), "{ran:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    assert_eq!(home.run("mcp uninstall claude-code mcp --scope project --yes").code, 2);
    home.ok("mcp install claude-code mcp --scope project --name mine --yes");
    let unknown = home.run("mcp install emacs mcp");
    assert!(
        unknown.code == 2 && unknown.stderr.contains("[possible values: claude-code, codex, vscode]"),
        "{unknown:?}"
    );
    // A link of a user who keeps settings elsewhere stays a link.
    let real = write(&home, "dotfiles/vscode.json", "{}");
    fs::create_dir_all(home.path().join(".vscode")).unwrap();
    std::os::unix::fs::symlink(&real, home.path().join(".vscode/mcp.json")).unwrap();
    home.ok("mcp install vscode mcp --scope project --yes");
    assert!(home.path().join(".vscode/mcp.json").is_symlink());
    assert_eq!(json_of(&real)["servers"]["mcp"]["command"], "integ");
}

/// The official SDK's server, with its own authorization server.
fn sdk_server() -> Option<(Running, Value)> {
    let is_present = has_program("node") && peers().join("node_modules/@modelcontextprotocol/sdk").is_dir();
    if !needs("node with tests/peers/node_modules", is_present) {
        return None;
    }
    let mut command = Command::new("node");
    command.arg(peers().join("mcp-server.mjs"));
    let mut server = Running::start(command);
    let ready = server.event();
    Some((server, ready))
}

#[test]
fn the_official_client_uses_the_official_server_through_it() {
    let Some((_server, ready)) = sdk_server() else { return };
    let home = Home::new();
    crate::flow::Flow::start(&home, &format!("connect {} --as peer", ready["url"].as_str().unwrap())).allow();
    assert_eq!(home.json("test mcp@peer")["tests"][0]["mcp_server"]["tools"], 5);
    let mut command = Command::new("node");
    command.arg(peers().join("mcp-client.mjs")).arg(crate::harness::INTEG).args(["mcp", "proxy", "mcp@peer"]);
    command.env("INTEG_HOME", home.path()).stderr(Stdio::inherit());
    let mut client = Running::start(command);
    let steps: Vec<Value> = std::iter::from_fn(|| Some(client.line()).filter(|line| !line.is_empty()))
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect();
    assert_eq!(client.code(), 0, "{steps:?}");
    let step =
        |name: &str| steps.iter().find(|step| step["step"] == name).unwrap_or_else(|| panic!("{name}: {steps:?}"));
    assert_eq!(step("connect")["server"], "peer");
    assert_eq!(step("call")["text"], "hello");
    assert_eq!(step("progress")["progress"], json!([1, 2, 3]));
    assert_eq!(step("elicitation")["text"], "hello Ada");
    assert!(step("cancellation")["error_message"].as_str().unwrap().contains("enough"), "{steps:?}");
    assert!(step("list_changed")["tools"].as_u64().unwrap() > 5, "{steps:?}");
    step("close");
    let log: Value = serde_json::from_slice(&wire::get(&ready["log"].as_str().unwrap().parse().unwrap()).body).unwrap();
    assert_eq!((&log["authorizations"], &log["cancelled"], &log["presented_twice"]), (&json!(1), &json!(1), &json!(0)));
}
