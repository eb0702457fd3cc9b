//! Maps records that it makes one after another, and prints how many a second, and its peak memory.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on should say where")]

use integ::clock::Stopwatch;
use integ::mapping::Mapper;

const FIELDS: &str = r#"
id = .id
email: text = .properties.email | lower
name = "\(.properties.firstname) \(.properties.lastname)"
phone?: text = .properties.phone
company = .properties.company // "none"
stage = .properties.lifecyclestage | lookup("stage")
amount: integer = .properties.amount | minor_units("EUR")
owner: text = .properties.hubspot_owner_id
created: time = .createdAt
source = "hubspot"

[lookup.stage]
lead = "prospect"
customer = "won"
"#;

/// The same as jq that is cheap enough to run without a worker.
const JQ_FIELDS: &str = r#"
id = .id | tostring
email: text = .properties | .email | ascii_downcase
name = .properties | .firstname + " " + .lastname
phone?: text = .properties | .phone
company = .properties | .company // "none"
stage = if .properties.lifecyclestage == "lead" then "prospect" else "won" end
amount: integer = .properties | .amount | minor_units("EUR")
owner: text = .properties | .hubspot_owner_id
created: time = .createdAt
source = "hubspot" | ascii_downcase
"#;

fn record(number: u64) -> String {
    let stage = if number.is_multiple_of(3) { "customer" } else { "lead" };
    format!(
        r#"{{"id":"15{number:07}","createdAt":"2026-01-02T03:04:05.678Z","updatedAt":"2026-11-29T10:00:00Z","archived":false,"properties":{{"email":"Person.{number}@Example.com","firstname":"Ada","lastname":"Lovelace {number}","phone":null,"company":"Acme \"{number}\" GmbH","lifecyclestage":"{stage}","hubspot_owner_id":"9{number}","amount":"{}.50","createdate":"2026-01-02T03:04:05.678Z","lastmodifieddate":"2026-11-29T10:00:00Z","hs_object_id":"15{number:07}"}}}}"#,
        number % 10_000
    )
}

/// Peak memory of this process in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or_default() / 1024
}

fn main() {
    let count: u64 = std::env::args().nth(1).map_or(200_000, |count| count.parse().unwrap());
    println!("{:<32}{:>12}{:>14}{:>10}", "ten fields", "records", "records/s", "MiB");
    for (name, text, count) in [("paths and converters", FIELDS, count), ("jq", JQ_FIELDS, count / 4)] {
        let mapper = Mapper::new(text).unwrap();
        let (started, mut made) = (Stopwatch::start(), std::time::Duration::ZERO);
        for number in 0..count {
            let making = Stopwatch::start();
            let record = record(number);
            made += making.elapsed();
            let mapped = mapper.map(&record).unwrap();
            assert!(mapped.len() > 100);
        }
        let seconds = (started.elapsed() - made).as_secs_f64();
        println!("{name:<32}{count:>12}{:>14.0}{:>10}", count as f64 / seconds, peak());
    }
}
