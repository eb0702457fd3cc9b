//! The maximum nesting of a TOML file. Connector files and `.integ.toml` are untrusted, and a recursive parser would
//! crash the process.
//!
//! The `toml` crate has a guard of its own, which brackets that do not match lead astray.

use toml_parser::Source;
use toml_parser::lexer::TokenKind;

/// Levels of arrays and inline tables; no file that a person writes has ten.
pub const MAX_DEPTH: usize = 80;

/// What is said of a text that does.
pub const TOO_DEEP: &str = "is nested too deeply: at most 80 levels are allowed";

/// Where a text nests too deep, in bytes. Only a bracket of the same kind closes one, so that what this takes for deep is
/// at least as deep as any parser can go.
pub fn find_too_deep(text: &str) -> Option<usize> {
    let mut open = Vec::new();
    for token in Source::new(text).lex() {
        let kind = token.kind();
        match kind {
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => {
                if open.len() >= MAX_DEPTH {
                    return Some(token.span().start());
                }
                open.push(kind);
            }
            TokenKind::RightSquareBracket if open.last() == Some(&TokenKind::LeftSquareBracket) => _ = open.pop(),
            TokenKind::RightCurlyBracket if open.last() == Some(&TokenKind::LeftCurlyBracket) => _ = open.pop(),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_and_length_does_not() {
        assert_eq!(find_too_deep(&"a = [{ b = [1] }]\n[c.d]\n".repeat(10_000)), None);
        assert_eq!(find_too_deep("a = \"[[[[\" # {{{{\nb = '''\n{\"x\": [[[\n'''\n"), None);
        assert_eq!(find_too_deep(&format!("a = {}", "[".repeat(81))), Some(84));
        assert!(find_too_deep(&"a = [{a=".repeat(100)).is_some());
        // What leads the parser's own guard astray.
        assert!(find_too_deep(&format!("a = {}", "[}{]".repeat(100))).is_some());
    }
}
