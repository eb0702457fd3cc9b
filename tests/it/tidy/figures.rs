//! Figures of the tree, for comparing it with earlier states and with other projects.

use super::source::{File, TREE, Tree};
use super::visit::{Kind, Public};
use super::{layers, names};

/// The middle, the 90th and 99th percentile and the largest.
fn spread(mut values: Vec<usize>) -> [usize; 4] {
    values.sort_unstable();
    let at = |percent: usize| values.get(values.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default();
    [at(50), at(90), at(99), at(100)]
}

fn production(tree: &Tree) -> impl Iterator<Item = &File> {
    tree.src.iter().filter(|file| !file.is_test)
}

fn percent(part: usize, whole: usize) -> String {
    let tenths = (part * 1000 + whole / 2).checked_div(whole).unwrap_or_default();
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// The share of the items that have no docs.
fn undocumented<'p>(items: impl Iterator<Item = &'p Public>) -> String {
    let items: Vec<_> = items.collect();
    let bare = items.iter().filter(|item| !item.is_documented).count();
    format!("{} ({bare} of {})", percent(bare, items.len()), items.len())
}

/// One line for each figure: what it is, and its value.
fn rows(tree: &Tree) -> Vec<(&'static str, String)> {
    let files: Vec<usize> = production(tree).map(|file| file.production_lines().count()).collect();
    let total: usize = files.iter().sum();
    let whole: Vec<usize> = production(tree).map(|file| file.text.lines().count()).collect();
    let lines = || production(tree).flat_map(File::production_lines).map(|(_, line)| line.trim_start());
    let is_doc = |line: &str| line.starts_with("///") || line.starts_with("//!");
    let docs = lines().filter(|line| is_doc(line)).count();
    let plain = lines().filter(|line| line.starts_with("//") && !is_doc(line)).count();
    let functions = || production(tree).flat_map(|file| &file.facts.functions).filter(|function| !function.is_test);
    let public = || production(tree).flat_map(|file| &file.facts.public);
    let all = tree.src.iter().chain(&tree.tests);
    let test_lines: usize = all.map(|file| file.text.lines().count()).sum::<usize>() - total;
    let modules = layers::cycles(&layers::modules(tree));
    let file_cycles = layers::cycles(&layers::files(tree));
    let in_cli = file_cycles.iter().filter(|cycle| cycle.iter().all(|file| file.starts_with("src/cli/"))).count();
    let sizes = |file_cycles: &[std::collections::BTreeSet<String>]| {
        file_cycles.iter().map(|cycle| cycle.len().to_string()).collect::<Vec<_>>().join(", ")
    };
    let lock = std::fs::read_to_string(tree.root.join("Cargo.lock")).unwrap();
    let [file_median, file_p90, _, file_max] = spread(files.clone());
    let [whole_median, whole_p90, _, whole_max] = spread(whole.clone());
    let [median, p90, p99, max] = spread(functions().map(|function| function.lines).collect());
    let long = functions().filter(|function| function.lines > 80).count();
    let over_60 = functions().filter(|function| function.lines > 60).count();
    let deepest = functions().map(|function| function.nesting).max().unwrap_or_default();
    vec![
        ("files, lines", format!("{}, {total}", files.len())),
        ("file median / p90 / max", format!("{file_median} / {file_p90} / {file_max}")),
        ("with the tests inside files: lines", whole.iter().sum::<usize>().to_string()),
        ("with the tests inside files: median / p90 / max", format!("{whole_median} / {whole_p90} / {whole_max}")),
        ("functions", functions().count().to_string()),
        ("function median / p90 / p99 / max", format!("{median} / {p90} / {p99} / {max}")),
        ("functions > 80", format!("{long} ({over_60} over 60)")),
        (
            "deepest nesting of blocks",
            format!("{deepest} ({} functions at 5 and more)", functions().filter(|it| it.nesting >= 5).count()),
        ),
        ("doc lines / plain comment lines", format!("{} / {}", percent(docs, total), percent(plain, total))),
        ("public items without docs", undocumented(public().filter(|item| item.kind != Kind::Field))),
        (
            "of these, `pub` without a module in brackets",
            undocumented(public().filter(|item| item.kind != Kind::Field && item.is_full)),
        ),
        ("public fields without docs", undocumented(public().filter(|item| item.kind == Kind::Field))),
        ("cycles between modules", format!("{} (modules: {})", modules.len(), sizes(&modules))),
        ("cycles between files", format!("{} (files: {}), {in_cli} in cli", file_cycles.len(), sizes(&file_cycles))),
        ("files of entry points that name the store", layers::store_users(tree).len().to_string()),
        ("type names that are used twice and more", names::shared(tree).len().to_string()),
        ("lines of Rust tests", test_lines.to_string()),
        ("packages in Cargo.lock", lock.matches("[[package]]").count().to_string()),
    ]
}

#[test]
fn figures() {
    for (figure, value) in rows(&TREE) {
        println!("| {figure} | {value} |");
    }
}

#[test]
fn the_spread_is_of_sorted_values() {
    assert_eq!(spread((1..=101).rev().collect()), [51, 91, 100, 101]);
    assert_eq!(spread(vec![7]), [7; 4]);
    assert_eq!(spread(Vec::new()), [0; 4]);
    assert_eq!(
        (percent(7, 1000), percent(461, 1886), percent(0, 0)),
        ("0.7 %".into(), "24.4 %".into(), "0.0 %".into())
    );
}
