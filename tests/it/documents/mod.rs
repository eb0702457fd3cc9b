//! The documents do what they say: each command line of README.md, of the topics, of connectors/README.md and of the
//! examples in the help pages is run in the sandbox, and each `console` block prints what it shows.

pub mod blocks;
mod exceptions;
mod world;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write;

use blocks::{Block, Kind, Step};
use exceptions::{EXCEPTIONS, Exception};
use world::World;

use crate::harness::{Home, has_program, needs};

/// Programs that lines call, beside integ and the stubs.
const PROGRAMS: &[&str] = &["age", "age-keygen", "git", "sqlite3"];

fn document(name: &str) -> String {
    std::fs::read_to_string(format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Runs the blocks of one part of a document, one after the other in one home, and returns what went wrong.
fn run(what: &str, blocks: &[Block], world: &World) -> Vec<String> {
    let mut wrong = Vec::new();
    for step in blocks.iter().flat_map(|block| &block.steps) {
        if let Err(reason) = parse(&step.line) {
            wrong.push(format!("{what}: {}: {reason}", step.line));
            continue;
        }
        match exceptions::of(&step.line) {
            Some(Exception::NotRun(why)) => say(&format!("{what}: not run, for {why}: {}", step.line)),
            Some(Exception::Serves) => wrong.extend(world.serve(&step.line).err()),
            None => wrong.extend(world.run(step).err()),
        }
    }
    wrong.into_iter().map(|wrong| format!("{what}: {wrong}")).collect()
}

/// Whether clap takes the first `integ` command of a shell's line.
fn parse(line: &str) -> Result<(), String> {
    // The id of a link is known once its example runs.
    for words in blocks::commands(&line.replace("CONNECT_LINK", "cnl_0011223344556677")) {
        match integ::cli::command().try_get_matches_from(&words) {
            Ok(_) => {}
            Err(error) if !error.use_stderr() => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

/// Says something beside the results of the tests.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn report(wrong: &[String], counted: usize) {
    say(&format!("{counted} command lines"));
    assert!(wrong.is_empty(), "{} of {counted} lines:\n{}", wrong.len(), wrong.join("\n"));
}

fn ready() -> bool {
    PROGRAMS.iter().all(|program| needs(program, has_program(program)))
}

#[test]
fn the_readme_does_what_it_says() {
    if !ready() {
        return;
    }
    let (mut wrong, mut counted) = (Vec::new(), 0);
    for (section, text) in blocks::sections(&document("README.md")) {
        let blocks = blocks::of_markdown(&text);
        counted += blocks.iter().map(|block| block.steps.len()).sum::<usize>();
        let shows = blocks.iter().any(|block| block.kind == Kind::Console);
        // What is shown is what somebody sees who has just begun.
        let world = if shows { World::empty() } else { World::prepared() };
        wrong.extend(run(&format!("README.md, {section}"), &blocks, &world));
    }
    assert!(counted > 70, "{counted}");
    report(&wrong, counted);
}

#[test]
fn the_topics_do_what_they_say() {
    if !ready() {
        return;
    }
    let home = Home::new();
    let help = home.ok("--help");
    let named = help.split_once("Topics of `integ help TOPIC`:").unwrap().1;
    let (mut wrong, mut counted) = (Vec::new(), 0);
    for topic in named.split([',', '.']).map(str::trim).filter(|topic| !topic.is_empty()) {
        let mut command = home.command(["help", topic]);
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        // The help of a command of the same name has examples of its own.
        let text = text.split("\nUsage: ").next().unwrap();
        let blocks = blocks::of_topic(text);
        counted += blocks.iter().map(|block| block.steps.len()).sum::<usize>();
        wrong.extend(run(&format!("help {topic}"), &blocks, &World::prepared()));
    }
    assert!(counted > 60, "{counted}");
    report(&wrong, counted);
}

#[test]
fn the_guide_to_connector_files_does_what_it_says() {
    if !ready() {
        return;
    }
    let (mut wrong, mut counted, mut files) = (Vec::new(), 0, 0);
    for (section, text) in blocks::sections(&document("connectors/README.md")) {
        let world = World::empty();
        // The first section is about a file that `connector new` has written.
        world.install("acme", &world.read("acme.toml"));
        for (id, toml) in blocks::connectors(&text) {
            world.install(&id, &toml);
            files += 1;
        }
        let blocks = blocks::of_markdown(&text);
        counted += blocks.iter().map(|block| block.steps.len()).sum::<usize>();
        wrong.extend(run(&format!("connectors/README.md, {section}"), &blocks, &world));
    }
    assert!(counted > 25 && files > 5, "{counted} lines, {files} files");
    report(&wrong, counted);
}

/// Every command but those that only hold others, with its words.
fn leaves(command: &clap::Command, words: &str, found: &mut Vec<(String, clap::Command)>) {
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help" || words.is_empty()) {
        let words = format!("{words} {}", sub.get_name()).trim().to_owned();
        if sub.get_subcommands().next().is_none() {
            found.push((words.clone(), sub.clone()));
        }
        leaves(sub, &words, found);
    }
}

#[test]
fn each_command_has_examples_that_run() {
    let mut found = Vec::new();
    leaves(&integ::cli::command(), "", &mut found);
    let (mut wrong, mut counted) = (String::new(), 0);
    let all = ready();
    for (words, command) in found {
        // New commands may have them in their own text.
        let texts = [command.get_after_help(), command.get_long_about()];
        let texts = texts.into_iter().flatten().map(ToString::to_string);
        let help = texts.into_iter().find(|text| text.contains("Examples:\n")).unwrap_or_default();
        let lines = blocks::of_examples(&help);
        if !(2..=5).contains(&lines.steps.len()) {
            writeln!(wrong, "{words}: {} examples; it needs two to five, in src/cli/examples.txt", lines.steps.len())
                .unwrap();
            continue;
        }
        let own = format!("integ {words}");
        let is_own = |step: &Step| blocks::commands(&step.line).iter().any(|line| blocks::is_of(line, &own));
        if !lines.steps.iter().any(is_own) {
            writeln!(wrong, "{words}: no example runs it").unwrap();
        }
        counted += lines.steps.len();
        if all {
            for line in run(&words, &[lines], &World::prepared()) {
                writeln!(wrong, "{line}").unwrap();
            }
        }
    }
    println!("{counted} examples");
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn each_exception_is_a_line_of_a_document() {
    let mut lines = BTreeSet::new();
    let mut found = Vec::new();
    leaves(&integ::cli::command(), "", &mut found);
    let helps = found.iter().filter_map(|(_, command)| command.get_after_help()).map(ToString::to_string);
    lines.extend(helps.flat_map(|help| blocks::of_examples(&help).steps));
    for name in ["README.md", "connectors/README.md"] {
        lines.extend(blocks::of_markdown(&document(name)).into_iter().flat_map(|block| block.steps));
    }
    for entry in std::fs::read_dir(format!("{}/src/cli/topics", env!("CARGO_MANIFEST_DIR"))).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        lines.extend(blocks::of_topic(&text).into_iter().flat_map(|block| block.steps));
    }
    let unused: Vec<&str> = EXCEPTIONS
        .iter()
        .map(|(entry, _)| *entry)
        .filter(|entry| !lines.iter().any(|step| exceptions::fits(entry, &step.line)))
        .collect();
    assert!(unused.is_empty(), "no document has {unused:#?}");
}
