//! Placeholders for what differs from run to run: times, ports, folders, random ids.

use std::path::Path;

use serde_json::Value;

/// Numbers that measure time or size on the wire, and versions: how many writes share a commit depends on the moment.
const MEASURES: &[&str] = &[
    "expires_in",
    "seconds",
    "duration_secs",
    "milliseconds",
    "duration_ms",
    "observed_secs",
    "bytes",
    "version",
    "_version",
];

/// Ids that are random, and short.
const RANDOM: &[&str] = &["delivery_id", "user_code"];

const TIME: &str = "2000-01-01T00:00:00Z";

/// Replaces what is volatile in a text. A placeholder is as wide as what it replaces where tables need that.
pub fn text(text: &str, home: &Path) -> String {
    let text = text.replace(&home.display().to_string(), "HOME");
    let text = text.replace(rusqlite::version(), "VERSION");
    let text = text.replace(concat!("integ ", env!("CARGO_PKG_VERSION")), "integ VERSION");
    let platform = format!(" on {} {}", std::env::consts::OS, std::env::consts::ARCH);
    let text = text.replace(&platform, " on OS ARCH");
    let text = after(&text, "PostgreSQL ", |c| c.is_ascii_digit() || c == '.', "VERSION");
    let text = after(&text, "%3A", |c| c.is_ascii_digit(), "PORT0");
    let text = after(&text, "\"_version\":", |c| c.is_ascii_digit(), "0");
    let text = after(&text, " time=\"", |c| c.is_ascii_digit() || c == '.', "SECONDS");
    let text = after(&text, "\"expires_in\": ", |c| c.is_ascii_digit(), "SECONDS");
    let text = after(&text, "user_code=", |c| c.is_ascii_uppercase() || c == '-', "CODE");
    let text = after(&text, "enter the code ", |c| c.is_ascii_uppercase() || c == '-', "CODE");
    let text = after(&text, "sign-in?link=", |c| c.is_ascii_alphanumeric() || "_-".contains(c), "SECRET");
    let text = after(&text, "date: ", |c| c != '\n', "DATE");
    let text = after(&text, "whsec_", |c| c.is_ascii_alphanumeric() || "+/=".contains(c), "SECRET");
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
    // What handlers did, with how long it took.
    let line = |line: &str| if line.starts_with("  attempt ") { without_times(line) } else { line.to_owned() };
    let out = out.split('\n').map(line).collect::<Vec<_>>().join("\n");
    without_row_versions(&out)
}

/// Replaces the version of a record in a row of comma-separated values, before the times at which it was seen and changed.
fn without_row_versions(text: &str) -> String {
    let times = format!(",{TIME},{TIME},");
    let pieces: Vec<&str> = text.split(&times).collect();
    let last = pieces.len() - 1;
    let row = |(at, piece): (usize, &&str)| match at == last {
        true => (*piece).to_owned(),
        false => format!("{}0", piece.trim_end_matches(|c: char| c.is_ascii_digit())),
    };
    pieces.iter().enumerate().map(row).collect::<Vec<_>>().join(&times)
}

/// Replaces ids of events in PostgreSQL, which begin with a day, by those in a file: `2026113000000002` by `2`.
pub fn event_ids(text: &str) -> String {
    let is_id = |digits: &str| digits.len() == 16 && digits.starts_with("20") && &digits[8..12] == "0000";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let length = rest[start..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - start);
        let digits = &rest[start..start + length];
        out.push_str(&rest[..start]);
        out.push_str(if is_id(digits) { digits[8..].trim_start_matches('0') } else { digits });
        rest = &rest[start + length..];
    }
    out.push_str(rest);
    out
}

/// Replaces what follows each `prefix` for as long as `is_part` holds.
fn after(text: &str, prefix: &str, is_part: fn(char) -> bool, placeholder: &str) -> String {
    let mut pieces = text.split(prefix);
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let rest = piece.trim_start_matches(is_part);
        out.push_str(prefix);
        out.push_str(if rest.len() == piece.len() { "" } else { placeholder });
        out.push_str(rest);
    }
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
    if core.len() == 8 && core.split(':').all(|part| part.len() == 2 && part.parse::<u8>().is_ok()) {
        return format!("00:00:00{rest}");
    }
    // The tokens of the sandbox, which hold the time.
    if core.len() > 100 {
        return format!("TOKEN{rest}");
    }
    let has = |is: fn(&char) -> bool| core.chars().any(|c| is(&c));
    let is_base64 = core.len() >= 40 && has(char::is_ascii_uppercase) && has(char::is_ascii_lowercase);
    let is_uuid = core.len() == 36 && core.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    if is_base64 || is_uuid {
        return format!("{}{rest}", "x".repeat(core.len()));
    }
    // The parts of `evt_0123…` and `1795879915.000005`.
    let parts: String = core.split_inclusive(['_', ':', '.']).map(masked).collect();
    format!("{parts}{rest}")
}

fn masked(part: &str) -> String {
    let core = part.trim_end_matches(['_', ':', '.']);
    let rest = &part[core.len()..];
    if core.parse().is_ok_and(is_unix_time) {
        return format!("{}{rest}", "1".repeat(core.len()));
    }
    let digits = core.chars().filter(char::is_ascii_digit).count();
    let is_hex = core.len() >= 12 && digits >= 1 && core.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    let is_base32 = core.len() >= 55 && core.starts_with("age1");
    // The id that an event of a calendar is created with: 128 random bits in base32hex.
    let is_event_id = core.len() == 26 && digits >= 1 && core.chars().all(|c| matches!(c, '0'..='9' | 'a'..='v'));
    if is_hex || is_base32 || is_event_id { format!("{}{rest}", "x".repeat(core.len())) } else { part.to_owned() }
}

/// Whether a number is a time in seconds or milliseconds, of 2017 to 2049. The same at whatever time the tests run.
fn is_unix_time(number: i64) -> bool {
    let near = 1_500_000_000..2_500_000_000;
    near.contains(&number) || near.contains(&(number / 1000))
}

/// A text with its relative times replaced; a table is laid out anew, since the widths of its columns depend on them.
pub fn times(text: &str) -> String {
    // Notes are indented under what they belong to.
    let is_table = |part: &str| !part.lines().any(|line| line.starts_with("  "));
    let part = |part: &str| match is_table(part) {
        true => laid_out(part).join("\n"),
        false => part.split('\n').map(without_times).collect::<Vec<_>>().join("\n"),
    };
    text.split("\n\n").map(part).collect::<Vec<_>>().join("\n\n")
}

fn laid_out(table: &str) -> Vec<String> {
    let lines: Vec<Vec<char>> = table.lines().map(|line| line.chars().collect()).collect();
    let width = lines.iter().map(Vec::len).max().unwrap_or(0);
    let blank = |column: usize| lines.iter().all(|line| line.get(column).is_none_or(|c| *c == ' '));
    // Columns lie between gutters of two blank columns or more.
    let mut columns: Vec<(usize, usize)> = Vec::new();
    for at in (0..width).filter(|at| !blank(*at)) {
        match columns.last_mut() {
            Some((_, end)) if at <= *end + 1 => *end = at + 1,
            _ => columns.push((at, at + 1)),
        }
    }
    let cell = |line: &[char], (start, end): (usize, usize)| -> String {
        line.iter().take(end).skip(start).collect::<String>()
    };
    let mut rows = vec![String::new(); lines.len()];
    for column in columns {
        let raw: Vec<String> = lines.iter().map(|line| cell(line, column)).collect();
        let is_right = raw.iter().any(|cell| cell.starts_with(' ') && !cell.trim().is_empty());
        let cells: Vec<String> = raw.iter().map(|cell| without_times(cell.trim())).collect();
        let widest = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
        for (row, cell) in rows.iter_mut().zip(cells) {
            let gutter = if row.is_empty() { "" } else { "  " };
            *row += &if is_right { format!("{gutter}{cell:>widest$}") } else { format!("{gutter}{cell:<widest$}") };
        }
    }
    rows.iter().map(|row| row.trim_end().to_owned()).collect()
}

/// `in 59 min`, `1 s ago`, `now`, `14 ms`, `0.6 s` become `TIME`.
pub fn without_times(text: &str) -> String {
    const UNITS: &[&str] = &["ms", "s", "min", "h", "days"];
    let words: Vec<&str> = text.split(' ').collect();
    let mut out: Vec<String> = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let word = words[at];
        let open = if word.starts_with('(') { "(" } else { "" };
        let unit = words.get(at + 1).copied().unwrap_or_default();
        let bare = unit.trim_end_matches([')', ',', ';', ':']);
        if word.trim_start_matches(['(', '<']).parse::<f64>().is_ok() && UNITS.contains(&bare) {
            if out.last().is_some_and(|last| last == "in") {
                out.pop();
            }
            let next = words.get(at + 2).copied().unwrap_or_default();
            let ago = next.strip_prefix("ago");
            out.push(format!("{open}TIME{}", ago.unwrap_or(&unit[bare.len()..])));
            at += if ago.is_some() { 3 } else { 2 };
        } else {
            let is_now = word.trim_matches(['(', ')', ',', ';']) == "now";
            out.push(if is_now { word.replace("now", "TIME") } else { word.to_owned() });
            at += 1;
        }
    }
    out.join(" ")
}

/// Replaces what is volatile in a JSON document; with `has_times` also times relative to now in its texts.
pub fn json(value: &mut Value, home: &Path, has_times: bool) {
    match value {
        Value::String(string) => {
            let scrubbed = text(string, home);
            *string = if has_times { without_times(&scrubbed) } else { scrubbed };
        }
        Value::Array(items) => items.iter_mut().for_each(|item| json(item, home, has_times)),
        Value::Object(members) => {
            for (name, member) in members {
                let is_measure = MEASURES.contains(&name.as_str()) && member.is_number();
                if is_measure || (RANDOM.contains(&name.as_str()) && is_random(member)) {
                    *member = format!("<{name}>").into();
                } else {
                    json(member, home, has_times);
                }
            }
        }
        Value::Number(number) if number.as_i64().is_some_and(is_unix_time) => *value = "<unix time>".into(),
        _ => {}
    }
}

/// Whether it is a number or a code such as `NSRT-PFBS`, and no id that was chosen.
fn is_random(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.chars().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase() || c == '-'))
}
