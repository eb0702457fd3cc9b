//! `integ connector show CONNECTOR STREAM`.

use super::super::table::table;
use super::super::ui::{Render, Ui};
use crate::view::connector::{StreamDetailView, StreamParamView};

impl Render for StreamDetailView {
    fn text(&self, ui: &Ui) -> String {
        let mut out = vec![format!("{}: {}", self.stream, self.description), format!("{} {}", self.method, self.path)];
        let new = match self.incremental {
            Some("token") => "changes since the last sync, by a token from the service".to_owned(),
            Some(_) => "records that are new or changed since the last sync".to_owned(),
            None => "everything, at every sync".to_owned(),
        };
        let lines = [
            ("Scopes", self.scopes.join(", ")),
            ("Authentication methods", self.auth.join(", ")),
            ("Key", self.key.join(", ")),
            ("Requests", new),
            ("Backfill", if self.backfill { "--mode backfill --since TIME" } else { "" }.to_owned()),
            ("Listed for each record of", self.parents.join(", ")),
            ("Events", self.events.join(", ")),
        ];
        out.extend(
            lines.into_iter().filter(|(_, text)| !text.is_empty()).map(|(what, text)| format!("{what}: {text}")),
        );
        let row = |param: &StreamParamView| {
            let need = if param.required { "yes" } else { "" };
            vec![param.name.clone().into(), need.into(), param.description.clone().into()]
        };
        if !self.params.is_empty() {
            let rows = self.params.iter().map(row).collect();
            out.extend([String::new(), table(ui, &["parameter", "required", "description"], rows)]);
        }
        out.join("\n")
    }
}
