//! Escapes external text before it is written to a terminal (faults 11 and 101).
//!
//! A terminal obeys control characters, and an eye is misled by what turns the direction of writing or is not seen at all.
//! All of them are shown as escapes.

use serde_json::Value;

/// A text on one line: a cell, a name. Line breaks are escaped as well.
pub(in crate::cli) fn escape(text: &str) -> String {
    replaced(text, |_| false, |c| c.escape_unicode().to_string())
}

/// A text of several lines, which may be indented by tabs.
pub(in crate::cli) fn escape_lines(text: &str) -> String {
    replaced(text, |c| matches!(c, '\n' | '\t'), |c| c.escape_unicode().to_string())
}

/// JSON on one line, which a terminal may be shown.
pub(in crate::cli) fn json_text(value: &Value) -> String {
    harmless_json(&value.to_string())
}

/// JSON itself escapes no more than ASCII's control characters; all of these stand inside strings, where an escape means
/// the same.
pub(in crate::cli) fn harmless_json(text: &str) -> String {
    replaced(text, |c| c == '\n', |c| c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect())
}

/// What integ itself has laid out: its line breaks and its colours stay, and no other sequence does.
pub(in crate::cli) fn settled(text: &str) -> String {
    let mut pieces = text.split('\x1b');
    let mut out = escape_lines(pieces.next().unwrap_or_default());
    for piece in pieces {
        let color = piece.strip_prefix('[').and_then(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';')?;
            rest[end..].starts_with('m').then_some(end + 2)
        });
        let (color, rest) = piece.split_at(color.unwrap_or(0));
        out.push_str(if color.is_empty() { "\\u{1b}" } else { "\x1b" });
        out.push_str(color);
        out.push_str(&escape_lines(rest));
    }
    out
}

fn replaced(text: &str, stays: impl Fn(char) -> bool, escaped: impl Fn(char) -> String) -> String {
    // Most texts are printable ASCII.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    if !text.contains(|c: char| !stays(c) && (is_hostile(c) || is_joiner(c))) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut before = 'a';
    for c in text.chars() {
        if !stays(c) && (is_hostile(c) || (is_joiner(c) && before.is_ascii())) {
            out.push_str(&escaped(c));
        } else {
            out.push(c);
        }
        before = c;
    }
    out
}

fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // What turns the direction of writing.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Line and paragraph separators.
            | '\u{2028}' | '\u{2029}'
            // What takes no room: soft hyphen, spaces of no width, invisible operators, deprecated formats, annotations.
            | '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            // Letters that are blank: the fillers of Hangul.
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}'
            // Tags, which can spell out ASCII that nobody sees.
            | '\u{e0000}'..='\u{e007f}')
}

/// The joiners: without them emoji fall apart and Indic and Persian words are misspelt. No script writes them after a
/// character of ASCII, where they could only tell apart two names that look the same.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Breaks a text between words. A word that is wider than a line has one of its own, so that it can be copied.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in escape(text).split(' ').filter(|word| !word.is_empty()) {
        if let Some(line) = lines.last_mut() {
            if line.is_empty() {
                line.push_str(word);
                continue;
            }
            if line.chars().count() + 1 + word.chars().count() <= width {
                line.push(' ');
                line.push_str(word);
                continue;
            }
        }
        lines.push(word.to_owned());
    }
    lines
}

/// Breaks each line of a message between words, for a terminal; the first line has a label before it that is `label` wide.
/// A command in backticks stays in one piece, so that it can be copied. So do indented lines and lines with columns, which
/// are laid out already.
pub(super) fn wrap_message(text: &str, width: usize, label: usize) -> String {
    let lines = text.split('\n').enumerate().map(|(at, line)| {
        if line.starts_with(' ') || line.contains("  ") {
            return line.to_owned();
        }
        let mut length = if at == 0 { label } else { 0 };
        let mut out = String::with_capacity(line.len());
        for piece in pieces(line) {
            let piece_length = piece.chars().count();
            if !out.is_empty() {
                let fits = length + 1 + piece_length <= width;
                out.push(if fits { ' ' } else { '\n' });
                length = if fits { length + 1 } else { 0 };
            }
            out.push_str(&piece);
            length += piece_length;
        }
        out
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The words of a line; what is between two backticks belongs to one word.
fn pieces(line: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut is_quoted = false;
    for word in line.split(' ') {
        match pieces.last_mut().filter(|_| is_quoted) {
            Some(piece) => {
                piece.push(' ');
                piece.push_str(word);
            }
            None => pieces.push(word.to_owned()),
        }
        is_quoted ^= word.matches('`').count() % 2 == 1;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_is_broken_between_words_and_its_commands_stay_whole() {
        assert_eq!(wrap_message("one two three four", 9, 0), "one two\nthree\nfour");
        assert_eq!(wrap_message("one two three", 9, 6), "one\ntwo three", "the label takes room in the first line");
        assert_eq!(wrap_message("run `integ sync --due` now", 12, 0), "run\n`integ sync --due`\nnow");
        assert_eq!(wrap_message("a b\n  hint: integ status", 8, 0), "a b\n  hint: integ status", "laid out already");
        assert_eq!(wrap_message("STREAM  STATUS  ADDED", 8, 0), "STREAM  STATUS  ADDED");
    }

    #[test]
    fn faults_011_and_101_what_comes_from_outside_cannot_steer_a_terminal() {
        assert_eq!(escape("Acme\x1b]0;owned\x07\r\n"), "Acme\\u{1b}]0;owned\\u{7}\\u{d}\\u{a}");
        assert_eq!(escape("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(escape("Grüße, 世界"), "Grüße, 世界");
        assert_eq!(escape_lines("a\tb\nc\u{7f}"), "a\tb\nc\\u{7f}");
        let value = json!("a\u{9b}31m\u{7f}\u{202e}\u{1b}\nü");
        assert_eq!(json_text(&value), "\"a\\u009b31m\\u007f\\u202e\\u001b\\nü\"");
        assert_eq!(serde_json::from_str::<Value>(&json_text(&value)).unwrap(), value);
    }

    #[test]
    fn what_is_not_seen_is_shown() {
        for c in
            "\u{61c}\u{200b}\u{200e}\u{200f}\u{202a}\u{202e}\u{2060}\u{2064}\u{2066}\u{2069}\u{feff}\u{ad}\u{e0041}"
                .chars()
        {
            let value = json!(format!("a{c}b"));
            assert_eq!(escape(&format!("a{c}b")), format!("a{}b", c.escape_unicode()));
            assert!(json_text(&value).is_ascii());
            assert_eq!(serde_json::from_str::<Value>(&json_text(&value)).unwrap(), value);
        }
    }

    #[test]
    fn joiners_stay_where_a_script_needs_them() {
        for text in ["👩\u{200d}👩\u{200d}👧", "می\u{200c}خواهم", "क्\u{200d}ष"] {
            assert_eq!(escape(text), text);
        }
        assert_eq!(escape("pay\u{200d}pal\u{200c}"), "pay\\u{200d}pal\\u{200c}");
        assert_eq!(escape("\u{200d}"), "\\u{200d}");
    }

    #[test]
    fn colours_stay_and_other_sequences_do_not() {
        let colours = "\x1b[32mgood\x1b[0m\n\x1b[38;5;9mbad\x1b[39m";
        assert_eq!(settled(colours), colours);
        assert_eq!(settled("\x1b]0;x\x07\x1b[2J\x1b[3"), "\\u{1b}]0;x\\u{7}\\u{1b}[2J\\u{1b}[3");
    }

    #[test]
    fn a_line_is_broken_between_words_and_words_stay_whole() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("see https://example.com/a/b now", 10), ["see", "https://example.com/a/b", "now"]);
        assert_eq!(wrap("a\u{1b}[2J", 80), ["a\\u{1b}[2J"]);
    }
}
