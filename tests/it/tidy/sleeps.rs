//! A test that sleeps says why: a fixed wait is slow, and too short on a busy machine.

use super::source::{TREE, files};
use super::{Found, debts, settle};

/// Whether a comment is on the line (counted from 1) or on the one before.
fn is_explained(lines: &[&str], line: usize, marker: &str) -> bool {
    let same = lines.get(line - 1).is_some_and(|text| text.contains(marker));
    same || line > 1 && lines[line - 2].trim_start().starts_with(marker)
}

#[test]
fn each_sleep_of_a_test_is_explained() {
    let mut places = Found::new();
    for file in TREE.src.iter().chain(&TREE.tests) {
        let lines: Vec<&str> = file.text.lines().collect();
        for line in file.facts.sleeps.iter().filter(|line| file.is_test_line(**line)) {
            if !is_explained(&lines, *line, "//") {
                places.entry(file.path.clone()).or_default().push(format!("{}:{line}", file.path));
            }
        }
    }
    let folder = TREE.root.join("tests");
    // Scripts in Python have no extension where they are run by hand.
    for path in [files(&folder, "py"), files(&folder, "")].concat() {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let lines: Vec<&str> = text.lines().collect();
        let name = path.strip_prefix(&TREE.root).unwrap().display().to_string();
        for (line, _) in (1..).zip(&lines).filter(|(_, text)| text.contains("sleep(")) {
            if !is_explained(&lines, line, "#") {
                places.entry(name.clone()).or_default().push(format!("{name}:{line}"));
            }
        }
    }
    let found = places.into_iter().map(|(file, places)| (format!("{file} {}", places.len()), places)).collect();
    settle(
        "UNEXPLAINED_SLEEPS",
        debts::UNEXPLAINED_SLEEPS,
        &found,
        "Wait for what the test needs, or say in a comment on the line or before it why a fixed time is right:",
    );
}

#[test]
fn a_comment_on_the_line_or_before_it_explains() {
    let lines = ["// The clock has whole seconds.", "sleep(1);", "sleep(2);", "sleep(3); // as above"];
    assert!(is_explained(&lines, 2, "//") && is_explained(&lines, 4, "//"));
    assert!(!is_explained(&lines, 3, "//"));
}
