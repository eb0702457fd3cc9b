//! Sign-ins that one process begins and another finishes, as a server of several processes has them.

mod callbacks;
mod connect_links;
mod emulated;
mod guarded;
mod openid;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use integ::clock::{Clock, Timestamp};
use integ::config::{Config, Folders};
use integ::connect::ConnectRequest;
use integ::connect::pending::{self, CallbackReply, SignInTarget, StartedSignIn};
use integ::error::Error;
use integ::model::{ClientCredentials, SignIn, SignInId, SignInResult};
use integ::notify::Notifier;
use integ::runtime::{Engine, Workspace};
use integ::secret::Secret;
use integ::vault::{PassphrasePrompt, PassphraseSource};
use url::Url;

use crate::fake::FakeProvider;
use crate::wire;

struct Nobody;

impl PassphraseSource for Nobody {
    fn ask(&self, _: PassphrasePrompt) -> std::io::Result<Option<Secret>> {
        Ok(None)
    }
}

/// What a process of a server has: an engine of its own, and the workspace's store, which is everybody's.
fn node_with(home: &Path, change: impl FnOnce(&mut Engine)) -> Arc<Workspace> {
    let mut config = Config::default();
    config.serve.public_url = Url::parse("http://127.0.0.1:7420/").ok();
    config.serve.return_origins = vec!["https://app.example".parse().unwrap()];
    let notifier = Box::new(Notifier::new(&config));
    let mut engine = Engine::new(Folders::under(home), config, Box::new(Nobody), notifier);
    change(&mut engine);
    Arc::new(Workspace::new(Arc::new(engine), "default".parse().unwrap()))
}

fn node(home: &Path) -> Arc<Workspace> {
    node_with(home, |_| {})
}

/// The same, so many seconds later.
fn later(home: &Path, seconds: i64) -> Arc<Workspace> {
    seconds_after(home, Timestamp::now(), seconds)
}

/// As [`later`], however long the steps of a test take.
fn seconds_after(home: &Path, began: Timestamp, seconds: i64) -> Arc<Workspace> {
    let time = Timestamp::from_second(began.as_second() + seconds).unwrap();
    node_with(home, |engine| engine.clock = Clock::fixed(time))
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap().block_on(work)
}

fn target() -> SignInTarget {
    SignInTarget {
        redirect_uri: Url::parse("http://127.0.0.1:7420/oauth/callback").unwrap(),
        return_to: Url::parse("https://app.example/done?tab=1").ok(),
        link: None,
    }
}

/// The request that connects to the provider of the tests.
fn request(provider: &FakeProvider) -> ConnectRequest {
    ConnectRequest {
        connector: "fake".to_owned(),
        client: Some(ClientCredentials { id: "test".to_owned(), secret: None }),
        origin: Url::parse(&provider.origin()).ok(),
        user: "u_17".parse().ok(),
        ..ConnectRequest::default()
    }
}

/// Starts a sign-in that leads to a page, and returns it with the page.
async fn start(node: &Workspace, request: &ConnectRequest) -> (SignInId, Url) {
    match pending::start(node, request, &target()).await.unwrap() {
        StartedSignIn::Redirect { id, authorization_url, .. } => (id, authorization_url),
        other => panic!("{other:?}"),
    }
}

/// The query of the callback that a provider sends a browser to at once.
fn consent(authorization_url: &Url) -> String {
    let page = wire::get(authorization_url);
    let callback = Url::parse(page.header("location").unwrap()).unwrap();
    assert!(callback.as_str().starts_with("http://127.0.0.1:7420/oauth/callback?"), "{callback}");
    callback.query().unwrap().to_owned()
}

/// Finishes a sign-in, which must be one.
async fn finish(node: &Workspace, query: &str) -> SignIn {
    match pending::finish(node, query).await.unwrap() {
        CallbackReply::Finished(sign_in) => *sign_in,
        CallbackReply::Fragment => panic!("the token is in the fragment"),
    }
}

/// The error of a callback that ends no sign-in.
async fn refused(node: &Workspace, query: &str) -> String {
    match pending::finish(node, query).await {
        Ok(reply) => panic!("{reply:?}"),
        Err(error) => code(&error),
    }
}

fn code(error: &Error) -> String {
    error.code().to_owned()
}

/// The connection that a sign-in has made.
fn connected(sign_in: &SignIn) -> &str {
    match &sign_in.result {
        Some(SignInResult::Connected(connected)) => &connected.connection,
        other => panic!("{other:?}"),
    }
}

/// The code of the error that a sign-in ended with.
fn failed(sign_in: &SignIn) -> &str {
    match &sign_in.result {
        Some(SignInResult::Failed(failure)) => &failure.code,
        other => panic!("{other:?}"),
    }
}

/// A query with a parameter that has another value, or none.
fn altered(query: &str, name: &str, value: Option<&str>) -> String {
    let pairs = url::form_urlencoded::parse(query.as_bytes()).into_owned().filter(|(known, _)| known != name);
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    text.extend_pairs(pairs).extend_pairs(value.map(|value| (name, value))).finish()
}
