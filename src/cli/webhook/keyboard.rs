//! The keys of `webhook listen`: a letter for the newest event, or an event's number and a letter.

use std::io::{self, Read};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

use crate::model::EventId;

/// What is said of them.
pub(super) const HELP: &str = "Keys: s shows the newest event, r handles it again, 17r event 17; q quits.";

/// What a key asks for; no event is the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyCommand {
    Show(Option<EventId>),
    Retry(Option<EventId>),
    Quit,
}

/// A terminal that gives each key at once and shows none; as it was before once this is dropped.
pub(super) struct KeyboardInput {
    before: Termios,
    pressed: mpsc::UnboundedReceiver<u8>,
    typed: NumberPrefix,
}

impl KeyboardInput {
    /// Absent where stdin is not a terminal.
    pub(super) fn start() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut modes = before.clone();
        // Ctrl-C stays a signal.
        modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Now, &modes).ok()?;
        let (press, pressed) = mpsc::unbounded_channel();
        // Ends with the process: nothing wakes who waits for a key.
        std::thread::spawn(move || {
            io::stdin().lock().bytes().map_while(Result::ok).try_for_each(|byte| press.send(byte))
        });
        Some(Self { before, pressed, typed: NumberPrefix::default() })
    }

    /// The next key that asks for something; absent at the end of the input.
    pub(super) async fn next(&mut self) -> Option<KeyCommand> {
        loop {
            if let Some(key) = self.typed.press(self.pressed.recv().await?) {
                return Some(key);
            }
        }
    }
}

impl Drop for KeyboardInput {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// The number that was typed so far.
#[derive(Debug, Default)]
struct NumberPrefix(Option<i64>);

impl NumberPrefix {
    fn press(&mut self, byte: u8) -> Option<KeyCommand> {
        let number = self.0.take();
        match byte {
            b'0'..=b'9' => {
                self.0 = Some(number.unwrap_or(0).saturating_mul(10).saturating_add((byte - b'0').into()));
                None
            }
            b's' => Some(KeyCommand::Show(number.map(EventId))),
            b'r' => Some(KeyCommand::Retry(number.map(EventId))),
            b'q' => Some(KeyCommand::Quit),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressed(keys: &[u8]) -> Vec<KeyCommand> {
        let mut typed = NumberPrefix::default();
        keys.iter().filter_map(|key| typed.press(*key)).collect()
    }

    #[test]
    fn a_letter_is_of_the_newest_event_or_of_the_number_before_it() {
        assert_eq!(pressed(b"s"), [KeyCommand::Show(None)]);
        assert_eq!(pressed(b"17r17s"), [KeyCommand::Retry(Some(EventId(17))), KeyCommand::Show(Some(EventId(17)))]);
        // Whatever else is pressed forgets the number: an arrow, Enter, a number that is none.
        assert_eq!(pressed(b"17\x1b[Ar1\ns"), [KeyCommand::Retry(None), KeyCommand::Show(None)]);
        assert_eq!(pressed(b"99999999999999999999s"), [KeyCommand::Show(Some(EventId(i64::MAX)))]);
        assert_eq!(pressed(b"xyq"), [KeyCommand::Quit]);
    }
}
