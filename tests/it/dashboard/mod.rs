//! The dashboard with the real program: as a browser without scripts sees it.

mod alerts;
mod browser;
mod connectors;
mod deliveries;
mod forms;
mod life;
mod operations;
mod pages;
mod person;
mod readers;
mod roles;
mod signing_in;

use browser::Browser;

use crate::harness::Home;
use crate::server::Server;

/// A link to the dashboard for an operator.
fn link(home: &Home, server: &Server, words: &str) -> String {
    home.ok(&format!("dashboard link --public-url {} {words}", server.url)).trim().to_owned()
}

/// A link for an approver, whom a person at the terminal has confirmed; None where no terminal can be played.
fn link_of_approver(home: &Home, server: &Server) -> Option<String> {
    if !crate::guided::ready() {
        return None;
    }
    let line = format!("dashboard link --as boss --role approver --public-url {}", server.url);
    let made = crate::guided::at_a_terminal(home, &line, &[("[y/N]", "y\\r")]);
    // The terminal breaks the line.
    let text: String = made.stdout.split("http://").nth(1)?.chars().filter(|c| !c.is_whitespace()).collect();
    let end = text.find("For").unwrap_or(text.len());
    Some(format!("http://{}", &text[..end]))
}

/// A browser of an approver.
fn signed_in_as_approver(home: &Home, server: &Server) -> Option<Browser> {
    let link = link_of_approver(home, server)?;
    let mut browser = Browser::new(&server.url);
    let page = browser.open(&link);
    let page = browser.submit(&page.form("/dashboard/sign-in"), &[]);
    assert_eq!(page.status, 200, "{page:?}");
    Some(browser)
}

/// A browser that has signed in.
fn signed_in(home: &Home, server: &Server, role: &str) -> Browser {
    let mut browser = Browser::new(&server.url);
    let link = link(home, server, &format!("--as {role} --role {role}"));
    let page = browser.open(&link);
    let form = page.form("/dashboard/sign-in");
    let page = browser.submit(&form, &[]);
    assert_eq!(page.status, 200, "{page:?}");
    browser
}
