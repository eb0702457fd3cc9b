//! What lies on the disk: nothing that anybody could read, and nothing that could be changed unnoticed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use integ::config::{Config, Folders};
use integ::model::{ClientCredentials, OAuthApp, WorkspaceName};
use integ::runtime::Workspace;
use integ::secret::Secret;
use integ::store::{SqliteStore, Store, StoreKey};
use integ::vault::{IdentityEnvironment, IfAbsent, Keyring, PassphrasePrompt, PassphraseSource, VaultOpener};

use crate::harness::{Home, Running, files, holds, skipped_on_postgres};

/// Values that no program has by chance.
const TOKEN: &str = "sk_live_MARKERTOKEN7Qx9";
const HOST: &str = "marker-host-4711.example.com";
const ACCOUNT: &str = "markeraccount81";
const CLIENT_SECRET: &str = "MARKERCLIENTSECRET55";

/// Nobody who could be asked for a passphrase.
struct Nobody;

impl PassphraseSource for Nobody {
    fn ask(&self, _: PassphrasePrompt) -> std::io::Result<Option<Secret>> {
        Ok(None)
    }
}

/// Runs a future of the store to its end.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    integ::runtime::new_runtime().unwrap().block_on(future)
}

/// Opens the store of a home in this process.
pub fn open(home: &Home) -> Arc<SqliteStore> {
    let (folders, config) = (Folders::under(home.path()), Config::default().vault);
    let access = VaultOpener::new(&folders, &config, &Nobody)
        .with_environment(IdentityEnvironment::default(), Keyring::default());
    access.open(&home.workspace(), IfAbsent::Fail).unwrap().sqlite
}

/// Opens the store of a home in this process, wherever it is.
pub fn shared_store(home: &Home) -> Arc<dyn Store> {
    let workspace = Workspace::new(crate::postgres::engine(home.path()), WorkspaceName::default());
    wait(workspace.shared_store()).unwrap()
}

/// Connects an API key under an account's name.
pub fn connect_key(home: &Home, account: &str, key: &str) {
    let line = format!("connect api-key --as {account} --with-token --param base=https://{HOST}/v1");
    let ran = home.run_with_input(&line, key);
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// What `vault.age` holds, opened with nothing but the identity and the `age` crate.
pub fn seal_text(home: &Home) -> String {
    let text = fs::read_to_string(home.path().join("identity")).unwrap();
    let line = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).unwrap();
    let identity: age::x25519::Identity = line.parse().unwrap();
    String::from_utf8(age::decrypt(&identity, &fs::read(home.workspace().join("vault.age")).unwrap()).unwrap()).unwrap()
}

/// The key of the store, as `vault.age` has it.
pub fn store_key(home: &Home) -> String {
    let text = seal_text(home);
    let line = text.lines().find(|line| line.starts_with("key = ")).unwrap();
    line.split('"').nth(1).unwrap().to_owned()
}

/// The store, opened without the program.
pub fn open_store(home: &Home) -> rusqlite::Connection {
    let sqlite = rusqlite::Connection::open(home.workspace().join("vault.db")).unwrap();
    let cipher = "PRAGMA cipher_default_hmac_algorithm = HMAC_SHA256; PRAGMA cipher_default_page_size = 8192";
    sqlite.execute_batch(cipher).unwrap();
    sqlite.pragma_update(None, "key", format!("x'{}'", store_key(home))).unwrap();
    sqlite
}

/// Makes every token of a home one that expired a day ago, as if time had passed.
pub fn expire(home: &Home) {
    let sql =
        "UPDATE grants SET issued_at = issued_at - 86400 - (expires_at - issued_at), expires_at = issued_at - 86400
         WHERE expires_at IS NOT NULL";
    execute(home, sql);
}

/// Runs statements on the tables of the home's store, without the program.
pub fn execute(home: &Home, sql: &str) {
    if home.is_in_postgres() {
        home.sql(&format!("SET search_path = integ; {sql}"));
    } else {
        open_store(home).execute_batch(sql).unwrap();
    }
}

/// Copies a folder as it lies there: what a machine that lost its power would find.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What a user cares for: the store, its log, its key and the count of its writes. Not the lock, nor SQLite's index of
/// the log, which holds no content and is made anew.
fn kept(home: &Home) -> Vec<(PathBuf, Vec<u8>)> {
    let names = ["vault.db", "vault.age", "vault.db-wal", "sequence", "identity"];
    let named = |path: &Path| names.iter().any(|name| path.file_name().is_some_and(|own| own == *name));
    files(home.path()).into_iter().filter(|(path, _)| named(path)).collect()
}

/// A home with two connections, whose right answers are known.
pub struct Known {
    pub home: Home,
    token: String,
    status: String,
}

impl Known {
    pub fn new() -> Self {
        let home = Home::new();
        connect_key(&home, ACCOUNT, TOKEN);
        home.ok("connect slack --sandbox");
        let token = home.ok(&format!("token api-key@{ACCOUNT}"));
        let status = Self::status(&home.ok("status --json"));
        Self { home, token, status }
    }

    /// Seconds pass while a test runs.
    fn status(json: &str) -> String {
        let mut status: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
        for connection in status["connections"].as_array_mut().into_iter().flatten() {
            connection["expires_in"] = serde_json::Value::Null;
        }
        status.to_string()
    }

    /// `vault check` must find it; the others must, or give the right answer; and nobody touches a file.
    fn assert_reported(&self, what: &str) {
        let before = kept(&self.home);
        let checked = self.home.run("vault check");
        assert_eq!(checked.code, 7, "{what}: {checked:?}");
        assert!(checked.stderr.contains("hint:"), "{what}: {checked:?}");
        let status = self.home.run("status --json");
        assert!(
            status.code == 7 || (status.code == 0 && Self::status(&status.stdout) == self.status),
            "{what}: {status:?}"
        );
        let token = self.home.run(&format!("token api-key@{ACCOUNT}"));
        assert!(token.code == 7 || (token.code == 0 && token.stdout.trim() == self.token), "{what}: {token:?}");
        assert!(kept(&self.home) == before, "{what}: a file was changed");
    }

    pub fn assert_whole(&self, what: &str) {
        assert_eq!(self.home.run("vault check").code, 0, "{what}");
        assert_eq!(self.home.ok(&format!("token api-key@{ACCOUNT}")), self.token, "{what}");
        assert_eq!(Self::status(&self.home.ok("status --json")), self.status, "{what}");
    }
}

#[test]
fn nothing_of_a_connection_can_be_read_from_any_file() {
    if skipped_on_postgres("it reads the bytes of vault.db") {
        return;
    }
    let home = Home::new();
    connect_key(&home, ACCOUNT, TOKEN);
    home.ok("connect slack --sandbox");
    let line = "app set slack --client-id markerclientid99 --client-secret-file -";
    assert_eq!(home.run_with_input(line, CLIENT_SECRET).code, 0);
    let slack = home.ok("token slack");
    let name = home.json("status")["connections"][1]["account"]["name"].as_str().unwrap().to_owned();
    let key = store_key(&home);

    // The emulation keeps the store open in another process, and this one writes to the log and keeps it from being
    // folded into the store.
    let mut emulation = Running::start(home.command(["sandbox", "run", "slack", "--json"]));
    emulation.line();
    let store = shared_store(&home);
    let client =
        ClientCredentials { id: "markerlateclient".to_owned(), secret: Some(Secret::from("MARKERLATESECRET")) };
    let late = OAuthApp {
        connector: "notion".to_owned(),
        server: None,
        client,
        updated_at: integ::clock::Timestamp::UNIX_EPOCH,
    };
    wait(store.apps().set(&late)).unwrap();

    let markers = [
        TOKEN,
        HOST,
        ACCOUNT,
        CLIENT_SECRET,
        "markerclientid99",
        "markerlateclient",
        "MARKERLATESECRET",
        &slack,
        &name,
        &key,
        "SQLite format 3",
        "CREATE TABLE",
        "connections",
        "access_token",
    ];
    let found = files(home.path());
    let log = found.get(&home.workspace().join("vault.db-wal")).unwrap();
    assert!(log.len() > 4096, "the last write is in the log");
    for (path, bytes) in &found {
        for marker in markers {
            assert!(!holds(bytes, marker), "{} holds {marker:?}", path.display());
        }
    }
    drop(store);
    drop(emulation);
    for (path, bytes) in files(home.path()) {
        assert!(markers.iter().all(|marker| !holds(&bytes, marker)), "{} after closing", path.display());
    }
}

#[test]
fn every_file_and_folder_is_the_users_alone() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    connect_key(&home, ACCOUNT, TOKEN);
    home.ok("config set vault.tokens store");
    for path in files(home.path()).keys() {
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(path), 0o600, "{}", path.display());
        let folder = path.parent().unwrap();
        // The home itself was there before.
        assert!(folder == home.path() || mode(folder) == 0o700, "{}", path.display());
    }
}

#[test]
fn fault_044_a_wrong_key_is_reported_and_changes_nothing() {
    let known = Known::new();
    let stranger = Home::new();
    connect_key(&stranger, "x", "y");
    let own = fs::read(known.home.path().join("identity")).unwrap();
    fs::copy(stranger.path().join("identity"), known.home.path().join("identity")).unwrap();
    known.assert_reported("another home's identity");
    assert_eq!(known.home.run("vault check --json").error_code(), "vault_wrong_key");
    fs::write(known.home.path().join("identity"), own).unwrap();
    known.assert_whole("the own identity again");
}

#[test]
fn fault_044_a_truncated_file_is_reported_and_changes_nothing() {
    if skipped_on_postgres("it cuts vault.db off") {
        return;
    }
    let known = Known::new();
    for name in ["vault.db", "vault.age"] {
        let path = known.home.workspace().join(name);
        let whole = fs::read(&path).unwrap();
        let sizes = [0, 1, 15, 16, 100, 511, 512, 1024, 4095, 4096, 4097, 8192, whole.len() / 2, whole.len() - 1];
        for size in sizes.into_iter().filter(|size| *size < whole.len()) {
            fs::write(&path, &whole[..size]).unwrap();
            known.assert_reported(&format!("{name} of {size} bytes"));
        }
        fs::write(&path, &whole).unwrap();
    }
    known.assert_whole("the whole files again");
}

#[test]
fn fault_044_a_flipped_bit_in_any_page_of_the_store_is_reported() {
    if skipped_on_postgres("it damages pages of vault.db") {
        return;
    }
    let known = Known::new();
    let path = known.home.workspace().join("vault.db");
    let whole = fs::read(&path).unwrap();
    assert_eq!(whole.len() % 4096, 0);
    for page in 0..whole.len() / 4096 {
        // Content, and the code at the page's end that protects it; in the first page the salt, too.
        for (offset, bit) in [((page * 37) % 4000, page % 8), (4095 - page % 64, (page + 3) % 8)] {
            let mut damaged = whole.clone();
            damaged[page * 4096 + offset] ^= 1 << bit;
            fs::write(&path, &damaged).unwrap();
            known.assert_reported(&format!("page {page}, byte {offset}, bit {bit}"));
        }
    }
    fs::write(&path, &whole).unwrap();
    known.assert_whole("the whole store again");
}

#[test]
fn fault_044_a_flipped_bit_anywhere_in_the_key_file_is_reported() {
    let known = Known::new();
    let path = known.home.workspace().join("vault.age");
    let whole = fs::read(&path).unwrap();
    for byte in (0..whole.len()).step_by(3) {
        let mut damaged = whole.clone();
        damaged[byte] ^= 1 << (byte % 8);
        fs::write(&path, &damaged).unwrap();
        let before = kept(&known.home);
        for line in ["vault check", "status", "token slack"] {
            let ran = known.home.run(line);
            assert_eq!(ran.code, 7, "{line}, byte {byte}: {ran:?}");
        }
        assert!(kept(&known.home) == before, "byte {byte}: a file was changed");
    }
    fs::write(&path, &whole).unwrap();
    known.assert_whole("the whole key file again");
}

#[test]
fn fault_044a_a_flipped_bit_in_the_log_is_reported() {
    if skipped_on_postgres("it damages SQLite's log") {
        return;
    }
    let known = Known::new();
    // The writes of a process that was killed: in the log, and nowhere else.
    let store = open(&known.home);
    for number in 0..3 {
        let client = ClientCredentials { id: format!("client{number}"), secret: None };
        let app = OAuthApp {
            connector: "notion".to_owned(),
            server: None,
            client,
            updated_at: integ::clock::Timestamp::UNIX_EPOCH,
        };
        wait(store.apps().set(&app)).unwrap();
    }
    let crashed = Home::new();
    copy(known.home.path(), crashed.path());
    drop(store);
    let crashed = Known { home: crashed, token: known.token.clone(), status: known.status.clone() };
    let path = crashed.home.workspace().join("vault.db-wal");
    let whole = fs::read(&path).unwrap();
    let frames = (whole.len() - 32) / (4096 + 24);
    assert!(frames >= 3, "{frames} frames");
    let frame_of = |frame: usize| 32 + frame * (4096 + 24);
    let places = (0..frames).flat_map(|frame| [frame_of(frame) + 9, frame_of(frame) + 24 + 1000 + frame]);
    for place in places.chain([5, 17, 30]) {
        let mut damaged = whole.clone();
        damaged[place] ^= 1 << (place % 8);
        fs::write(&path, &damaged).unwrap();
        crashed.assert_reported(&format!("byte {place} of the log"));
        assert_eq!(crashed.home.run("vault check --json").error_code(), "vault_rolled_back", "byte {place}");
    }
    fs::write(&path, &whole).unwrap();
    crashed.assert_whole("the whole log again");
    assert_eq!(crashed.home.json("app list")["apps"][0]["client_id"], "client2");

    // The hint says how to go on from what is left.
    let mut damaged = whole;
    damaged[frame_of(0) + 100] ^= 1;
    fs::write(&path, &damaged).unwrap();
    // What the whole log brought is in the store by now where somebody wrote; here nobody did.
    let checked = crashed.home.run("vault check");
    assert!(checked.code == 0 || checked.stderr.contains("integ vault check --accept"), "{checked:?}");
    crashed.home.ok("vault check --accept");
    crashed.assert_whole("after --accept");
}

#[test]
fn fault_053_the_store_of_one_vault_opens_in_no_other() {
    if skipped_on_postgres("it exchanges vault.db") {
        return;
    }
    let (a, b) = (Known::new(), Known::new());
    let own = fs::read(b.home.workspace().join("vault.db")).unwrap();
    fs::copy(a.home.workspace().join("vault.db"), b.home.workspace().join("vault.db")).unwrap();
    b.assert_reported("another home's store");
    assert_eq!(b.home.run("status --json").error_code(), "vault_wrong_key");
    fs::write(b.home.workspace().join("vault.db"), own).unwrap();
    b.assert_whole("the own store again");
    // Nor does that of another workspace of the same user, who holds both keys.
    b.home.ok("-w team connect github --sandbox");
    let team = b.home.path().join("workspaces/team/vault.db");
    fs::copy(b.home.workspace().join("vault.db"), &team).unwrap();
    let ran = b.home.run("-w team status --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (7, "vault_wrong_key"));
}

#[test]
fn the_key_in_the_key_file_is_the_one_of_the_store() {
    if skipped_on_postgres("it opens vault.db with SQLCipher") {
        return;
    }
    let home = Home::new();
    connect_key(&home, ACCOUNT, TOKEN);
    let key = store_key(&home);
    assert!(StoreKey::from_hex(&key).is_some());
    let sqlite = open_store(&home);
    let account: String = sqlite.query_row("SELECT account FROM connections", [], |row| row.get(0)).unwrap();
    assert_eq!(account, ACCOUNT);
}
