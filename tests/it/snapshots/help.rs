//! Every help page and every topic, at 80 columns.

use std::fmt::Write;

use super::assert_snap;
use crate::harness::Home;

/// The words of every command below this one, parents first, in the order of the help.
fn commands(command: &clap::Command, words: &[String], found: &mut Vec<Vec<String>>) {
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help" || words.is_empty()) {
        let mut words = words.to_vec();
        words.push(sub.get_name().to_owned());
        found.push(words.clone());
        commands(sub, &words, found);
    }
}

/// Every command but those that only hold others.
pub fn all_commands() -> Vec<Vec<String>> {
    let mut found = Vec::new();
    commands(&integ::cli::command(), &[], &mut found);
    let is_group = |words: &[String]| found.iter().any(|other| other.len() > words.len() && other.starts_with(words));
    found.iter().filter(|words| !is_group(words)).cloned().collect()
}

#[test]
fn every_help_page() {
    let home = Home::new().with("COLUMNS", "80");
    let mut found = Vec::new();
    commands(&integ::cli::command(), &[], &mut found);
    assert!(found.len() > 90, "{}", found.len());
    assert_snap("help", &home.ok("--help"));
    for group in found.chunk_by(|one, next| one[0] == next[0]) {
        let mut pages = String::new();
        for words in group {
            let line = words.join(" ");
            let page = home.ok(&format!("{line} --help"));
            // The options of every command are in the page of `integ` itself.
            let own = page.split("\nGlobal options:").next().unwrap();
            writeln!(pages, "$ integ {line} --help\n{}\n", own.trim_end()).unwrap();
        }
        assert_snap(&format!("help_{}", group[0][0]), &pages);
    }
}

#[test]
fn the_short_help_of_the_whole() {
    let home = Home::new().with("COLUMNS", "80");
    assert_snap("help_short", &format!("$ integ -h\n{}\n\n$ integ help\n{}", home.ok("-h"), home.ok("help")));
}

#[test]
fn every_topic() {
    let home = Home::new().with("COLUMNS", "80");
    let help = home.ok("--help");
    let named = help.split_once("Topics of `integ help TOPIC`:").unwrap().1;
    let topics: Vec<&str> = named.split([',', '.']).map(str::trim).filter(|topic| !topic.is_empty()).collect();
    assert!(topics.len() >= 10, "{topics:?}");
    for topic in topics {
        assert_snap(&format!("topic_{topic}"), &home.ok(&format!("help {topic}")));
    }
}
