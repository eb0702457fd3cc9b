//! The parts of a connection's credential, and their environment variables.
//!
//! A connection gives `SLACK_TOKEN`, for a named account `SLACK_WORK_TOKEN`, and its further parts under their own names:
//! `TWILIO_ACCOUNT_SID`, `JIRA_CLOUD_ID`. The names of parts come from connector files, and their values from vendors. So no
//! part takes a name that is set already, that another connection has, or that other programs obey. Names that the user
//! types ([`ExplicitVariable`]) are the user's own choice and replace everything, but steer no program
//! either.

use std::collections::BTreeMap;
use std::ffi::OsString;

use thiserror::Error;

use crate::connector::{self, auth_method_parts, env_variable_name};
use crate::error::{Diagnostic, Hint, Kind, Remedy, Result};
use crate::model::ConnectionName;
use crate::near::closest;
use crate::runtime::Workspace;
use crate::secret::Secret;
use crate::vault::ConnectionWithGrant;

/// The name of the part that every connection has.
pub const TOKEN: &str = "token";

/// What a program may get of one connection.
#[derive(Debug)]
pub struct Credential {
    pub connection: ConnectionName,
    pub token: Secret,
    /// Parameters, what was stored of the vendor's answers, and the fields of a key, by the connector's names.
    pub parts: BTreeMap<String, Secret>,
    /// The token and those of the parts that are secret.
    pub secrets: Vec<Secret>,
    /// The variables that the user approved at install; absent if none need approval.
    pub approved_variables: Option<Vec<String>>,
}

/// A variable that the user named: `--env GH_TOKEN=github`.
#[derive(Debug)]
pub struct ExplicitVariable {
    pub variable: String,
    /// What was typed behind the name.
    pub source: String,
    pub value: Secret,
}

/// Why a part of a credential cannot be given out or put into an environment variable.
#[derive(Debug, Error)]
pub enum VariableError {
    #[error("{part} of {connection} would set {variable}, which controls other programs")]
    ReservedVariable { connection: ConnectionName, part: String, variable: String },
    #[error("{variable} controls other programs and is never set to a credential")]
    SteeringVariable { variable: String },
    #[error("{part} of {connection} would replace {variable}, which is already set")]
    AlreadySet { connection: ConnectionName, part: String, variable: String },
    #[error("{part} of {connection} would set {variable}, which was not approved when the connector was installed")]
    NotApproved { connection: ConnectionName, part: String, variable: String },
    #[error("{first} and {second} would both set {variable}")]
    Conflict { variable: String, first: String, second: String },
    #[error("{part} of {connection} contains a line break or a control character")]
    Unprintable { connection: ConnectionName, part: String },
    #[error("{connection} has no credential part {part:?}{}", known(parts))]
    PartNotFound { connection: ConnectionName, part: String, suggestion: Option<String>, parts: Vec<String> },
}

fn known(parts: &[String]) -> String {
    if parts.is_empty() { "; it has only a token".to_owned() } else { format!("; it has token, {}", parts.join(", ")) }
}

impl Remedy for VariableError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::ReservedVariable { connection, .. } => {
                Diagnostic::new(Kind::Usage, "reserved_variable").hint(token_alone(connection)).connection(connection)
            }
            Self::SteeringVariable { .. } => Diagnostic::new(Kind::Usage, "reserved_variable")
                .hint(Hint::text("give the variable another name, and let the command read that")),
            Self::AlreadySet { connection, part, variable } => Diagnostic::new(Kind::Usage, "variable_already_set")
                .hint(Hint::new(
                    "replace it with",
                    format!("integ exec {connection} --env {variable}={connection}.{part} -- COMMAND"),
                ))
                .connection(connection),
            Self::NotApproved { connection, .. } => Diagnostic::new(Kind::Usage, "variable_not_approved")
                .hint(token_alone(connection))
                .connection(connection),
            Self::Conflict { variable, first, second } => {
                Diagnostic::new(Kind::Usage, "variable_conflict").hint(Hint::new(
                    "name both:",
                    format!("integ exec --env {variable}={first} --env {variable}_2={second} -- COMMAND"),
                ))
            }
            Self::Unprintable { connection, part } if part != TOKEN => {
                Diagnostic::new(Kind::Conflict, "unprintable_token")
                    .hint(token_alone(connection))
                    .connection(connection)
            }
            Self::Unprintable { connection, .. } => Diagnostic::new(Kind::Conflict, "unprintable_token")
                .run(format!("integ refresh {connection}"))
                .connection(connection),
            Self::PartNotFound { connection, suggestion: likely, .. } => {
                let command = |likely| format!("integ exec --env NAME={connection}.{likely} -- COMMAND");
                Diagnostic::new(Kind::Usage, "part_not_found")
                    .maybe_hint(likely.as_ref().map(command).map(Hint::run))
                    .connection(connection)
            }
        }
    }
}

fn token_alone(connection: &ConnectionName) -> Hint {
    let variable = token_variable(connection);
    Hint::new("set the token alone:", format!("integ exec --env {variable}={connection} -- COMMAND"))
}

/// The variable that a connection's token goes into.
pub fn token_variable(connection: &ConnectionName) -> String {
    env_variable_name(&prefix(connection), TOKEN)
}

fn prefix(connection: &ConnectionName) -> String {
    connection
        .account()
        .map_or_else(|| connection.connector().to_owned(), |account| format!("{}_{account}", connection.connector()))
}

impl Credential {
    /// Returns what the connector's file declares of what is stored. Names that an earlier file declared are left out.
    ///
    /// # Errors
    /// Those of the catalogue: unknown connectors, and files that are not what was installed.
    pub fn from_connection(workspace: &Workspace, loaded: &ConnectionWithGrant) -> Result<Self> {
        let connection = &loaded.connection;
        let id = connection.name.connector();
        let connector = workspace.catalogue().get(id)?;
        let (_, auth) = connector.auth_method(Some(&connection.auth))?;
        let parts = auth_method_parts(&connector, auth).filter_map(|part| {
            let plain = || connection.metadata.get(&part).or_else(|| connection.params.get(&part));
            let client = || loaded.grant.client.as_ref().filter(|_| part == connector::CLIENT_ID);
            let field = loaded.grant.fields.get(&part).cloned();
            let value = field.or_else(|| plain().map(|text| Secret::from(text.as_str())));
            let value = value.or_else(|| client().map(|client| Secret::from(client.id.as_str())))?;
            Some((part, value))
        });
        let is_secret =
            |field: &String| auth.fields.get(field).is_none_or(|field| field.secret || field.kind.is_file());
        let fields = loaded.grant.fields.iter().filter(|(field, _)| is_secret(field)).map(|(_, value)| value);
        Ok(Self {
            connection: connection.name.clone(),
            token: loaded.grant.access_token.clone(),
            parts: parts.collect(),
            secrets: std::iter::once(&loaded.grant.access_token).chain(fields).cloned().collect(),
            approved_variables: workspace.catalogue().approved_variables(id)?,
        })
    }

    /// Returns one part by its name.
    ///
    /// # Errors
    /// [`VariableError::PartNotFound`].
    pub fn part(&self, name: &str) -> Result<&Secret, VariableError> {
        if name == TOKEN {
            return Ok(&self.token);
        }
        self.parts.get(name).ok_or_else(|| VariableError::PartNotFound {
            connection: self.connection.clone(),
            part: name.to_owned(),
            suggestion: closest(name, self.parts.keys().map(String::as_str)).map(str::to_owned),
            parts: self.parts.keys().cloned().collect(),
        })
    }

    /// The variables it gives: part, name and value, the token first.
    fn variables(&self) -> impl Iterator<Item = (&str, String, &Secret)> {
        let prefix = prefix(&self.connection);
        let token = std::iter::once((TOKEN, env_variable_name(&prefix, TOKEN), &self.token));
        token
            .chain(self.parts.iter().map(move |(part, value)| (part.as_str(), env_variable_name(&prefix, part), value)))
    }

    /// Returns those of other connections whose token has the variable of a part of this one.
    pub fn conflicts(&self, others: &[ConnectionName]) -> Vec<ConnectionName> {
        let taken = |other: &&ConnectionName| {
            let variable = token_variable(other);
            self.variables().any(|(part, name, _)| part != TOKEN && name == variable)
        };
        others.iter().filter(|other| **other != self.connection).filter(taken).cloned().collect()
    }

    /// Checks that a part may take its variable. A token's name ends in `_TOKEN`, and steers nothing.
    fn check_variable(&self, part: &str, name: &str) -> Result<(), VariableError> {
        let connection = || self.connection.clone();
        let (part, variable) = (part.to_owned(), name.to_owned());
        if connector::is_dangerous_variable(name) {
            return Err(VariableError::ReservedVariable { connection: connection(), part, variable });
        }
        let shown = connector::env_variable_name(self.connection.connector(), &part);
        if self.approved_variables.as_ref().is_some_and(|approved| !approved.contains(&shown)) {
            return Err(VariableError::NotApproved { connection: connection(), part, variable });
        }
        Ok(())
    }
}

/// Returns the variables that a program gets, by name. `inherited` is what it inherits beside them, `others` are the
/// connections of the workspace.
///
/// # Errors
/// [`VariableError`] for the first name or value that no program may get.
pub fn variables(
    credentials: &[Credential],
    typed: &[ExplicitVariable],
    inherited: &[(OsString, OsString)],
    others: &[ConnectionName],
) -> Result<BTreeMap<String, Secret>, VariableError> {
    // Who set what, for the message.
    let mut set: BTreeMap<String, (String, Secret)> = BTreeMap::new();
    for ExplicitVariable { variable, source, value } in typed {
        if connector::is_dangerous_choice(variable) {
            return Err(VariableError::SteeringVariable { variable: variable.clone() });
        }
        if let Some((first, known)) = set.get(variable)
            && known != value
        {
            let (first, second) = (first.clone(), source.clone());
            return Err(VariableError::Conflict { variable: variable.clone(), first, second });
        }
        set.insert(variable.clone(), (source.clone(), value.clone()));
    }
    for credential in credentials {
        for (part, name, value) in credential.variables() {
            if typed.iter().any(|typed| typed.variable == name) {
                continue;
            }
            check_value(&credential.connection, part, value)?;
            let source = if part == TOKEN { credential.connection.to_string() } else { credential.source(part) };
            match set.get(&name) {
                Some((_, known)) if known == value => continue,
                Some((first, _)) => {
                    return Err(VariableError::Conflict { variable: name, first: first.clone(), second: source });
                }
                None => {}
            }
            if part != TOKEN {
                credential.check_variable(part, &name)?;
                let other =
                    others.iter().find(|other| **other != credential.connection && token_variable(other) == name);
                if let Some(other) = other {
                    return Err(VariableError::Conflict { variable: name, first: other.to_string(), second: source });
                }
                let differs = |(known, now): &(OsString, OsString)| *known == *name && *now != **value.expose();
                if inherited.iter().any(differs) {
                    let (connection, part) = (credential.connection.clone(), part.to_owned());
                    return Err(VariableError::AlreadySet { connection, part, variable: name });
                }
            }
            set.insert(name, (source, value.clone()));
        }
    }
    Ok(set.into_iter().map(|(name, (_, value))| (name, value)).collect())
}

impl Credential {
    fn source(&self, part: &str) -> String {
        format!("{}.{part}", self.connection)
    }
}

/// Checks that a value fits on one line of a header or a shell's script, and into an environment at all.
///
/// # Errors
/// [`VariableError::Unprintable`].
pub fn check_value(connection: &ConnectionName, part: &str, value: &Secret) -> Result<(), VariableError> {
    if value.expose().chars().any(char::is_control) {
        return Err(VariableError::Unprintable { connection: connection.clone(), part: part.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(connection: &str, parts: &[(&str, &str)]) -> Credential {
        Credential {
            connection: connection.parse().unwrap(),
            token: Secret::new(format!("token of {connection}")),
            parts: parts.iter().map(|(part, value)| ((*part).to_owned(), Secret::from(*value))).collect(),
            secrets: Vec::new(),
            approved_variables: None,
        }
    }

    fn typed(variable: &str, source: &str) -> ExplicitVariable {
        ExplicitVariable { variable: variable.to_owned(), source: source.to_owned(), value: Secret::from(source) }
    }

    fn code(result: Result<BTreeMap<String, Secret>, VariableError>) -> &'static str {
        result.unwrap_err().code()
    }

    #[test]
    fn a_connection_gives_its_token_and_its_parts() {
        let jira = [credential("jira@work", &[("cloud_id", "c"), ("site.url", "u")])];
        let names: Vec<_> = variables(&jira, &[], &[], &[]).unwrap().into_keys().collect();
        assert_eq!(names, ["JIRA_WORK_CLOUD_ID", "JIRA_WORK_SITE_URL", "JIRA_WORK_TOKEN"]);
    }

    #[test]
    fn names_that_steer_other_programs_are_refused_unless_they_are_typed() {
        for (id, part) in [
            ("git", "ssh_command"),
            ("git", "config_count"),
            ("ld", "preload"),
            ("node", "options"),
            ("bash", "env"),
            ("acme", "https_proxy"),
            ("ssl", "cert_file"),
            ("integ", "identity"),
            ("docker", "host"),
        ] {
            let steering = || [credential(id, &[(part, "x")])];
            assert_eq!(code(variables(&steering(), &[], &[], &[])), "reserved_variable", "{id} {part}");
            let name = env_variable_name(id, part);
            let typed = variables(&steering(), &[typed(&name, "mine")], &[], &[]);
            // A name that is typed may begin so if it is one for a credential.
            assert_eq!(typed.is_err(), connector::is_dangerous_choice(&name), "{name}");
        }
        // The token's own name is set whatever it begins with.
        assert!(variables(&[credential("git", &[])], &[], &[], &[]).unwrap().contains_key("GIT_TOKEN"));
    }

    #[test]
    fn a_typed_name_that_steers_programs_is_refused() {
        for name in ["LD_PRELOAD", "PATH", "GIT_SSH_COMMAND", "NODE_OPTIONS", "BASH_ENV", "INTEG_IDENTITY", "IFS"] {
            assert_eq!(code(variables(&[], &[typed(name, "slack")], &[], &[])), "reserved_variable", "{name}");
        }
        for name in ["NPM_TOKEN", "GH_TOKEN", "PGPASSWORD", "CARGO_REGISTRY_TOKEN", "TF_VAR_token", "AWS_SESSION_TOKEN"]
        {
            assert!(variables(&[], &[typed(name, "slack")], &[], &[]).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_part_replaces_nothing_and_a_token_does() {
        let jira = || [credential("jira", &[("cloud_id", "c")])];
        let inherited = |name: &str, value: &str| [(OsString::from(name), OsString::from(value))];
        assert_eq!(code(variables(&jira(), &[], &inherited("JIRA_CLOUD_ID", "mine"), &[])), "variable_already_set");
        assert!(variables(&jira(), &[], &inherited("JIRA_CLOUD_ID", "c"), &[]).is_ok());
        assert!(variables(&jira(), &[], &inherited("JIRA_TOKEN", "mine"), &[]).is_ok());
        let chosen = [typed("JIRA_CLOUD_ID", "jira.cloud_id")];
        assert!(variables(&jira(), &chosen, &inherited("JIRA_CLOUD_ID", "mine"), &[]).is_ok());
    }

    #[test]
    fn two_connections_never_share_a_variable() {
        let both = || [credential("slack@work", &[]), credential("slack-work", &[])];
        assert_eq!(code(variables(&both(), &[], &[], &[])), "variable_conflict");
        assert!(variables(&both(), &[typed("SLACK_WORK_TOKEN", "slack-work")], &[], &[]).is_ok());
        let part = [credential("slack", &[("work_token", "x")])];
        assert_eq!(code(variables(&part, &[], &[], &["slack@work".parse().unwrap()])), "variable_conflict");
        let twice = [typed("A", "slack"), typed("A", "jira")];
        assert_eq!(code(variables(&[], &twice, &[], &[])), "variable_conflict");
        let same = [credential("slack", &[]), credential("slack", &[])];
        assert_eq!(variables(&same, &[], &[], &[]).unwrap().len(), 1);
        let spelt = [credential("slack", &[("team-id", "1"), ("team_id", "2")])];
        assert_eq!(code(variables(&spelt, &[], &[], &[])), "variable_conflict");
    }

    #[test]
    fn what_was_not_approved_or_would_forge_a_line_is_refused() {
        let mut acme = credential("acme@work", &[("region", "x")]);
        acme.approved_variables = Some(vec!["ACME_REGION".to_owned()]);
        assert!(variables(&[acme], &[], &[], &[]).is_ok(), "approved for every account");
        let mut acme = credential("acme", &[("region", "x")]);
        acme.approved_variables = Some(Vec::new());
        assert_eq!(code(variables(&[acme], &[], &[], &[])), "variable_not_approved");
        for value in ["a\nb", "a\0b", "\u{1b}]0;x\u{7}", "a\rb", "\u{9b}"] {
            let broken = variables(&[credential("acme", &[("region", value)])], &[], &[], &[]).unwrap_err();
            assert!(broken.to_string().starts_with("region of acme "), "{broken}");
        }
    }
}
