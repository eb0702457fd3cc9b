//! The dashboard with the real program: as a browser without scripts sees it.

mod browser;
mod forms;
mod life;
mod pages;
mod person;
mod roles;
mod signing_in;

use browser::Browser;

use crate::harness::Home;
use crate::server::Server;

/// A link to the dashboard for an operator.
fn link(home: &Home, server: &Server, words: &str) -> String {
    home.ok(&format!("dashboard link --public-url {} {words}", server.url)).trim().to_owned()
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
