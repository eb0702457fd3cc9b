//! Texts encrypted to an age identity, armored to fit an environment variable, like `age -a`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::Zeroizing;

use super::identity::{self, DecryptFailure};
use super::{Identity, VaultError};

const BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
const END: &str = "-----END AGE ENCRYPTED FILE-----";

/// Characters of a line, as age's own armor has them.
const LINE_LENGTH: usize = 64;

/// Why an armored text does not open.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ArmorError {
    #[error("it does not begin with {BEGIN}")]
    NotArmored,
    #[error("{0}")]
    Damaged(&'static str),
    #[error("it is not encrypted to the identity {recipient}")]
    WrongIdentity { recipient: String },
}

/// Encrypts a text to age recipients.
///
/// # Errors
/// [`VaultError::InvalidRecipient`] for the first recipient that is not an X25519 one, or if there is none.
pub fn seal_armored<'a>(plaintext: &[u8], recipients: impl IntoIterator<Item = &'a str>) -> Result<String, VaultError> {
    let sealed = identity::encrypt(plaintext, recipients).map_err(VaultError::invalid_recipient)?;
    if sealed.is_empty() {
        return Err(VaultError::InvalidRecipient(String::new()));
    }
    let text = STANDARD.encode(sealed);
    let mut armored = format!("{BEGIN}\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII, so that any position is a boundary.
        let (line, more) = rest.split_at(rest.len().min(LINE_LENGTH));
        armored.push_str(line);
        armored.push('\n');
        rest = more;
    }
    armored.push_str(END);
    armored.push('\n');
    Ok(armored)
}

/// Opens what [`seal_armored`] or `age -a` wrote. Line breaks may be missing: not every store of secrets keeps them.
///
/// # Errors
/// [`ArmorError`].
pub fn open_armored(text: &str, identity: &Identity) -> Result<Zeroizing<Vec<u8>>, ArmorError> {
    let body = text.trim().strip_prefix(BEGIN).ok_or(ArmorError::NotArmored)?;
    let body = body.strip_suffix(END).ok_or(ArmorError::Damaged("its last line is missing"))?;
    let body: String = body.split_ascii_whitespace().collect();
    let sealed = STANDARD.decode(body).map_err(|_| ArmorError::Damaged("its lines are not base64"))?;
    if identity::is_passphrase_encrypted(&sealed) {
        return Err(ArmorError::Damaged("it is encrypted to a passphrase, not to an identity"));
    }
    identity::decrypt(&sealed, identity).map_err(|failure| match failure {
        DecryptFailure::WrongKey => ArmorError::WrongIdentity { recipient: identity.recipient() },
        other => ArmorError::Damaged(other.why()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_also_without_its_line_breaks() {
        let identity = Identity::generate();
        let recipient = identity.recipient();
        let plaintext = vec![7; 1000];
        let armored = seal_armored(&plaintext, [recipient.as_str()]).unwrap();
        assert!(armored.lines().all(|line| line.len() <= LINE_LENGTH && line.is_ascii()), "{armored}");
        let joined = armored.replace('\n', " ");
        for text in [armored.clone(), joined, armored.replace('\n', ""), armored.replace('\n', "\r\n")] {
            assert_eq!(*open_armored(&text, &identity).unwrap(), plaintext, "{text}");
        }
        assert!(matches!(seal_armored(b"x", []), Err(VaultError::InvalidRecipient(_))));
        assert!(matches!(seal_armored(b"x", ["age1nope"]), Err(VaultError::InvalidRecipient(_))));
    }

    #[test]
    fn what_does_not_open_says_why() {
        let (identity, stranger) = (Identity::generate(), Identity::generate());
        let recipient = identity.recipient();
        let armored = seal_armored(b"x", [recipient.as_str()]).unwrap();
        let error = |text: &str| open_armored(text, &identity).unwrap_err();
        assert_eq!(error("hello"), ArmorError::NotArmored);
        assert!(matches!(error(&armored[..armored.len() / 2]), ArmorError::Damaged(_)));
        assert!(matches!(error(&armored.replacen('\n', "\n?", 1)), ArmorError::Damaged(_)));
        assert!(matches!(error(&format!("{BEGIN}{END}")), ArmorError::Damaged(_)));
        let wrong = open_armored(&armored, &stranger).unwrap_err();
        assert_eq!(wrong, ArmorError::WrongIdentity { recipient: stranger.recipient() });
    }
}
