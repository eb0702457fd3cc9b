//! JSON as a tree that can be opened and searched, without a script.

use maud::{Markup, html};
use serde_json::Value;

/// Values of a document that are shown at most: a page stays light.
const MAX_VALUES: usize = 400;

/// Characters of a text that are shown at most.
const MAX_CHARS: usize = 300;

/// Levels that are open at first.
const OPEN_LEVELS: usize = 2;

/// Shows a document. What contains `wanted` is marked, and open.
pub(super) fn tree(value: &Value, wanted: &str) -> Markup {
    let mut budget = MAX_VALUES;
    let wanted = wanted.to_lowercase();
    html! {
        (node(None, value, &wanted, 0, &mut budget))
        @if budget == 0 { p .hint { "The rest is left out." } }
    }
}

fn node(name: Option<&str>, value: &Value, wanted: &str, depth: usize, budget: &mut usize) -> Markup {
    if *budget == 0 {
        return html! {};
    }
    *budget -= 1;
    let label = html! { @if let Some(name) = name { span class=(class("key", name, wanted)) { (name) } ": " } };
    let (open, close, count) = match value {
        Value::Object(members) => ("{", "}", members.len()),
        Value::Array(items) => ("[", "]", items.len()),
        _ => return html! { div .tree { (label) (leaf(value, wanted)) } },
    };
    let is_open = depth < OPEN_LEVELS || (!wanted.is_empty() && value.to_string().to_lowercase().contains(wanted));
    let inner = children(value, wanted, depth, budget);
    html! {
        details .tree open[is_open] {
            summary { (label) (open) span .dim { " " (count) " " } (close) }
            (inner)
        }
    }
}

fn children(value: &Value, wanted: &str, depth: usize, budget: &mut usize) -> Markup {
    html! {
        @match value {
            Value::Object(members) => {
                @for (name, member) in members { (node(Some(name), member, wanted, depth + 1, budget)) }
            }
            Value::Array(items) => {
                @for (index, item) in items.iter().enumerate() { (node(Some(&index.to_string()), item, wanted, depth + 1, budget)) }
            }
            _ => {},
        }
    }
}

fn leaf(value: &Value, wanted: &str) -> Markup {
    let text = match value {
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    };
    let shown: String = text.chars().take(MAX_CHARS).collect();
    let kind = if value.is_string() { "string" } else { "value" };
    html! { span class=(class(kind, &text, wanted)) { (shown) @if shown.len() < text.len() { "…" } } }
}

fn class(kind: &str, text: &str, wanted: &str) -> String {
    let is_hit = !wanted.is_empty() && text.to_lowercase().contains(wanted);
    if is_hit { format!("{kind} hit") } else { kind.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_stay_texts_and_hits_are_open() {
        let value = json!({ "a": { "b": { "c": { "<i>": "needle" } } } });
        let shown = tree(&value, "NEEDLE").0;
        assert!(shown.contains("&lt;i&gt;") && !shown.contains("<i>"), "{shown}");
        assert_eq!(shown.matches("<details class=\"tree\" open>").count(), 4, "{shown}");
        assert!(shown.contains("string hit"));
        assert_eq!(tree(&value, "").0.matches(" open>").count(), 2);
    }

    #[test]
    fn a_large_document_is_cut() {
        let value = json!((0..10_000).collect::<Vec<_>>());
        let shown = tree(&value, "").0;
        assert!(shown.contains("The rest is left out") && shown.len() < 40_000, "{}", shown.len());
    }
}
