//! `integ connector show CONNECTOR STREAM`.

use serde::Serialize;

use super::super::table::table;
use super::super::ui::{Ui, View};
use crate::connector::{Connector, Stream};
use crate::error::Result;

#[derive(Serialize)]
struct StreamParamView {
    name: String,
    about: String,
    needed: bool,
}

#[derive(Serialize)]
struct StreamDetailView {
    connector: String,
    stream: String,
    about: String,
    method: &'static str,
    path: String,
    scopes: Vec<String>,
    auth: Vec<String>,
    key: Vec<String>,
    /// How what is new is asked for: by `time`, by `token`, or not at all.
    incremental: Option<&'static str>,
    backfill: bool,
    parents: Vec<String>,
    /// What the user may give with -p: parameters, then the parent's values.
    params: Vec<StreamParamView>,
    events: Vec<String>,
}

impl View for StreamDetailView {
    fn text(&self, ui: &Ui) -> String {
        let mut out = vec![format!("{}: {}", self.stream, self.about), format!("{} {}", self.method, self.path)];
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
            ("Told of by", self.events.join(", ")),
        ];
        out.extend(
            lines.into_iter().filter(|(_, text)| !text.is_empty()).map(|(what, text)| format!("{what}: {text}")),
        );
        let row = |param: &StreamParamView| {
            let need = if param.needed { "needed" } else { "" };
            vec![param.name.clone().into(), need.into(), param.about.clone().into()]
        };
        if !self.params.is_empty() {
            let rows = self.params.iter().map(row).collect();
            out.extend([String::new(), table(ui, &["parameter", "", "what"], rows)]);
        }
        out.join("\n")
    }
}

/// Shows one stream of a connector.
///
/// # Errors
/// Where it cannot be printed.
pub(super) fn show(ui: &Ui, connector: &Connector, name: &str, stream: &Stream) -> Result<u8> {
    let params = stream.params.iter().map(|(name, param)| StreamParamView {
        name: name.clone(),
        about: param.prompt.clone(),
        needed: !param.optional && param.default.is_none(),
    });
    let parent = stream.parents.first();
    let values = parent.into_iter().flat_map(|parent| {
        parent.values.keys().map(|name| StreamParamView {
            name: name.clone(),
            about: format!("in place of all records of {}", parent.stream),
            needed: false,
        })
    });
    let told = connector.events.iter().filter(|(_, event)| event.sync.as_ref().is_some_and(|sync| sync.stream == name));
    let by_time = stream.incremental.as_ref().map(|_| "time");
    ui.show(&StreamDetailView {
        connector: connector.id.clone(),
        stream: name.to_owned(),
        about: stream.about.clone(),
        method: stream.method.as_str(),
        path: stream.path.to_string(),
        scopes: stream.scopes.clone(),
        auth: stream.auth.clone(),
        key: stream.key.iter().map(ToString::to_string).collect(),
        incremental: by_time.or(stream.token.as_ref().map(|_| "token")),
        backfill: by_time.is_some(),
        parents: stream.parents.iter().map(|parent| parent.stream.clone()).collect(),
        params: params.chain(values).collect(),
        events: told.map(|(name, _)| name.clone()).collect(),
    })?;
    Ok(0)
}
