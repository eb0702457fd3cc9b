//! What was pulled, read by programs that nobody here wrote: a Singer target, and DuckDB.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::harness::{Home, INTEG, Ran, finish, needs, peers};
use crate::sync::remove_metadata;
use crate::wire::Message;

const CONNECTOR: &str = r#"
id = "shop"
name = "Shop"
category = "payments"
description = "Orders."
docs = "https://shop.example"

[api]
base = "https://shop.example"

[auth.token]
label = "Token"

[auth.token.fields.key]
prompt = "Token"

[health]
path = "/me"
account = { id = "/id" }

[streams.orders]
about = "Orders"
path = "/orders"
key = ["/id"]

[streams.lines]
about = "What was ordered"
path = "/orders"
key = ["/id", "/buyer/name"]
"#;

/// A shop of which a test says what it lists.
struct Shop {
    home: Home,
    orders: Arc<Mutex<Vec<Value>>>,
}

fn order(id: u64) -> Value {
    json!({
        "id": id,
        "cents": id * 7,
        "weight": f64::from(u32::try_from(id).unwrap()) / 4.0,
        "paid": id.is_multiple_of(2),
        "note": (!id.is_multiple_of(3)).then(|| format!("\u{1f4e6} \"{id}\"\n")),
        "mixed": if id.is_multiple_of(5) { json!(id) } else { json!("none") },
        "buyer": { "name": format!("Ana {id}") },
        "tags": ["a", id],
        "ordered_at": format!("2026-11-28T23:59:{:02}.25-01:00", id % 60),
        "delivery": format!("2026-12-{:02}", 1 + id % 28),
        "paid_at": id.is_multiple_of(2).then(|| format!("2026-11-28T10:00:00{}Z", if id == 8 { ".123456789" } else { "" })),
        "_version": id,
    })
}

/// A record as the service wrote it, of one that integ wrote.
fn without_metadata(mut record: Value) -> Value {
    remove_metadata(&mut record);
    let record = record.as_object_mut().unwrap();
    let version = record.shift_remove("__version").unwrap();
    record.insert("_version".to_owned(), version);
    record.clone().into()
}

impl Shop {
    fn open(count: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let orders = Arc::new(Mutex::new((1..=count).map(order).collect::<Vec<_>>()));
        let shown = Arc::clone(&orders);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(request) = Message::read(&stream) else { continue };
                let body = match request.request().1 {
                    "/me" => json!({ "id": "me" }),
                    _ => Value::Array(shown.lock().unwrap().clone()),
                };
                let body = body.to_string();
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
                let _ = write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            }
        });
        let home = Home::new();
        home.install("shop", CONNECTOR);
        let connected = home.run_with_input(&format!("connect shop --with-token --origin {origin}"), "secret-token");
        assert_eq!(connected.code, 0, "{connected:?}");
        Self { home, orders }
    }

    /// Runs a line of shell in the home, with `integ` and `target-jsonl` known.
    fn shell(&self, line: &str) -> Ran {
        let folders = [PathBuf::from(INTEG).parent().unwrap().to_owned(), venv()];
        let known = std::env::var_os("PATH").unwrap();
        let path = std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&known))).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).env_clear().env("PATH", path).current_dir(self.home.path());
        shell.env("HOME", self.home.path()).env("INTEG_HOME", self.home.path());
        finish(shell)
    }

    /// What DuckDB answers.
    fn duckdb(&self, sql: &str) -> Value {
        let mut command = Command::new(venv().join("python"));
        let script = "import duckdb, json, sys\nprint(json.dumps(duckdb.sql(sys.argv[1]).fetchall(), default=str))";
        command.args(["-c", script, sql]).current_dir(self.home.path());
        let ran = finish(command);
        assert_eq!(ran.code, 0, "{sql}: {ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// Syncs into the target, and says which records it wrote of a stream.
    fn load(&self, stream: &str) -> Vec<Value> {
        let folder = self.home.path().join("out");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        fs::write(self.home.path().join("target.json"), r#"{"destination_path":"out"}"#).unwrap();
        let pipe =
            "integ sync shop --mode full --to singer --state state.jsonl | target-jsonl -c target.json >> state.jsonl";
        let ran = self.shell(pipe);
        assert_eq!(ran.code, 0, "{ran:?}");
        let files = fs::read_dir(&folder).unwrap().flatten();
        let files = files.filter(|file| file.file_name().to_string_lossy().starts_with(&format!("{stream}-")));
        let texts: Vec<String> = files.map(|file| fs::read_to_string(file.path()).unwrap()).collect();
        texts.iter().flat_map(|text| text.lines()).map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn venv() -> PathBuf {
    peers().join("venv/bin")
}

fn has_peers() -> bool {
    needs("target-jsonl and duckdb in tests/peers/venv", venv().join("target-jsonl").is_file())
}

fn sum(records: &[Value]) -> u64 {
    records.iter().map(|record| record["cents"].as_u64().unwrap()).sum()
}

#[test]
fn a_singer_target_and_duckdb_hold_what_the_service_holds() {
    if !has_peers() {
        return;
    }
    let shop = Shop::open(2_500);
    let loaded = shop.load("orders");
    let total = 7 * 2_500 * 2_501 / 2;
    assert_eq!((loaded.len(), sum(&loaded)), (2_500, total));
    assert_eq!(without_metadata(loaded[7].clone()), order(8));
    assert!(loaded[7]["_version"].is_u64() && loaded[7]["_key"] == "8", "{}", loaded[7]);
    let read = "SELECT count(*), sum(cents)::BIGINT, count(DISTINCT id) FROM read_json_auto('out/orders-*.jsonl')";
    assert_eq!(shop.duckdb(read), json!([[2_500, total, 2_500]]));
    // A key that is not at a record's top.
    let read = "SELECT count(DISTINCT _key), min(_key) FROM read_json_auto('out/lines-*.jsonl')";
    assert_eq!(shop.duckdb(read), json!([[2_500, "[\"1\",\"Ana 1\"]"]]));

    // Only what changed comes after that: one that is gone, one that is new, one that is another.
    {
        let mut orders = shop.orders.lock().unwrap();
        orders.remove(0);
        orders.push(order(2_501));
        orders[10]["cents"] = json!(1_000_000);
    }
    let loaded = shop.load("orders");
    assert_eq!(loaded.len(), 3, "{loaded:?}");
    let gone: Vec<&Value> = loaded.iter().filter(|record| record["_sdc_deleted_at"].is_string()).collect();
    assert_eq!((gone.len(), &gone[0]["id"]), (1, &json!(1)));
    assert_eq!(shop.load("orders"), [Value::Null; 0]);
}

#[test]
fn what_a_target_did_not_confirm_comes_again() {
    if !has_peers() {
        return;
    }
    let shop = Shop::open(2_500);
    // It dies after some of it, and says nothing.
    let ran = shop.shell("integ sync shop/orders --to singer --state state.jsonl | head -c 50000 > /dev/null");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(shop.load("orders").len(), 2_500);
    let path = shop.home.path().join("state.jsonl");
    let state = fs::read_to_string(&path).unwrap();
    // A line that was cut off as it was written: the one before it counts, or none.
    fs::write(&path, format!("{state}{}", &state[..20])).unwrap();
    assert_eq!(shop.load("orders").len(), 0);
    fs::write(&path, &state[..20]).unwrap();
    assert_eq!(shop.load("orders").len(), 2_500);
    // Another store's state is none.
    fs::write(&path, state.replacen("\"store_id\": \"", "\"store_id\": \"0", 1)).unwrap();
    assert_eq!(shop.load("orders").len(), 2_500);
    fs::write(&path, "no state\n").unwrap();
    let ran = shop.home.run("sync shop/orders --to singer --state state.jsonl");
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
    assert!(ran.stderr.contains("contains no state"), "{ran:?}");
}

#[cfg(not(feature = "parquet"))]
#[test]
fn a_build_without_parquet_names_the_command_that_installs_one_with_it() {
    let shop = Shop::open(1);
    shop.home.ok("sync shop/orders");
    let ran = shop.home.run("records shop/orders --format parquet");
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
    assert!(ran.stderr.contains("does not write Parquet files"), "{ran:?}");
    assert!(ran.stderr.contains("`cargo install --path . --features parquet`"), "{ran:?}");
}

#[cfg(feature = "parquet")]
#[test]
fn duckdb_reads_a_parquet_file_with_types() {
    if !has_peers() {
        return;
    }
    let shop = Shop::open(12_000);
    shop.home.ok("sync shop/orders");
    let ran = shop.shell("integ records shop/orders --format parquet > orders.parquet");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    let total = 7_u64 * 12_000 * 12_001 / 2;
    let sums = "SELECT count(*), sum(cents)::BIGINT, sum((_record::JSON->>'cents')::BIGINT)::BIGINT, sum(weight), \
                count(*) FILTER (paid), count(note), count(DISTINCT _key), count(_deleted_at) FROM 'orders.parquet'";
    let weight = 12_000.0 * 12_001.0 / 8.0;
    assert_eq!(shop.duckdb(sums), json!([[12_000, total, total, weight, 6_000, 8_000, 12_000, 0]]));
    let types = shop.duckdb("SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM 'orders.parquet')");
    let columns = [
        ("id", "BIGINT"),
        ("cents", "BIGINT"),
        ("weight", "DOUBLE"),
        ("paid", "BOOLEAN"),
        ("note", "VARCHAR"),
        ("mixed", "VARCHAR"),
        ("buyer", "VARCHAR"),
        ("tags", "VARCHAR"),
        ("ordered_at", "TIMESTAMP WITH TIME ZONE"),
        ("delivery", "DATE"),
        // One of them has more digits than a timestamp: all stay as they were written.
        ("paid_at", "VARCHAR"),
        ("__version", "BIGINT"),
        ("_key", "VARCHAR"),
        ("_version", "BIGINT"),
        ("_first_seen_at", "TIMESTAMP WITH TIME ZONE"),
        ("_changed_at", "TIMESTAMP WITH TIME ZONE"),
        ("_deleted_at", "TIMESTAMP WITH TIME ZONE"),
        ("_record", "VARCHAR"),
    ];
    assert_eq!(types, json!(columns));
    let one = "SELECT note, mixed, buyer, tags FROM 'orders.parquet' WHERE id = 10";
    assert_eq!(shop.duckdb(one), json!([["\u{1f4e6} \"10\"\n", "10", "{\"name\":\"Ana 10\"}", "[\"a\",10]"]]));
    let times = "SELECT epoch_us(ordered_at), delivery, paid_at FROM 'orders.parquet' WHERE id IN (8, 12) ORDER BY id";
    let at = |second: i64| (1_795_913_940 + second) * 1_000_000 + 250_000;
    let rows = [
        json!([at(8), "2026-12-09", "2026-11-28T10:00:00.123456789Z"]),
        json!([at(12), "2026-12-13", "2026-11-28T10:00:00Z"]),
    ];
    assert_eq!(shop.duckdb(times), json!(rows));
    // The lines hold the same.
    shop.shell("integ records shop/orders > orders.jsonl");
    let lines = "SELECT count(*), sum(cents)::BIGINT FROM read_json_auto('orders.jsonl')";
    assert_eq!(shop.duckdb(lines), json!([[12_000, total]]));
    // A list of changes has one more column, in a table as in lines.
    shop.orders.lock().unwrap().remove(0);
    shop.home.ok("sync shop/orders --mode full");
    for format in ["parquet", "csv", "jsonl"] {
        shop.shell(&format!("integ records shop/orders --since 0 --format {format} > changes.{format}"));
        let read = "SELECT _change, count(*), count(_deleted_at), count(DISTINCT _key) FROM 'changes.";
        let rows = json!([["added", 11_999, 0, 11_999], ["deleted", 1, 1, 1]]);
        assert_eq!(shop.duckdb(&format!("{read}{format}' GROUP BY 1 ORDER BY 1")), rows, "{format}");
    }
    // Nobody who stops reading is a failure.
    let ran = shop.shell("integ records shop/orders --format parquet | head -c 10 > /dev/null");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
}
