//! Values that must not be shown: tokens, keys, client secrets, passphrases.
//!
//! [`Secret`] has no `Display`, a redacted `Debug`, no `Serialize`, and wipes its memory when dropped. A text is kept out of
//! swap as far as the system allows it. The only way to the value is [`Secret::expose`], so that `expose` is what a
//! reviewer searches for.

use std::fmt;

use zeroize::Zeroize;

/// What stands in for a secret wherever one would be printed.
pub const REDACTED: &str = "[redacted]";

/// A value that is redacted when printed and wiped when dropped.
#[derive(PartialEq, Eq)]
pub struct Secret<T: SecretMemory = String>(T);

/// Where the bytes of a secret are.
pub trait SecretMemory: Zeroize {
    /// The bytes that are to stay in memory.
    fn resident(&self) -> &[u8];
}

impl SecretMemory for String {
    fn resident(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// Whole answers of vendors, of which megabytes pass through: what is a token in them becomes a text of its own.
impl SecretMemory for Vec<u8> {
    fn resident(&self) -> &[u8] {
        &[]
    }
}

/// Moves with its owner.
impl<const N: usize> SecretMemory for [u8; N] {
    fn resident(&self) -> &[u8] {
        &[]
    }
}

/// Keeps the pages out of swap. That it fails, as where RLIMIT_MEMLOCK is small, is nothing that the user could be asked
/// about. They are not unlocked: locks of pages do not nest, and another secret may lie in the same one. The heap uses its
/// pages again, so that their number stays small.
fn lock_memory(bytes: &[u8]) {
    if !bytes.is_empty()
        && let Ok(guard) = region::lock(bytes.as_ptr(), bytes.len())
    {
        std::mem::forget(guard);
    }
}

impl<T: SecretMemory + Clone> Clone for Secret<T> {
    fn clone(&self) -> Self {
        Self::new(self.0.clone())
    }
}

impl<T: SecretMemory> Secret<T> {
    /// Wraps a value. A text is kept out of swap if the system allows it.
    pub fn new(value: T) -> Self {
        lock_memory(value.resident());
        Self(value)
    }

    /// The value itself, for the one place that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl Secret<String> {
    /// The empty text, for where there is no secret.
    pub const fn empty() -> Self {
        Self(String::new())
    }

    /// A secret as typed, piped or read from a file: surrounding white space is never part of one.
    pub fn trimmed(mut text: String) -> Self {
        let secret = Self::new(text.trim().to_owned());
        text.zeroize();
        secret
    }

    /// Whether the secret is the empty text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Secret<String> {
    fn from(value: &str) -> Self {
        Self::new(value.to_owned())
    }
}

impl<T: SecretMemory> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<T: SecretMemory> Drop for Secret<T> {
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

    /// The kernel's own count of what is locked; a container may allow none.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_text_is_locked_in_memory() {
        let locked = || -> u64 {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("VmLck:")).unwrap().to_owned();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        if region::lock([0_u8; 8].as_ptr(), 8).is_err() {
            return;
        }
        // Larger than the heap's usual pieces, so that its pages are its own.
        let before = locked();
        let secret = Secret::new("x".repeat(1 << 20));
        // Other tests of this process lock and unlock as well: what is locked must be at least this text.
        assert!(locked() >= 1024, "{before} KiB before, {} KiB after", locked());
        drop(secret);
    }

    #[test]
    fn trimmed_takes_off_the_newline_of_a_pipe() {
        assert_eq!(Secret::trimmed("sk_1\r\n".to_owned()).expose(), "sk_1");
    }
}
