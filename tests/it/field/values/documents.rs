//! Random JSON of every legal number, escape, surrogate, depth and charset comes out as it went in, or is refused with a
//! reason.

use std::io::Write;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;

use super::service::{Service, as_written};
use integ::json::{self, Json, MAX_DEPTH, minified, without_lone_surrogates};

/// Documents of one page.
const DOCUMENTS: usize = 40;

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "-?(0|[1-9][0-9]{0,4})",
        2 => "-?[1-9][0-9]{15,40}",
        3 => "-?(0|[1-9][0-9]{0,20})\\.[0-9]{1,25}",
        3 => "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,4})?[eE][+-]?[0-9]{1,4}",
        1 => proptest::sample::select(vec![
            "9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "18446744073709551616",
            "1e400", "1E-400", "-0.0", "0e0", "1.10", "5e-324", "1.7976931348623157e308",
        ]).prop_map(str::to_owned),
    ]
}

/// A string with its quotes.
fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => "[ -!#-\\[\\]-~]{1,6}",
        2 => any::<char>().prop_filter("written as it is", |c| *c >= ' ' && *c != '"' && *c != '\\').prop_map(String::from),
        2 => proptest::sample::select(vec![r"\n", r"\r", r"\t", r"\b", r"\f", r"\/", r"\\", r#"\""#, r"\u0000"]).prop_map(str::to_owned),
        2 => any::<u16>().prop_map(|unit| format!("\\u{unit:04x}")),
        1 => (0xd800_u16..0xe000).prop_map(|unit| format!("\\u{unit:04X}")),
        1 => (0xd800_u16..0xdc00, 0xdc00_u16..0xe000).prop_map(|(high, low)| format!("\\u{high:04x}\\u{low:04x}")),
        1 => proptest::sample::select(vec!["é", "ÿ", "世", "😀", "\u{feff}", "\u{2028}", "\u{7f}", "\u{fffd}", "e\u{301}", "<", ","]).prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn space() -> impl Strategy<Value = String> {
    prop_oneof![8 => Just(String::new()), 1 => "[ \\t\\n\\r]{1,3}"]
}

fn document() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        4 => number(),
        4 => string(),
        1 => proptest::sample::select(vec!["true", "false", "null"]).prop_map(str::to_owned),
    ];
    let tree = scalar.prop_recursive(5, 40, 6, |inner| {
        let item = (space(), inner.clone(), space()).prop_map(|(before, item, after)| format!("{before}{item}{after}"));
        let member =
            (space(), string(), space(), inner).prop_map(|(a, name, b, value)| format!("{a}{name}{b}:{a}{value}{b}"));
        prop_oneof![
            proptest::collection::vec(item, 0..6).prop_map(|items| format!("[{}]", items.join(","))),
            proptest::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    });
    // The page itself has three levels.
    let levels = prop_oneof![12 => Just(0), 2 => 100_usize..300, 1 => 900..MAX_DEPTH - 12];
    (tree, levels, any::<bool>()).prop_map(|(tree, levels, arrays)| match (levels, arrays) {
        (0, _) => tree,
        (levels, true) => format!("{}{tree}{}", "[".repeat(levels), "]".repeat(levels)),
        (levels, false) => format!("{}{tree}{}", r#"{"a":"#.repeat(levels), "}".repeat(levels)),
    })
}

#[derive(Clone, Copy, Debug)]
enum Charset {
    Utf8,
    Utf8Mark,
    Utf16Le(bool),
    Utf16Be(bool),
    Utf32Le,
    Latin1,
    ShiftJis,
}

fn charset() -> impl Strategy<Value = Charset> {
    use Charset::{Latin1, ShiftJis, Utf8, Utf8Mark, Utf16Be, Utf16Le, Utf32Le};
    let all = [Utf8, Utf8Mark, Utf16Le(true), Utf16Le(false), Utf16Be(true), Utf16Be(false), Utf32Le, Latin1, ShiftJis];
    proptest::sample::select(all.to_vec())
}

impl Charset {
    /// The text as it is sent, with what the charset cannot say as escapes, and its bytes.
    fn encode(self, text: &str) -> (&'static str, String, Vec<u8>) {
        let mark = |with: bool| if with { "\u{feff}" } else { "" };
        let whole = |text: &str| text.to_owned();
        let utf_16 = |with: bool, word: fn(u16) -> [u8; 2]| {
            format!("{}{text}", mark(with)).encode_utf16().flat_map(word).collect::<Vec<u8>>()
        };
        match self {
            Self::Utf8 => ("application/json", whole(text), text.as_bytes().to_vec()),
            Self::Utf8Mark => ("application/json", whole(text), format!("\u{feff}{text}").into_bytes()),
            Self::Utf16Le(with) => ("application/json; charset=utf-16", whole(text), utf_16(with, u16::to_le_bytes)),
            Self::Utf16Be(with) => ("application/json", whole(text), utf_16(with, u16::to_be_bytes)),
            Self::Utf32Le => {
                ("application/json", whole(text), text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect())
            }
            Self::Latin1 => Self::escaped(text, "iso-8859-1"),
            Self::ShiftJis => Self::escaped(text, "shift_jis"),
        }
    }

    fn escaped(text: &str, label: &'static str) -> (&'static str, String, Vec<u8>) {
        let encoding = encoding_rs::Encoding::for_label(label.as_bytes()).unwrap();
        let mut said = String::new();
        for c in text.chars() {
            let mut buffer = [0; 4];
            let (bytes, _, wrong) = encoding.encode(c.encode_utf8(&mut buffer));
            let back = encoding.decode_without_bom_handling(&bytes).0;
            if !wrong && back.chars().eq([c]) {
                said.push(c);
            } else {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| said.push_str(&format!("\\u{unit:04x}")));
            }
        }
        // Bytes that happen to be UTF-8 are read as that.
        let bytes = encoding.encode(&said).0.into_owned();
        let header = if label == "shift_jis" {
            "application/json; charset=Shift_JIS"
        } else {
            "application/json;charset=ISO-8859-1"
        };
        if !said.is_ascii() && std::str::from_utf8(&bytes).is_ok() {
            return ("application/json", text.to_owned(), text.as_bytes().to_vec());
        }
        (header, said, bytes)
    }
}

/// A record's text, its key and its document, each as it was sent and without the space between its parts.
struct Sent {
    record: String,
    key: String,
    document: String,
}

/// jq has no `-0` among its integers.
fn as_jq_says(value: Value) -> Value {
    match value {
        Value::Number(number) if number.as_str() == "-0" => Value::from(0),
        Value::Array(items) => items.into_iter().map(as_jq_says).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name, as_jq_says(value))).collect::<serde_json::Map<_, _>>().into()
        }
        other => other,
    }
}

fn said(document: &str) -> String {
    let json = Json::from_validated(document);
    json.string()
        .map_or_else(|| if json.is_null() { String::new() } else { document.to_owned() }, std::borrow::Cow::into_owned)
}

fn round(service: &Service, documents: &[String], charset: Charset) {
    let record = |(index, document): (usize, &String)| match index % 3 {
        0 => format!("{{\"id\":1{index:02}000000000000000000000001,\"doc\":{document}}}"),
        1 => format!("{{\"id\":\"\\ud83d\\/{index}é\", \"doc\" : {document} }}"),
        _ => format!("{{\"doc\":{document},\"id\":{index}.10}}"),
    };
    let records: Vec<String> = documents.iter().enumerate().map(record).collect();
    let (content_type, text, bytes) = charset.encode(&format!("{{\"items\":[{}]}}", records.join(" ,\n")));
    service.answer_as("/v1/items", content_type, &bytes);
    let page = Json::validate(&text).unwrap();
    let sent: Vec<Sent> = page
        .get("items")
        .unwrap()
        .items()
        .map(|record| Sent {
            record: minified(record.as_str()).into_owned(),
            key: record.get("id").unwrap().exact_text().unwrap().into_owned(),
            document: minified(record.get("doc").unwrap().as_str()).into_owned(),
        })
        .collect();
    assert_eq!(sent.len(), documents.len());

    let singer = service.ok(&["sync", "acme/items", "--mode", "full", "--to", "singer", "--allow-deletes"]);
    let shown: Vec<&str> = singer.lines().filter(|line| line.starts_with(r#"{"type":"RECORD""#)).collect();
    for sent in &sent {
        let record = without_lone_surrogates(&sent.record);
        let wanted = format!(r#""record":{},"_key":"#, record.strip_suffix('}').unwrap());
        assert!(shown.iter().any(|line| line.contains(&wanted)), "Singer has no {wanted}");
    }

    let records = |more: &[&str]| service.ok(&[&["records", "acme/items"], more].concat());
    let all = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let mut wanted: Vec<&str> = sent.iter().map(|sent| sent.record.as_str()).collect();
    let mut found: Vec<String> = all(&records(&[])).iter().map(|line| as_written(line).0).collect();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted, "records");
    let list = records(&["--format", "json"]);
    let mut found: Vec<String> =
        Json::validate(&list).unwrap().items().map(|item| as_written(item.as_str()).0).collect();
    found.sort_unstable();
    assert_eq!(found, wanted, "a list");

    for more in [&["--json"][..], &["--since", "0"], &["--since", "0", "--json"]] {
        let lines = all(&records(more));
        for sent in &sent {
            let line = lines.iter().find(|line| is_record(line, &sent.record));
            let line = line.unwrap_or_else(|| panic!("{more:?} has no {}", sent.record));
            let key = Json::validate(line).unwrap().get("_key").unwrap();
            assert_eq!(key.string().unwrap(), sent.key, "{more:?}");
        }
    }

    let csv = records(&["--format", "csv"]);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let at = reader.headers().unwrap().iter().position(|name| name == "doc").unwrap();
    let mut found: Vec<String> = reader.records().map(|row| row.unwrap()[at].to_owned()).collect();
    let mut cells: Vec<String> = sent.iter().map(|sent| said(&sent.document)).collect();
    found.sort_unstable();
    cells.sort_unstable();
    assert_eq!(found, cells, "CSV");

    for filter in [".doc", "def f: .doc; f"] {
        let found = all(&records(&["--jq", &format!("[{filter}]")]));
        assert_eq!(found.len(), sent.len(), "{filter}");
        let found: Vec<Value> = found.iter().map(|line| json::parse(line).unwrap()).collect();
        for sent in &sent {
            let wanted = Value::from(vec![as_jq_says(json::parse(&sent.document).unwrap())]);
            assert!(found.contains(&wanted), "{filter} has no {}", sent.document);
        }
    }
    #[cfg(feature = "parquet")]
    parquet(service, &sent);
}

/// Whether a line holds a record, but for characters that are escaped so that no terminal obeys them.
fn is_record(line: &str, record: &str) -> bool {
    let (written, _) = as_written(line);
    written == record || json::parse(&written).unwrap() == json::parse(record).unwrap()
}

#[cfg(feature = "parquet")]
fn parquet(service: &Service, sent: &[Sent]) {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    let ran = service.home.command(["records", "acme/items", "--format", "parquet"]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let path = service.home.path().join("records.parquet");
    std::fs::write(&path, ran.stdout).unwrap();
    let reader = SerializedFileReader::try_from(path.as_path()).unwrap();
    let (mut records, mut found) = (Vec::new(), Vec::new());
    for row in reader.get_row_iter(None).unwrap() {
        for (name, field) in row.unwrap().get_column_iter() {
            let text = match field {
                Field::Str(text) => text.clone(),
                Field::Null => String::new(),
                other => other.to_string(),
            };
            match name.as_str() {
                "_record" => records.push(text),
                "doc" => found.push(text),
                _ => {}
            }
        }
    }
    let mut wanted: Vec<&str> = sent.iter().map(|sent| sent.record.as_str()).collect();
    records.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(records, wanted, "Parquet");
    // A column of several types holds JSON, one of texts what they say.
    let all_texts = sent.iter().all(|sent| sent.document.starts_with('"') || sent.document == "null");
    let cell = |sent: &Sent| {
        if all_texts {
            said(&sent.document)
        } else if sent.document == "null" {
            String::new()
        } else {
            sent.document.clone()
        }
    };
    let mut cells: Vec<String> = sent.iter().map(cell).collect();
    found.sort_unstable();
    cells.sort_unstable();
    assert_eq!(found, cells, "a Parquet column");
}

/// `INTEG_TEST_ROUNDS=100` tries a hundred pages of documents in place of three.
#[test]
fn field_05_random_documents_come_out_as_they_went_in() {
    // The test itself looks at trees by recursion.
    let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(rounds).unwrap();
    let pages = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    println!("figures: {{\"documents\": {}, \"pages\": {pages}}}", DOCUMENTS * pages as usize);
}

/// Names the seed of a round that fails.
struct Seed(u128, Charset);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "INTEG_TEST_SEED={}, {:?}", self.0, self.1);
        }
    }
}

fn rounds() -> u32 {
    let rounds = std::env::var("INTEG_TEST_ROUNDS").map_or(3, |rounds| rounds.parse::<u32>().unwrap());
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let seed = std::env::var("INTEG_TEST_SEED").map_or(seed, |seed| seed.parse().unwrap());
    for round_number in 0..rounds {
        let seed = seed + u128::from(round_number);
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&seed.to_le_bytes());
        let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let strategy = (proptest::collection::vec(document(), DOCUMENTS), charset());
        let (documents, charset) = strategy.new_tree(&mut runner).unwrap().current();
        let _seed = Seed(seed, charset);
        // A store of its own: a record that is known and unchanged would be left out of what Singer gets.
        round(&Service::start(), &documents, charset);
    }
    rounds
}
