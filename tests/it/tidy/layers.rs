//! Which module may use which: only those further down, without cycles; and entry points never use the store.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{File, TREE, Tree};
use super::{Found, debts, page, settle};

/// The modules through which people and programs come in.
const ENTRY_POINTS: &[&[&str]] = &[&["cli"], &["mcp_server"], &["server"]];

/// Who uses whom, and where.
pub type Graph = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// The entry point that a module belongs to.
fn entry_point(path: &[String]) -> Option<&'static [&'static str]> {
    ENTRY_POINTS.iter().copied().find(|entry| path.iter().zip(*entry).filter(|(a, b)| a == *b).count() == entry.len())
}

/// The library's production files.
fn production(tree: &Tree) -> impl Iterator<Item = &File> {
    tree.src.iter().filter(|file| !file.is_test && file.path != "src/main.rs")
}

fn add(graph: &mut Graph, from: &str, to: &str, place: String) {
    graph.entry(to.to_owned()).or_default();
    let places = graph.entry(from.to_owned()).or_default();
    if from != to {
        places.entry(to.to_owned()).or_default().push(place);
    }
}

/// Which top-level module names which.
pub fn modules(tree: &Tree) -> Graph {
    let mut graph = Graph::new();
    let known = tree.top_level();
    for file in production(tree) {
        let Some(from) = file.module.first() else { continue };
        for (line, path) in tree.paths_of(file) {
            if let Some(to) = path.first().filter(|to| known.contains(to.as_str())) {
                add(&mut graph, from, to, format!("{}:{line} names {}", file.path, path.join("::")));
            }
        }
    }
    graph
}

/// Which file uses what is defined in which, past re-exports.
pub fn files(tree: &Tree) -> Graph {
    let mut graph = Graph::new();
    for file in production(tree) {
        for (line, path) in tree.paths_of(file) {
            let owner = &tree.src[tree.modules[&tree.owner(&path)].file];
            add(&mut graph, &file.path, &owner.path, format!("{}:{line} names {}", file.path, path.join("::")));
        }
    }
    graph
}

/// The sets of nodes that reach each other, of two nodes and more.
pub fn cycles(graph: &Graph) -> Vec<BTreeSet<String>> {
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|node| (node.as_str(), reached(graph, node))).collect();
    let mut found = BTreeSet::new();
    for (node, nodes) in &reach {
        let cycle: BTreeSet<String> =
            nodes.iter().filter(|other| reach[**other].contains(node)).map(|other| (*other).to_owned()).collect();
        if cycle.len() > 1 {
            found.insert(cycle);
        }
    }
    found.into_iter().collect()
}

fn reached<'g>(graph: &'g Graph, start: &str) -> BTreeSet<&'g str> {
    let mut seen = BTreeSet::new();
    let mut waiting = vec![start];
    while let Some(node) = waiting.pop() {
        for next in graph[node].keys() {
            if seen.insert(next.as_str()) {
                waiting.push(next);
            }
        }
    }
    seen
}

/// The members of each cycle, with the arrows by which they are in it.
fn in_cycles(graph: &Graph) -> Found {
    let mut found = Found::new();
    for cycle in cycles(graph) {
        for node in &cycle {
            let arrows = graph[node].iter().filter(|(to, _)| cycle.contains(*to));
            let places = arrows.map(|(to, places)| format!("uses {to}: {}", places[0])).collect();
            found.insert(node.clone(), places);
        }
    }
    found
}

/// The arrows that do not lead to a module further down in `layers`.
fn upward(graph: &Graph, layers: &[String]) -> Found {
    let layer = |module: &str| layers.iter().position(|name| name == module);
    let mut found = Found::new();
    for (from, targets) in graph {
        for (to, places) in targets {
            // A module that the table lacks is reported by the test of the table.
            let (Some(above), Some(below)) = (layer(from), layer(to)) else { continue };
            if below <= above {
                found.insert(format!("{from} -> {to}"), places.clone());
            }
        }
    }
    found
}

#[test]
fn a_module_uses_only_those_further_down() {
    let page = &TREE.src.iter().find(|file| file.path == "src/lib.rs").unwrap().text;
    settle(
        "UPWARD_ARROWS",
        debts::UPWARD_ARROWS,
        &upward(&modules(&TREE), &page::layers(page)),
        "The table in src/lib.rs has these the other way round; move the code to the lower module, or pass it in:",
    );
}

#[test]
fn modules_have_no_cycles() {
    settle(
        "MODULES_IN_CYCLES",
        debts::MODULES_IN_CYCLES,
        &in_cycles(&modules(&TREE)),
        "Break the cycle: move what both need into a module below both:",
    );
}

#[test]
fn files_of_cli_have_no_cycles() {
    let mut graph = files(&TREE);
    graph.retain(|from, targets| {
        targets.retain(|to, _| to.starts_with("src/cli/"));
        from.starts_with("src/cli/")
    });
    settle(
        "CLI_FILES_IN_CYCLES",
        debts::CLI_FILES_IN_CYCLES,
        &in_cycles(&graph),
        "Break the cycle: move what both files need into one that uses neither:",
    );
}

/// The ways to the store of a workspace or an engine.
const STORE_CALLS: [&str; 3] = [".store()", ".shared_store()", ".global_store()"];

/// The files of entry points that use the store, with the places.
pub fn store_users(tree: &Tree) -> Found {
    let mut found = Found::new();
    for file in production(tree).filter(|file| entry_point(&file.module).is_some()) {
        for (line, path) in tree.paths_of(file) {
            if path.first().is_some_and(|first| first == "store") {
                let place = format!("{}:{line} names {}", file.path, path.join("::"));
                found.entry(file.path.clone()).or_default().push(place);
            }
        }
        // A workspace hands its store out, and needs no path for that.
        for (index, line) in file.text.lines().enumerate() {
            if STORE_CALLS.iter().any(|call| line.contains(call)) {
                let place = format!("{}:{} takes it from the workspace", file.path, index + 1);
                found.entry(file.path.clone()).or_default().push(place);
            }
        }
    }
    found
}

#[test]
fn entry_points_do_not_name_the_store() {
    settle(
        "FILES_THAT_NAME_THE_STORE",
        debts::FILES_THAT_NAME_THE_STORE,
        &store_users(&TREE),
        "Call an operation in its place; the types of the domain are not the store's:",
    );
}

#[test]
fn entry_points_do_not_name_each_other() {
    let mut places = Vec::new();
    for file in production(&TREE) {
        let Some(from) = entry_point(&file.module) else { continue };
        let others = TREE.paths_of(file).filter(|(_, path)| entry_point(path).is_some_and(|to| to != from));
        places.extend(others.map(|(line, path)| format!("{}:{line} names {}", file.path, path.join("::"))));
    }
    assert!(places.is_empty(), "move what they share below both, or let `main.rs` pass it in: {places:#?}");
}

#[test]
fn an_entry_point_is_known_by_its_whole_path() {
    let entry = |path: &str| entry_point(&path.split("::").map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(entry("cli::token::run"), Some(["cli"].as_slice()));
    assert_eq!(entry("mcp_server::handler"), Some(["mcp_server"].as_slice()));
    assert_eq!((entry("mcp_client"), entry("clip::server"), entry("mcp")), (None, None, None));
}

#[test]
fn each_source_file_is_compiled() {
    assert!(TREE.orphans.is_empty(), "no `mod` line names these; remove them: {:#?}", TREE.orphans);
}

fn graph(arrows: &[(&str, &str)]) -> Graph {
    let mut graph = Graph::new();
    for (from, to) in arrows {
        add(&mut graph, from, to, String::new());
    }
    graph
}

#[test]
fn separate_cycles_are_found_separately() {
    let graph =
        graph(&[("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "e"), ("e", "d"), ("e", "f"), ("f", "f")]);
    let found: Vec<String> =
        cycles(&graph).iter().map(|cycle| cycle.iter().map(String::as_str).collect::<String>()).collect();
    assert_eq!(found, ["abc", "de"]);
}

#[test]
fn an_arrow_up_is_found_and_one_down_is_not() {
    let layers = ["top", "middle", "low"].map(str::to_owned);
    let found = upward(&graph(&[("top", "low"), ("low", "middle"), ("unlisted", "top"), ("low", "unlisted")]), &layers);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["low -> middle"]);
}

/// Facts that hold in any state of the tree: were the paths not read, every other test here would pass.
#[test]
fn paths_in_code_macros_and_attributes_are_seen() {
    let graph = modules(&TREE);
    assert!(graph["cli"].contains_key("error") && graph["oauth"].contains_key("http"), "{:?}", graph.keys());
    assert!(graph.values().flatten().count() > 100);
}
