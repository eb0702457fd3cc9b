//! Characters allowed in names and texts of a connector file, which reach terminals, shells and command lines.

/// Whether a shell takes the text as one plain word.
pub fn is_shell_safe(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/@:=+~,%".contains(c))
}

/// Whether a text is a name such as `account_sid` or `site-url`.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// Whether a text names a scope, an event type or a choice.
pub(super) fn is_safe_word(text: &str) -> bool {
    is_shell_safe(text) && text.len() <= 256 && !text.starts_with('-')
}

/// Whether a text is the name of an HTTP header (RFC 9110 section 5.1).
pub(super) fn is_header_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
}

/// The first character that would change a terminal or hide in a text: controls but for line breaks and tabs, marks of
/// direction, and what has no width (Unicode, Default_Ignorable_Code_Point).
pub(super) fn first_hidden_char(text: &str) -> Option<char> {
    text.chars().find(|c| is_hidden(*c))
}

/// A text without such characters.
pub(super) fn strip_hidden(text: &str) -> String {
    text.chars().filter(|c| !is_hidden(*c)).collect()
}

fn is_hidden(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t'))
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{206f}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_m11_words_that_a_shell_interprets_are_not_plain() {
        for word in
            ["$(touch x)", "x;y", "a b", "`x`", "a|b", "", "-x", "a\nb", "\u{1b}[2J", "a>b", "'", "\"", "\\", "*"]
        {
            assert!(!is_safe_word(word), "{word:?}");
        }
        for word in ["chat:write", "https://www.googleapis.com/auth/drive", "invoice.paid", "repo", "eu"] {
            assert!(is_safe_word(word), "{word:?}");
        }
    }

    #[test]
    fn attack_m11_characters_that_hide_are_found() {
        for text in ["\u{1b}[31m", "a\u{202e}b", "a\u{200b}b", "\u{feff}x", "\r", "\0"] {
            assert!(first_hidden_char(text).is_some(), "{text:?}");
        }
        assert_eq!(first_hidden_char("Zoë’s\n日本 👩\u{200d}💻"), None);
    }
}
