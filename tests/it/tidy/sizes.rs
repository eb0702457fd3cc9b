//! How long files and functions may be, and how deep blocks may be inside each other.

use super::source::{File, TREE};
use super::{Found, debts, settle};

const LINES_OF_A_FILE: usize = 600;
const LINES_OF_A_FUNCTION: usize = 80;
const NESTED_BLOCKS: usize = 5;

fn files() -> impl Iterator<Item = &'static File> {
    TREE.src.iter().chain(&TREE.tests)
}

#[test]
fn files_are_at_most_600_lines() {
    let mut found = Found::new();
    for file in files() {
        let lines = file.text.lines().count();
        if lines > LINES_OF_A_FILE {
            found.insert(file.path.clone(), vec![format!("{}:{lines}", file.path)]);
        }
    }
    settle("LONG_FILES", debts::LONG_FILES, &found, "Split these files, by what their parts are about:");
}

#[test]
fn functions_are_at_most_80_lines() {
    let mut found = Found::new();
    for file in files() {
        for function in file.facts.functions.iter().filter(|function| function.lines > LINES_OF_A_FUNCTION) {
            let place = format!("{}:{} is {} lines", file.path, function.line, function.lines);
            found.entry(format!("{} {}", file.path, function.name)).or_default().push(place);
        }
    }
    settle("LONG_FUNCTIONS", debts::LONG_FUNCTIONS, &found, "Split these functions:");
}

#[test]
fn blocks_are_at_most_5_deep() {
    let mut found = Found::new();
    for file in files() {
        for function in file.facts.functions.iter().filter(|function| function.nesting > NESTED_BLOCKS) {
            let place = format!("{}:{} is {} deep", file.path, function.line, function.nesting);
            found.entry(format!("{} {}", file.path, function.name)).or_default().push(place);
        }
    }
    settle("DEEP_FUNCTIONS", debts::DEEP_FUNCTIONS, &found, "Return early, or move the inner blocks to a function:");
}

#[test]
fn lines_and_blocks_are_counted_as_documented() {
    let source = r"
        fn flat(x: u8) -> u8 {
            x
        }
        #[test]
        fn deep() {
            for x in 0..3 {
                match x {
                    0 => {
                        if x == 1 { } else if x == 2 { g(|| { h(); }) }
                    }
                    _ => tokio::select! { () = wait() => { loop { if x == 1 { break; } } } },
                }
            }
            fn inner() { loop { } }
        }
    ";
    let functions = super::visit::facts(&syn::parse_file(source).unwrap(), &[], false).functions;
    let counted: Vec<_> =
        functions.iter().map(|found| (found.name.as_str(), found.lines, found.nesting, found.is_test)).collect();
    assert_eq!(counted, [("flat", 3, 0, false), ("deep", 11, 5, true), ("inner", 1, 1, true)]);
}
