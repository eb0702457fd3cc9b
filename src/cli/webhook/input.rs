//! Reads the arguments of webhook commands: files and parameters of actions.

use std::sync::Arc;

use super::super::words::ParsedWords;
use super::error::WebhookArgumentError;
use crate::api::{self, ApiError, Input, Parameters};
use crate::connector::{Connector, WebhookDefinition};
use crate::error::Result;
use crate::model::ConnectionName;
use crate::runtime::Workspace;
use crate::secret::Secret;
use crate::webhook::settings::rules;

/// The content of a file, or of stdin for `-`.
pub(super) fn read(path: &str) -> Result<Vec<u8>, WebhookArgumentError> {
    super::super::input_file::read_input_file(path)
        .map_err(|source| WebhookArgumentError::Read { path: path.to_owned(), source })
}

/// The same as a secret, with no white space around it.
pub(super) fn read_secret(path: &str) -> Result<Secret, WebhookArgumentError> {
    let bytes = read(path)?;
    let text = String::from_utf8(bytes).map_err(|error| WebhookArgumentError::Read {
        path: path.to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, error.utf8_error()),
    })?;
    let secret = Secret::trimmed(text);
    if secret.is_empty() { Err(WebhookArgumentError::Empty { path: path.to_owned() }) } else { Ok(secret) }
}

/// The connector of a connection that can have webhooks.
pub(super) fn connector(workspace: &Workspace, name: &ConnectionName) -> Result<Arc<Connector>> {
    let connection = workspace.run(workspace.connection(name))?;
    let connector = workspace.catalogue().get(connection.name.connector())?;
    rules(&connector)?;
    Ok(connector)
}

/// The words of `-p` as parameters of an action that the connector's webhooks name; none if they name none.
pub(super) fn params(
    workspace: &Workspace,
    name: &ConnectionName,
    action: impl FnOnce(&WebhookDefinition) -> Option<&str>,
    words: &[String],
    command: &str,
) -> Result<Input> {
    let connector = connector(workspace, name)?;
    let Some(action) = action(rules(&connector)?) else { return Ok(Input::default()) };
    let (action_name, action) = api::find_action(&connector, action)?;
    let parameters = Parameters { action, names: connector.api.names };
    let ParsedWords { input, problems, .. } = ParsedWords::read(parameters, words);
    if problems.is_empty() {
        return Ok(input);
    }
    let usage = format!("integ webhook {command} {name} -p NAME=VALUE");
    Err(ApiError::InvalidParameters { connection: name.clone(), action: action_name.to_owned(), problems, usage }
        .into())
}
