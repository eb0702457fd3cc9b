//! Hostile connector files: `tests/connectors/hostile` holds one for each way to read a file, set a variable, reach a host,
//! steer a terminal or a shell, or take time and memory. The first lines of each say its class and what becomes of it.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use integ::connector::{BUILT_IN, Capabilities, parse, validate};

use crate::harness::{Home, Ran, has_program, needs};

const CLASSES: [&str; 5] = ["files", "variables", "hosts", "quoting", "exhaustion"];

struct Hostile {
    name: String,
    class: String,
    /// What `connector validate` says, or `valid`.
    outcome: String,
    text: String,
}

fn corpus() -> Vec<Hostile> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/connectors/hostile");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let said = |what: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(what));
            line.unwrap_or_else(|| panic!("{}: no {what}", path.display())).trim().to_owned()
        };
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        Hostile { name, class: said("# class:"), outcome: said("# outcome:"), text: text.clone() }
    };
    paths.iter().map(read).collect()
}

/// A server on loopback that an attack aims at; counts the connections.
pub struct Trap {
    pub port: u16,
    hits: Arc<AtomicUsize>,
}

impl Trap {
    pub fn set() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (port, hits) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&hits);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = stream.map(|mut stream| stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"));
            }
        });
        Self { port, hits }
    }

    pub fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }
}

/// Nothing of it steers a terminal.
fn assert_harmless(name: &str, ran: &Ran) {
    for text in [&ran.stdout, &ran.stderr] {
        let steers = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202e}' | '\u{200b}');
        assert!(!text.contains(steers), "{name}: {text:?}");
    }
}

#[test]
fn hostile_files_do_nothing_that_a_user_was_not_shown() {
    let corpus = corpus();
    let mut classes: BTreeMap<&str, usize> = BTreeMap::new();
    for hostile in &corpus {
        *classes.entry(&hostile.class).or_default() += 1;
    }
    assert!(corpus.len() >= 45, "{}", corpus.len());
    assert!(CLASSES.iter().all(|class| classes[class] >= 9), "{classes:?}");
    let trap = Trap::set();
    for hostile in &corpus {
        let name = &hostile.name;
        let home = Home::new();
        let file = home.path().join("offered.toml");
        std::fs::write(&file, hostile.text.replace("PORT", &trap.port.to_string())).unwrap();
        let begun = Instant::now();
        let checked = home.run("connector validate offered.toml");
        assert!(begun.elapsed() < Duration::from_secs(20), "{name} took {:?}", begun.elapsed());
        assert_harmless(name, &checked);
        let said = format!("{}{}", checked.stdout, checked.stderr);
        if hostile.outcome == "valid" {
            assert_eq!(checked.code, 0, "{name}: {checked:?}");
        } else {
            assert_ne!(checked.code, 0, "{name} is valid");
            assert!(said.contains(&hostile.outcome), "{name}: {:?} is not in {said}", hostile.outcome);
        }
        // Nobody is there to be asked: the prompt is shown, and nothing is installed.
        let offered = home.run("connector install offered.toml");
        assert_harmless(name, &offered);
        assert_ne!(offered.code, 0, "{name}");
        snapshot(&home, name, trap.port, &offered);
        if hostile.outcome == "valid" {
            use_it(&home, hostile);
        } else {
            assert_ne!(home.run("connector install offered.toml --yes").code, 0, "{name} was installed");
        }
        assert!(!home.path().join("pwned").exists(), "{name} ran a command");
    }
    assert_eq!(trap.hits(), 0, "a file reached this machine");
}

fn snapshot(home: &Home, name: &str, port: u16, offered: &Ran) {
    let shown = offered.stderr.replace(&home.path().display().to_string(), "HOME").replace(&port.to_string(), "PORT");
    let lines = shown.lines().map(|line| match line.split_once("sha-256  ") {
        Some((before, _)) => format!("{before}sha-256  …"),
        None => line.chars().take(300).collect(),
    });
    // Long lists end somewhere: the first lines say what kind they are.
    let text: Vec<String> = lines.take(80).collect();
    insta::with_settings!({ snapshot_suffix => name, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("install", text.join("\n"));
    });
}

/// Installs a valid file and has it do what it can.
fn use_it(home: &Home, hostile: &Hostile) {
    let name = &hostile.name;
    assert_eq!(home.run("connector install offered.toml --yes").code, 0, "{name}");
    let id = hostile.text.lines().find_map(|line| line.strip_prefix("id = \"")).unwrap().trim_end_matches('"');
    let lines = [
        format!("connect {id} --sandbox"),
        format!("test {id}"),
        format!("webhook backfill {id} --since 1d"),
        format!("exec {id} -- env"),
    ];
    for line in lines {
        let begun = Instant::now();
        let ran = home.run(&line);
        assert!(begun.elapsed() < Duration::from_secs(30), "{name}: {line} took {:?}", begun.elapsed());
        assert!(ran.code >= 0, "{name}: {line} was killed: {ran:?}");
        assert_harmless(name, &Ran { stdout: ran.stdout.replace(['\t', '\u{1b}'], ""), ..ran });
    }
}

#[test]
fn built_in_connectors_are_valid_and_their_hosts_are_public() {
    for (id, text) in BUILT_IN {
        assert_eq!(validate(text).iter().map(ToString::to_string).collect::<Vec<_>>(), Vec::<String>::new(), "{id}");
        let capabilities = Capabilities::of(&parse(text).unwrap());
        for host in capabilities.hosts {
            assert!(!host.host.contains("localhost") && !host.host.contains("127."), "{id}: {host:?}");
        }
    }
}

#[test]
fn attack_m1_defaults_and_every_choice_are_shown() {
    let shown = |name: &str| {
        let home = Home::new();
        let hostile = corpus().into_iter().find(|hostile| hostile.name == name).unwrap();
        std::fs::write(home.path().join("offered.toml"), hostile.text).unwrap();
        home.run("connector install offered.toml").stderr
    };
    assert!(shown("hosts-hidden-default").contains("evil.example"));
    let thirteen = shown("hosts-thirteen-choices");
    assert!((0..13).all(|number| thirteen.contains(&format!("r{number}.evil.example"))), "{thirteen}");
}

/// A file of the user's own folder is not validated before it is used: what it names is refused at the request.
#[test]
fn attack_m1_a_file_reaches_nothing_on_this_machine() {
    let trap = Trap::set();
    for site in [format!("http://127.0.0.1:{}", trap.port), format!("http://localhost:{}", trap.port)] {
        let home = Home::new();
        let text = format!(
            "id = \"ssrf\"\nname = \"S\"\ncategory = \"generic\"\ndescription = \"x\"\ndocs = \"https://x.example\"\n\
             [params.site]\nprompt = \"Site\"\ndefault = \"{site}\"\n[api]\nbase = \"{{site}}/api\"\n\
             [auth.key]\nlabel = \"Key\"\n[auth.key.fields.key]\nprompt = \"Key\"\n[health]\nmethod = \"POST\"\npath = \"/x\"\n"
        );
        home.install("ssrf", &text);
        let ran = home.run_with_input("connect ssrf --with-token --json", "a-key-0123456789");
        assert_eq!(trap.hits(), 0, "{ran:?}");
        let typed =
            format!("connect ssrf --with-token --as typed --param site={}", site.replace("localhost", "127.0.0.1"));
        if !site.contains("localhost") {
            // The same words as the default are still the file's; another port is the user's own.
            continue;
        }
        let ran = home.run_with_input(&typed, "a-key-0123456789");
        assert!(trap.hits.swap(0, Ordering::SeqCst) > 0, "what the user types is reached: {ran:?}");
    }
}

/// Tab offers nothing that the shell would run.
#[test]
fn attack_m11_tab_offers_no_words_that_a_shell_runs() {
    if !needs("bash", has_program("bash")) {
        return;
    }
    let home = Home::new();
    let text = "id = \"comp\"\nname = \"C\"\ncategory = \"generic\"\ndescription = \"x\"\ndocs = \"https://x.example\"\n\
                [api]\nbase = \"https://x.example\"\n[auth.oauth]\nlabel = \"O\"\n[auth.oauth.oauth2]\n\
                authorize_url = \"https://x.example/a\"\ntoken_url = \"https://x.example/t\"\n\
                [scopes]\n\"$(touch pwned)\" = \"Read\"\nread = \"Read \\u001b[31m\"\n";
    home.install("comp", text);
    let script = format!(
        "source <('{0}' completions bash); COMP_WORDS=(integ connect comp --scope ''); COMP_CWORD=4; COMP_TYPE=9; \
         _clap_complete_integ; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        crate::harness::INTEG
    );
    let mut command = Command::new("bash");
    command.arg("-c").arg(script).env_clear().env("INTEG_HOME", home.path()).env("HOME", home.path());
    let path = Path::new(crate::harness::INTEG).parent().unwrap();
    let search = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(path.to_owned()).chain(std::env::split_paths(&search));
    command.env("PATH", std::env::join_paths(paths).unwrap()).current_dir(home.path());
    let offered = crate::harness::finish(command);
    assert!(offered.stdout.contains("read"), "{offered:?}");
    assert!(!offered.stdout.contains("touch") && !offered.stdout.contains('\u{1b}'), "{offered:?}");
    assert!(!home.path().join("pwned").exists());
}
