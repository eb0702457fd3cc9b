//! `integ serve` with the real program: its API over HTTP.

mod attacks;
pub(crate) mod client;
pub(crate) mod connectors;
mod faults;
mod floods;
mod generated_client;
mod life;
mod limits;
mod monitoring;
mod pages;
mod proxied;
mod repeated;
mod rights;
mod service;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{Home, Ran, Running};
use crate::schemas::check_output;
use client::{Client, Reply};

/// A home with a connected sandbox account of each connector.
fn home(connectors: &[&str]) -> Home {
    let home = Home::new();
    for connector in connectors {
        home.ok(&format!("connect {connector} --sandbox"));
    }
    home
}

/// A running server.
pub(crate) struct Server {
    /// Ends with this value.
    running: Running,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(home: &Home, words: &str) -> Self {
        Self::start_at(home, "127.0.0.1:0", words)
    }

    pub(crate) fn start_at(home: &Home, address: &str, words: &str) -> Self {
        let words = format!("serve --bind {address} --json {words}");
        let mut running = Running::start(home.command(words.split_whitespace()));
        let line = running.line();
        let started: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?} is not JSON"));
        check_output(&["serve".to_owned()], &Ran { code: 0, stdout: line, stderr: String::new() });
        assert_eq!(started["event"], "serving", "{started}");
        Self { running, url: started["url"].as_str().unwrap().to_owned() }
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(mut self) {
        kill_process(Pid::from_child(&self.running.child), Signal::TERM).unwrap();
        self.running.code();
    }

    pub(crate) fn client(&self, token: &str) -> Client {
        Client::new(&self.url, Some(token))
    }
}

/// Creates a token with these scopes, and more words.
pub(crate) fn token(home: &Home, name: &str, words: &str) -> String {
    home.ok(&format!("api-token create {name} {words}")).trim().to_owned()
}

/// Fails with the whole reply if its status is another.
pub(crate) fn expect(reply: &Reply, status: u16) -> Value {
    assert_eq!(reply.status, status, "{reply:?}");
    reply.json.clone().unwrap_or(json!(null))
}
