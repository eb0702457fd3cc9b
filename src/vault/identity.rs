//! The user's age key, and age files opened or sealed with keys and passphrases.

use std::fmt;
use std::io::{Read, Write};
use std::str::FromStr;

use age::secrecy::{ExposeSecret, SecretString};
use age::{DecryptError, Decryptor, Encryptor, scrypt, x25519};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::secret::Secret;

/// The work factor of a passphrase that is set here: 2^17 rounds, about a third of a second.
const WORK_FACTOR: u8 = 17;

/// The highest work factor that is accepted: 2^20 rounds take 3 s and 1 GiB. A file that asks for more is not one that
/// a person has to open every day.
const MAX_WORK_FACTOR: u8 = 20;

/// What an age file begins with.
const MAGIC: &[u8] = b"age-encryption.org/v1";

/// An X25519 identity, in memory.
#[derive(Clone)]
pub struct Identity(x25519::Identity);

impl Identity {
    /// Generates a new random identity, which is stored nowhere yet.
    pub fn generate() -> Self {
        Self(x25519::Identity::generate())
    }

    /// The first `AGE-SECRET-KEY-1…` of an identity file's text. Comments are skipped; any other line, a plugin's
    /// identity among them, makes it none of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let identity = x25519::Identity::from_str(lines.next()?).ok()?;
        lines.next().is_none().then_some(Self(identity))
    }

    /// The public key: `age1…`.
    pub fn recipient(&self) -> String {
        self.0.to_public().to_string()
    }

    /// The key itself: `AGE-SECRET-KEY-1…`.
    pub fn secret(&self) -> Secret {
        Secret::from(self.0.to_string().expose_secret())
    }

    /// The text of an identity file, as `age-keygen` writes it.
    pub(super) fn file_text(&self, now: Timestamp) -> Zeroizing<String> {
        let secret = self.secret();
        Zeroizing::new(format!("# created: {now}\n# public key: {}\n{}\n", self.recipient(), secret.expose()))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.recipient())
    }
}

/// Why an age file does not open. The library's own error is not kept: its text would advise another program's flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecryptFailure {
    Damaged(&'static str),
    /// Encrypted to others, to a passphrase where a key was expected, or the other way round.
    WrongKey,
    ExcessiveWork(u8),
    /// The agent that holds the identity ended in between.
    AgentStopped,
}

impl From<DecryptError> for DecryptFailure {
    fn from(error: DecryptError) -> Self {
        match error {
            DecryptError::NoMatchingKeys | DecryptError::KeyDecryptionFailed | DecryptError::DecryptionFailed => {
                Self::WrongKey
            }
            DecryptError::ExcessiveWork { required, .. } => Self::ExcessiveWork(required),
            DecryptError::InvalidHeader | DecryptError::InvalidMac => Self::Damaged("its header is not intact"),
            DecryptError::UnknownFormat => Self::Damaged("it is not an age file of version 1"),
            _ => Self::Damaged("it ends too early"),
        }
    }
}

impl DecryptFailure {
    pub(super) fn why(self) -> &'static str {
        match self {
            Self::Damaged(why) => why,
            Self::WrongKey => "it is encrypted to someone else",
            Self::ExcessiveWork(_) => "its passphrase asks for too much work",
            Self::AgentStopped => "the agent that holds the identity has stopped",
        }
    }
}

/// Whether the bytes are an age file's.
pub(super) fn is_age_file(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Whether the age file is encrypted to a passphrase.
pub(super) fn is_passphrase_encrypted(bytes: &[u8]) -> bool {
    Decryptor::new_buffered(bytes).is_ok_and(|decryptor| decryptor.is_scrypt())
}

/// Opens an age file that is encrypted to the identity.
pub(super) fn decrypt(bytes: &[u8], identity: &Identity) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    open(bytes, &identity.0)
}

/// Opens an age file that is encrypted to the passphrase.
pub(super) fn decrypt_with_passphrase(bytes: &[u8], passphrase: &Secret) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    let mut identity = scrypt::Identity::new(SecretString::from(passphrase.expose().as_str()));
    identity.set_max_work_factor(MAX_WORK_FACTOR);
    open(bytes, &identity)
}

fn open(bytes: &[u8], identity: &dyn age::Identity) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    let mut reader = Decryptor::new_buffered(bytes)?.decrypt(std::iter::once(identity))?;
    // As large as the file, so that the plaintext is never moved and left behind.
    let mut plaintext = Zeroizing::new(Vec::with_capacity(bytes.len()));
    reader.read_to_end(&mut plaintext).map_err(|_| DecryptFailure::Damaged("its content is not intact"))?;
    Ok(plaintext)
}

/// An age file for the recipients; the error is the first of them that is not an X25519 recipient.
pub(super) fn encrypt<'a>(plaintext: &[u8], recipients: impl IntoIterator<Item = &'a str>) -> Result<Vec<u8>, String> {
    let mut parsed = Vec::new();
    for recipient in recipients {
        parsed.push(x25519::Recipient::from_str(recipient).map_err(|_| recipient.to_owned())?);
    }
    Ok(seal(plaintext, parsed.iter().map(|recipient| recipient as &dyn age::Recipient)))
}

/// An age file that is opened with a passphrase.
pub(super) fn encrypt_with_passphrase(plaintext: &[u8], passphrase: &Secret) -> Vec<u8> {
    let mut recipient = scrypt::Recipient::new(SecretString::from(passphrase.expose().as_str()));
    recipient.set_work_factor(WORK_FACTOR);
    seal(plaintext, std::iter::once(&recipient as &dyn age::Recipient))
}

/// Writing to memory fails for no reason but an empty list, and then nothing is written: an empty file opens for
/// nobody.
fn seal<'a>(plaintext: &[u8], recipients: impl Iterator<Item = &'a dyn age::Recipient>) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(plaintext.len() + 1024);
    if let Ok(encryptor) = Encryptor::with_recipients(recipients)
        && let Ok(mut writer) = encryptor.wrap_output(&mut sealed)
        && writer.write_all(plaintext).and_then(|()| writer.finish().map(drop)).is_ok()
    {
        return sealed;
    }
    Vec::new()
}

/// Whether the text is an X25519 recipient.
pub(super) fn is_recipient(text: &str) -> bool {
    x25519::Recipient::from_str(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_file_is_read_as_it_was_written() {
        let identity = Identity::generate();
        let text = identity.file_text(Timestamp::UNIX_EPOCH);
        assert!(text.starts_with("# created: 1970-01-01T00:00:00Z\n# public key: age1"));
        assert_eq!(Identity::parse(&text).unwrap().recipient(), identity.recipient());
        assert!(!format!("{identity:?}").contains("SECRET"));
    }

    #[test]
    fn fault_055_plugin_identities_and_recipients_are_refused() {
        assert!(Identity::parse("AGE-PLUGIN-YUBIKEY-1QQPJ9YG0WFRP0LQ9F8QYT\n").is_none());
        assert!(Identity::parse(&format!("{}\nAGE-PLUGIN-X-1Q\n", Identity::generate().secret().expose())).is_none());
        assert!(!is_recipient("age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t"));
        assert_eq!(encrypt(b"x", ["age1../../evil1q"]), Err("age1../../evil1q".to_owned()));
    }

    #[test]
    fn fault_055_a_passphrase_file_that_asks_for_too_much_work_is_refused() {
        let passphrase = Secret::from("correct horse");
        let sealed = encrypt_with_passphrase(b"x", &passphrase);
        assert_eq!(decrypt_with_passphrase(&sealed, &passphrase).unwrap().as_slice(), b"x");
        assert_eq!(decrypt_with_passphrase(&sealed, &Secret::from("wrong")), Err(DecryptFailure::WrongKey));
        let header = String::from_utf8_lossy(&sealed[..80]).into_owned();
        let costly = header.replacen(" 17\n", " 24\n", 1);
        let costly = [costly.as_bytes(), &sealed[80..]].concat();
        assert_eq!(decrypt_with_passphrase(&costly, &passphrase), Err(DecryptFailure::ExcessiveWork(24)));
    }

    #[test]
    fn several_recipients_open_one_file_and_a_stranger_does_not() {
        let (ours, theirs, stranger) = (Identity::generate(), Identity::generate(), Identity::generate());
        let recipients = [ours.recipient(), theirs.recipient()];
        let mut sealed = encrypt(b"key", recipients.iter().map(String::as_str)).unwrap();
        assert_eq!(decrypt(&sealed, &ours).unwrap().as_slice(), b"key");
        assert_eq!(decrypt(&sealed, &theirs).unwrap().as_slice(), b"key");
        assert_eq!(decrypt(&sealed, &stranger), Err(DecryptFailure::WrongKey));
        let last = sealed.len() - 1;
        sealed[last] ^= 1;
        assert!(matches!(decrypt(&sealed, &ours), Err(DecryptFailure::Damaged(_))));
    }
}
