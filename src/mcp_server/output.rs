//! What an agent gets to see: without credentials, and no more than it can read.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::{Value, json};

use crate::clock::random;
use crate::error::{Error, Result};
use crate::hex;
use crate::ops::agents::AgentSession;

/// Bytes of a result that are returned at once.
pub(super) const MAX_RESULT_BYTES: usize = 100_000;

/// Results that can be read on, and their bytes together.
const MAX_STORED_RESULTS: usize = 16;
const MAX_STORED_BYTES: usize = 64 * 1024 * 1024;

/// The tool that reads on.
pub(super) const READ_RESULT: &str = "read_result";

/// The rests of long results, by their ids. What is stored is masked already.
#[derive(Default)]
pub(super) struct LongResults(Mutex<VecDeque<LongResult>>);

struct LongResult {
    id: String,
    /// The API token that it belongs to; absent for an agent on this machine.
    token: Option<String>,
    text: String,
}

impl LongResults {
    fn add(&self, agent: &AgentSession, text: String) -> String {
        let id = format!("res_{}", hex::encode(&random::<12>()));
        let mut results = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        results.push_back(LongResult { id: id.clone(), token: owner(agent), text });
        while results.len() > MAX_STORED_RESULTS
            || results.iter().map(|result| result.text.len()).sum::<usize>() > MAX_STORED_BYTES
        {
            results.pop_front();
        }
        id
    }

    /// Returns a part of a result from a byte on, as [`finish`] would; `None` if the agent has no such result.
    pub(super) fn read(&self, agent: &AgentSession, id: &str, offset: usize) -> Option<Vec<ContentBlock>> {
        let results = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let result = results.iter().find(|result| result.id == id && result.token == owner(agent))?;
        let start = result.text.floor_char_boundary(offset);
        Some(part(&result.text, start, id))
    }
}

fn owner(agent: &AgentSession) -> Option<String> {
    agent.token.as_ref().map(|token| token.id.to_string())
}

/// A part of a text, and how to read on.
fn part(text: &str, start: usize, id: &str) -> Vec<ContentBlock> {
    let end = text.floor_char_boundary((start + MAX_RESULT_BYTES).min(text.len()));
    let mut blocks = vec![ContentBlock::text(&text[start..end])];
    if end < text.len() {
        let next = json!({ "result": id, "offset": end });
        blocks.push(ContentBlock::text(format!(
            "Cut: bytes {start} to {end} of {}. Call {READ_RESULT} with {next} to read on, or narrow the call: with filters, a \
             page size, or fewer fields.",
            text.len()
        )));
    }
    blocks
}

/// Masks the credentials in a document, and returns it as a result of a tool.
///
/// # Errors
/// The store's: a result whose credentials cannot be masked is not returned.
pub(super) async fn finish(
    agent: &AgentSession,
    results: &LongResults,
    mut document: Value,
    is_error: bool,
) -> Result<CallToolResult> {
    agent.credentials.patterns().await?.mask_json(&mut document);
    let text = match document {
        Value::String(text) => text,
        document => document.to_string(),
    };
    let blocks = if text.len() <= MAX_RESULT_BYTES {
        vec![ContentBlock::text(text)]
    } else {
        let id = results.add(agent, text.clone());
        part(&text, 0, &id)
    };
    Ok(if is_error { CallToolResult::error(blocks) } else { CallToolResult::success(blocks) })
}

/// An error as a document: its code, what happened, and what a person can do.
pub(super) fn error_document(error: &Error) -> Value {
    let hint = error.hint().map(|hint| json!({ "text": hint.text, "command": hint.command }));
    json!({ "error": { "code": error.code(), "message": error.on_one_line(), "hint": hint } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "é".repeat(MAX_RESULT_BYTES);
        let blocks = part(&text, 0, "res_1");
        let shown = |block: &ContentBlock| block.as_text().unwrap().text.clone();
        assert_eq!(shown(&blocks[0]).len(), MAX_RESULT_BYTES);
        assert!(shown(&blocks[1]).contains(r#"read_result with {"result":"res_1","offset":100000}"#), "{blocks:?}");
        assert_eq!(part(&text, MAX_RESULT_BYTES, "res_1").len(), 1);
        assert_eq!(part("a", 1, "res_1").len(), 1);
    }
}
