//! Operations on links: pairs of an entity of the user's and an object of a service.

mod error;
mod import;

use std::ops::ControlFlow;

pub use error::LinkOperationError;
pub use import::{ImportLinksRequest, import_links};

use super::{Effect, Operation, OperationScope, Reach};
use crate::error::Result;
use crate::model::{
    Connection, ConnectionName, Entity, Link, LinkFilter, LinkId, LinkInsertResult, LinkedObject, NewLink, UserId,
};
use crate::runtime::Workspace;
use crate::view::link::{AddedLinkView, LinkListView, LinkOutcome, LinkView, RemovedLinkView};

const LINKS: OperationScope = OperationScope::Links;

/// The operations of this module.
pub const OPERATIONS: &[Operation] = &[
    Operation::local("link add", LINKS, Effect::Write).reachable_by(Reach::Api),
    Operation::local("link list", LINKS, Effect::Read).reachable_by(Reach::Agent),
    Operation::local("link find", LINKS, Effect::Read).reachable_by(Reach::Agent),
    Operation::local("link remove", LINKS, Effect::Write).reachable_by(Reach::Api),
    Operation::local("link import", LINKS, Effect::Write).reachable_by(Reach::Api),
];

/// Number of links read per query.
const PAGE_SIZE: u32 = 500;

/// A link to add.
#[derive(Clone, Debug)]
pub struct AddLinkRequest {
    /// The connection's user if absent.
    pub user: Option<UserId>,
    pub entity: Entity,
    pub connection: ConnectionName,
    pub object: LinkedObject,
}

/// Which links to list. Absent values match all.
#[derive(Clone, Debug, Default)]
pub struct ListLinksRequest {
    /// Only those that were added after this one: the next page of a list.
    pub after: Option<LinkId>,
    pub user: Option<UserId>,
    pub entity_type: Option<String>,
    pub connection: Option<ConnectionName>,
    pub resource: Option<String>,
    /// Maximum number of links.
    pub limit: Option<usize>,
}

/// One side of the links to find.
#[derive(Clone, Debug)]
pub enum LinkSide {
    Entity(Entity),
    Object(ConnectionName, LinkedObject),
}

/// The links to find.
#[derive(Clone, Debug)]
pub struct FindLinksRequest {
    pub user: Option<UserId>,
    pub side: LinkSide,
}

/// The link to remove.
#[derive(Clone, Debug)]
pub struct RemoveLinkRequest {
    /// May be absent unless links of several users match.
    pub user: Option<UserId>,
    pub entity: Entity,
    pub connection: ConnectionName,
    pub resource: String,
}

/// Adds a link. The same link may be added again.
///
/// # Errors
/// Unknown connections; [`LinkOperationError::EntityLinked`] and [`LinkOperationError::ObjectLinked`].
pub async fn add_link(workspace: &Workspace, request: AddLinkRequest) -> Result<AddedLinkView> {
    let connection = workspace.connection(&request.connection).await?;
    let link = new_link(&connection, request.user, request.entity, request.object);
    let now = workspace.clock.now();
    let inserted = workspace.store().await?.links().insert(vec![link.clone()], now).await?.pop();
    let view = |outcome, link: Link| Ok(AddedLinkView { outcome, link: link.into() });
    match inserted {
        Some(LinkInsertResult::Added(link)) => view(LinkOutcome::Added, link),
        Some(LinkInsertResult::Unchanged(link)) => view(LinkOutcome::Unchanged, link),
        Some(LinkInsertResult::EntityLinked(existing)) => Err(LinkOperationError::entity_linked(existing).into()),
        Some(LinkInsertResult::ObjectLinked(existing)) => Err(LinkOperationError::object_linked(existing).into()),
        None => Err(LinkOperationError::NotFound { what: link.entity.to_string() }.into()),
    }
}

fn new_link(connection: &Connection, user: Option<UserId>, entity: Entity, object: LinkedObject) -> NewLink {
    NewLink { user: user.or_else(|| connection.user.clone()), entity, connection: connection.id, object }
}

/// Passes links to `each`, in the order in which they were added, until it breaks.
///
/// # Errors
/// Unknown connections, and those of `each`.
pub async fn read_links(
    workspace: &Workspace,
    request: ListLinksRequest,
    mut each: impl FnMut(LinkView) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let filter = LinkFilter {
        user: request.user,
        entity_type: request.entity_type,
        connection: workspace.connection_id(request.connection.as_ref()).await?,
        resource: request.resource,
        ..LinkFilter::default()
    };
    if !workspace.has_vault() {
        return Ok(());
    }
    let names = workspace.connection_names().await?;
    let links = workspace.store().await?.links();
    let (mut last, mut remaining) = (request.after.unwrap_or(LinkId(0)), request.limit.unwrap_or(usize::MAX));
    while remaining > 0 {
        let page = links.list(&filter, last, PAGE_SIZE).await?;
        let Some(end) = page.last() else { break };
        last = end.id;
        for link in page.into_iter().filter(|link| names.contains(&link.connection)) {
            if remaining == 0 || each(link.into())?.is_break() {
                return Ok(());
            }
            remaining -= 1;
        }
    }
    Ok(())
}

/// Returns links, in the order in which they were added.
///
/// # Errors
/// Unknown connections.
pub async fn list_links(workspace: &Workspace, request: ListLinksRequest) -> Result<LinkListView> {
    let mut links = Vec::new();
    read_links(workspace, request, |link| {
        links.push(link);
        Ok(ControlFlow::Continue(()))
    })
    .await?;
    Ok(LinkListView { links })
}

/// Returns the links of an entity, or the link of an object.
///
/// # Errors
/// Unknown connections; [`LinkOperationError::NotFound`].
pub async fn find_links(workspace: &Workspace, request: FindLinksRequest) -> Result<LinkListView> {
    let (filter, what) = match request.side {
        LinkSide::Entity(entity) => {
            let filter = LinkFilter {
                user: request.user,
                entity_type: Some(entity.kind().to_owned()),
                entity_id: Some(entity.id().to_owned()),
                ..LinkFilter::default()
            };
            (filter, entity.to_string())
        }
        LinkSide::Object(name, object) => {
            let filter = LinkFilter {
                user: request.user,
                connection: Some(workspace.connection(&name).await?.id),
                resource: Some(object.resource().to_owned()),
                object_id: Some(object.id().to_owned()),
                ..LinkFilter::default()
            };
            (filter, format!("{name}/{} {}", object.resource(), object.id()))
        }
    };
    let mut found = match workspace.has_vault() {
        true => workspace.store().await?.links().list(&filter, LinkId(0), PAGE_SIZE).await?,
        false => Vec::new(),
    };
    let names = workspace.connection_names().await?;
    found.retain(|link| names.contains(&link.connection));
    if found.is_empty() {
        return Err(LinkOperationError::NotFound { what }.into());
    }
    Ok(LinkListView { links: found.into_iter().map(LinkView::from).collect() })
}

/// Removes a link. The entity and the object stay as they are.
///
/// # Errors
/// Unknown connections; [`LinkOperationError::NotFound`]; [`LinkOperationError::SeveralUsers`].
pub async fn remove_link(workspace: &Workspace, request: RemoveLinkRequest) -> Result<RemovedLinkView> {
    let RemoveLinkRequest { user, entity, connection: name, resource } = request;
    let filter = LinkFilter {
        user,
        entity_type: Some(entity.kind().to_owned()),
        entity_id: Some(entity.id().to_owned()),
        connection: Some(workspace.connection(&name).await?.id),
        resource: Some(resource.clone()),
        object_id: None,
    };
    let links = workspace.store().await?.links();
    let mut found = links.list(&filter, LinkId(0), PAGE_SIZE).await?;
    let missing = || LinkOperationError::NotFound { what: format!("{entity} in {name}/{resource}") };
    let link = found.pop().ok_or_else(missing)?;
    if let Some(other) = found.first() {
        return Err(LinkOperationError::several_users(&link, other).into());
    }
    if !links.remove(link.id).await? {
        return Err(missing().into());
    }
    Ok(RemovedLinkView { removed: link.into() })
}
