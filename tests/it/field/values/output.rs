//! Output that does not arrive, and expressions that are wrong.

use std::fs::OpenOptions;
use std::io::Read;
use std::process::Stdio;

use super::service::Service;
use crate::harness::Ran;

fn service() -> Service {
    let service = Service::start();
    service.answer("/v1/items", br#"{"items":[{"id":"a"}]}"#);
    service.ok(&["sync", "acme/items"]);
    service
}

fn into_full(service: &Service, line: &str) -> Ran {
    let mut command = service.home.command(line.split_whitespace());
    command.stdout(OpenOptions::new().write(true).open("/dev/full").unwrap()).stderr(Stdio::piped());
    Ran::of(command.spawn().unwrap().wait_with_output().unwrap())
}

#[test]
#[cfg(target_os = "linux")]
fn output_that_is_lost_is_an_error() {
    let service = service();
    for line in [
        "token acme",
        "token acme --json",
        "status",
        "status --json",
        "help sync",
        "help exit-codes",
        "--help",
        "--version",
        "records acme/items",
        "records acme/items --json",
        "records acme/items --format csv",
        "sync acme/items --to singer",
        "api acme /items",
        "completions bash",
        "connector list",
        "connector schema",
        "cursor export acme",
        "test acme",
        "config show",
    ] {
        let ran = into_full(&service, line);
        assert_eq!(ran.code, 1, "{line}: {ran:?}");
        assert!(ran.stderr.contains("No space left on device"), "{line}: {ran:?}");
    }
    let ran = into_full(&service, "status --json");
    assert_eq!(ran.error_code(), "disk_full");
}

#[test]
fn a_reader_that_leaves_is_not_an_error() {
    let service = service();
    for line in ["token acme", "status", "help sync", "--help", "records acme/items", "api acme /items"] {
        let mut command = service.home.command(line.split_whitespace());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let status = child.wait().unwrap();
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!((status.code(), stderr.as_str()), (Some(0), ""), "{line}");
    }
}

#[test]
fn a_wrong_expression_is_named_with_its_place() {
    let service = service();
    let ran = service.run(&["status", "--jq", ".["]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("invalid jq expression") && ran.stderr.contains("at character 3"), "{ran:?}");
    let ran = service.run(&["status", "--jq", ".a | keyz"]);
    assert!(ran.stderr.contains("undefined filter `keyz` at character 6"), "{ran:?}");
}

/// Megabytes that a process needed at most.
#[cfg(target_os = "linux")]
fn peak(service: &Service, words: &[&str]) -> u64 {
    let mut child = service.home.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
        most = most.max(kilobytes.unwrap_or(0));
        if child.try_wait().unwrap().is_some() {
            return most >> 10;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Before: 632 MiB for the filter and 373 MiB for the check.
#[test]
#[cfg(target_os = "linux")]
fn a_large_answer_is_looked_at_without_a_tree() {
    let service = Service::start();
    let body = format!("[{}0]", "0,".repeat(5 << 20));
    service.answer("/v1/me", body.as_bytes());
    service.answer("/v1/items", body.as_bytes());
    assert_eq!(service.ok(&["api", "acme", "/items", "--jq", "length"]), format!("{}\n", (5 << 20) + 1));
    let (filter, check) =
        (peak(&service, &["api", "acme", "/items", "--jq", "length"]), peak(&service, &["test", "acme"]));
    eprintln!("filter {filter} MiB, check {check} MiB");
    assert!(filter < 400 && check < 100, "{filter} MiB, {check} MiB");
}
