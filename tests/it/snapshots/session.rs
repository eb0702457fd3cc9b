//! Sessions at the command line, run in two homes of their own: on a terminal of 80 columns, and with `--json`.
//!
//! A session is a list of command lines. A line that begins with
//! - `. ` prepares something and is not shown;
//! - `~ ` prints times relative to now. Where a cell of a table wraps would depend on them, so that it runs on a terminal of
//!   200 columns, and the table is laid out anew with placeholders;
//! - `sorted ` prints lines in no certain order;
//! - `tick` waits until the second has changed: times are stored in seconds, and two may have to differ;
//! - `let NAME = ` stores what the command prints, for `{NAME}` in later lines.

use std::fmt::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::{assert_snap, scrub};
use crate::harness::{Home, INTEG, Ran, finish, has_program, needs, on_postgres};
use crate::hints::follow;
use crate::schemas::check_output;

/// The sessions that show where the workspace is. In PostgreSQL they have snapshots of their own, `…_postgres`.
const SHOWS_THE_STORE: &[&str] = &["users", "vault"];

/// What a session is run in, and what its lines may name.
pub struct World {
    pub home: Home,
    pub names: Vec<(String, String)>,
}

impl World {
    pub fn new() -> Self {
        Self::at(Home::new())
    }

    fn at(home: Home) -> Self {
        let home = home
            .with("INTEG_SANDBOX_SEED", "snapshots")
            .with("INTEG_CLIENT_SECRET", "client-secret-of-the-snapshots")
            .with("COLUMNS", "80");
        let store = home.store_url().map(|url| ("{store}".to_owned(), url.to_owned()));
        Self { names: store.into_iter().collect(), home }
    }

    pub fn name(&mut self, name: &str, value: impl Into<String>) {
        self.names.push((format!("{{{name}}}"), value.into()));
    }

    pub fn write(&self, name: &str, content: &str) {
        std::fs::write(self.home.path().join(name), content).unwrap();
    }

    fn filled(&self, line: &str) -> String {
        let line = self.names.iter().fold(line.to_owned(), |line, (name, value)| line.replace(name, value));
        // A session has the ids of files.
        let event = ["webhook show ", "webhook retry ", "webhook resolve "].iter().find_map(|command| {
            let (id, rest) = line.strip_prefix(command)?.split_once(' ').unwrap_or((&line[command.len()..], ""));
            Some(format!("{command}{} {rest}", self.home.event(id.parse().ok()?)))
        });
        event.unwrap_or(line)
    }

    /// Replaces ids that differ in PostgreSQL by those in files.
    fn with_ids_of_files(&self, text: &str) -> String {
        if self.home.is_in_postgres() { scrub::event_ids(text) } else { text.to_owned() }
    }

    /// Puts the names back in place of their values, as wide as those in a table.
    fn named(&self, text: &str) -> String {
        self.names.iter().fold(self.with_ids_of_files(text), |text, (name, value)| {
            let padded = format!("{name:<width$}  ", width = value.len());
            text.replace(&format!("{value}  "), &padded).replace(value, name)
        })
    }

    /// Runs a line that shows nothing; whether it was one.
    fn prepares(&mut self, line: &str) -> bool {
        if line == "tick" {
            // A second has then passed, whenever it began.
            thread::sleep(Duration::from_secs(1));
            return true;
        }
        if let Some(line) = line.strip_prefix(". ") {
            let ran = self.piped(line);
            assert_eq!(ran.code, 0, "{line}: {ran:?}");
            return true;
        }
        let Some((name, line)) = line.strip_prefix("let ").and_then(|rest| rest.split_once(" = ")) else {
            return false;
        };
        let ran = self.piped(line);
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        self.name(name, ran.stdout.trim_end());
        true
    }

    /// Runs a command with stdout on a pipe. Its words may be quoted as in a shell.
    fn piped(&self, line: &str) -> Ran {
        finish(self.home.command(shlex::split(&self.filled(line)).unwrap()))
    }

    /// Runs a command with stdout on a terminal of so many columns.
    fn on_terminal(&self, columns: usize, line: &str) -> Ran {
        let words = shlex::split(&self.filled(line)).unwrap();
        let line = shlex::try_join(words.iter().map(String::as_str)).unwrap();
        let command = self.home.command([""]);
        let mut on_terminal = Command::new("script");
        on_terminal.args(["-qec", &format!("stty cols {columns} rows 50; exec {INTEG} {line} 2>stderr"), "/dev/null"]);
        on_terminal.env_clear().current_dir(self.home.path()).stdin(Stdio::null());
        on_terminal.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("NO_COLOR", "1");
        let mut ran = finish(on_terminal);
        ran.stdout = ran.stdout.replace('\r', "");
        ran.stderr = std::fs::read_to_string(self.home.path().join("stderr")).unwrap_or_default();
        ran
    }
}

/// Runs a session both ways and compares `text_NAME` and `json_NAME`. On PostgreSQL it runs with `--json` alone, and must print
/// the same as in files.
pub fn session(name: &str, prepare: impl Fn(&mut World), lines: &str) {
    let lines: Vec<&str> = lines.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let run = |form: &str, run: fn(&mut World, &[&str]) -> String| {
        let home = Home::new();
        let store = if home.is_in_postgres() && SHOWS_THE_STORE.contains(&name) { "_postgres" } else { "" };
        let mut world = World::at(home);
        prepare(&mut world);
        assert_snap(&format!("{form}_{name}{store}"), &run(&mut world, &lines));
    };
    run("json", with_json);
    if !on_postgres() && needs("script", has_program("script")) {
        run("text", with_text);
    }
}

fn with_text(world: &mut World, lines: &[&str]) -> String {
    let mut out = String::new();
    for line in lines {
        if world.prepares(line) {
            continue;
        }
        let (line, is_sorted) = flag(line, "sorted ");
        let (line, has_times) = flag(line, "~ ");
        let ran = world.on_terminal(if has_times { 200 } else { 80 }, line);
        let shown = |text: &str| {
            let text = scrub::text(&world.named(text.trim_end()), world.home.path());
            let mut lines: Vec<&str> = text.lines().collect();
            if is_sorted {
                lines.sort_unstable();
            }
            if has_times { scrub::times(&lines.join("\n")) } else { lines.join("\n") }
        };
        write_step(&mut out, line, &shown(&ran.stdout), &shown(&ran.stderr), ran.code);
    }
    out
}

fn with_json(world: &mut World, lines: &[&str]) -> String {
    let mut out = String::new();
    for line in lines {
        if world.prepares(line) {
            continue;
        }
        let (line, is_sorted) = flag(line, "sorted ");
        let (line, has_times) = flag(line, "~ ");
        let line = format!("{line} --json");
        let ran = world.piped(&line);
        check_output(&shlex::split(&world.filled(&line)).unwrap(), &ran);
        let followed = follow(&world.home, &world.filled(&line), &ran);
        let shown = |text: &str| {
            let mut shown = documents(world, text, has_times);
            if is_sorted {
                shown.sort_unstable();
            }
            shown.join("\n")
        };
        write_step(&mut out, &line, &shown(&ran.stdout), &shown(&ran.stderr), ran.code);
        if !followed.is_empty() {
            out.pop();
            for (command, code) in followed {
                let command = scrub::text(&world.named(&command), world.home.path());
                writeln!(out, "its hint `{command}` exits with {code}").unwrap();
            }
            out.push('\n');
        }
    }
    out
}

/// The rest of a line, and whether it began with the flag.
fn flag<'l>(line: &'l str, flag: &str) -> (&'l str, bool) {
    line.strip_prefix(flag).map_or((line, false), |line| (line, true))
}

/// JSON documents, indented, with placeholders; other lines as they are.
pub fn documents(world: &World, text: &str, has_times: bool) -> Vec<String> {
    let home = world.home.path();
    let mut out: Vec<String> = Vec::new();
    for line in world.with_ids_of_files(text).lines() {
        out.push(match serde_json::from_str::<Value>(line) {
            Ok(mut value) if !value.is_string() => {
                scrub::json(&mut value, home, has_times);
                world.named(&serde_json::to_string_pretty(&value).unwrap())
            }
            _ => scrub::text(&world.named(line), home),
        });
    }
    out
}

fn write_step(out: &mut String, line: &str, shown: &str, notes: &str, code: i32) {
    writeln!(out, "$ integ {line}").unwrap();
    for line in shown.lines() {
        writeln!(out, "{}", line.trim_end()).unwrap();
    }
    for line in notes.lines() {
        writeln!(out, "stderr: {}", line.trim_end()).unwrap();
    }
    if code != 0 {
        writeln!(out, "exit code {code}").unwrap();
    }
    out.push('\n');
}
