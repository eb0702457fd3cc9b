//! Why an operation on links cannot be done.

use std::path::Path;

use thiserror::Error;

use crate::error::{Diagnostic, Hint, Kind, Remedy};
use crate::files::shell_quoted;
use crate::model::{ConnectionName, Link, UserId};

/// Why an operation on links cannot be done.
#[derive(Debug, Error)]
pub enum LinkOperationError {
    #[error("{what} has no link")]
    NotFound { what: String },
    #[error("{entity} is already linked to {connection}/{resource} {object}")]
    EntityLinked { entity: String, connection: ConnectionName, resource: String, object: String, remove: String },
    #[error("{connection}/{resource} {object} is already linked to {entity}{}", of_user(.user.as_ref()))]
    ObjectLinked {
        entity: String,
        connection: ConnectionName,
        resource: String,
        object: String,
        user: Option<UserId>,
        remove: String,
    },
    #[error("several users have a link of {entity} in {connection}/{resource}")]
    SeveralUsers { entity: String, connection: ConnectionName, resource: String, remove: String },
    #[error("cannot read links from the import: {reason}")]
    InvalidImport { reason: String },
}

fn of_user(user: Option<&UserId>) -> String {
    user.map(|user| format!(" of user {user}")).unwrap_or_default()
}

/// The command that removes a link.
fn remove_command(link: &Link) -> String {
    let quoted = |text: &str| shell_quoted(Path::new(text));
    let target = format!("{}/{}", link.connection, link.object.resource());
    let user = link.user.as_ref().map(|user| format!(" --user {}", quoted(user.as_str()))).unwrap_or_default();
    format!("integ link remove {} {}{user}", quoted(&link.entity.to_string()), quoted(&target))
}

impl LinkOperationError {
    pub(super) fn entity_linked(link: Link) -> Self {
        Self::EntityLinked {
            remove: remove_command(&link),
            entity: link.entity.to_string(),
            resource: link.object.resource().to_owned(),
            object: link.object.id().to_owned(),
            connection: link.connection,
        }
    }

    pub(super) fn object_linked(link: Link) -> Self {
        Self::ObjectLinked {
            remove: remove_command(&link),
            entity: link.entity.to_string(),
            resource: link.object.resource().to_owned(),
            object: link.object.id().to_owned(),
            connection: link.connection,
            user: link.user,
        }
    }

    pub(super) fn several_users(link: &Link, other: &Link) -> Self {
        let named = if link.user.is_some() { link } else { other };
        Self::SeveralUsers {
            entity: link.entity.to_string(),
            connection: link.connection.clone(),
            resource: link.object.resource().to_owned(),
            remove: remove_command(named),
        }
    }
}

impl Remedy for LinkOperationError {
    fn diagnostic(&self) -> Diagnostic {
        let taken = |remove: &String| Hint::new("remove that link first:", remove);
        match self {
            Self::NotFound { .. } => Diagnostic::new(Kind::NotFound, "link_not_found").run("integ link list"),
            Self::EntityLinked { remove, connection, .. } => {
                Diagnostic::new(Kind::Conflict, "entity_linked").hint(taken(remove)).connection(connection)
            }
            Self::ObjectLinked { remove, connection, .. } => {
                Diagnostic::new(Kind::Conflict, "object_linked").hint(taken(remove)).connection(connection)
            }
            Self::SeveralUsers { remove, connection, .. } => Diagnostic::new(Kind::Usage, "several_users")
                .hint(Hint::new("name the user:", remove))
                .connection(connection),
            Self::InvalidImport { .. } => Diagnostic::new(Kind::Usage, "invalid_import").hint(Hint::new(
                "write JSON lines or CSV with the members that this prints:",
                "integ link list --json",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::model::{LinkId, LinkedObject};

    #[test]
    fn the_command_that_removes_a_link_is_one_for_a_shell() {
        let link = Link {
            id: LinkId(1),
            user: Some("u 1".parse().unwrap()),
            entity: "customer/it's".parse().unwrap(),
            connection: "hubspot@work".parse().unwrap(),
            object: LinkedObject::new("contacts", "15").unwrap(),
            merged_into: None,
            created_at: Timestamp::UNIX_EPOCH,
            changed_at: Timestamp::UNIX_EPOCH,
        };
        let error = LinkOperationError::object_linked(link);
        let command = error.hint().unwrap().command.unwrap();
        let words = shlex::split(&command).unwrap();
        assert_eq!(words, ["integ", "link", "remove", "customer/it's", "hubspot@work/contacts", "--user", "u 1"]);
        let message = error.to_string();
        assert_eq!(message, "hubspot@work/contacts 15 is already linked to customer/it's of user u 1");
    }
}
