//! The server under a service manager: passed sockets, notices, and a log for machines.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::client::Client;
use super::{Server, expect, home, token};
use crate::harness::{INTEG, Running};

/// Starts the program as a service manager does: the socket is descriptor 3, and the variables name the process. The shell
/// takes the place of the manager: it moves the socket from its stdin, and `exec` keeps its process id.
fn activated(home: &crate::harness::Home, listener: TcpListener, variables: &[(&str, &str)]) -> Command {
    let script =
        format!("exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 WATCHDOG_PID=$$; exec {INTEG} serve --json");
    let mut command = home.command(["unused"]);
    let environment: Vec<_> =
        command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
    command = Command::new("sh");
    command
        .args(["-c", &script])
        .env_clear()
        .current_dir(home.path())
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)));
    for (name, value) in environment {
        command.env(name, value.unwrap_or_default());
    }
    command.envs(variables.iter().copied()).stdout(Stdio::piped());
    command
}

/// Ends a process that a test started.
fn terminate(child: &std::process::Child) {
    let id = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
}

#[test]
fn a_socket_is_taken_over_and_the_service_manager_is_notified() {
    let home = home(&["slack"]);
    let token = token(&home, "test", "--scope connections:read");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let notices = UnixDatagram::bind(&path).unwrap();
    notices.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // What connects before the server runs waits in the socket.
    let early =
        std::thread::spawn(move || Client::new(&format!("http://{address}"), Some(&token)).get("/v1/status").status);
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "40000")];
    let mut child = activated(&home, listener, &variables).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let started: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(started["url"], format!("http://{address}"));
    let next = || {
        let mut buffer = [0; 512];
        let length = notices.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(next(), format!("READY=1\nSTATUS=Serving http://{address}"));
    assert_eq!([next(), next(), next()], ["WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]);
    assert_eq!(early.join().unwrap(), 200);
    terminate(&child);
    let stopping = std::iter::repeat_with(next).find(|notice| notice != "WATCHDOG=1").unwrap();
    assert!(stopping.starts_with("STOPPING=1\n"), "{stopping}");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_socket_that_is_none_of_tcp_is_refused() {
    let home = home(&[]);
    let file = std::fs::File::open("/dev/null").unwrap();
    let script = format!("exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec {INTEG} serve --json");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).env("INTEG_HOME", home.path()).stdin(Stdio::from(file));
    let ran = crate::harness::finish(command);
    assert_eq!((ran.code, ran.error_code()), (1, "inherited_socket".to_owned()), "{ran:?}");
}

#[test]
fn programs_that_the_server_starts_inherit_nothing_of_the_service_manager() {
    let home = home(&["stripe"]);
    let folder = tempfile::tempdir().unwrap();
    let (path, seen) = (folder.path().join("notify"), folder.path().join("seen"));
    let _notices = UnixDatagram::bind(&path).unwrap();
    let mut command = home.command(["webhook", "listen", "--port", "0", "--json", "--exec"]);
    command.arg(format!("sh -c 'env > {}.part; mv {}.part {}'", seen.display(), seen.display(), seen.display()));
    command.env("NOTIFY_SOCKET", &path).env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    let mut running = Running::start(command);
    running.line();
    home.ok("webhook simulate stripe charge.refunded");
    while !seen.exists() {
        assert_ne!(running.line(), "", "the listener has ended");
    }
    let environment = std::fs::read_to_string(&seen).unwrap();
    assert!(!environment.contains("NOTIFY_SOCKET") && !environment.contains("LISTEN_"), "{environment}");
}

/// Each line of the log is an object, which says what a request was of; tokens are in none.
#[test]
fn the_log_is_json_if_it_is_wanted_so() {
    let home = home(&["slack"]);
    let token = token(&home, "test", "--scope tokens:reveal --scope connections:call");
    home.ok("config set serve.log_format json");
    let mut command = home.command(["serve", "--bind", "127.0.0.1:0", "--json", "-vv"]);
    let log = tempfile::NamedTempFile::new().unwrap();
    command.stderr(log.reopen().unwrap());
    let mut running = Running::start(command);
    let url = running.event()["url"].as_str().unwrap().to_owned();
    let api = Client::new(&url, Some(&token));
    let reply = api.post("/v1/connections/slack/token", &json!({}));
    let revealed = expect(&reply, 200)["token"].as_str().unwrap().to_owned();
    expect(&api.post("/v1/connections/slack/request", &json!({ "path": "/auth.test", "method": "POST" })), 200);
    assert_eq!(api.get("/v1/status").status, 403);
    terminate(&running.child);
    running.code();
    let text = std::fs::read_to_string(log.path()).unwrap();
    assert!(!text.contains(&revealed) && !text.contains(&token), "a token is in the log");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    let requests: Vec<&Value> = lines.iter().filter(|line| line["message"] == "API request").collect();
    assert_eq!(requests.len(), 3, "{text}");
    let first = requests[0];
    assert_eq!(first["request_id"], reply.header("x-request-id").unwrap());
    assert_eq!((&first["level"], &first["workspace"]), (&json!("info"), &json!("default")));
    assert_eq!((&first["connection"], &first["status"]), (&json!("slack"), &json!(200)));
    assert!(first["time"].as_str().unwrap().ends_with('Z'), "{first}");
    assert_eq!(requests[2]["status"], 403);
    // What happens within a request is logged with it.
    let inner = lines.iter().find(|line| line["level"] == "debug" && line["request_id"].is_string());
    assert!(inner.is_some_and(|line| line["connection"] == "slack"), "{text}");
}

#[test]
fn the_log_is_text_unless_it_is_wanted_otherwise() {
    let home = home(&[]);
    home.ok("config set serve.log_format json");
    let server = Server::start(&home, "--log-format text");
    assert_eq!(Client::new(&server.url, None).get("/v1/status").status, 401);
    let address = server.url.trim_start_matches("http://");
    let failed = home.run(&format!("serve --bind {address}"));
    let line: Value = serde_json::from_str(&failed.stderr).unwrap_or_else(|error| panic!("{error}: {failed:?}"));
    assert_eq!((&line["level"], &line["code"]), (&json!("error"), &json!("port_in_use")), "{failed:?}");
    let wrong = home.run("config set serve.log_format xml");
    assert!(wrong.code == 2 && wrong.stderr.contains("text or json"), "{wrong:?}");
}
