//! Agents: `integ mcp serve` over standard input, and `/mcp` of `integ serve`.

mod doors;
mod http;
mod rights;
mod scrub;
mod sdk;
mod tools;

use std::process::Stdio;

use serde_json::{Value, json};

use crate::fake::{CONNECTOR, FakeProvider, Trouble};
use crate::flow::{Flow, connect_line};
use crate::guided::at_a_terminal;
use crate::harness::{Home, Running};

/// One action of each kind.
const ACTIONS: &str = r#"
[actions."notes.get"]
about = "Get a note"
method = "GET"
path = "/notes/{note}"
params = { note = { about = "Note", required = true } }

[actions."notes.search"]
about = "Search notes"
path = "/search"
effect = "read"
params = { text = { about = "Text" } }

[actions."notes.create"]
about = "Write a note"
path = "/notes"
effect = "write"
result = { note_id = "/id" }
params = { text = { about = "Text", required = true }, size = { about = "Size", type = "number" } }

[actions."notes.purge"]
about = "Empty a folder"
path = "/purge"
effect = "destroy"

[actions."notes.purge".params]
folder = { about = "Folder", required = true }
days = { about = "Days", type = "number" }

[actions."notes.undeclared"]
about = "What it does is not said"
path = "/undeclared"

[actions."notes.delete"]
about = "Delete a note"
method = "DELETE"
path = "/notes/{note}"
params = { note = { about = "Note", required = true } }

[actions."notes.rule"]
about = "What only an admin may"
method = "GET"
path = "/rule"
scopes = ["admin"]

[actions."notes.upload"]
about = "Upload a note"
path = "/upload"
effect = "write"
body = "multipart"
params = { file = { about = "File", type = "file", required = true } }
"#;

/// A home with a connection that was not granted the scope `admin`.
pub fn connected(provider: &FakeProvider) -> Home {
    let home = Home::new();
    let scoped = CONNECTOR.replace("write = \"Write\"", "write = \"Write\"\nadmin = \"Rule\"");
    home.install("fake", &format!("{scoped}{ACTIONS}"));
    provider.trouble("/token", [Trouble::Edit(json!({ "scope": "read write" }))]);
    Flow::start(&home, &connect_line(provider)).allow();
    home
}

/// How often a path of the API was asked.
pub fn asked(provider: &FakeProvider, path: &str) -> usize {
    provider.state().asked.iter().filter(|message| message.request().1.split('?').next() == Some(path)).count()
}

/// Grants an approval as a person at a terminal does.
pub fn grant(home: &Home, id: &str) {
    assert_eq!(at_a_terminal(home, &format!("approval grant {id}"), &[("[y/N]", "y\\r")]).code, 0);
}

/// The entries of the audit log of an operation, the newest first.
pub fn entries(home: &Home, operation: &str) -> Vec<Value> {
    let log = home.ok(&format!("audit list --operation {operation} --json"));
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A client of `integ mcp serve`, whose handshake is over.
pub struct StdioClient {
    running: Running,
    next: u64,
}

impl StdioClient {
    pub fn start(home: &Home, words: &str) -> Self {
        let mut command = home.command(format!("mcp serve {words}").split_whitespace());
        command.stderr(Stdio::null());
        let mut client = Self { running: Running::start(command), next: 0 };
        let params = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": { "elicitation": {} },
            "clientInfo": { "name": "peer", "version": "1.2.3" },
        });
        let server = client.ask("initialize", &params);
        assert_eq!(server["result"]["serverInfo"]["name"], "integ", "{server}");
        client.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        client
    }

    pub fn send(&mut self, message: &Value) {
        self.write(&message.to_string());
    }

    pub fn write(&mut self, line: &str) {
        use std::io::Write as _;
        writeln!(self.running.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    pub fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.next += 1;
        let id = self.next;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        self.answer(id)
    }

    /// The answer to a request. Nothing else is ever sent: the server asks its client for nothing.
    pub fn answer(&mut self, id: u64) -> Value {
        let answer = self.running.event();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// The result of a call of a tool.
    pub fn call(&mut self, tool: &str, arguments: &Value) -> ToolResult {
        ToolResult(self.ask("tools/call", &json!({ "name": tool, "arguments": arguments })))
    }

    pub fn tools(&mut self) -> Vec<Value> {
        self.ask("tools/list", &json!({}))["result"]["tools"].as_array().unwrap().clone()
    }

    pub fn tool_names(&mut self) -> Vec<String> {
        self.tools().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Closes the client's end, and returns the exit code.
    pub fn end(mut self) -> i32 {
        drop(self.running.stdin.take());
        self.running.code()
    }
}

/// What a call returned.
#[derive(Debug)]
pub struct ToolResult(pub Value);

impl ToolResult {
    /// The text of a block.
    pub fn text(&self, block: usize) -> &str {
        self.0["result"]["content"][block]["text"].as_str().unwrap_or_default()
    }

    /// The document of a call that succeeded.
    pub fn document(&self) -> Value {
        assert_eq!(self.0["result"]["isError"], false, "{}", self.0);
        serde_json::from_str(self.text(0)).unwrap()
    }

    /// The code of a call that failed.
    pub fn code(&self) -> String {
        assert_eq!(self.0["result"]["isError"], true, "{}", self.0);
        let document: Value = serde_json::from_str(self.text(0)).unwrap();
        document["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The id of the approval that the call waits for.
    pub fn approval(&self) -> String {
        assert_eq!(self.code(), "approval_required");
        let at = self.text(0).find("apr_").unwrap();
        self.text(0)[at..at + 28].to_owned()
    }
}
