//! What a service answers, and what every way out makes of it.

use serde_json::{Value, json};

use super::service::{Service, as_written};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Added, changed, deleted and unchanged records of a sync.
fn counts(service: &Service, target: &str) -> [u64; 4] {
    let reports = service.home.json(&format!("sync {target}"));
    ["added", "changed", "deleted", "unchanged"].map(|name| reports["streams"][0][name].as_u64().unwrap())
}

#[test]
fn field_04_integer_keys_of_any_length_are_kept_apart() {
    let service = Service::start();
    service.answer(
        "/v1/items",
        br#"{"items":[{"id":100000000000000000001,"shop":{"id":900719925474099301}},
            {"id":100000000000000000002,"shop":{"id":900719925474099301}}, {"id":1.10,"shop":{"id":1}},{"id":1.1,"shop":{"id":1}}]}"#,
    );
    for stream in ["acme/items", "acme/pairs"] {
        assert_eq!(counts(&service, stream), [4, 0, 0, 0], "{stream}");
        assert_eq!(counts(&service, stream), [0, 0, 0, 4], "{stream}");
    }
    let keys = |target: &str| -> Vec<String> {
        let feed = lines(&service.ok(&["records", target, "--since", "0"]));
        feed.iter().map(|record| record["_key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(keys("acme/items"), ["100000000000000000001", "100000000000000000002", "1.10", "1.1"]);
    assert_eq!(keys("acme/pairs")[0], r#"["100000000000000000001","900719925474099301"]"#);
}

#[test]
fn field_04_every_way_out_prints_the_digits_that_came_in() {
    let service = Service::start();
    let record = r#"{"id":"a","price":1.10,"rate":0.1234567890123456789,"wei":33066915805160912602000,"far":1E400,"text":"a\/b"}"#;
    service.answer("/v1/items", format!(r#"{{"items":[{record}]}}"#).as_bytes());
    assert_eq!(counts(&service, "acme/items"), [1, 0, 0, 0]);
    let records = |more: &[&str]| service.ok(&[&["records", "acme/items"], more].concat());
    for (more, change) in [
        (&[][..], None),
        (&["--json"][..], None),
        (&["--since", "0"][..], Some("added")),
        (&["--since", "0", "--json"][..], Some("added")),
    ] {
        let line = records(more);
        assert_eq!(as_written(line.trim_end()), (record.to_owned(), change), "{more:?}");
    }
    assert!(records(&["--format", "json"]).contains(record.trim_end_matches('}')));
    for filter in [".wei", "def f: .wei; f"] {
        assert_eq!(records(&["--jq", filter]), "33066915805160912602000\n");
    }
    assert_eq!(records(&["--jq", ".price, .rate, .far"]), "1.10\n0.1234567890123456789\n1E400\n");
    let csv = records(&["--format", "csv"]);
    assert!(csv.starts_with("id,price,rate,wei,far,text,_key,"), "{csv}");
    assert!(csv.contains("\na,1.10,0.1234567890123456789,33066915805160912602000,1E400,a/b,a,"), "{csv}");
    let singer = service.ok(&["sync", "acme/items", "--to", "singer"]);
    assert!(singer.contains(record.trim_end_matches('}')), "{singer}");

    service.answer("/v1/items/new", br#"{"id":33066915805160912602000,"price":1.10}"#);
    let called = service.ok(&["call", "acme", "items.create", "price=2.50"]);
    assert_eq!((called.trim_end(), service.last_body().as_str()), ("id  33066915805160912602000", r#"{"price":2.50}"#));
    let called = service.ok(&["call", "acme", "items.create", "price=2.50", "--json"]);
    assert!(
        called.contains(
            r#""result":{"id":33066915805160912602000},"response":{"id":33066915805160912602000,"price":1.10}"#
        )
    );
    assert_eq!(service.ok(&["api", "acme", "/items/new", "--jq", ".id, .price"]), "33066915805160912602000\n1.10\n");
    assert_eq!(service.ok(&["api", "acme", "/items/new"]).trim_end(), r#"{"id":33066915805160912602000,"price":1.10}"#);
}

#[test]
fn field_05_valid_json_that_parsers_refuse_comes_out_of_every_way() {
    let service = Service::start();
    let deep = format!("{}1e400{}", "[".repeat(200), "]".repeat(200));
    let record = format!(r#"{{"id":"a","title":"Thanks \ud83d","size":1,"deep":{deep}}}"#);
    let shown = record.replace(r"\ud83d", "\u{fffd}");
    service.answer("/v1/items", format!(r#"{{"items":[{record}]}}"#).as_bytes());
    assert_eq!(counts(&service, "acme/items"), [1, 0, 0, 0]);
    let records = |more: &[&str]| service.ok(&[&["records", "acme/items"], more].concat());
    for more in [&[][..], &["--since", "0"], &["--json"]] {
        assert_eq!(as_written(records(more).trim_end()).0, record, "{more:?}");
    }
    assert!(records(&["--format", "json"]).contains(record.trim_end_matches('}')));
    assert_eq!(as_written(records(&["--jq", "."]).trim_end()).0, shown);
    assert_eq!(records(&["--jq", ".size"]), "1\n");
    assert_eq!(records(&["--jq", ".deep | flatten"]).trim_end(), "[1e400]");
    assert!(records(&["--format", "csv"]).contains(&format!("\na,Thanks \u{fffd},1,{deep},a,")));
    if cfg!(feature = "parquet") {
        let parquet = service.home.command(["records", "acme/items", "--format", "parquet"]).output().unwrap();
        assert!(parquet.status.success() && parquet.stdout.starts_with(b"PAR1"), "{parquet:?}");
    }
    let singer = service.ok(&["sync", "acme/items", "--to", "singer"]);
    assert!(singer.contains(shown.trim_end_matches('}')), "{singer}");
    assert!(service.ok(&["api", "acme", "/items"]).contains(&record));
}

#[test]
fn field_05_keys_that_differ_by_half_a_character_are_two_records() {
    let service = Service::start();
    service.answer("/v1/items", br#"{"items":[{"id":"\ud83d"},{"id":"\ud83e"},{"id":"\ufffd"}]}"#);
    assert_eq!(counts(&service, "acme/items"), [3, 0, 0, 0]);
    assert_eq!(counts(&service, "acme/items"), [0, 0, 0, 3]);
}

#[test]
fn field_05_what_is_not_read_is_refused_once_and_with_the_reason() {
    let service = Service::start();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (body, reason) in [
        (r#"{"items":[{"id":NaN}]}"#, "expected a value at byte 16"),
        (r#"{"items":[{"id":01}]}"#, "a number with a leading zero at byte 16"),
        (r#"{"items":[],}"#, "expected a member's name in double quotes at byte 12"),
        (deep.as_str(), "nested deeper than 1000 levels"),
    ] {
        let before = service.count("/v1/items");
        service.answer("/v1/items", body.as_bytes());
        let ran = service.run(&["sync", "acme/items", "--json"]);
        let text = format!("{}{}", ran.stdout, ran.stderr);
        assert!(ran.code == 1 && text.contains(reason) && text.contains("malformed_response"), "{reason}: {ran:?}");
        assert_eq!(service.count("/v1/items") - before, 1, "{reason}");
    }
}

#[test]
fn field_37_byte_order_marks_charsets_and_wrong_bytes_are_read_at_the_first_request() {
    let service = Service::start();
    let text = r#"{"items":[{"id":"José"}]}"#;
    let utf_16 = |word: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(word).collect::<Vec<u8>>();
    let latin = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect::<Vec<u8>>();
    let json = "application/json";
    let all: [(&str, Vec<u8>); 7] = [
        (json, [b"\xef\xbb\xbf", text.as_bytes()].concat()),
        (json, [&b"\xff\xfe"[..], &utf_16(u16::to_le_bytes)].concat()),
        ("application/json; charset=utf-16", utf_16(u16::to_be_bytes)),
        ("application/json; charset=ISO-8859-1", latin.clone()),
        ("application/json; charset=ISO-8859-1", text.as_bytes().to_vec()),
        ("text/html; charset=windows-1252", latin.clone()),
        // One wrong byte.
        (json, latin),
    ];
    for (content_type, body) in all {
        let before = service.count("/v1/items");
        service.answer_as("/v1/items", content_type, &body);
        service.ok(&["sync", "acme/items"]);
        assert_eq!(service.count("/v1/items") - before, 1, "{content_type}");
        let record = service.ok(&["records", "acme/items"]);
        assert_eq!(as_written(record.trim_end()).0, r#"{"id":"José"}"#, "{content_type}");
        assert_eq!(service.ok(&["api", "acme", "/items", "--jq", ".items[0].id"]), "José\n", "{content_type}");
    }
}

#[test]
fn field_13_large_answers_are_read_and_the_limit_can_be_raised() {
    let service = Service::start();
    let rows = (0..60_000).map(|row| format!(r#",["{row}","{}"]"#, "x".repeat(180)));
    let body = format!(r#"{{"values":[["id","text"]{}]}}"#, rows.collect::<String>());
    assert!(body.len() > 11 << 20);
    service.answer("/v1/rows", body.as_bytes());
    assert_eq!(counts(&service, "acme/rows"), [60_000, 0, 0, 0]);
    assert_eq!(service.ok(&["api", "acme", "/rows", "--jq", ".values | length"]), "60001\n");

    service.home.ok("config set http.largest_answer 4MiB");
    let ran = service.run(&["api", "acme", "/rows"]);
    let hint = "hint: integ config set http.largest_answer 16MiB";
    assert!(ran.code == 1 && ran.stderr.contains("is larger than 4MiB") && ran.stderr.contains(hint), "{}", ran.stderr);
    service.home.ok(hint.strip_prefix("hint: integ ").unwrap());
    assert_eq!(counts(&service, "acme/rows"), [0, 0, 0, 60_000]);
}

#[test]
fn field_15_columns_without_a_name_of_their_own_are_kept() {
    let service = Service::start();
    service.answer("/v1/rows", br#"{"values":[[],["Name","Date","Date",""],["a",1.10,"second","x"]]}"#);
    service.ok(&["sync", "acme/rows"]);
    let row = r#"{"_row":3,"Name":"a","Date":1.10,"Date_2":"second","column_4":"x"}"#;
    assert_eq!(as_written(service.ok(&["records", "acme/rows"]).trim_end()).0, row);
}

#[test]
fn field_50_a_singer_schema_names_columns_of_times() {
    let service = Service::start();
    service.answer(
        "/v1/items",
        br#"{"items":[{"id":"a","at":"2026-11-28T10:00:00Z","day":"2026-11-28","mixed":"2026-11-28T10:00:00Z"},
            {"id":"b","at":null,"mixed":"soon"}]}"#,
    );
    let messages = lines(&service.ok(&["sync", "acme/items", "--to", "singer"]));
    let properties = &messages[0]["schema"]["properties"];
    assert_eq!(properties["at"], json!({ "type": ["null", "string"], "format": "date-time" }));
    for name in ["id", "day", "mixed"] {
        assert_eq!(properties[name], json!({ "type": ["null", "string"] }), "{name}");
    }
}

#[test]
fn a_success_that_cannot_be_read_is_not_one() {
    let service = Service::start();
    let page = b"<!doctype html><title>Log in</title>";
    for (content_type, body, says) in [
        ("application/json", &br#"{"id":"me","na"#[..], "ends in the middle of a value"),
        ("text/html", page, "it is an HTML page, not JSON"),
        ("application/json", page, "it is an HTML page, not JSON"),
        ("application/json", b"", "it is empty"),
    ] {
        service.answer_as("/v1/me", content_type, body);
        let ran = service.run(&["test", "acme", "--json"]);
        let test = &serde_json::from_str::<Value>(&ran.stdout).unwrap()["tests"][0];
        assert_eq!((ran.code, &test["healthy"]), (6, &json!(false)), "{ran:?}");
        assert!(test["error_message"].as_str().unwrap().contains(says), "{ran:?}");

        service.answer_as("/v1/items/new", content_type, body);
        let ran = service.run(&["call", "acme", "items.create", "price=1", "--json"]);
        assert_eq!(
            (ran.code, ran.error_code().as_str(), ran.stdout.as_str()),
            (1, "malformed_response", ""),
            "{ran:?}"
        );
        assert!(ran.stderr.contains(says), "{ran:?}");
    }
    service.answer("/v1/me", b"\xef\xbb\xbf{\"id\":12345678901234567890123}");
    let test = &service.home.json("test acme")["tests"][0];
    assert_eq!((&test["healthy"], &test["account"]["id"]), (&json!(true), &json!("12345678901234567890123")));
}
