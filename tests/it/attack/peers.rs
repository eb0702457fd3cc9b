//! Other users of the machine at the loopback listener.
#![cfg(target_os = "linux")]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use url::Url;

use super::users::{MALLORY, User, VICTIM};
use crate::fake::FakeProvider;
use crate::flow;
use crate::harness::{Home, Ran, Running, finish, has_program, needs};
use crate::wire::Message;

/// A vendor that consents at once: `plain` by a code without PKCE, `safe` by a code with PKCE, `open` by the fragment. It
/// gives a token named after the code.
struct Vendor {
    origin: String,
    codes: Arc<Mutex<Vec<String>>>,
}

impl Vendor {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let codes = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&codes);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || answer(stream, &kept));
            }
        });
        Self { origin, codes }
    }

    /// The codes that were exchanged for tokens.
    fn exchanged(&self) -> Vec<String> {
        self.codes.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, codes: &Mutex<Vec<String>>) {
    let Some(message) = Message::read(&stream) else { return };
    let url = Url::parse("http://vendor.invalid").unwrap().join(message.request().1).unwrap();
    let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
    let mut location = String::new();
    let body = match url.path() {
        "/authorize" => {
            let mut back = Url::parse(&query["redirect_uri"]).unwrap();
            back.query_pairs_mut().append_pair("code", "true").append_pair("state", &query["state"]);
            location = back.into();
            json!({})
        }
        "/grant" => {
            location = format!("{}#token=token-true", query["return_url"]);
            json!({})
        }
        "/token" => {
            let code = message.form()["code"].clone();
            codes.lock().unwrap().push(code.clone());
            json!({ "access_token": format!("token-{code}"), "token_type": "Bearer" })
        }
        _ => json!({ "id": "ann" }),
    };
    let (status, body) = (if location.is_empty() { 200 } else { 302 }, body.to_string());
    let _ = write!(
        stream,
        "HTTP/1.1 {status} -\r\nlocation: {location}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
}

/// A connector of the vendor above, with a redirect that is registered at localhost and a port.
fn connector(id: &str, port: u16) -> String {
    let rules = match id {
        "open" => {
            "[auth.way.fragment]\nauthorize_url = \"https://vendor.invalid/grant\"\nredirect_param = \"return_url\"\n\
             token = \"token\"\n[auth.way.fragment.redirect]\n"
        }
        "plain" => {
            "[auth.way.oauth2]\nauthorize_url = \"https://vendor.invalid/authorize\"\n\
             token_url = \"https://vendor.invalid/token\"\npkce = \"never\"\n[auth.way.oauth2.redirect]\n"
        }
        _ => {
            "[auth.way.oauth2]\nauthorize_url = \"https://vendor.invalid/authorize\"\n\
             token_url = \"https://vendor.invalid/token\"\n[auth.way.oauth2.redirect]\n"
        }
    };
    format!(
        "id = \"{id}\"\nname = \"Vendor\"\ncategory = \"generic\"\ndescription = \"A vendor of these tests.\"\n\
         docs = \"https://vendor.invalid/docs\"\n[api]\nbase = \"https://vendor.invalid/api\"\n[auth.way]\n\
         label = \"Sign in\"\n{rules}host = \"localhost\"\nport = {port}\n[health]\npath = \"/me\"\n\
         account = {{ id = \"/id\" }}\n"
    )
}

/// A port that is free on both loopback addresses.
fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if TcpListener::bind((Ipv6Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

fn has_ipv6() -> bool {
    needs("IPv6 on loopback", TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok())
}

/// The user of integ, who has the three connectors with this port.
fn victim(port: u16) -> Option<User> {
    let user = User::new(VICTIM)?;
    let folder = user.integ_home().join("connectors");
    std::fs::create_dir_all(&folder).unwrap();
    for id in ["open", "plain", "safe"] {
        let path = folder.join(format!("{id}.toml"));
        std::fs::write(&path, connector(id, port)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    for path in [user.integ_home(), folder] {
        std::os::unix::fs::chown(&path, Some(VICTIM), Some(VICTIM)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    for id in ["open", "plain", "safe"] {
        let path = user.integ_home().join(format!("connectors/{id}.toml"));
        std::os::unix::fs::chown(&path, Some(VICTIM), Some(VICTIM)).unwrap();
    }
    Some(user)
}

/// A sign-in of the victim that waits, and the URL to consent at.
struct SignIn {
    running: Running,
    url: Url,
}

impl SignIn {
    fn start(user: &User, vendor: &Vendor, line: &str, environment: &[(&str, &str)]) -> Self {
        let mut command = user.integ(words(vendor, line));
        command.envs(environment.iter().copied()).stderr(Stdio::piped());
        let mut running = Running::start(command);
        let event = running.event();
        assert_eq!(event["event"], "authorize");
        Self { url: Url::parse(event["url"].as_str().unwrap()).unwrap(), running }
    }

    /// The callback of the vendor's consent, with this code in place of the true one.
    fn callback(&self, code: &str) -> Url {
        let location = crate::wire::get(&self.url).header("location").unwrap().to_owned();
        let url = Url::parse(&location).unwrap();
        flow::Flow::altered(&url, "code", Some(code))
    }

    /// Exit code, last event and stderr.
    fn end(mut self) -> (i32, Value, String) {
        let line = self.running.line();
        let code = self.running.code();
        let mut stderr = String::new();
        self.running.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (code, serde_json::from_str(&line).unwrap_or_default(), stderr)
    }
}

fn words(vendor: &Vendor, line: &str) -> Vec<String> {
    let timeout = if line.contains("--timeout") { "" } else { " --timeout 30s" };
    let words = format!("connect {line} --client-id app --origin {} --json{timeout}", vendor.origin);
    words.split(' ').map(str::to_owned).collect()
}

fn connect(user: &User, vendor: &Vendor, line: &str, environment: &[(&str, &str)]) -> Ran {
    let mut command = user.integ(words(vendor, line));
    command.envs(environment.iter().copied());
    finish(command)
}

/// What mallory's listener does: it says that it listens, then prints each request's first line and answers.
const LISTEN: &str = r#"
use IO::Socket::IP;
$| = 1;
my $server = IO::Socket::IP->new(LocalHost => $ARGV[0], LocalPort => $ARGV[1], Listen => 5, ReuseAddr => 1);
if (!$server) { print "refused: $!\n"; exit 1 }
print "listening\n";
alarm 60;
while (my $client = $server->accept) {
    my $line = <$client>;
    print $line if defined $line;
    print $client "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    close $client;
}
"#;

/// A request of mallory's to an address and a port, and the whole answer.
const ASK: &str = r#"
use IO::Socket::IP;
alarm 20;
my ($host, $port, $name, $target) = @ARGV;
my $peer = IO::Socket::IP->new(PeerHost => $host, PeerPort => $port) or die "no connection: $!\n";
print $peer "GET $target HTTP/1.1\r\nHost: $name\r\nConnection: close\r\n\r\n";
print while <$peer>;
"#;

fn listen(mallory: &User, address: &str, port: u16) -> Running {
    let mut command = mallory.program("perl");
    command.args(["-e", LISTEN, address, &port.to_string()]);
    Running::start(command)
}

/// What mallory's process gets who knows the callback.
fn ask(mallory: &User, address: &str, callback: &Url) -> String {
    let mut command = mallory.program("perl");
    let port = callback.port().unwrap();
    let name = format!("{}:{port}", callback.host_str().unwrap());
    command.args(["-e", ASK, address, &port.to_string(), &name, &callback[url::Position::BeforePath..]]);
    let ran = finish(command);
    format!("{}{}", ran.stdout, ran.stderr)
}

fn ready() -> bool {
    needs("perl", has_program("perl")) && has_ipv6()
}

/// A real browser of the user's at a URL, with all its processes, ended with the test.
struct Browser(Child);

impl Browser {
    fn start(user: &User, url: &str) -> Self {
        let profile = format!("--user-data-dir={}", user.home().join("profile").display());
        let mut command = user.program("chromium");
        command
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--disable-dev-shm-usage", "--remote-debugging-port=0", &profile, url])
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

fn has_chromium() -> bool {
    needs("chromium", has_program("chromium"))
}

#[test]
fn attack_b4_a_browser_never_reaches_another_user_who_listened_on_ipv6_first() {
    let port = free_port();
    let (true, true, Some(victim), Some(mallory)) = (ready(), has_chromium(), victim(port), User::new(MALLORY)) else {
        return;
    };
    let vendor = Vendor::start();
    let mut thief = listen(&mallory, "::1", port);
    assert_eq!(thief.line(), "listening");
    let mut command = victim.integ(words(&vendor, "plain --no-browser"));
    command.stderr(Stdio::piped());
    let mut running = Running::start(command);
    let event: Value = serde_json::from_str(&running.line()).unwrap_or_default();
    if let Some(url) = event["url"].as_str() {
        // What must not happen: the port is taken for integ's, and the browser goes to mallory with the code.
        let _browser = Browser::start(&victim, url);
        let stolen = thief.line();
        panic!("mallory has {stolen}");
    }
    let mut stderr = String::new();
    running.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    let ran = Ran { code: running.code(), stdout: String::new(), stderr };
    assert_eq!((ran.code, ran.error_code().as_str()), (1, "listen_failed"), "{ran:?}");
    assert!(
        ran.stderr.contains(&format!("[::1]:{port}")) && ran.stderr.contains(&format!("uid {}", mallory.uid())),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("integ connect plain --origin") && ran.stderr.contains("--paste`"), "{ran:?}");
    assert!(vendor.exchanged().is_empty());
}

#[test]
fn attack_b4_no_other_user_takes_either_address_and_a_real_browser_comes_back() {
    let port = free_port();
    let (true, true, Some(victim), Some(mallory)) = (ready(), has_chromium(), victim(port), User::new(MALLORY)) else {
        return;
    };
    let vendor = Vendor::start();
    for id in ["plain", "open"] {
        let sign_in = SignIn::start(&victim, &vendor, &format!("{id} --no-browser"), &[]);
        for address in ["::1", "127.0.0.1", "::", "0.0.0.0"] {
            let said = listen(&mallory, address, port).line();
            assert!(said.starts_with("refused: Address already in use"), "{id}, {address}: {said}");
        }
        let _browser = Browser::start(&victim, sign_in.url.as_str());
        let (code, last, stderr) = sign_in.end();
        assert_eq!((code, last["event"].as_str()), (0, Some("connected")), "{id}: {stderr}");
        let token = finish(victim.integ(["token", id]));
        assert_eq!(token.stdout.trim(), "token-true", "{token:?}");
    }
}

#[test]
fn attack_b4_a_wildcard_listener_of_another_user_is_no_way_in() {
    let port = free_port();
    let (true, Some(victim), Some(mallory)) = (ready(), victim(port), User::new(MALLORY)) else { return };
    let vendor = Vendor::start();
    for address in ["::", "0.0.0.0"] {
        let mut thief = listen(&mallory, address, port);
        assert_eq!(thief.line(), "listening");
        let ran = connect(&victim, &vendor, "plain --no-browser --timeout 1s", &[]);
        assert_eq!((ran.code, ran.error_code().as_str()), (1, "listen_failed"), "{address}: {ran:?}");
    }
}

#[test]
fn attack_b4_each_kind_of_redirect_is_bound_where_its_host_says() {
    if !has_ipv6() {
        return;
    }
    let provider = FakeProvider::start();
    let port = free_port();
    let reaches = |address: &str| TcpStream::connect((address, port)).is_ok();
    for (uri, v4, v6) in [
        (format!("http://localhost:{port}/callback"), true, true),
        (format!("http://127.0.0.1:{port}/callback"), true, false),
        (format!("http://[::1]:{port}/callback"), false, true),
    ] {
        let home = flow::home();
        // The port is the URI's own: no --port says it again.
        let line = format!("{} --redirect-uri {uri}", flow::connect_line(&provider));
        let flow = flow::Flow::start(&home, &line);
        assert_eq!((reaches("127.0.0.1"), reaches("::1")), (v4, v6), "{uri}");
        flow.allow();
    }
    // A tunnel's own program goes to a name, as a browser does.
    let home = flow::home();
    let line = format!("{} --redirect-uri https://tunnel.example/cb --port {port}", flow::connect_line(&provider));
    let _flow = flow::Flow::start(&home, &line);
    assert_eq!((reaches("127.0.0.1"), reaches("::1")), (true, true));
}

#[test]
fn attack_b4_what_a_tunnel_is_led_to_is_bound_for_both_families() {
    if !has_ipv6() {
        return;
    }
    let home = Home::new();
    home.ok("connect stripe --sandbox");
    let port = free_port();
    let held = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).unwrap();
    for line in [format!("webhook listen --port {port}"), format!("sandbox run stripe --port {port}")] {
        let mut command = home.command(format!("{line} --json").split(' '));
        command.stderr(Stdio::piped());
        let mut running = Running::start(command);
        assert_eq!(running.line(), "", "{line}: it serves although [::1] is taken");
        let mut stderr = String::new();
        running.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert!(running.code() == 1 && stderr.contains(&format!("[::1]:{port}")), "{line}: {stderr}");
    }
    drop(held);
    for line in [format!("webhook listen --port {port} --json"), format!("sandbox run stripe --port {port} --json")] {
        let mut running = Running::start(home.command(line.split(' ')));
        running.event();
        for address in ["127.0.0.1", "::1"] {
            assert!(TcpStream::connect((address, port)).is_ok(), "{line}: {address}");
        }
    }
}

#[test]
fn attack_b4_a_machine_without_ipv6_connects_all_the_same() {
    let isolated = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-n", "sh", "-c", script]);
        command
    };
    let can = isolated(
        "ip link set lo up && sysctl -qw net.ipv6.conf.all.disable_ipv6=1 2>/dev/null || \
                        echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6",
    );
    if !needs("a network namespace of its own", finish(can).code == 0) {
        return;
    }
    let home = Home::new();
    let integ = crate::harness::INTEG;
    let script = format!(
        "ip link set lo up && echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 && ip addr show lo | grep -q ::1 && exit 99; \
         exec {integ} connect hubspot --sandbox --json"
    );
    let mut command = isolated(&script);
    command.env("INTEG_HOME", home.path()).stdin(Stdio::null());
    let ran = finish(command);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn attack_m6_a_callback_of_another_user_is_refused_and_the_true_one_ends_the_flow() {
    let port = free_port();
    let (true, Some(victim), Some(mallory)) = (ready(), victim(port), User::new(MALLORY)) else { return };
    let vendor = Vendor::start();
    for id in ["plain", "safe"] {
        let sign_in = SignIn::start(&victim, &vendor, &format!("{id} --no-browser"), &[]);
        for address in ["127.0.0.1", "::1"] {
            let answer = ask(&mallory, address, &sign_in.callback("mallorys"));
            assert!(answer.starts_with("HTTP/1.1 403"), "{id}: {answer}");
            let state = sign_in.url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
            assert!(!answer.contains(&state) && !answer.contains("mallorys"), "{answer}");
        }
        // The browser is the victim's, and root is trusted: the test itself delivers the second one.
        let callback = sign_in.callback("true");
        if id == "plain" {
            assert!(ask(&victim, "127.0.0.1", &callback).starts_with("HTTP/1.1 200"));
        } else {
            assert_eq!(crate::wire::get(&callback).status(), 200);
        }
        let (code, last, stderr) = sign_in.end();
        assert_eq!((code, last["event"].as_str()), (0, Some("connected")), "{id}: {stderr}");
        assert_eq!(stderr.matches(&format!("uid {}", mallory.uid())).count(), 1, "said once: {stderr}");
        assert_eq!(finish(victim.integ(["token", id])).stdout.trim(), "token-true");
    }
    assert!(!vendor.exchanged().iter().any(|code| code == "mallorys"), "{:?}", vendor.exchanged());
}

#[test]
fn attack_m6_a_token_of_another_user_is_refused_in_the_fragment_flow() {
    let port = free_port();
    let (true, Some(victim), Some(mallory)) = (ready(), victim(port), User::new(MALLORY)) else { return };
    let vendor = Vendor::start();
    let sign_in = SignIn::start(&victim, &vendor, "open --no-browser", &[]);
    let location = crate::wire::get(&sign_in.url).header("location").unwrap().to_owned();
    let (page, _) = location.split_once('#').unwrap();
    let forged = Url::parse(&format!("{page}&token=mallorys-own")).unwrap();
    assert!(ask(&mallory, "127.0.0.1", &forged).starts_with("HTTP/1.1 403"));
    let page = ask(&mallory, "127.0.0.1", &Url::parse(page).unwrap());
    assert!(page.starts_with("HTTP/1.1 403") && !page.contains("location.hash"), "{page}");
    let own = Url::parse(&location.replacen('#', "&", 1)).unwrap();
    assert!(ask(&victim, "::1", &own).starts_with("HTTP/1.1 200"));
    let (code, _, stderr) = sign_in.end();
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(finish(victim.integ(["token", "open"])).stdout.trim(), "token-true");
}

/// Everything that any process of the machine has among its arguments.
fn command_lines() -> String {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ") + "\n").collect()
}

#[test]
fn attack_m6_the_state_is_in_no_argument_and_the_start_page_serves_its_user_once() {
    let port = free_port();
    let (true, Some(victim), Some(mallory)) = (ready(), victim(port), User::new(MALLORY)) else { return };
    let vendor = Vendor::start();
    for id in ["plain", "safe", "open"] {
        let log = victim.home().join(format!("opened-{id}"));
        let script = victim.home().join("browser");
        std::fs::write(
            &script,
            format!("#!/bin/sh\nprintf '%s' \"$1\" > {0}.new && mv {0}.new {0}\nsleep 20\n", log.display()),
        )
        .unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let browser = script.display().to_string();
        let sign_in = SignIn::start(&victim, &vendor, id, &[("INTEG_BROWSER", &browser)]);
        let started = Instant::now();
        while !log.exists() {
            assert!(started.elapsed() < Duration::from_secs(20), "no browser was started");
            std::thread::sleep(Duration::from_millis(10));
        }
        let opened = Url::parse(&std::fs::read_to_string(&log).unwrap()).unwrap();
        let words = command_lines();
        assert!(words.contains(opened.as_str()), "the browser runs");
        let secrets = sign_in.url.query_pairs().flat_map(|(name, value)| match &*name {
            "state" => Some(value.into_owned()),
            "return_url" => Some(value.split_once("state=").unwrap().1.to_owned()),
            _ => None,
        });
        for secret in secrets {
            assert!(!words.contains(&secret), "{id}: the state is in {words}");
        }
        // mallory reads the arguments, and asks for what they name: in vain. The victim's browser is led on, once.
        let refused = ask(&mallory, "127.0.0.1", &opened);
        assert!(refused.starts_with("HTTP/1.1 403") && !refused.contains("state"), "{refused}");
        let led = ask(&victim, "127.0.0.1", &opened);
        assert!(led.starts_with("HTTP/1.1 302") && led.contains(sign_in.url.as_str()), "{led}");
        assert!(led.contains("referrer-policy: no-referrer"), "{led}");
        assert!(ask(&victim, "127.0.0.1", &opened).starts_with("HTTP/1.1 410"));
    }
}

#[test]
fn attack_m6_allow_peer_is_for_flows_with_pkce_alone() {
    let port = free_port();
    let (true, Some(victim), Some(mallory)) = (ready(), victim(port), User::new(MALLORY)) else { return };
    let vendor = Vendor::start();
    for (id, by) in [("plain", "flag"), ("open", "flag"), ("plain", "variable")] {
        let (line, environment) = match by {
            "flag" => (format!("{id} --no-browser --allow-peer"), vec![]),
            _ => (format!("{id} --no-browser"), vec![("INTEG_CONNECT_ALLOW_PEER", "1")]),
        };
        let ran = connect(&victim, &vendor, &line, &environment);
        assert_eq!((ran.code, ran.error_code().as_str()), (2, "peer_check_required"), "{id}: {ran:?}");
        let hinted = ran.stderr.split("integ connect ").nth(1).unwrap_or_default();
        assert!(hinted.starts_with(id) && hinted.contains(" --paste\""), "{ran:?}");
    }
    // A proxy of another user may bring the callback; what the arguments name is still the user's own.
    let sign_in = SignIn::start(&victim, &vendor, "safe --no-browser --allow-peer", &[]);
    let answer = ask(&mallory, "127.0.0.1", &sign_in.callback("true"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (code, _, stderr) = sign_in.end();
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn attack_m6_a_socket_that_was_closed_is_not_taken_for_roots() {
    let port = free_port();
    let (true, Some(victim), Some(mallory)) = (ready(), victim(port), User::new(MALLORY)) else { return };
    let vendor = Vendor::start();
    let sign_in = SignIn::start(&victim, &vendor, "plain --no-browser --timeout 4s", &[]);
    let callback = sign_in.callback("mallorys");
    // The kernel says uid 0 of a socket that its process has closed: the request is there, its sender is gone.
    let script = ASK.replace("print while <$peer>;", "close $peer;");
    for _ in 0..200 {
        let mut command = mallory.program("perl");
        let name = format!("localhost:{port}");
        command.args(["-e", &script, "127.0.0.1", &port.to_string(), &name, &callback[url::Position::BeforePath..]]);
        if finish(command).code != 0 {
            break;
        }
    }
    let (code, last, stderr) = sign_in.end();
    assert_eq!((code, last["event"].as_str()), (4, None), "{stderr}");
    assert!(vendor.exchanged().is_empty(), "{:?}", vendor.exchanged());
}

#[test]
fn attack_minor_a_device_page_that_is_no_web_page_is_refused() {
    let provider = FakeProvider::start();
    for page in ["file:///etc/passwd", "javascript:alert(1)", "data:text/html,x", "enter-it-here"] {
        for member in ["verification_uri", "verification_uri_complete"] {
            provider.trouble("/device", [crate::fake::Trouble::Edit(json!({ member: page }))]);
            let ran = flow::home().run(&format!("{} --device --json --timeout 2s", flow::connect_line(&provider)));
            assert_eq!((ran.code, ran.error_code().as_str()), (1, "malformed_response"), "{page}: {ran:?}");
            assert!(!ran.stdout.contains("verification_uri"), "{ran:?}");
        }
    }
}

#[test]
fn attack_minor_the_device_code_is_in_no_argument_and_no_shell_character_reaches_a_browser() {
    let provider = FakeProvider::start();
    let home = flow::home();
    let (log, script) = (home.path().join("opened"), home.path().join("browser"));
    std::fs::write(&script, format!("#!/bin/sh\nprintf '%s' \"$1\" > {0}.new && mv {0}.new {0}\n", log.display()))
        .unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let page = "https://fake.invalid/enter?x=$(id);y|z&user_code=ABCD-EFGH";
    provider.trouble("/device", [crate::fake::Trouble::Edit(json!({ "verification_uri_complete": page }))]);
    let mut command = home.command(format!("{} --device --json", flow::connect_line(&provider)).split(' '));
    command.env("INTEG_BROWSER", &script);
    let mut running = Running::start(command);
    assert_eq!(running.event()["event"], "device_code");
    let started = Instant::now();
    while !log.exists() {
        assert!(started.elapsed() < Duration::from_secs(20), "no browser was started");
        std::thread::sleep(Duration::from_millis(10));
    }
    let opened = std::fs::read_to_string(&log).unwrap();
    assert!(!opened.contains("ABCD-EFGH"), "{opened}");
    assert!(!opened.contains(['$', ';', '|', '(', ')']), "{opened}");
    // The whole page is one redirect away, for this user alone.
    let led = crate::wire::get(&Url::parse(&opened).unwrap());
    assert_eq!((led.status(), led.header("location")), (302, Some(page)));
    assert_eq!(running.event()["event"], "connected");
}

#[test]
fn attack_minor_few_file_descriptors_end_in_an_error_and_not_in_a_panic() {
    let home = Home::new();
    home.ok("connect stripe --sandbox");
    let integ = crate::harness::INTEG;
    for line in ["test", "refresh stripe", "connect slack --sandbox --timeout 5s"] {
        for most in 5..=14 {
            let mut command = home.command(["-c"]);
            command = {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(format!("ulimit -n {most}; exec {integ} {line}"));
                shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
                shell.current_dir(home.path()).stdin(Stdio::null());
                shell
            };
            let ran = finish(command);
            assert!(
                !ran.stderr.contains("has a mistake") && ran.code != 101 && ran.code != -1,
                "{line}, {most}: {ran:?}"
            );
        }
    }
}
