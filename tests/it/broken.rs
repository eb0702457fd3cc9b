//! Connector files with one mistake each, and what is said of it: the line, the key, what is wrong and how to mend it.

use std::path::Path;

use crate::harness::Home;

#[test]
fn every_broken_file_is_told_what_is_wrong_with_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/connectors/invalid");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 60, "{} files", files.len());
    let home = Home::new();
    let mut wrong = Vec::new();
    for path in files {
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        let expected: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# expect: ")).collect();
        let ran = home.run(&format!("connector validate {}", path.display()));
        let start = format!("{}:", path.display());
        let said: Vec<&str> = ran.stdout.lines().map(|line| line.strip_prefix(&start).unwrap_or(line)).collect();
        if expected.is_empty() || said != expected || ran.code != 1 {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            wrong.push(format!("{name} (exit {}): said {said:#?}, expected {expected:#?}{}", ran.code, ran.stderr));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
