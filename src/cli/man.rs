//! `integ man`: the manual, generated from the arguments.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::Resettable;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use thiserror::Error;

use super::examples::Examples;
use super::help;
use super::ui::Ui;
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};

/// Print the manual page, or write one page for each command
///
/// To read it: `integ man | man -l -`. To install them: `integ man --output ~/.local/share/man/man1`
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Folder for the pages, created if it is missing
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Error)]
#[error("cannot write {}", path.display())]
struct ManError {
    path: PathBuf,
    source: std::io::Error,
}

impl Remedy for ManError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(Kind::Failed, "io")
            .hint(Hint::new("choose a folder that you may write:", "integ man --output FOLDER"))
    }
}

/// `command` is the one with all subcommands.
pub(super) fn run(ui: &Ui, args: &ManArgs, mut command: clap::Command) -> Result<u8> {
    command.build();
    let Some(folder) = &args.output else {
        let page = main_page(command);
        ui.raw(&String::from_utf8_lossy(&page.map_err(|source| ManError { path: "stdout".into(), source })?));
        return Ok(0);
    };
    let failed = |source| ManError { path: folder.clone(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let pages = write(&command, "", folder).map_err(failed)?;
    ui.note(&format!("Wrote {pages} pages into {}.", folder.display()));
    Ok(0)
}

/// Writes the page of a command, with its words but the first, and of those below it; returns how many there are.
fn write(command: &clap::Command, words: &str, folder: &Path) -> std::io::Result<usize> {
    let path = folder.join(Man::new(command.clone()).get_filename());
    let page = if words.is_empty() { main_page(command.clone())? } else { page(command.clone(), words)? };
    std::fs::write(path, page)?;
    let mut pages = 1;
    // `integ vault help` explains what its own pages do.
    let top = command.get_name() == "integ";
    for below in command.get_subcommands().filter(|below| top || below.get_name() != "help") {
        pages += write(below, format!("{words} {}", below.get_name()).trim(), folder)?;
    }
    Ok(pages)
}

/// The page of one command, with its examples and the pages that are related.
fn page(command: clap::Command, words: &str) -> std::io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let Some(examples) = Examples::of(words) else {
        Man::new(command).render(&mut page)?;
        return Ok(page);
    };
    Man::new(command.after_help(Resettable::Reset)).render(&mut page)?;
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    roff.control("nf", []);
    for line in &examples.lines {
        roff.text([roman(*line)]);
    }
    roff.control("fi", []);
    if !examples.related.is_empty() {
        roff.control("SH", ["SEE ALSO"]);
        let name = |related: &&str| match related.strip_prefix("help ") {
            Some(topic) => format!("`integ help {topic}`"),
            None => format!("integ-{}(1)", related.replace(' ', "-")),
        };
        roff.text([roman(examples.related.iter().map(name).collect::<Vec<_>>().join(", "))]);
    }
    roff.to_writer(&mut page)?;
    Ok(page)
}

/// The page of `integ` itself, with what belongs to no command: exit codes, variables, files.
fn main_page(command: clap::Command) -> std::io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    let mut roff = Roff::new();
    for (title, text) in help::sections() {
        roff.control("SH", [title]);
        let mut filled = true;
        for line in text.lines().skip(2) {
            let literal = line.starts_with("    ");
            if literal == filled {
                // Lists keep their columns, and paragraphs are filled.
                roff.control(if literal { "nf" } else { "fi" }, []);
                filled = !literal;
            }
            match line.trim_start().split_once("  ") {
                Some((name, rest)) if literal => {
                    let indent = " ".repeat(line.len() - line.trim_start().len() - 4);
                    roff.text([roman(indent), bold(name), roman("  "), roman(rest)]);
                }
                _ if line.is_empty() => {
                    roff.control("PP", []);
                }
                _ => {
                    roff.text([roman(line)]);
                }
            }
        }
        if !filled {
            roff.control("fi", []);
        }
    }
    roff.to_writer(&mut page)?;
    Ok(page)
}
