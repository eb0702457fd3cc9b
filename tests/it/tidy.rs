//! Rules for the sources that the compiler does not enforce: layers, cycles, sizes, names, help texts, the architecture page.
//!
//! Each test prints every place that breaks its rule and what to do. Violations from before the rules are listed in `tidy/debts.rs`:
//! nothing may be added to it, and an entry that is no longer needed fails its test too.
//! `cargo test --test it tidy::figures -- --nocapture` prints the figures; `INTEG_TIDY_ROOT` names another tree to read.

mod debts;
mod figures;
mod help;
mod layers;
mod names;
mod page;
mod sizes;
mod sleeps;
pub mod source;
mod visit;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Violations of a rule: an entry as in `debts.rs`, with its places.
type Found = BTreeMap<String, Vec<String>>;

/// Panics unless the violations are exactly the debts. `advice` says how to fix a new one.
fn settle(list: &str, debts: &str, found: &Found, advice: &str) {
    if let Err(report) = compare(list, debts, found, advice) {
        panic!("{report}");
    }
}

fn compare(list: &str, debts: &str, found: &Found, advice: &str) -> Result<(), String> {
    let mut report = String::new();
    let debts: Vec<&str> = debts.lines().skip(1).collect();
    let known: BTreeSet<&str> = debts.iter().copied().collect();
    let new: Vec<_> = found.iter().filter(|(entry, _)| !known.contains(entry.as_str())).collect();
    if !new.is_empty() {
        writeln!(report, "\n{advice}").unwrap();
        for (entry, places) in new {
            writeln!(report, "  {entry}").unwrap();
            for place in places {
                writeln!(report, "    {place}").unwrap();
            }
        }
    }
    let paid: Vec<_> = known.iter().filter(|entry| !found.contains_key(**entry)).collect();
    if !paid.is_empty() {
        writeln!(report, "\nNo longer needed: remove these lines from {list} in tests/it/tidy/debts.rs").unwrap();
        for entry in paid {
            writeln!(report, "    {entry}").unwrap();
        }
    }
    if !debts.is_sorted() || known.len() != debts.len() {
        writeln!(report, "\nSort {list} in tests/it/tidy/debts.rs, each entry once").unwrap();
    }
    if report.is_empty() { Ok(()) } else { Err(report) }
}

#[test]
fn new_debts_and_paid_debts_fail() {
    let found = Found::from([("a".to_owned(), vec!["x.rs:1".to_owned()]), ("b".to_owned(), Vec::new())]);
    assert_eq!(compare("LIST", "\na\nb\n", &found, "Fix it"), Ok(()));
    let new = compare("LIST", "\nb\n", &found, "Fix it").unwrap_err();
    assert!(new.contains("Fix it") && new.contains("x.rs:1") && !new.contains("remove"), "{new}");
    let paid = compare("LIST", "\na\nb\nc\n", &found, "Fix it").unwrap_err();
    assert!(paid.contains("remove") && paid.contains("    c\n") && !paid.contains("Fix it"), "{paid}");
    assert!(compare("LIST", "\nb\na\n", &found, "Fix it").unwrap_err().contains("Sort LIST"));
    assert!(compare("LIST", "\na\na\nb\n", &found, "Fix it").unwrap_err().contains("Sort LIST"));
}
