//! Placeholders for what differs from run to run: times, ports, folders, random ids.

use std::path::Path;

use serde_json::Value;

/// Numbers that measure time or size on the wire.
const MEASURES: &[&str] = &["expires_in", "seconds", "milliseconds", "duration_ms", "bytes"];

const TIME: &str = "2000-01-01T00:00:00Z";

/// Replaces what is volatile in a text. Each placeholder is as wide as what it replaces, so that tables keep their columns.
pub fn text(text: &str, home: &Path) -> String {
    let text = text.replace(&home.display().to_string(), "HOME");
    let mut out = String::with_capacity(text.len());
    let mut word = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_alphanumeric() || "_-:.".contains(c) {
            word.push(c);
        } else {
            out.push_str(&scrubbed(&word));
            word.clear();
            out.push(c);
        }
    }
    out.pop();
    out
}

/// A run of letters, digits and `_-:.`.
fn scrubbed(word: &str) -> String {
    let core = word.trim_end_matches(['.', ':']);
    let rest = &word[core.len()..];
    if core.ends_with('Z') && core.parse::<integ::clock::Timestamp>().is_ok() {
        return format!("{TIME}{rest}");
    }
    let host = ["127.0.0.1:", "localhost:"].into_iter().find(|host| core.starts_with(host));
    if let Some(host) = host.filter(|host| core.len() == host.len() + 5) {
        return format!("{host}PORT0{rest}");
    }
    // The parts of `evt_0123…`, each as long as before.
    let parts: Vec<String> = core.split_inclusive(['_', ':', '.']).map(|part| masked(part)).collect();
    let parts = parts.concat();
    // Base64 may hold `_`, which would part it.
    let whole = if is_random(core) && core.len() >= 40 { "x".repeat(core.len()) } else { parts };
    format!("{whole}{rest}")
}

fn masked(part: &str) -> String {
    let core = part.trim_end_matches(['_', ':', '.']);
    if is_random(core) { format!("{}{}", "x".repeat(core.len()), &part[core.len()..]) } else { part.to_owned() }
}

/// Whether it looks like hex, base62 or bech32 that a generator made.
fn is_random(word: &str) -> bool {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    word.len() >= 16 && digits >= 2 && word.chars().filter(|c| *c == '-').count() <= 2
}

/// The cells of a table whose widths depend on volatile times, two spaces apart, with those times replaced.
pub fn cells(table: &str) -> String {
    let line = |line: &str| {
        let cells: Vec<String> =
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(relative).collect();
        cells.join("  ")
    };
    table.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// `in 59 min`, `1 s ago`, `now`, `14 ms`, `0.6 s` become `TIME`.
fn relative(cell: &str) -> String {
    let bare = cell.strip_prefix("in ").unwrap_or(cell);
    let bare = bare.strip_suffix(" ago").unwrap_or(bare);
    let is_time = bare.split_once(' ').is_some_and(|(amount, unit)| {
        amount.parse::<f64>().is_ok() && ["ms", "s", "min", "h", "days"].contains(&unit)
    });
    if is_time || cell == "now" { "TIME".to_owned() } else { cell.to_owned() }
}

/// Replaces what is volatile in a JSON document.
pub fn json(value: &mut Value, home: &Path) {
    match value {
        Value::String(string) => *string = text(string, home),
        Value::Array(items) => items.iter_mut().for_each(|item| json(item, home)),
        Value::Object(members) => {
            for (name, member) in members {
                if MEASURES.contains(&name.as_str()) && member.is_number() {
                    *member = format!("<{name}>").into();
                } else {
                    json(member, home);
                }
            }
        }
        _ => {}
    }
}
