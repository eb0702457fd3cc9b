//! Finding the values of many paths in one walk over a JSON text, without a tree.

use crate::json::{Json, JsonType};

/// A step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PathStep {
    Member(String),
    Item(usize),
}

/// Paths, as a tree of their steps.
#[derive(Debug, Default)]
pub(super) struct Extractor {
    root: Node,
    count: usize,
}

#[derive(Debug, Default)]
struct Node {
    /// The numbers of the paths that end here.
    ends: Vec<usize>,
    members: Vec<(String, Node)>,
    items: Vec<(usize, Node)>,
}

impl Extractor {
    /// Adds a path, and returns its number.
    pub(super) fn add(&mut self, path: &[PathStep]) -> usize {
        let number = self.count;
        self.count += 1;
        let mut node = &mut self.root;
        for step in path {
            node = match step {
                PathStep::Member(name) => child(&mut node.members, name),
                PathStep::Item(index) => child(&mut node.items, index),
            };
        }
        node.ends.push(number);
        number
    }

    /// Returns for each path, by its number, what it leads to in a document: the last member of a name that comes twice.
    pub(super) fn find<'d>(&self, document: Json<'d>) -> Vec<Option<Json<'d>>> {
        let mut found = vec![None; self.count];
        self.root.visit(document, &mut found);
        found
    }
}

fn child<'n, K: PartialEq + Clone>(children: &'n mut Vec<(K, Node)>, key: &K) -> &'n mut Node {
    let at = children.iter().position(|(known, _)| known == key).unwrap_or_else(|| {
        children.push((key.clone(), Node::default()));
        children.len() - 1
    });
    &mut children[at].1
}

impl Node {
    fn visit<'d>(&self, value: Json<'d>, found: &mut [Option<Json<'d>>]) {
        for number in &self.ends {
            found[*number] = Some(value);
        }
        match value.kind() {
            JsonType::Object if !self.members.is_empty() => {
                for (name, value) in value.members() {
                    if let Some((_, node)) = self.members.iter().find(|(known, _)| *known == name) {
                        node.clear(found);
                        node.visit(value, found);
                    }
                }
            }
            JsonType::Array if !self.items.is_empty() => {
                let last = self.items.iter().map(|(index, _)| *index).max().unwrap_or_default();
                for (index, item) in value.items().take(last.saturating_add(1)).enumerate() {
                    if let Some((_, node)) = self.items.iter().find(|(known, _)| *known == index) {
                        node.visit(item, found);
                    }
                }
            }
            _ => {}
        }
    }

    /// Forgets what an earlier member of the same name had.
    fn clear(&self, found: &mut [Option<Json<'_>>]) {
        self.ends.iter().for_each(|number| found[*number] = None);
        self.members.iter().for_each(|(_, node)| node.clear(found));
        self.items.iter().for_each(|(_, node)| node.clear(found));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_paths_are_found_in_one_walk() {
        let mut extractor = Extractor::default();
        let member = |name: &str| PathStep::Member(name.to_owned());
        for path in [
            vec![],
            vec![member("a")],
            vec![member("a"), member("b")],
            vec![member("list"), PathStep::Item(1), member("x")],
            vec![member("list"), PathStep::Item(9)],
            vec![member("a"), member("c")],
            vec![member("é")],
        ] {
            extractor.add(&path);
        }
        let text = r#"{"a":{"c":9},"list":[{"x":1},{"x":2}],"\u00e9":"e","a":{"b":1.10}}"#;
        let found = extractor.find(Json::validate(text).unwrap());
        let texts: Vec<Option<&str>> = found.iter().map(|value| value.map(Json::as_str)).collect();
        assert_eq!(texts, [Some(text), Some("{\"b\":1.10}"), Some("1.10"), Some("2"), None, None, Some("\"e\"")]);
        assert!(extractor.find(Json::validate("[1]").unwrap())[1..].iter().all(Option::is_none));
    }
}
