//! `integ connect` beside a test that plays the browser.

use std::io::Read;
use std::process::Stdio;

use serde_json::Value;
use url::Url;

use crate::fake::{CONNECTOR, FakeProvider};
use crate::harness::{Home, Ran, Running};
use crate::wire::{self, Message};

/// A sign-in that waits for its callback.
pub struct Flow {
    pub running: Running,
    pub url: Url,
    pub redirect_uri: Url,
}

impl Flow {
    pub fn start(home: &Home, line: &str) -> Self {
        let mut command = home.command(format!("{line} --no-browser --json").split_whitespace());
        command.stderr(Stdio::piped());
        let mut running = Running::start(command);
        let event = running.event();
        assert_eq!(event["event"], "authorize");
        let url = |name: &str| Url::parse(event[name].as_str().unwrap()).unwrap();
        Self { url: url("url"), redirect_uri: url("redirect_uri"), running }
    }

    /// The callback that the provider's consent leads to.
    pub fn consent(&self) -> Url {
        Url::parse(wire::get(&self.url).header("location").unwrap()).unwrap()
    }

    /// The same callback with one parameter changed; none where the value is absent.
    pub fn altered(callback: &Url, name: &str, value: Option<&str>) -> Url {
        let kept: Vec<_> = callback.query_pairs().into_owned().filter(|(known, _)| known != name).collect();
        let mut url = callback.clone();
        url.query_pairs_mut().clear().extend_pairs(kept).extend_pairs(value.map(|value| (name, value)));
        url
    }

    /// Delivers a callback as a browser does.
    pub fn deliver(&self, callback: &Url) -> Message {
        wire::get(callback)
    }

    /// Consents, and returns the connection that came of it.
    pub fn allow(self) -> Value {
        let callback = self.consent();
        let page = self.deliver(&callback);
        let (code, last, stderr) = self.end();
        assert_eq!((code, page.status()), (0, 200), "{stderr}");
        last["connection"].clone()
    }

    /// Exit code, last event and stderr of a command that ends by itself.
    pub fn end(mut self) -> (i32, Value, String) {
        let line = self.running.line();
        let code = self.running.code();
        let mut stderr = String::new();
        self.running.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (code, serde_json::from_str(&line).unwrap_or_default(), stderr)
    }

    /// Exit code and error code of a command that must fail.
    pub fn failure(self) -> (i32, String) {
        let (code, _, stderr) = self.end();
        let ran = Ran { code, stdout: String::new(), stderr };
        (code, ran.error_code())
    }
}

/// The command line that connects to a provider of the tests.
pub fn connect_line(provider: &FakeProvider) -> String {
    format!("connect fake --client-id test --origin {}", provider.origin())
}

/// A home that knows the connector of the tests, and nothing else.
pub fn home() -> Home {
    let home = Home::new();
    home.install("fake", CONNECTOR);
    home
}

/// A home that is connected.
pub fn connected(provider: &FakeProvider) -> Home {
    connected_in(Home::new(), provider)
}

/// [`connected`] in this home.
pub fn connected_in(home: Home, provider: &FakeProvider) -> Home {
    home.install("fake", CONNECTOR);
    Flow::start(&home, &connect_line(provider)).allow();
    home
}
