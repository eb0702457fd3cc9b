//! Tokens that are refreshed, used, described and handed out.

mod answers;
mod home;
mod refresh;
mod sign_in;
mod walk;

use serde_json::Value;

use crate::fake::{CONNECTOR, FakeProvider, Trouble};
use crate::flow::{Flow, connect_line};
use crate::harness::Home;

/// The connector of the tests with a part of its file changed.
fn altered(from: &str, to: &str) -> String {
    let changed = CONNECTOR.replacen(from, to, 1);
    assert_ne!(changed, CONNECTOR, "{from}");
    changed
}

/// A home that is connected through a connector of its own, after these troubles at the token endpoint.
fn connected_by(provider: &FakeProvider, connector: &str, further: &str, troubles: Vec<Trouble>) -> Home {
    let home = Home::new();
    home.install("fake", connector);
    provider.trouble("/token", troubles);
    Flow::start(&home, &format!("{}{further}", connect_line(provider))).allow();
    home
}

fn status(home: &Home) -> Value {
    home.json("status")["connections"][0].clone()
}
