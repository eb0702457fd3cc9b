//! The examples and related commands at the end of each command's help. They are in `examples.txt`; a test runs each
//! line in the sandbox.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::LazyLock;

use clap::builder::Styles;

/// The width that related commands are broken to. The library would break within a command otherwise.
const LINE_WIDTH: usize = 78;

/// What `examples.txt` has for one command.
#[derive(Debug, Default)]
pub(super) struct Examples {
    /// Command lines, some with a comment behind `#`.
    pub lines: Vec<&'static str>,
    /// Commands and topics, as in `help sync`.
    pub related: Vec<&'static str>,
}

static EXAMPLES: LazyLock<HashMap<&str, Examples>> = LazyLock::new(|| parse(include_str!("examples.txt")));

/// Parses sections of `== COMMAND`, lines, and at the end `See also: COMMAND, …`.
fn parse(text: &'static str) -> HashMap<&'static str, Examples> {
    let mut sections = HashMap::new();
    for section in text.strip_prefix("== ").unwrap_or(text).split("\n== ") {
        let (name, lines) = section.split_once('\n').unwrap_or((section, ""));
        let mut examples = Examples::default();
        for line in lines.lines().filter(|line| !line.is_empty()) {
            match line.strip_prefix("See also: ") {
                Some(related) => examples.related = related.split(", ").collect(),
                None => examples.lines.push(line),
            }
        }
        sections.insert(name, examples);
    }
    sections
}

impl Examples {
    /// Returns the examples of a command, by its words: `vault backup`.
    pub(super) fn of(command: &str) -> Option<&'static Self> {
        EXAMPLES.get(command)
    }

    fn help(&self) -> String {
        let header = Styles::styled().get_header().to_owned();
        let mut text = format!("{header}Examples:{header:#}");
        for line in &self.lines {
            let _ = write!(text, "\n  {line}");
        }
        if !self.related.is_empty() {
            let related: Vec<String> = self.related.iter().map(|name| format!("`integ {name}`")).collect();
            let _ = write!(text, "\n\n{header}See also:{header:#} {}", lines_of(&related));
        }
        text
    }
}

/// The commands with commas between them, in lines that fit every terminal: broken between two commands, never within one.
fn lines_of(commands: &[String]) -> String {
    let mut text = String::new();
    let mut length = "See also: ".len();
    for command in commands {
        let piece = command.chars().count() + ", ".len();
        if !text.is_empty() {
            let fits = length + piece <= LINE_WIDTH;
            text.push_str(if fits { ", " } else { ",\n  " });
            length = if fits { length } else { 2 };
        }
        text.push_str(command);
        length += piece;
    }
    text
}

/// Adds the examples to each command below this one.
pub(super) fn with_examples(command: clap::Command, path: &str) -> clap::Command {
    command.mut_subcommands(|sub| {
        let path = format!("{path}{}", sub.get_name());
        let sub = match Examples::of(&path) {
            Some(examples) => sub.after_help(examples.help()),
            None => sub,
        };
        with_examples(sub, &format!("{path} "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_section_is_of_a_command_and_names_commands_and_topics() {
        let whole = crate::cli::command();
        let is_command =
            |words: &str| words.split(' ').try_fold(&whole, |command, word| command.find_subcommand(word)).is_some();
        for (name, examples) in EXAMPLES.iter() {
            assert!(is_command(name), "{name}");
            assert!((2..=5).contains(&examples.lines.len()), "{name}: {} lines", examples.lines.len());
            for related in &examples.related {
                let known = match related.strip_prefix("help ") {
                    Some(topic) => super::super::help::is_topic(topic),
                    None => is_command(related) && related != name,
                };
                assert!(known, "{name}: {related}");
            }
        }
    }

    #[test]
    fn related_commands_are_broken_between_two_of_them() {
        let names = ["records", "schedule set", "job list", "help sync"];
        let commands = names.map(|name| format!("`integ {name}`"));
        assert_eq!(
            lines_of(&commands),
            "`integ records`, `integ schedule set`, `integ job list`,\n  `integ help sync`"
        );
        assert_eq!(lines_of(&commands[..2]), "`integ records`, `integ schedule set`");
    }

    #[test]
    fn a_section_is_lines_and_related_commands() {
        let parsed = parse("== a b\ninteg a b\ninteg a b --c  # d\nSee also: e, help f\n\n== g\ninteg g\n");
        assert_eq!(parsed["a b"].lines, ["integ a b", "integ a b --c  # d"]);
        assert_eq!(parsed["a b"].related, ["e", "help f"]);
        assert!(parsed["g"].related.is_empty());
    }
}
