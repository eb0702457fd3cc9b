//! Questions that flags can answer as well.

use std::cell::RefCell;

use crate::cli::terminal::Terminal;
use crate::cli::ui::Ui;
use crate::connect::PromptError;
use crate::connector::{CATEGORIES, OperationSummary, Pointer};

/// Operations shown to choose from; the others can be named as well.
const MAX_SHOWN: usize = 30;

/// Whether an answer will do, and what is wrong with one that will not.
pub(super) type AnswerCheck = fn(&str) -> Result<(), String>;

/// Questions at a terminal, each with the flag that answers it as well. Answers are noted, so that a run that ends early can
/// be continued.
pub(super) struct Questions {
    terminal: Terminal,
    answers: RefCell<Vec<(&'static str, String)>>,
}

impl Questions {
    pub(super) fn new(terminal: Terminal) -> Self {
        Self { terminal, answers: RefCell::default() }
    }

    pub(super) fn terminal(&self) -> &Terminal {
        &self.terminal
    }

    /// Asks until the answer will do; an empty one is the default. Without a terminal the default is the answer.
    ///
    /// # Errors
    /// [`PromptError`].
    pub(super) fn ask(
        &self,
        flag: &'static str,
        prompt: &str,
        default: &str,
        check: AnswerCheck,
    ) -> Result<String, PromptError> {
        loop {
            let answer = self.terminal.line_or(prompt, default)?;
            match check(&answer) {
                Err(problem) if self.terminal.interactive => {
                    self.terminal.print_message(&format!("Not accepted: {problem}. Try again."));
                }
                _ => {
                    if self.terminal.interactive && !answer.is_empty() {
                        self.note(flag, &answer);
                    }
                    return Ok(answer);
                }
            }
        }
    }

    /// The same for an answer that may not be empty. Without a terminal and a default, the flag is what is missing.
    ///
    /// # Errors
    /// [`PromptError`].
    pub(super) fn ask_needed(
        &self,
        flag: &'static str,
        prompt: &str,
        default: &str,
        check: AnswerCheck,
    ) -> Result<String, PromptError> {
        if !self.terminal.interactive && default.is_empty() {
            return Err(PromptError::NoTerminal { prompt: prompt.to_owned(), missing: flag.to_owned() });
        }
        loop {
            let answer = self.ask(flag, prompt, default, check)?;
            if !answer.is_empty() {
                return Ok(answer);
            }
            self.terminal.print_message("An answer is needed. Try again.");
        }
    }

    /// Asks for words that the flag takes one by one.
    ///
    /// # Errors
    /// [`PromptError`].
    pub(super) fn ask_list(&self, flag: &'static str, prompt: &str, default: &str) -> Result<String, PromptError> {
        let answer = self.terminal.line_or(prompt, default)?;
        if self.terminal.interactive {
            answer.split_whitespace().for_each(|word| self.note(flag, word));
        }
        Ok(answer)
    }

    /// Notes an answer to a question that was asked in another way.
    pub(super) fn note(&self, flag: &'static str, answer: &str) {
        self.answers.borrow_mut().push((flag, answer.to_owned()));
    }

    /// The command that asks the rest of the questions; absent if none was answered.
    pub(super) fn continuation(&self, id: Option<&str>) -> Option<String> {
        let answers = self.answers.borrow();
        let quoted = |text: &str| shlex::try_quote(text).map(std::borrow::Cow::into_owned).unwrap_or_default();
        let mut command = "integ connector new".to_owned();
        command.extend(id.map(|id| format!(" {}", quoted(id))));
        for (flag, answer) in answers.iter() {
            command.push_str(&match flag.split_once(' ') {
                Some((flag, _)) => format!(" {flag} {}", quoted(answer)),
                None => format!(" {}", quoted(answer)),
            });
        }
        (!answers.is_empty()).then_some(command)
    }
}

/// Any answer will do.
#[expect(clippy::unnecessary_wraps, reason = "it is a check")]
pub(super) fn anything(_: &str) -> Result<(), String> {
    Ok(())
}

/// A URL, or nothing.
pub(super) fn url(answer: &str) -> Result<(), String> {
    let is_url = ["https://", "http://"].iter().any(|scheme| answer.len() > scheme.len() && answer.starts_with(scheme));
    if answer.is_empty() || is_url { Ok(()) } else { Err("it must be a URL, as in https://api.example.com".to_owned()) }
}

/// A path below the base of the API, or a URL, or nothing.
pub(super) fn path(answer: &str) -> Result<(), String> {
    if answer.is_empty() || answer.starts_with('/') || url(answer).is_ok() {
        Ok(())
    } else {
        Err(format!("it must begin with /, as in /{answer}"))
    }
}

/// A JSON Pointer, or nothing.
pub(super) fn pointer(answer: &str) -> Result<(), String> {
    Pointer::parse(answer).map(drop)
}

/// One of the categories.
pub(super) fn category(answer: &str) -> Result<(), String> {
    if CATEGORIES.contains(&answer) { Ok(()) } else { Err(format!("it must be one of {}", CATEGORIES.join(", "))) }
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
