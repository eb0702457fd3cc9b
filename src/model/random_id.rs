//! Ids that are random: a prefix that says what they name, and hexadecimal digits.

/// Declares an id of `$bytes` random bytes behind `$prefix`. What is parsed may be any id of the kind, also one that nothing
/// has: ASCII letters, digits and `_`, at most 64.
macro_rules! random_id {
    ($(#[$doc:meta])* $type:ident, $prefix:literal, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(String);

        impl $type {
            /// What every id begins with.
            pub const PREFIX: &str = $prefix;

            /// Returns an id that nothing has.
            pub fn random() -> Self {
                Self(format!("{}{}", Self::PREFIX, $crate::hex::encode(&$crate::clock::random::<$bytes>())))
            }

            /// Returns the id with its prefix.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let digits = text.strip_prefix(Self::PREFIX).unwrap_or_default();
                let is_plain = digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                if (1..=64).contains(&digits.len()) && is_plain {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(format!(concat!("{:?} is not the ID of ", $what, " (", $prefix, "…)"), text))
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

pub(crate) use random_id;

#[cfg(test)]
mod tests {
    use crate::model::EndpointId;

    #[test]
    fn an_id_is_a_prefix_and_up_to_64_plain_characters() {
        let id = EndpointId::random();
        assert_eq!((id.as_str().len(), id.as_str().parse()), (15, Ok(id.clone())));
        for valid in ["ep_1".to_owned(), format!("ep_{}", "a".repeat(64))] {
            assert_eq!(valid.parse::<EndpointId>().unwrap().as_str(), valid);
        }
        for invalid in
            ["".to_owned(), "ep_".to_owned(), "tok_1".to_owned(), "ep_a-b".to_owned(), format!("ep_{}", "a".repeat(65))]
        {
            let error = invalid.parse::<EndpointId>().unwrap_err();
            assert_eq!(error, format!("{invalid:?} is not the ID of an endpoint (ep_…)"));
        }
    }
}
