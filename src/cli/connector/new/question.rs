//! Questions whose answers flags can give as well.

use crate::cli::terminal::Terminal;
use crate::cli::ui::Ui;
use crate::connect::PromptError;
use crate::connector::OperationSummary;

/// Operations shown to choose from; the others can be named as well.
const MAX_SHOWN: usize = 30;

/// A question with its flag. Where there is neither an answer nor a terminal nor a default, the flag is what is missing.
///
/// # Errors
/// [`PromptError`].
pub(super) fn needed(terminal: &Terminal, prompt: &str, flag: &str, default: &str) -> Result<String, PromptError> {
    let answer = terminal.line_or(prompt, default)?;
    match answer.as_str() {
        "" if terminal.interactive => Err(PromptError::Empty),
        "" => Err(PromptError::NoTerminal { prompt: prompt.to_owned(), missing: flag.to_owned() }),
        _ => Ok(answer),
    }
}

/// Which operations become actions; absent for the first few that create things.
///
/// # Errors
/// [`PromptError`].
pub(super) fn choose_actions(ui: &Ui, offers: &[OperationSummary]) -> Result<Option<Vec<String>>, PromptError> {
    let terminal = ui.terminal();
    if !terminal.interactive || offers.is_empty() {
        return Ok(None);
    }
    for (index, offer) in offers.iter().take(MAX_SHOWN).enumerate() {
        ui.note(&format!("  {:>2}  {}  {}", index + 1, flat(&offer.id), flat(&offer.description)));
    }
    if offers.len() > MAX_SHOWN {
        ui.note(&format!("  and {} more, by their operation ids", offers.len() - MAX_SHOWN));
    }
    let prompt =
        "Actions: numbers or operation ids, separated by commas, or none (empty for the first that create things)";
    let answer = terminal.line_or(prompt, "")?;
    let by_number = |word: &str| {
        let index = word.parse::<usize>().ok()?.checked_sub(1)?;
        offers.get(index).map(|offer| offer.id.clone())
    };
    let words = answer.split(',').map(str::trim).filter(|word| !word.is_empty());
    Ok(match answer.trim() {
        "" => None,
        "none" => Some(Vec::new()),
        _ => Some(words.map(|word| by_number(word).unwrap_or_else(|| word.to_owned())).collect()),
    })
}

/// What comes from a description cannot end a line of ours.
fn flat(text: &str) -> String {
    crate::cli::ui::escape(text)
}
