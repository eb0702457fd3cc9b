//! `WWW-Authenticate`: the challenges of a server that rejects a request (RFC 9110 section 11.6.1). Pure.

/// One challenge of a server: its scheme and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// In lower case.
    scheme: String,
    /// Names in lower case, values without their quotes. The first of two with the same name counts.
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// Parses the value of a `WWW-Authenticate` header, which may hold several challenges. What cannot be read ends the
    /// list: the challenges before it count.
    pub fn parse_all(header: &str) -> Vec<Self> {
        let mut reader = Reader { rest: header };
        let mut challenges = Vec::new();
        loop {
            reader.skip_separators();
            let Some(scheme) = reader.token() else { return challenges };
            let mut challenge = Self { scheme: scheme.to_ascii_lowercase(), parameters: Vec::new() };
            let is_whole = reader.has_space() && reader.skip_token68() || reader.parameters(&mut challenge.parameters);
            challenges.push(challenge);
            if !is_whole {
                return challenges;
            }
        }
    }

    /// Whether its scheme is `name`, in any case.
    pub fn is_scheme(&self, name: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(name)
    }

    /// Returns a parameter, whose name is in lower case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What is left of a header to read.
struct Reader<'h> {
    rest: &'h str,
}

impl<'h> Reader<'h> {
    fn has_space(&self) -> bool {
        self.rest.starts_with([' ', '\t'])
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// Empty elements of a list are allowed (RFC 9110 section 5.6.1.2).
    fn skip_separators(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', ',']);
    }

    fn token(&mut self) -> Option<&'h str> {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let end = self.rest.find(|c| !is_token(c)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    /// Skips the one value that a scheme such as Negotiate has in place of parameters.
    fn skip_token68(&mut self) -> bool {
        let text = self.rest.trim_start_matches([' ', '\t']);
        let is_token68 = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
        let end = text.find(|c| !is_token68(c)).unwrap_or(text.len());
        let after = text[end..].trim_start_matches('=');
        let follows = after.trim_start_matches([' ', '\t']);
        // `a=b` is a parameter, `a==` is not; a word that no comma follows begins another challenge.
        let is_value = end > 0 && (follows.is_empty() || follows.starts_with(','));
        if is_value {
            self.rest = after;
        }
        is_value
    }

    /// Reads parameters until the next challenge. Returns whether all was read.
    fn parameters(&mut self, parameters: &mut Vec<(String, String)>) -> bool {
        loop {
            self.skip_separators();
            let before = self.rest;
            let Some(name) = self.token() else { return self.rest.is_empty() };
            self.skip_space();
            let Some(rest) = self.rest.strip_prefix('=') else {
                // A word without a value is the scheme of the next challenge.
                self.rest = before;
                return true;
            };
            self.rest = rest;
            self.skip_space();
            let value = match self.rest.strip_prefix('"') {
                Some(quoted) => {
                    self.rest = quoted;
                    self.quoted()
                }
                None => self.token().map(str::to_owned),
            };
            let Some(value) = value else { return false };
            parameters.push((name.to_ascii_lowercase(), value));
            self.skip_space();
            if !self.rest.is_empty() && !self.rest.starts_with(',') {
                return false;
            }
        }
    }

    /// Reads a quoted string after its first quote (RFC 9110 section 5.6.4).
    fn quoted(&mut self) -> Option<String> {
        let mut value = String::new();
        let mut characters = self.rest.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(characters.next()?.1),
                other => value.push(other),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(header: &str) -> Vec<(String, Vec<(String, String)>)> {
        Challenge::parse_all(header).into_iter().map(|found| (found.scheme, found.parameters)).collect()
    }

    fn challenge(scheme: &str, parameters: &[(&str, &str)]) -> (String, Vec<(String, String)>) {
        let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        (scheme.to_owned(), parameters.collect())
    }

    #[test]
    fn several_challenges_are_told_apart() {
        let header = r#"Newauth realm="apps", type=1, title="Login to \"apps\"", Basic realm="simple""#;
        let newauth = challenge("newauth", &[("realm", "apps"), ("type", "1"), ("title", r#"Login to "apps""#)]);
        assert_eq!(read(header), [newauth, challenge("basic", &[("realm", "simple")])], "RFC 9110 section 11.6.1");
        assert_eq!(
            read("Negotiate, NTLM dGVzdA==, Bearer scope = \"a b\" ,, error=insufficient_scope"),
            [
                challenge("negotiate", &[]),
                challenge("ntlm", &[]),
                challenge("bearer", &[("scope", "a b"), ("error", "insufficient_scope")]),
            ]
        );
        assert_eq!(read("Bearer"), [challenge("bearer", &[])]);
        assert_eq!(read("Basic, Bearer"), [challenge("basic", &[]), challenge("bearer", &[])]);
        assert_eq!(read("bearer realm=x, BEARER scope=y").len(), 2);
    }

    #[test]
    fn a_quoted_string_holds_commas_and_what_looks_like_a_parameter() {
        let header = r#"Bearer realm="x, scope=\"evil\" Basic", Resource_Metadata="https://a.example/b?c=d,e""#;
        let found = &Challenge::parse_all(header)[0];
        assert_eq!(found.parameter("scope"), None);
        assert_eq!(found.parameter("resource_metadata"), Some("https://a.example/b?c=d,e"));
    }

    #[test]
    fn the_first_of_two_parameters_counts_and_broken_ones_end_the_list() {
        let first = &Challenge::parse_all("Bearer scope=a, scope=b")[0];
        assert_eq!(first.parameter("scope"), Some("a"));
        assert_eq!(read("Bearer scope=\"a"), [challenge("bearer", &[])]);
        assert_eq!(read("Bearer error=x scope=y"), [challenge("bearer", &[("error", "x")])]);
        assert!(read("").is_empty() && read("\"x\"").is_empty() && read(", ,").is_empty());
    }

    proptest! {
        #[test]
        fn no_header_panics(header in ".{0,120}") {
            for found in Challenge::parse_all(&header) {
                prop_assert!(!found.scheme.is_empty());
            }
        }

        #[test]
        fn any_value_survives_quoting(value in "[ -~]{0,40}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let found = Challenge::parse_all(&format!("Basic realm=x, Bearer a=\"{quoted}\", b=1"));
            prop_assert_eq!(found[1].parameter("a"), Some(&*value));
            prop_assert_eq!(found[1].parameter("b"), Some("1"));
        }
    }
}
