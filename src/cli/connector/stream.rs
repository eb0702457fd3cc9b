//! `integ connector show CONNECTOR STREAM`.

use super::super::table::table;
use super::super::ui::{Render, Ui};
use crate::view::connector::{StreamDetailView, StreamParamView};

impl Render for StreamDetailView {
    fn text(&self, ui: &Ui) -> String {
        let mut out = vec![format!("{}: {}", self.stream, self.description), format!("{} {}", self.method, self.path)];
        let new = match self.incremental {
            Some("token") => "what changed, by a token of the service".to_owned(),
            Some(_) => "what is newer than the newest that is known".to_owned(),
            None => "all of it, every time".to_owned(),
        };
        let lines = [
            ("Scopes", self.scopes.join(", ")),
            ("Ways of authenticating", self.auth.join(", ")),
            ("Key", self.key.join(", ")),
            ("Asks for", new),
            ("Backfill", if self.backfill { "--mode backfill --since TIME" } else { "" }.to_owned()),
            ("Listed for each record of", self.parents.join(", ")),
            ("Announced by", self.events.join(", ")),
        ];
        out.extend(
            lines.into_iter().filter(|(_, text)| !text.is_empty()).map(|(what, text)| format!("{what}: {text}")),
        );
        let row = |param: &StreamParamView| {
            let need = if param.required { "needed" } else { "" };
            vec![param.name.clone().into(), need.into(), param.description.clone().into()]
        };
        if !self.params.is_empty() {
            let rows = self.params.iter().map(row).collect();
            out.extend([String::new(), table(ui, &["parameter", "use", "what"], rows)]);
        }
        out.join("\n")
    }
}
