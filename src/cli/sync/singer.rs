//! `integ sync --to singer`: a tap for any target of the Singer specification.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::records::wrote;
use super::{SyncArgumentError, SyncListView, execute, exit_code, synced};
use crate::cli::ui::{Ui, View, harmless_json};
use crate::error::{Error, Result};
use crate::export::singer::{SingerState, SingerStream};
use crate::files;
use crate::runtime::App;
use crate::sync::{SyncRequest, find_stream};

/// Bytes of what a target wrote, of which the last line counts.
const MAX_STATE_SIZE: u64 = 64 * 1024 * 1024;

pub(super) fn run(app: &App, ui: &Ui, orders: &[SyncRequest], state: Option<&Path>) -> Result<u8> {
    let [order] = orders else {
        return Err(SyncArgumentError::OneSource { there: orders.len() }.into());
    };
    // Before anything is asked of the vendor: a wrong file should not cost a sync.
    let text = state.map(|path| read(ui, path)).transpose()?.unwrap_or_default();
    let given = SingerState::last(&text).map_err(|source| SyncArgumentError::State {
        path: state.map(|path| path.display().to_string()).unwrap_or_default(),
        source,
    })?;
    let reports = execute(app, ui, orders)?;
    let code = exit_code(&reports);
    let shown: SyncListView = synced(app, reports);
    ui.note(&shown.text(ui));
    shown.remark(ui);

    let (store, connection) = (app.store()?, order.connection.to_string());
    let known = given.as_ref().map(|state| state.belongs_to(store, &connection)).transpose()? == Some(true);
    if given.is_some() && !known {
        ui.note("The state is of another connection or another store: everything is sent.");
    }
    let fresh = || SingerState { store: store.vault_id().to_owned(), connection, bookmarks: BTreeMap::new() };
    let mut state = given.filter(|_| known).unwrap_or_else(fresh);
    let mut out = BufWriter::new(io::stdout().lock());
    let shown = |message: &str| if ui.width.is_some() { harmless_json(message) } else { message.to_owned() };
    let connector = app.catalogue.get(order.connection.connector())?;
    let connection = app.connection(&order.connection)?;
    for stored in store.streams().list(connection.id)? {
        if !order.streams.is_empty() && !order.streams.contains(&stored.name) {
            continue;
        }
        // One that the connector no longer has is no longer sent.
        let Ok((name, stream)) = find_stream(&connector, &stored.name) else { continue };
        let source = SingerStream { store, id: stored.id, name, stream };
        let goes_on = source.send(&mut state, |message| wrote(writeln!(out, "{}", shown(message))))?;
        if !goes_on || !wrote(out.flush())? {
            break;
        }
    }
    Ok(code)
}

/// What the target wrote so far: nothing, where it is the first time.
fn read(ui: &Ui, path: &Path) -> Result<String> {
    let text = files::read_user_file(path, MAX_STATE_SIZE)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)));
    match text {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            ui.note(&format!("There is no {} yet: everything is sent.", path.display()));
            Ok(String::new())
        }
        Err(source) => Err(Error::from(SyncArgumentError::ReadState { path: path.display().to_string(), source })),
    }
}
