//! B3, M8, M13: backups that somebody else crafted, folders that were swapped, and what the store's library can do.

use std::fs;
use std::path::{Path, PathBuf};

use integ::error::{Kind, Remedy};
use integ::store::{LostWritesPolicy, Snapshot, SqliteStore, StoreKey};
use proptest::prelude::*;
use rusqlite::Connection;

use crate::harness::{Home, Ran, skipped_on_postgres};
use crate::vault::{connect_key, open_store, seal_text};

const TOKEN: &str = "sk_live_BACKUP_4f9a";

/// A home with an API key, and the plain SQLite file of its backup.
struct Victim {
    home: Home,
    identity: age::x25519::Identity,
}

impl Victim {
    fn new() -> Self {
        let home = Home::new();
        connect_key(&home, "main", TOKEN);
        home.ok("vault backup b.age");
        let text = fs::read_to_string(home.path().join("identity")).unwrap();
        let identity = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).unwrap().parse().unwrap();
        Self { home, identity }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn plain(&self) -> Vec<u8> {
        age::decrypt(&self.identity, &fs::read(self.path("b.age")).unwrap()).unwrap()
    }

    /// What anyone who knows the recipient can make: a backup that was changed by `craft`.
    fn crafted(&self, craft: impl FnOnce(&Connection)) -> PathBuf {
        let plain = self.path("plain.db");
        fs::write(&plain, self.plain()).unwrap();
        let connection = Connection::open(&plain).unwrap();
        craft(&connection);
        connection.close().unwrap();
        self.sealed(&fs::read(&plain).unwrap())
    }

    fn sealed(&self, plain: &[u8]) -> PathBuf {
        let path = self.path("evil.age");
        fs::write(&path, age::encrypt(&self.identity.to_public(), plain).unwrap()).unwrap();
        path
    }

    fn restore(&self, backup: &Path) -> Ran {
        self.home.run(&format!("-w new vault restore {} --yes --json", backup.display()))
    }
}

const THIEF: &str = "CREATE TRIGGER stats AFTER INSERT ON connections BEGIN \
                     UPDATE connections SET origin = 'http://127.0.0.1:9' WHERE id = NEW.id; END";

#[test]
fn attack_b3_a_trigger_in_a_backup_is_not_restored() {
    let victim = Victim::new();
    let evil = victim.crafted(|plain| plain.execute_batch(THIEF).unwrap());
    let ran = victim.restore(&evil);
    assert_eq!((ran.code, ran.error_code().as_str()), (7, "foreign_schema"), "{ran:?}");
    assert!(ran.stderr.contains("stats"), "{ran:?}");
    assert!(!victim.path("workspaces/new").exists());
    // Nor over an empty workspace, which stays as it was.
    victim.home.ok("workspace create new");
    assert_eq!(victim.restore(&evil).error_code(), "foreign_schema");
    victim.home.ok("-w new vault check");
    let whole = victim.crafted(|_| ());
    assert_eq!(victim.restore(&whole).code, 0);
    assert_eq!(victim.home.ok("-w new token api-key@main"), TOKEN);
}

#[test]
fn attack_b3_no_schema_of_a_backup_is_restored() {
    let victim = Victim::new();
    for (what, sql) in [
        ("view", "CREATE VIEW spy AS SELECT * FROM grants"),
        ("table", "CREATE TABLE spy (a)"),
        ("index", "CREATE INDEX spy ON connections (abs(checked_at))"),
        ("generated column", "ALTER TABLE apps ADD COLUMN spy TEXT AS (client_secret)"),
        ("column", "ALTER TABLE apps ADD COLUMN spy TEXT"),
        // As SQLite's own tools find them: the module need not be there for the row to be.
        (
            "FTS5",
            "INSERT INTO sqlite_schema VALUES ('table', 'spy', 'spy', 0, 'CREATE VIRTUAL TABLE spy USING fts5(a)')",
        ),
        (
            "RTREE",
            "INSERT INTO sqlite_schema VALUES ('table', 'spy', 'spy', 0, 'CREATE VIRTUAL TABLE spy USING rtree(a, b, c)')",
        ),
        (
            "other CHECK",
            "UPDATE sqlite_schema SET sql = replace(sql, '''live'', ''sandbox''', '''live'', ''sandbox'', ''x''') WHERE name = 'connections'",
        ),
        ("no schema", "DELETE FROM sqlite_schema WHERE name = 'grants'"),
        ("no trigger", "DROP TRIGGER events_deleted"),
    ] {
        let evil = victim.crafted(|plain| {
            plain.execute_batch("PRAGMA writable_schema = ON").unwrap();
            plain.execute_batch(sql).unwrap_or_else(|error| panic!("{what}: {error}"));
        });
        let ran = victim.restore(&evil);
        assert_eq!(ran.code, 7, "{what}: {ran:?}");
        assert!(["foreign_schema", "vault_damaged"].contains(&ran.error_code().as_str()), "{what}: {ran:?}");
        assert!(!victim.path("workspaces/new").exists(), "{what}");
    }
}

#[test]
fn attack_b3_rows_that_do_not_fit_are_refused() {
    let victim = Victim::new();
    for (what, sql) in [
        ("wrong type", "UPDATE apps SET updated_at = 'soon'; INSERT INTO apps VALUES ('x', 's', 'y', NULL, x'00')"),
        ("broken reference", "PRAGMA foreign_keys = OFF; UPDATE grants SET connection_id = 77"),
        ("forbidden word", "UPDATE connections SET mode = 'x'"),
        ("last id", "INSERT INTO sqlite_sequence VALUES ('events', 9223372036854775807)"),
        ("last write", "UPDATE meta SET sequence = 9223372036854775807"),
        ("counter of nothing", "INSERT INTO sqlite_sequence VALUES ('nothing', 1)"),
        ("no facts", "DELETE FROM meta"),
        ("no UTF-8", "UPDATE connections SET account_name = CAST(x'ff' AS TEXT)"),
        ("newer", "PRAGMA user_version = 99"),
        ("no version", "PRAGMA user_version = 0"),
    ] {
        let evil = victim.crafted(|plain| {
            let unchecked = "PRAGMA ignore_check_constraints = ON; PRAGMA writable_schema = ON;";
            // A STRICT table takes no other type, unless it is not STRICT while the row is written.
            let lax = "UPDATE sqlite_schema SET sql = replace(sql, 'STRICT, WITHOUT ROWID', 'WITHOUT ROWID') WHERE name = 'apps'";
            let strict = "UPDATE sqlite_schema SET sql = replace(sql, 'WITHOUT ROWID', 'STRICT, WITHOUT ROWID') WHERE name = 'apps'";
            plain.execute_batch(unchecked).unwrap();
            if what == "wrong type" {
                plain.execute_batch(&format!("{lax}; PRAGMA writable_schema = RESET; PRAGMA writable_schema = ON")).unwrap();
            }
            plain.execute_batch(sql).unwrap_or_else(|error| panic!("{what}: {error}"));
            if what == "wrong type" {
                plain.execute_batch(strict).unwrap();
            }
        });
        let ran = victim.restore(&evil);
        assert_eq!(ran.code, 7, "{what}: {ran:?}");
        assert!(!victim.path("workspaces/new").exists(), "{what}");
    }
}

#[test]
fn attack_b3_a_trigger_in_a_store_is_found_and_never_copied() {
    if skipped_on_postgres("a trigger is in a SQLite file") {
        return;
    }
    let victim = Victim::new();
    open_store(&victim.home).execute_batch(THIEF).unwrap();
    for line in ["vault check", "vault rekey", "vault backup again.age"] {
        let ran = victim.home.run(&format!("{line} --json"));
        assert_eq!((ran.code, ran.error_code().as_str()), (7, "foreign_schema"), "{line}: {ran:?}");
    }
    assert!(!victim.path("again.age").exists());
    let found = victim.home.run("doctor --json");
    assert!(found.stdout.contains("stats"), "{found:?}");
}

#[test]
fn attack_b3_a_restore_says_where_tokens_and_events_would_go() {
    let victim = Victim::new();
    let evil = victim.crafted(|plain| {
        plain.execute_batch("UPDATE connections SET origin = 'http://127.0.0.1:9100'").unwrap();
        let endpoint =
            "INSERT INTO endpoints (id, url, events, secrets, backoff, max_attempts, ttl_secs, timeout_secs, created_at)
                        VALUES ('ep_1', 'https://evil.example/\u{1b}]0;x', '[]', '[]', 'none', 1, 1, 1, 1)";
        plain.execute_batch(endpoint).unwrap();
    });
    let ran = victim.home.run(&format!("-w new vault restore {} --yes", evil.display()));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("api-key@main (live) sends its requests to http://127.0.0.1:9100"), "{ran:?}");
    assert!(ran.stderr.contains("base=https://marker-host-4711.example.com/v1"), "{ran:?}");
    assert!(ran.stderr.contains(r"endpoint: https://evil.example/\u{1b}]0;x"), "{ran:?}");
    assert!(ran.stderr.contains("unverified"), "{ran:?}");
    // It is shown before it is asked, too: nobody can be asked here, so nothing is restored.
    let ran = victim.home.run(&format!("-w other vault restore {}", evil.display()));
    assert_eq!(ran.code, 2, "{ran:?}");
}

#[test]
fn attack_m8_swapped_workspaces_are_refused() {
    let home = Home::new();
    for (workspace, account) in [("dev", "d"), ("prod", "p")] {
        let line = format!("-w {workspace} connect api-key --as {account} --with-token --param base=https://x.example");
        assert_eq!(home.run_with_input(&line, "k").code, 0);
    }
    let folder = |name: &str| home.path().join("workspaces").join(name);
    fs::rename(folder("dev"), folder("x")).unwrap();
    let ran = home.run("-w x status --json");
    assert_eq!((ran.code, ran.error_code().as_str()), (7, "workspace_mismatch"), "{ran:?}");
    assert!(ran.stderr.contains(&format!("mv {} {}", folder("x").display(), folder("dev").display())), "{ran:?}");
    fs::rename(folder("prod"), folder("dev")).unwrap();
    fs::rename(folder("x"), folder("prod")).unwrap();
    for line in ["-w dev status", "-w prod token api-key@d", "-w dev vault status", "-w prod vault check"] {
        let ran = home.run(&format!("{line} --json"));
        assert_eq!((ran.code, ran.error_code().as_str()), (7, "workspace_mismatch"), "{line}: {ran:?}");
    }
    // The name is inside what age authenticates.
    assert!(seal_text(&Victim::new().home).starts_with("workspace = \"default\"\n"));
}

#[test]
fn attack_m13_the_store_is_built_from_current_sources_without_what_is_unused() {
    let connection = Connection::open_in_memory().unwrap();
    let all = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert!(rusqlite::version_number() >= 3_054_001, "{}", rusqlite::version());
    assert!(all("PRAGMA cipher_version")[0].starts_with("4.20"), "{:?}", all("PRAGMA cipher_version"));
    let options = all("PRAGMA compile_options");
    for unused in ["ENABLE_FTS", "ENABLE_RTREE", "ENABLE_DBSTAT", "ENABLE_LOAD_EXTENSION", "ENABLE_STAT4", "SOUNDEX"] {
        assert!(!options.iter().any(|option| option.starts_with(unused)), "{unused}: {options:?}");
    }
    for wanted in ["OMIT_LOAD_EXTENSION", "OMIT_JSON", "DEFAULT_FOREIGN_KEYS", "DEFAULT_MEMSTATUS=0"] {
        assert!(options.iter().any(|option| option == wanted), "{wanted}: {options:?}");
    }
    let trusted: i64 = connection.query_row("PRAGMA trusted_schema", [], |row| row.get(0)).unwrap();
    assert_eq!(trusted, 0, "the build's default");
    let modules = all("PRAGMA module_list");
    let known = |module: &String| module.starts_with("pragma_");
    assert!(modules.iter().all(known), "{modules:?}");
    for sql in [
        "SELECT load_extension('x')",
        "CREATE VIRTUAL TABLE t USING fts5(a)",
        "CREATE VIRTUAL TABLE t USING rtree(a,b,c)",
    ] {
        assert!(connection.execute_batch(sql).is_err(), "{sql}");
    }
}

/// One thing that is wrong with a backup.
#[derive(Clone, Debug)]
enum Craft {
    Sql(String),
    Flip(Vec<(prop::sample::Index, u8)>),
    Truncate(prop::sample::Index),
    Zero(prop::sample::Index, usize),
    Header(usize, u8),
}

fn craft() -> impl Strategy<Value = Craft> {
    let name = prop::sample::select(vec![
        "connections",
        "grants",
        "apps",
        "events",
        "endpoints",
        "meta",
        "records",
        "spy",
        "sqlite_sequence",
    ]);
    let column = prop::sample::select(vec![
        "origin", "secrets", "url", "id", "params", "mode", "sequence", "spy", "seq", "name",
    ]);
    let value = prop::sample::select(vec![
        "NULL",
        "1",
        "-1",
        "9223372036854775807",
        "0.5",
        "'text'",
        "x'ff00'",
        "zeroblob(300000)",
        "CAST(x'fffe' AS TEXT)",
        "hex(zeroblob(200000))",
        "'{\"a\":', ",
        "''",
    ]);
    let object = prop::sample::select(vec![
        "CREATE TABLE spy (a)",
        "CREATE TABLE spy (a, b AS (a || a) STORED)",
        "CREATE VIEW spy AS SELECT * FROM grants",
        "CREATE VIEW spy AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
        "CREATE TRIGGER spy AFTER UPDATE ON meta BEGIN DELETE FROM grants; END",
        "CREATE TEMP TABLE spy (a)",
        "CREATE INDEX spy ON apps (client_id)",
        "CREATE UNIQUE INDEX spy ON events (kind)",
        "DROP TABLE grants",
        "DROP INDEX records_version",
        "ALTER TABLE apps RENAME TO spies",
        "ALTER TABLE apps DROP COLUMN client_secret",
        "ALTER TABLE connections ADD COLUMN spy TEXT AS (origin)",
        "CREATE TABLE sqlite_stat1 (a)",
        "PRAGMA user_version = 3",
        "ANALYZE",
        "PRAGMA encoding = 'UTF-16'",
        "VACUUM",
        "PRAGMA page_size = 512; VACUUM",
        "PRAGMA auto_vacuum = 1; VACUUM",
        "DELETE FROM meta",
        "INSERT INTO sqlite_schema VALUES ('table','spy','spy',0,'CREATE VIRTUAL TABLE spy USING fts5(a)')",
        "INSERT INTO sqlite_schema VALUES ('table','spy','spy',3,'CREATE TABLE spy (a)')",
        "INSERT INTO sqlite_schema SELECT * FROM sqlite_schema",
        "UPDATE sqlite_schema SET rootpage = 2",
        "UPDATE sqlite_schema SET type = 'view'",
        "UPDATE sqlite_schema SET sql = NULL",
        "UPDATE sqlite_schema SET name = 'sqlite_' || name",
        "DELETE FROM sqlite_schema",
        "UPDATE sqlite_schema SET sql = sql || ' ' WHERE type = 'table'",
        "UPDATE sqlite_schema SET rootpage = 99999 WHERE name = 'grants'",
    ]);
    prop_oneof![
        6 => object.prop_map(|sql| Craft::Sql(sql.to_owned())),
        4 => (name.clone(), column, value.clone()).prop_map(|(table, column, value)| Craft::Sql(format!("UPDATE {table} SET {column} = {value}"))),
        2 => (name.clone(), value.clone(), value).prop_map(|(table, one, two)| Craft::Sql(format!("INSERT INTO {table} VALUES ({one}, {two})"))),
        1 => name.prop_map(|table| Craft::Sql(format!("DELETE FROM {table}"))),
        4 => prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40).prop_map(Craft::Flip),
        1 => any::<prop::sample::Index>().prop_map(Craft::Truncate),
        2 => (any::<prop::sample::Index>(), 1_usize..9000).prop_map(|(at, length)| Craft::Zero(at, length)),
        2 => (16_usize..100, any::<u8>()).prop_map(|(at, byte)| Craft::Header(at, byte)),
    ]
}

fn apply(bytes: &mut Vec<u8>, craft: &Craft, scratch: &Path) {
    match craft {
        Craft::Sql(sql) => {
            fs::write(scratch, &bytes).unwrap();
            if let Ok(connection) = Connection::open(scratch) {
                let unchecked =
                    "PRAGMA writable_schema = ON; PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF";
                let _ = connection.execute_batch(unchecked);
                let _ = connection.execute_batch(sql);
            }
            *bytes = fs::read(scratch).unwrap();
        }
        Craft::Flip(flips) if !bytes.is_empty() => flips.iter().for_each(|(at, byte)| {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }),
        Craft::Truncate(at) if !bytes.is_empty() => bytes.truncate(at.index(bytes.len())),
        Craft::Zero(at, length) if !bytes.is_empty() => {
            let at = at.index(bytes.len());
            let end = (at + length).min(bytes.len());
            bytes[at..end].fill(0);
        }
        Craft::Header(at, byte) if bytes.len() > 100 => bytes[*at] = *byte,
        _ => {}
    }
}

fn schema(connection: &Connection) -> Vec<(String, String, String, Option<String>)> {
    let mut statement =
        connection.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

fn opened(path: &Path, key: &StoreKey) -> Connection {
    let connection = Connection::open(path).unwrap();
    let cipher = "PRAGMA cipher_default_hmac_algorithm = HMAC_SHA256; PRAGMA cipher_default_page_size = 8192";
    connection.execute_batch(cipher).unwrap();
    connection.pragma_update(None, "key", format!("x'{}'", key.hex())).unwrap();
    connection
}

#[test]
fn attack_b3_a_file_format_that_sqlite_does_not_know_is_damage() {
    let (victim, folder) = (Victim::new(), tempfile::tempdir().unwrap());
    victim.home.ok("connect slack --sandbox");
    victim.home.ok("vault backup b.age --force");
    let mut bytes = victim.plain();
    // The schema format number (SQLite's file format, section 1.3.12).
    bytes[47] = 5;
    let target = folder.path().join("target.db");
    let now = integ::clock::Timestamp::UNIX_EPOCH;
    let restored = Snapshot::read(&bytes).and_then(|snapshot| snapshot.restore(&target, &StoreKey::random(), 0, now));
    let error = restored.map(drop).unwrap_err();
    assert!(matches!(error.kind(), Kind::Vault), "{error}: {:?}", error.code());
}

/// However a backup was crafted, restoring it is a typed error, or makes a store whose schema is a new store's.
/// `INTEG_TEST_ROUNDS=100` makes a hundred times as many.
#[test]
fn attack_b3_crafted_backups_at_random_make_an_error_or_a_store_of_ours() {
    let rounds = std::env::var("INTEG_TEST_ROUNDS").map_or(1, |rounds| rounds.parse::<u32>().unwrap());
    let (victim, folder) = (Victim::new(), tempfile::tempdir().unwrap());
    victim.home.ok("connect slack --sandbox");
    victim.home.ok("sync slack");
    victim.home.ok("vault backup b.age --force");
    let (plain, key, now) = (victim.plain(), StoreKey::random(), integ::clock::Timestamp::UNIX_EPOCH);
    let fresh = folder.path().join("fresh.db");
    SqliteStore::create(&fresh, &key, now).unwrap();
    let expected = schema(&opened(&fresh, &key));
    let counts = std::cell::Cell::new((0_u32, 0_u32));
    let config = ProptestConfig { cases: 150 * rounds, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(crafts in prop::collection::vec(craft(), 0..4))| {
        let mut bytes = plain.clone();
        for craft in &crafts {
            apply(&mut bytes, craft, &folder.path().join("scratch.db"));
        }
        let target = folder.path().join("target.db");
        for name in ["target.db", "target.db-wal", "target.db-shm", "target.db-journal", "scratch.db-journal"] {
            let _ = fs::remove_file(folder.path().join(name));
        }
        let (restored, refused) = counts.get();
        match Snapshot::read(&bytes).and_then(|snapshot| snapshot.restore(&target, &key, 0, now)) {
            Ok(_) => {
                counts.set((restored + 1, refused));
                prop_assert_eq!(&schema(&opened(&target, &key)), &expected);
                let store = SqliteStore::open(&target, &key, LostWritesPolicy::Refuse).unwrap();
                store.check().unwrap();
            }
            Err(error) => {
                counts.set((restored, refused + 1));
                prop_assert!(matches!(error.kind(), Kind::Vault), "{error}: {:?}", error.code());
            }
        }
    });
    let (restored, refused) = counts.get();
    println!("figures: {{\"restored_with_our_schema\": {restored}, \"refused\": {refused}}}");
    assert!(restored >= 5 && refused >= 20, "{restored} restored, {refused} refused");
}
