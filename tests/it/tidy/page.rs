//! The architecture page at the head of `src/lib.rs`: the table of layers, and the paths that the text names.

use super::debts;
use super::source::{TREE, Tree};
use super::{Found, settle};

/// The page's lines with their numbers, without `//!`.
pub fn lines(source: &str) -> Vec<(usize, &str)> {
    let page = (1..).zip(source.lines()).filter_map(|(number, line)| Some((number, line.strip_prefix("//!")?.trim())));
    page.collect()
}

/// The modules of the table in the order of the layers: row by row, and in a row from left to right.
pub fn layers(source: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for (_, line) in lines(source) {
        let Some(row) = line.strip_prefix("| [") else { continue };
        let first = row.split('|').next().unwrap_or_default();
        modules.extend(first.split('`').skip(1).step_by(2).map(str::to_owned));
    }
    modules
}

/// The words in backticks that look like a path, with their lines. Commands, file names and code blocks are skipped.
fn named_paths(source: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (number, line) in lines(source) {
        if line.starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            let spans = line.split('`').skip(1).step_by(2);
            found.extend(spans.filter_map(|span| Some((number, path(span)?))));
        }
    }
    found
}

fn path(span: &str) -> Option<Vec<String>> {
    let segments: Vec<String> = span.trim_end_matches("()").split("::").map(str::to_owned).collect();
    let is_name = |segment: &String| {
        segment.starts_with(|letter: char| letter.is_alphabetic() || letter == '_')
            && segment.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
    };
    segments.iter().all(is_name).then_some(segments)
}

/// Whether a path of the page leads to something. A single word may be an item of any module.
fn resolves(tree: &Tree, path: &[String]) -> bool {
    let path = if path.first().is_some_and(|first| first == "crate") { &path[1..] } else { path };
    match path {
        [] => true,
        [word] if word == "integ" => true,
        [word] => {
            tree.exists(path)
                || tree.modules.values().any(|module| module.items.contains(word))
                || tree.members.contains_key(word)
        }
        path => tree.exists(path),
    }
}

fn source() -> &'static str {
    &TREE.src.iter().find(|file| file.path == "src/lib.rs").unwrap().text
}

#[test]
fn the_architecture_page_lists_each_module_once() {
    let listed = layers(source());
    let mut found = Found::new();
    for module in TREE.top_level() {
        let times = listed.iter().filter(|name| *name == module).count();
        if times != 1 {
            found.insert(module.to_owned(), vec![format!("src/lib.rs: in the table {times} times")]);
        }
    }
    for module in listed {
        if !TREE.top_level().contains(module.as_str()) {
            found.insert(module, vec!["src/lib.rs: in the table, and not a module".to_owned()]);
        }
    }
    settle(
        "UNLISTED_MODULES",
        debts::UNLISTED_MODULES,
        &found,
        "Give each module one place in the table of src/lib.rs, in the order of the layers:",
    );
}

#[test]
fn the_architecture_page_names_what_exists() {
    let mut found = Found::new();
    for (line, path) in named_paths(source()) {
        if !resolves(&TREE, &path) {
            found.entry(path.join("::")).or_default().push(format!("src/lib.rs:{line}"));
        }
    }
    settle(
        "UNRESOLVED_PATHS",
        debts::UNRESOLVED_PATHS,
        &found,
        "Write the path of a module, function, type or method that exists (longer, if it is an item of a module):",
    );
}

#[test]
fn the_table_of_layers_is_read_row_by_row() {
    let page = "//! Text with [`none`] of it.\n//!\n//! | module | for |\n//! | --- | --- |\n//! | [`cli`] | the [`app`] |\n\
                //! | [`jq`], [`env`](mod@env) | expressions |\n\npub mod api;\n// | [`api`] | no page |\n";
    assert_eq!(layers(page), ["cli", "jq", "env"]);
}

#[test]
fn paths_are_distinguished_from_commands_and_files() {
    let page = "//! `integ token slack` opens `vault.age` by `vault::open`, then [`oauth::access`]\n\
                //! ```text\n//! `not::this`\n//! ```\n//! and `store::Records::commit()` of `locks/x.lock`; `health`.\n";
    let found: Vec<(usize, String)> =
        named_paths(page).into_iter().map(|(line, path)| (line, path.join("::"))).collect();
    let expected = [(1, "vault::open"), (1, "oauth::access"), (5, "store::Records::commit"), (5, "health")];
    assert_eq!(found, expected.map(|(line, path)| (line, path.to_owned())));
}

#[test]
fn a_path_resolves_past_re_exports_or_not_at_all() {
    let resolve = |path: &str| resolves(&TREE, &path.split("::").map(str::to_owned).collect::<Vec<_>>());
    for path in ["cli", "cli::command", "cli::run", "crate::error", "integ", "error::Error"] {
        assert!(resolve(path), "{path}");
    }
    for path in ["clu", "cli::commands", "cli::command::more", "error::Error::no_such_method", "nowhere::run"] {
        assert!(!resolve(path), "{path}");
    }
}
