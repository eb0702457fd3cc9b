//! Closed enums as words, for the store, JSON and the command line.

use thiserror::Error;

/// A word that names no member of a closed enum.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("unknown value {word:?}, expected one of: {expected}")]
pub struct UnknownWord {
    pub word: String,
    /// The words there are, separated by commas.
    pub expected: String,
}

/// Gives a closed enum its words: `ALL`, `as_str`, `Display` and `FromStr`.
macro_rules! words {
    ($type:ident { $($variant:ident => $word:literal),+ $(,)? }) => {
        impl $type {
            /// Every member, in the order of their declaration.
            pub const ALL: [Self; [$(Self::$variant),+].len()] = [$(Self::$variant),+];

            /// Returns its word in the store, in JSON and on the command line.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::model::words::UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                Self::ALL.into_iter().find(|member| member.as_str() == word).ok_or_else(|| Self::Err {
                    word: word.to_owned(),
                    expected: Self::ALL.map(Self::as_str).join(", "),
                })
            }
        }
    };
}

pub(crate) use words;

#[cfg(test)]
mod tests {
    use crate::model::ConnectionMode;

    #[test]
    fn every_word_leads_back_to_its_member() {
        assert_eq!(ConnectionMode::ALL.map(ConnectionMode::as_str), ["live", "sandbox"]);
        assert!(ConnectionMode::ALL.into_iter().all(|mode| mode.to_string().parse() == Ok(mode)));
        let error = "blue".parse::<ConnectionMode>().unwrap_err().to_string();
        assert_eq!(error, "unknown value \"blue\", expected one of: live, sandbox");
    }
}
