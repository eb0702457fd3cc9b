//! API tokens: what a token may do and give, who stops it, and a rate limit that is exact across processes.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use integ::clock::{Clock, Timestamp};
use integ::config::{Config, Folders};
use integ::model::{
    ApiOutcome, ApiScope, ApiToken, ApiTokenStatus, ApiTokenText, ApiUse, ApiVerb, OperationScope, RateTier,
    WorkspaceName,
};
use integ::notify::Notifier;
use integ::ops::api_tokens::{
    self, ApiTokenError, ConnectionLimit, CreateApiTokenRequest, RotateApiTokenRequest, UpdateApiTokenRequest,
};
use integ::runtime::{Engine, Workspace};
use integ::secret::Secret;
use integ::vault::{PassphrasePrompt, PassphraseSource};

use crate::harness::Home;

/// Set in a process that makes requests: its home, and the text of the token.
const CHILD: &str = "INTEG_TEST_API_TOKEN";
const TEXT: &str = "INTEG_TEST_API_TOKEN_TEXT";

const DAY: u64 = 86_400;

struct Nobody;

impl PassphraseSource for Nobody {
    fn ask(&self, _: PassphrasePrompt) -> std::io::Result<Option<Secret>> {
        Ok(None)
    }
}

fn workspace(home: &Path, clock: Clock) -> Workspace {
    let config = Config::default();
    let notifier = Box::new(Notifier::new(&config));
    let mut engine = Engine::new(Folders::under(home), config, Box::new(Nobody), notifier);
    engine.clock = clock;
    Workspace::new(Arc::new(engine), WorkspaceName::default())
}

/// A home with two connections, and a clock that stands.
struct Fixture {
    _home: Home,
    clock: Clock,
    workspace: Workspace,
}

impl Fixture {
    fn new() -> Self {
        let home = Home::new();
        home.ok("connect slack --sandbox");
        home.ok("connect github --sandbox");
        let clock = Clock::fixed(Timestamp::now());
        let workspace = workspace(home.path(), clock.clone());
        Self { _home: home, clock, workspace }
    }

    fn pass(&self, time: Duration) {
        self.clock.set(self.clock.now().checked_add(time).unwrap());
    }

    fn create(&self, name: &str, scopes: &[&str], creator: Option<&ApiToken>) -> Result<String, ApiTokenError> {
        self.create_as(request(name, scopes), creator)
    }

    fn create_as(&self, request: CreateApiTokenRequest, creator: Option<&ApiToken>) -> Result<String, ApiTokenError> {
        let created = self.workspace.run(api_tokens::create_token(&self.workspace, request, creator));
        created.map(|created| created.text.expose().clone()).map_err(|error| own(&error))
    }

    fn authenticate(&self, text: &str) -> Option<ApiToken> {
        self.workspace.run(api_tokens::authenticate(&self.workspace, text)).unwrap()
    }

    fn update(&self, change: UpdateApiTokenRequest, actor: Option<&ApiToken>) -> Result<(), ApiTokenError> {
        let updated = self.workspace.run(api_tokens::update_token(&self.workspace, change, actor));
        updated.map(drop).map_err(|error| own(&error))
    }

    fn names(&self, actor: Option<&ApiToken>) -> Vec<String> {
        let list = self.workspace.run(api_tokens::list_tokens(&self.workspace, actor)).unwrap();
        list.tokens.iter().map(|token| token.name.to_string()).collect()
    }
}

/// The error as that of the operation.
fn own(error: &integ::error::Error) -> ApiTokenError {
    match error.downcast_ref::<ApiTokenError>() {
        Some(ApiTokenError::ExceedsToken { id, right }) => {
            ApiTokenError::ExceedsToken { id: id.clone(), right: right.clone() }
        }
        Some(ApiTokenError::NotFound(name)) => ApiTokenError::NotFound(name.clone()),
        Some(ApiTokenError::TierIsLocal) => ApiTokenError::TierIsLocal,
        Some(ApiTokenError::NoConnections(name)) => ApiTokenError::NoConnections(name.clone()),
        _ => panic!("{error:?}"),
    }
}

fn request(name: &str, scopes: &[&str]) -> CreateApiTokenRequest {
    CreateApiTokenRequest {
        name: name.to_owned(),
        user: None,
        scopes: scopes.iter().map(ToString::to_string).collect(),
        connections: Vec::new(),
        tier: None,
        expires_in: None,
        rotate_after: None,
        approve: None,
    }
}

fn change(token: &str) -> UpdateApiTokenRequest {
    UpdateApiTokenRequest {
        token: token.to_owned(),
        name: None,
        is_enabled: None,
        scopes: None,
        connections: None,
        tier: None,
        rotate_after: None,
        approve: None,
    }
}

fn exceeds<T: std::fmt::Debug>(result: &Result<T, ApiTokenError>) -> bool {
    matches!(result, Err(ApiTokenError::ExceedsToken { .. }))
}

fn scope(text: &str) -> ApiScope {
    text.parse().unwrap()
}

#[test]
fn fault_095_the_store_holds_the_hash_of_a_token_and_not_the_token() {
    let home = Home::new();
    let created = home.run("api-token create ci --scope connections:read");
    assert_eq!(created.code, 0, "{created:?}");
    let text = created.stdout.trim();
    assert_eq!(created.stdout, format!("{text}\n"), "the token is alone on stdout");
    assert!(!created.stderr.contains(text) && created.stderr.contains("only once"), "{created:?}");
    assert!(ApiTokenText::parse(text).is_some(), "{text}");
    for line in [
        "api-token list --json",
        "api-token show ci --json",
        "api-token show ci",
        "doctor --json",
        "-vv api-token list",
    ] {
        let ran = home.run(line);
        assert!(!ran.stdout.contains(text) && !ran.stderr.contains(text), "{line}");
    }
    // The plain content of the store is in a backup.
    let dump = home.path().join("dump.db");
    home.ok("vault backup out.age");
    home.ok("vault identity export id.age");
    let open = Command::new("age")
        .args(["-d", "-i", "id.age", "-o"])
        .arg(&dump)
        .arg("out.age")
        .current_dir(home.path())
        .status();
    if open.is_ok_and(|status| status.success()) {
        let bytes = std::fs::read(&dump).unwrap();
        let contains = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        assert!(contains(ApiTokenText::parse(text).unwrap().hash().as_bytes()), "the hash is stored");
        assert!(!contains(text.as_bytes()) && !contains(&text.as_bytes()[6..]), "and the token is not");
    }
    let json = home.json("api-token create other --scope read:*");
    assert!(ApiTokenText::parse(json["token"].as_str().unwrap()).is_some(), "{json}");
}

#[test]
fn only_a_whole_token_that_is_enabled_and_has_not_ended_authenticates() {
    let fixture = Fixture::new();
    let text = fixture.create("ci", &["connections:read"], None).unwrap();
    let token = fixture.authenticate(&text).unwrap();
    assert!(token.allows(&scope("connections:read")) && !token.allows(&scope("connections:write")));
    assert_eq!(token.expires_at, fixture.clock.now().checked_add(Duration::from_secs(365 * DAY)).unwrap());
    let other = ApiTokenText::random();
    for wrong in ["", "integ_", &text[..54], &format!("{text}0"), &text.to_lowercase(), other.secret().expose()] {
        assert!(fixture.authenticate(wrong).is_none(), "{wrong:?}");
    }
    fixture.update(UpdateApiTokenRequest { is_enabled: Some(false), ..change("ci") }, None).unwrap();
    assert!(fixture.authenticate(&text).is_none());
    fixture.update(UpdateApiTokenRequest { is_enabled: Some(true), ..change("ci") }, None).unwrap();
    fixture.pass(Duration::from_secs(365 * DAY - 1));
    assert_eq!(fixture.authenticate(&text).unwrap().status(fixture.clock.now()), ApiTokenStatus::Expiring);
    fixture.pass(Duration::from_secs(1));
    assert!(fixture.authenticate(&text).is_none());

    let rotate = |grace, actor: Option<&ApiToken>| {
        let request = RotateApiTokenRequest { token: "ci".to_owned(), grace, expires_in: None };
        let rotated = fixture.workspace.run(api_tokens::rotate_token(&fixture.workspace, request, actor)).unwrap();
        rotated.text.expose().clone()
    };
    let second = rotate(Duration::ZERO, None);
    let token = fixture.authenticate(&second).unwrap();
    assert!(fixture.authenticate(&text).is_none(), "rotated away");
    fixture.pass(Duration::from_secs(DAY));
    let third = rotate(Duration::from_secs(60), Some(&token));
    let rotated = fixture.authenticate(&third).unwrap();
    assert_eq!(rotated.expires_at, token.expires_at, "a token does not make itself valid for longer");
    assert!(fixture.authenticate(&second).is_some());
    fixture.pass(Duration::from_secs(60));
    assert!(fixture.authenticate(&second).is_none() && fixture.authenticate(&third).is_some());
    let used = fixture.workspace.run(api_tokens::show_token(&fixture.workspace, "ci", None)).unwrap();
    assert_eq!(used.last_used_at, Some(fixture.clock.now()));
}

#[test]
fn a_token_creates_tokens_with_a_subset_of_its_rights() {
    let fixture = Fixture::new();
    let slack = vec!["slack".parse().unwrap()];
    let creator = CreateApiTokenRequest {
        connections: slack.clone(),
        user: Some("u_1".parse().unwrap()),
        tier: Some(RateTier::Pro),
        expires_in: Some(Duration::from_secs(30 * DAY)),
        ..request("creator", &["read:*", "api-tokens:write", "sync:write"])
    };
    let creator = fixture.authenticate(&fixture.create_as(creator, None).unwrap()).unwrap();
    let by_creator = |request| fixture.create_as(request, Some(&creator));

    // What is not asked for is the creator's.
    let child = by_creator(request("child", &["connections:read", "sync:write"])).unwrap();
    let token = fixture.authenticate(&child).unwrap();
    assert_eq!((&token.connections, &token.user, token.tier), (&creator.connections, &creator.user, RateTier::Pro));
    assert_eq!((token.expires_at, &token.root), (creator.expires_at, &creator.id));

    for more in ["tokens:reveal", "sync:write bindings:write", "write:*", "admin:*"] {
        let scopes: Vec<&str> = more.split(' ').collect();
        assert!(exceeds(&by_creator(request("more", &scopes))), "{more}");
    }
    let base = || request("more", &["read:*"]);
    for request in [
        CreateApiTokenRequest { connections: vec!["github".parse().unwrap()], ..base() },
        CreateApiTokenRequest { connections: vec!["slack".parse().unwrap(), "github".parse().unwrap()], ..base() },
        CreateApiTokenRequest { tier: Some(RateTier::Enterprise), ..base() },
        CreateApiTokenRequest { expires_in: Some(Duration::from_secs(31 * DAY)), ..base() },
        CreateApiTokenRequest { user: Some("u_2".parse().unwrap()), ..base() },
    ] {
        assert!(exceeds(&by_creator(request.clone())), "{request:?}");
    }
    assert_eq!(fixture.names(None), ["child", "creator"]);
    assert!(by_creator(CreateApiTokenRequest { connections: slack, tier: Some(RateTier::Free), ..base() }).is_ok());
}

#[test]
fn a_token_sees_and_changes_itself_and_what_it_led_to_and_raises_nothing() {
    let fixture = Fixture::new();
    let scopes = &["read:*", "api-tokens:write"];
    let one = fixture.authenticate(&fixture.create("one", scopes, None).unwrap()).unwrap();
    fixture.create("other", scopes, None).unwrap();
    let child = fixture.authenticate(&fixture.create("child", scopes, Some(&one)).unwrap()).unwrap();
    fixture.create("grandchild", &["read:*"], Some(&child)).unwrap();
    assert_eq!(fixture.names(Some(&one)), ["child", "grandchild", "one"]);
    assert_eq!(fixture.names(Some(&child)), ["child", "grandchild"]);
    let not_found = |result| matches!(result, Err(ApiTokenError::NotFound(_)));
    for foreign in ["other", "one"] {
        let disable = UpdateApiTokenRequest { is_enabled: Some(false), ..change(foreign) };
        assert!(not_found(fixture.update(disable, Some(&child))), "{foreign}");
        let rotate = RotateApiTokenRequest { token: foreign.to_owned(), grace: Duration::ZERO, expires_in: None };
        let rotated = fixture.workspace.run(api_tokens::rotate_token(&fixture.workspace, rotate, Some(&child)));
        assert_eq!(rotated.unwrap_err().code(), "api_token_not_found");
        let revoked = fixture.workspace.run(api_tokens::revoke_token(&fixture.workspace, foreign, Some(&child)));
        assert_eq!(revoked.unwrap_err().code(), "api_token_not_found");
    }
    let scopes = |text: &str| Some(vec![text.to_owned()]);
    let raise = UpdateApiTokenRequest { scopes: scopes("admin:*"), ..change("grandchild") };
    assert!(exceeds(&fixture.update(raise, Some(&one))));
    let tier = UpdateApiTokenRequest { tier: Some(RateTier::Free), ..change("child") };
    assert!(matches!(fixture.update(tier, Some(&one)), Err(ApiTokenError::TierIsLocal)));
    let only = ConnectionLimit::Only(vec!["slack".parse().unwrap()]);
    fixture.update(UpdateApiTokenRequest { connections: Some(only), ..change("child") }, Some(&one)).unwrap();
    let all = UpdateApiTokenRequest { connections: Some(ConnectionLimit::All), ..change("child") };
    assert!(exceeds(&fixture.update(all.clone(), Some(&one))));
    fixture.update(all, None).unwrap();
    // The owner raises a token up to the one that created it.
    fixture.update(UpdateApiTokenRequest { scopes: scopes("connections:read"), ..change("child") }, None).unwrap();
    let raise = UpdateApiTokenRequest { scopes: scopes("read:*"), ..change("child") };
    fixture.update(raise, None).unwrap();
    assert!(exceeds(&fixture.update(UpdateApiTokenRequest { scopes: scopes("write:*"), ..change("child") }, None)));
}

#[test]
fn what_a_creator_loses_its_tokens_lose_too() {
    let fixture = Fixture::new();
    let one = fixture.create("one", &["write:*"], None).unwrap();
    let one = fixture.authenticate(&one).unwrap();
    let child = fixture.create("child", &["write:*"], Some(&one)).unwrap();
    let scopes = Some(vec!["connections:read".to_owned()]);
    let only = Some(ConnectionLimit::Only(vec!["slack".parse().unwrap()]));
    fixture.update(UpdateApiTokenRequest { scopes, connections: only, ..change("one") }, None).unwrap();
    let token = fixture.authenticate(&child).unwrap();
    assert!(token.allows(&scope("connections:read")) && !token.allows(&scope("connections:write")));
    assert_eq!(token.connections.map(|ids| ids.len()), Some(1));
    fixture.update(UpdateApiTokenRequest { is_enabled: Some(false), ..change("one") }, None).unwrap();
    assert!(fixture.authenticate(&child).is_none());
    fixture.update(UpdateApiTokenRequest { is_enabled: Some(true), ..change("one") }, None).unwrap();
    assert!(fixture.authenticate(&child).is_some());
    let revoked = fixture.workspace.run(api_tokens::revoke_token(&fixture.workspace, "one", None)).unwrap();
    assert_eq!(revoked.revoked.len(), 2);
    assert!(fixture.authenticate(&child).is_none());
}

#[test]
fn usage_is_counted_and_read_with_the_tokens_that_may_see_it() {
    let fixture = Fixture::new();
    let one = fixture.authenticate(&fixture.create("one", &["read:*"], None).unwrap()).unwrap();
    let now = fixture.clock.now();
    let of = |outcome| ApiUse { token: one.id.clone(), at: now, operation: "status".to_owned(), outcome };
    let uses = [of(ApiOutcome::Succeeded), of(ApiOutcome::Succeeded), of(ApiOutcome::RateLimited)];
    fixture.workspace.run(api_tokens::record_usage(&fixture.workspace, &uses)).unwrap();
    let usage = fixture.workspace.run(api_tokens::token_usage(&fixture.workspace, "one", now, Some(&one))).unwrap();
    assert_eq!((usage.requests, usage.counts.len()), (3, 2));
    let reveal = ApiScope::new(OperationScope::Tokens, ApiVerb::Reveal);
    assert!(!one.allows(&reveal));
}

/// Makes requests with a token until 150 were answered, and returns how many were admitted.
fn request_many(home: &Path, text: &str) -> usize {
    let workspace = workspace(home, Clock::system());
    let token = workspace.run(api_tokens::authenticate(&workspace, text)).unwrap().unwrap();
    let admitted =
        (0..150).filter(|_| workspace.run(api_tokens::admit(&workspace, &token)).unwrap().unwrap().is_allowed);
    admitted.count()
}

#[test]
fn fault_096_a_burst_of_processes_gets_exactly_the_limit() {
    if let Some(home) = std::env::var_os(CHILD) {
        println!("admitted: {}", request_many(Path::new(&home), &std::env::var(TEXT).unwrap()));
        return;
    }
    let home = Home::new();
    let parent = home.ok("api-token create ci --scope write:*");
    let owner = workspace(home.path(), Clock::system());
    let creator = owner.run(api_tokens::authenticate(&owner, &parent)).unwrap().unwrap();
    let child = owner.run(api_tokens::create_token(&owner, request("child", &["read:*"]), Some(&creator))).unwrap();
    drop(owner);
    let name = "api_token::fault_096_a_burst_of_processes_gets_exactly_the_limit";
    // A token and one that it created share a limit.
    let texts = [parent.as_str(), child.text.expose(), parent.as_str(), child.text.expose()];
    let children = texts.map(|text| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", name, "--nocapture"]).env(CHILD, home.path()).env(TEXT, text);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    let outputs = children.map(|child| child.wait_with_output().unwrap());
    let admitted = outputs.iter().map(|output| {
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
        let count = printed.lines().find_map(|line| line.split_once("admitted: ")).unwrap().1;
        count.trim().parse::<usize>().unwrap()
    });
    assert_eq!(admitted.sum::<usize>(), 60, "the limit of the tier free");
}

#[test]
fn restored_tokens_are_disabled() {
    let home = Home::new();
    let text = home.ok("api-token create ci --scope read:*");
    home.ok("vault backup out.age");
    let restored = home.run("-w other vault restore out.age --yes");
    assert!(restored.code == 0 && restored.stderr.contains("1 API token, disabled"), "{restored:?}");
    let token = home.json("-w other api-token show ci");
    assert_eq!(token["status"], "disabled");
    let workspace = |name: &str| {
        let mut own = workspace(home.path(), Clock::system());
        own.name = name.parse().unwrap();
        own
    };
    let (first, other) = (workspace("default"), workspace("other"));
    assert!(first.run(api_tokens::authenticate(&first, &text)).unwrap().is_some());
    assert!(other.run(api_tokens::authenticate(&other, &text)).unwrap().is_none());
    home.ok("-w other api-token update ci --enable");
    assert!(other.run(api_tokens::authenticate(&other, &text)).unwrap().is_some());
}
