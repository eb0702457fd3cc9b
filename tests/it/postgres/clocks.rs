//! The server's clock counts, whatever the time of a machine that uses the workspace.

use crate::attack::clocks::{library, ok_at};
use crate::fake::FakeProvider;
use crate::flow::connected_in;
use crate::harness::Home;

#[test]
fn every_machine_judges_a_token_by_the_servers_clock() {
    let (Some(library), Some(home)) = (library(), Home::in_postgres()) else { return };
    let provider = FakeProvider::start();
    let home = connected_in(home, &provider);
    let left_of = |status: &str| -> i64 {
        let status: serde_json::Value = serde_json::from_str(status).unwrap();
        status["connections"][0]["expires_in"].as_i64().unwrap()
    };
    for offset in ["+90m", "-90m", "+3650d", "-3650d"] {
        let before = provider.state().refreshes();
        let token = home.ok("token fake");
        assert_eq!(ok_at(&home, &library, offset, "token fake --min-ttl 50m").trim_end(), token, "{offset}");
        assert_eq!(provider.state().refreshes(), before, "{offset}");
        let left = left_of(&ok_at(&home, &library, offset, "status fake --json"));
        assert!((3500..=3600).contains(&left), "{offset}: {left}");
        // What a machine stores is right for all.
        ok_at(&home, &library, offset, "refresh fake");
        let left = left_of(&home.ok("status fake --json"));
        assert!((3500..=3600).contains(&left), "{offset}: {left}");
        assert_ne!(home.ok("token fake --min-ttl 50m"), token, "{offset}");
        assert_eq!(provider.state().refreshes(), before + 1, "{offset}");
    }
}
