//! `integ connector show CONNECTOR ACTION`.

use serde_json::Value;

use super::super::table::table;
use super::super::ui::{Render, Ui};
use crate::view::connector::ActionDetailView;

impl Render for ActionDetailView {
    fn text(&self, ui: &Ui) -> String {
        let action = &self.action;
        let mut out = vec![format!("{}: {}", action.name, action.about), format!("{} {}", action.method, action.path)];
        let lists = [("Scopes", &action.scopes), ("Authentication methods", &action.auth)];
        for (heading, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            out.push(format!("{heading}: {}", list.join(", ")));
        }
        let required = |name: &str| {
            action.input["required"].as_array().is_some_and(|names| names.iter().any(|known| known == name))
        };
        let row = |(name, schema): (&String, &Value)| {
            let choices = schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
            let kind = match &schema["type"] {
                _ if !choices.is_empty() => choices.join(", "),
                Value::String(kind) => kind.clone(),
                Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
                _ => String::new(),
            };
            let need = if required(name) { "yes" } else { "" };
            let about = schema["description"].as_str().unwrap_or_default();
            vec![name.clone().into(), kind.into(), need.into(), about.into()]
        };
        let rows: Vec<_> = action.input["properties"].as_object().into_iter().flatten().map(row).collect();
        if !rows.is_empty() {
            out.extend([String::new(), table(ui, &["parameter", "type", "required", "description"], rows)]);
        }
        for group in action.input["allOf"].as_array().into_iter().flatten() {
            let names = group["anyOf"].as_array().into_iter().flatten().filter_map(|one| one["required"][0].as_str());
            out.push(format!("One of {} is required.", names.collect::<Vec<_>>().join(", ")));
        }
        if !action.output.is_empty() {
            let names: Vec<&str> = action.output.keys().map(String::as_str).collect();
            out.extend([String::new(), format!("Returns: {}", names.join(", "))]);
        }
        out.join("\n")
    }
}
