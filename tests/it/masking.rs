//! `integ exec --mask`: secrets are hidden in what a command prints, and nothing else about the command changes.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Home, INTEG, Ran, finish, has_program, needs};
use crate::race::Random;

const SECRETS: u64 = 50;

/// Prints each secret in every form, each by several writes, on both streams in turn.
const PRINT: &str = r#"
import base64, json, os, random, time
from urllib.parse import quote, quote_plus
random.seed(7)
slow = "SLOW" in os.environ
def write(stream, text):
    data = text.encode()
    cuts = sorted(random.sample(range(1, len(data)), 3)) if len(data) > 4 else []
    for begin, end in zip([0, *cuts], [*cuts, len(data)]):
        os.write(stream, data[begin:end])
        if slow:
            time.sleep(0.15)  # longer than what is held back waits for more
def forms(secret):
    raw = secret.encode()
    yield "raw", secret
    for before in ["", "u", "u:", "me:"]:
        for name, encode in [("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)]:
            yield name, encode(before.encode() + raw + b"@x").decode()
    yield "hex", raw.hex()
    yield "HEX", raw.hex().upper()
    yield "url", quote(secret, safe="")
    yield "url-component", quote(secret, safe="!'()*")
    yield "form", quote_plus(secret)
    yield "json", json.dumps(secret, ensure_ascii=False)
    yield "json-ascii", json.dumps(secret)
    yield "json-slash", json.dumps(secret).replace("/", "\\/")
    yield "json-html", json.dumps(secret, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    yield "basic", "Basic " + base64.b64encode(b"user:" + raw).decode()
for number in range(5 if slow else 50):
    secret = os.environ[f"SLACK_A{number}_TOKEN"]
    for name, text in [("raw", secret)] if slow else forms(secret):
        for stream in [1, 2]:
            write(stream, f"{number} {name} [{text}]\n")
"#;

/// Secrets as vendors make them, and some with everything that encodings change.
fn secrets() -> Vec<String> {
    let mut random = Random(20_261_129);
    let mut secret = |number: u64| {
        let (alphabet, length): (Vec<char>, u64) = match number % 5 {
            0 => ("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789".chars().collect(), 40),
            1 => ("0123456789abcdef".chars().collect(), 32),
            2 => ("abcXYZ019-._~+/=%&?<>\"\\'() {}#äß漢🔑".chars().collect(), 24),
            3 => ("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567-_".chars().collect(), 300),
            _ => ("abcdefghijklmnop/+".chars().collect(), 12),
        };
        let inner: String =
            (0..length).map(|_| alphabet[usize::try_from(random.below(alphabet.len() as u64)).unwrap()]).collect();
        // Surrounding spaces would be cut off as of any secret in a variable.
        format!("k{number}{inner}z")
    };
    (0..SECRETS).map(&mut secret).collect()
}

/// A command with the secrets as tokens of its environment, and nothing else.
fn with_secrets(arguments: &[&str]) -> Command {
    let mut command = Command::new(INTEG);
    command
        .arg("exec")
        .args((0..SECRETS).map(|number| format!("slack@a{number}")))
        .arg("--mask")
        .arg("--")
        .args(arguments);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    let variables = secrets().into_iter().enumerate();
    command.envs(variables.map(|(number, secret)| (format!("INTEG_TOKEN_SLACK_A{number}"), secret)));
    command
}

/// A command of a home with one connection, whose token is printed by `$T`.
fn masked(home: &Home, script: &str) -> Command {
    home.command(["exec", "--env", "T=slack", "--mask", "--", "sh", "-c", script])
}

fn home() -> Home {
    let home = Home::new();
    home.ok("connect slack --sandbox");
    home
}

/// Characters that a line may show beside a mask: a pause in a secret may show its first 12, what stands around a secret in
/// base64 shares a character with it, quotes are JSON's, and `Basic ` is the header's.
const HARMLESS: usize = 30;

fn assert_hidden(ran: &Ran, lines: usize) {
    let mut failures = String::new();
    for (stream, printed) in [("stdout", &ran.stdout), ("stderr", &ran.stderr)] {
        assert_eq!(printed.lines().count(), lines, "{stream}: every line came");
        for line in printed.lines() {
            let (label, content) = line.split_once(" [").unwrap();
            let rest = content.strip_suffix(']').unwrap().replace("***", "");
            if !content.contains("***") || rest.chars().count() > HARMLESS {
                writeln!(failures, "{stream} {label}: {content}").unwrap();
            }
        }
        let shown = secrets().into_iter().find(|secret| printed.contains(secret.as_str()));
        assert_eq!(shown, None, "{stream}");
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn fifty_secrets_are_hidden_in_every_encoding_and_split() {
    if !needs("python3", has_program("python3")) {
        return;
    }
    let ran = finish(with_secrets(&["python3", "-c", PRINT]));
    assert_eq!(ran.code, 0, "{}", ran.stderr.chars().take(2000).collect::<String>());
    assert_hidden(&ran, 50 * 19);
    let mut command = with_secrets(&["python3", "-c", PRINT]);
    command.env("SLOW", "1");
    let ran = finish(command);
    assert_hidden(&ran, 5);
    let beginnings = secrets().into_iter().take(5).map(|secret| secret.chars().take(13).collect::<String>());
    for beginning in beginnings {
        assert!(!ran.stdout.contains(&beginning) && !ran.stderr.contains(&beginning), "{beginning}");
    }
}

#[test]
fn exit_codes_and_signals_are_those_of_the_command() {
    let home = home();
    assert_eq!(finish(masked(&home, "exit 7")).code, 7);
    assert_eq!(finish(masked(&home, "kill -TERM $$")).code, 128 + 15);
    let missing = home.command(["exec", "slack", "--mask", "--", "/no/such/program"]);
    assert_eq!(finish(missing).code, 127);
    let ran = finish(masked(&home, "echo $T; echo err $T >&2"));
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "***\n", "err ***\n"), "{ran:?}");
    // A signal to integ alone reaches the command, which may take its time.
    let mut command = masked(&home, "trap 'echo stopped; exit 9' TERM; echo ready; while :; do sleep 0.05; done");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "stopped");
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn output_comes_as_it_is_written_and_bytes_stay_as_they_are() {
    let home = home();
    let mut command = masked(&home, "printf 'name: '; read name; echo \"hello $name\"");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut prompt = [0; 6];
    // Without this prompt, which ends no line, nobody would answer.
    child.stdout.as_mut().unwrap().read_exact(&mut prompt).unwrap();
    assert_eq!(&prompt, b"name: ");
    child.stdin.take().unwrap().write_all(b"ann\n").unwrap();
    assert_eq!(Ran::of(child.wait_with_output().unwrap()).stdout, "hello ann\n");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let file = home.path().join("bytes");
    std::fs::write(&file, &bytes).unwrap();
    let output = masked(&home, &format!("cat {}", file.display())).output().unwrap();
    assert!(output.stdout == bytes, "{} bytes of {}", output.stdout.len(), bytes.len());
}

#[test]
fn a_reader_that_leaves_and_a_child_that_stays_hold_up_nothing() {
    let home = home();
    let mut child = masked(&home, "yes").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = [0; 2];
    child.stdout.take().unwrap().read_exact(&mut line).unwrap();
    // `yes` finds its pipe closed, as it would without integ.
    assert_eq!(child.wait().unwrap().code(), Some(128 + 13));
    let started = Instant::now();
    let ran = finish(masked(&home, "sleep 30 & echo done"));
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "done\n"), "{ran:?}");
    assert!(started.elapsed() < Duration::from_secs(20), "what it left running is not waited for");
}

#[test]
fn github_actions_gets_what_to_hide_unless_a_file_would_get_it() {
    let home = home();
    let token = home.ok("token slack");
    let ran = finish({
        let mut command = masked(&home, "echo $T");
        command.env("GITHUB_ACTIONS", "true");
        command
    });
    assert!(ran.stderr.contains(&format!("::add-mask::{token}\n")), "{ran:?}");
    assert_eq!(ran.stdout, "***\n");
    assert!(!finish(masked(&home, "echo $T")).stderr.contains("add-mask"), "not elsewhere");
    let log = home.path().join("log");
    let mut command = masked(&home, "true");
    command.env("GITHUB_ACTIONS", "true").stderr(std::fs::File::create(&log).unwrap());
    assert!(command.status().unwrap().success());
    assert!(!std::fs::read_to_string(&log).unwrap().contains(&token));
}
