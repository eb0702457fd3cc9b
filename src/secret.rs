//! Values that must not be seen: tokens, keys, client secrets, passphrases.
//!
//! [`Secret`] has no `Display`, a redacted `Debug`, no `Serialize`, and wipes its memory when dropped. The only way to
//! the value is [`Secret::expose`], so that `expose` is what a reviewer searches for.

use std::fmt;

use zeroize::Zeroize;

/// What stands in for a secret wherever one would be printed.
pub const REDACTED: &str = "[redacted]";

/// A value that is redacted when printed and wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T: Zeroize = String>(T);

impl<T: Zeroize> Secret<T> {
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for the one place that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl Secret<String> {
    /// A secret as typed, piped or read from a file: surrounding white space is never part of one.
    pub fn trimmed(mut text: String) -> Self {
        let secret = Self(text.trim().to_owned());
        text.zeroize();
        secret
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Secret<String> {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_value() {
        let secret = Secret::from("xoxb-123");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "[redacted] Some([redacted])");
    }

    #[test]
    fn trimmed_takes_off_the_newline_of_a_pipe() {
        assert_eq!(Secret::trimmed("sk_1\r\n".to_owned()).expose(), "sk_1");
    }
}
