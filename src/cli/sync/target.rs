//! Parses CONNECTION[/STREAM], resolving the names of the project's file.

use super::arguments::SyncArgumentError;
use crate::config::ProjectConfig;
use crate::error::Result;
use crate::ops::sync::{StreamName, SyncTarget};

/// A connection or one of its streams.
pub(super) fn parse_target(project: &ProjectConfig, word: &str) -> Result<SyncTarget> {
    let (connection, stream) = match word.split_once('/') {
        Some((connection, stream)) => (connection, Some(stream.to_owned())),
        None => (word, None),
    };
    Ok(SyncTarget { connection: project.resolve(connection)?, stream })
}

/// A stream of a connection.
pub(super) fn parse_stream(project: &ProjectConfig, word: &str) -> Result<StreamName> {
    match parse_target(project, word)? {
        SyncTarget { connection, stream: Some(stream) } => Ok(StreamName { connection, stream }),
        SyncTarget { stream: None, .. } => Err(SyncArgumentError::Target { text: word.to_owned() }.into()),
    }
}
