//! Who read the token of a connection.

use super::signed_in;
use crate::harness::Home;
use crate::server::{Server, expect, token};

#[test]
fn the_activity_of_a_connection_says_who_read_its_token() {
    let home = Home::new();
    home.ok("config set audit.local true");
    home.ok("connect slack --sandbox");
    home.ok("connect stripe --sandbox");
    let reader = token(&home, "reader", "--scope tokens:reveal");
    let server = Server::start(&home, "");
    let mut browser = signed_in(&home, &server, "viewer");
    let page = browser.open("/dashboard/connections/slack/activity");
    assert!(page.text.contains("Nobody, over the API"), "{page:?}");

    let api = server.client(&reader);
    expect(&api.send("POST", "/v1/connections/slack/token", &[], None), 200);
    expect(&api.send("POST", "/v1/connections/stripe/token", &[], None), 200);
    home.ok("token slack");
    let page = browser.open("/dashboard/connections/slack/activity");
    let section = page.text.split("Who read its token").nth(1).unwrap().split("</section>").next().unwrap();
    let rows: Vec<&str> = section.split("<tr>").skip(2).collect();
    assert_eq!(rows.len(), 2, "{section}");
    assert!(rows[0].contains("<code>token</code>") && rows[0].contains("local"), "{section}");
    assert!(rows[1].contains("<code>token</code>") && rows[1].contains("api token"), "{section}");

    let all = browser.open(&page.link("All of them in the audit log"));
    assert_eq!(
        (all.text.matches("<td>slack</td>").count(), all.text.matches("<td>stripe</td>").count()),
        (2, 0),
        "{all:?}"
    );
    let log = home.ok("audit list --json --actor viewer");
    let asked = log.lines().filter(|line| line.contains("\"operation\":\"audit list\""));
    assert_eq!(asked.count(), 3, "each page asks the log once: {log}");

    let id = rows[1].split("<td>tok_").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let of_token = browser.open(&format!("/dashboard/audit?operation=token&actor=tok_{id}"));
    for part in ["<td>slack</td>", "<td>stripe</td>"] {
        assert!(of_token.text.contains(part), "{part}: {of_token:?}");
    }
    assert!(!of_token.text.contains("<td>local</td>"), "{of_token:?}");
    let of_nobody = browser.open("/dashboard/audit?operation=token&actor=tok_000000000000");
    assert!(of_nobody.text.contains("No entries"), "{of_nobody:?}");
}
