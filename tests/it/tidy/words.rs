//! Words in messages, help, documents and comments: plain, current English, one term for a thing.

use std::path::Path;

use super::source::TREE;
use super::{Found, settle};

/// Words that no text may have, with what to write.
const BANNED: &[(&str, &str)] = &[
    ("a line each", "one per line"),
    ("anew", "again"),
    ("are told", "get, see"),
    ("as a rule", "usually"),
    ("befalls", "happens to"),
    ("beside the cursor", "without moving the cursor"),
    ("cannot be called so", "invalid parameters"),
    ("cannot be had", "cannot be fetched"),
    ("ever more", "with growing"),
    ("fits not", "does not match"),
    ("if need be", "if needed"),
    ("in vain", "failed"),
    ("is told", "gets, sees"),
    ("is wanted of", "is needed for"),
    ("mend", "fix"),
    ("mended", "fixed"),
    ("mending", "fixing"),
    ("mends", "fixes"),
    ("nobody sent", "test"),
    ("part several of", "separate"),
    ("parted", "divided, separated"),
    ("told of", "notified of"),
    ("unless told", "by default"),
    ("what becomes of", "the outcome of"),
    ("what came", "what was received"),
    ("where absent", "if absent, default"),
    ("whoever", "anyone who"),
    ("whomever", "anyone"),
];

/// Words that have a plain sense as well, and how many there are at most. The numbers may only shrink.
const RARE: &[(&str, usize, &str)] = &[
    ("gone", GONE, "deleted"),
    ("is no", IS_NO, "is not a"),
    ("kept", KEPT, "stored"),
    ("standing", STANDING, "state, status"),
    ("stands", STANDS, "is"),
    ("tell", TELL, "say, notify, print"),
    ("tells", TELLS, "says, notifies, prints"),
    ("told", TOLD, "said, notified, printed"),
    ("ways", WAYS, "authentication methods"),
];

const GONE: usize = 74;
const IS_NO: usize = 72;
const KEPT: usize = 148;
const STANDING: usize = 2;
const STANDS: usize = 37;
const TELL: usize = 5;
const TELLS: usize = 9;
const TOLD: usize = 26;
const WAYS: usize = 50;

/// A line of a text, with its place.
struct Line {
    place: String,
    words: Vec<String>,
}

/// The words of a line in lower case. What joins a word to others, as in `what_came`, makes it another one.
fn words(line: &str) -> Vec<String> {
    let is_part = |c: char| c.is_alphanumeric() || "_-'".contains(c);
    line.split(|c: char| !is_part(c)).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

fn has(line: &Line, phrase: &str) -> bool {
    let phrase: Vec<&str> = phrase.split(' ').collect();
    line.words.windows(phrase.len()).any(|words| words == phrase)
}

/// Every line of the program, the connectors and the documents.
fn lines() -> Vec<Line> {
    let mut found = Vec::new();
    let mut add = |path: &str, text: &str| {
        found.extend(
            (1..).zip(text.lines()).map(|(at, line)| Line { place: format!("{path}:{at}"), words: words(line) }),
        );
    };
    for file in &TREE.src {
        add(&file.path, &file.text);
    }
    let documents = ["README.md", "connectors/README.md", "tests/README.md"].map(|name| TREE.root.join(name));
    let folders = ["src/cli/topics", "connectors", "connectors/vendors"].map(|name| TREE.root.join(name));
    let listed = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap().flatten().map(|file| file.path()));
    let is_text = |path: &Path| path.extension().is_some_and(|end| end == "txt" || end == "toml");
    for path in documents.into_iter().chain(listed.filter(|path| is_text(path))) {
        let name = path.strip_prefix(&TREE.root).unwrap().display().to_string();
        add(&name, &std::fs::read_to_string(&path).unwrap());
    }
    found
}

#[test]
fn texts_have_no_banned_words() {
    let mut found = Found::new();
    for line in lines() {
        for (phrase, better) in BANNED.iter().filter(|(phrase, _)| has(&line, phrase)) {
            found.entry(format!("{phrase}: {better}")).or_default().push(line.place.clone());
        }
    }
    settle("BANNED_TEXTS", "\n", &found, "Write what is behind the colon:");
}

#[test]
fn rare_words_become_no_more() {
    let lines = lines();
    let mut report = String::new();
    for (phrase, most, better) in RARE {
        let places: Vec<&str> = lines.iter().filter(|line| has(line, phrase)).map(|line| line.place.as_str()).collect();
        println!("{phrase}: {}", places.len());
        if places.len() > *most {
            report.push_str(&format!("\n{phrase:?} is in {} lines, {most} before; write {better}", places.len()));
        }
    }
    assert!(report.is_empty(), "{report}\nWithout these words, or with less of them elsewhere");
}

#[test]
fn phrases_are_found_as_whole_words() {
    let line = |text: &str| Line { place: String::new(), words: words(text) };
    assert!(has(&line("/// Who is told, and when"), "is told"));
    assert!(has(&line("Mends it."), "mends"));
    assert!(!has(&line("amended; what_came; is not told"), "mend") && !has(&line("what_came"), "what came"));
    assert!(BANNED.is_sorted() && RARE.is_sorted());
}
