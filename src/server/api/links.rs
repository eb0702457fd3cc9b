//! Links between your entities and objects of services.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::call::Call;
use super::super::page::{Cursor, CursorPage, Limit};
use super::super::problem::RequestError;
use super::super::reply::{Created, JsonReply};
use super::{ApiRoute, DELETE, GET, POST, Unused};
use crate::error::Result;
use crate::model::{ConnectionName, Entity, LinkId, LinkedObject, UserId};
use crate::ops::links::{
    self, AddLinkRequest, FindLinksRequest, ImportLinksRequest, LinkSide, ListLinksRequest, RemoveLinkRequest,
};
use crate::view::link::{AddedLinkView, ImportedLinksView, LinkListView, LinkView, RemovedLinkView};

pub(super) fn routes() -> Vec<ApiRoute> {
    vec![
        ApiRoute::new((GET, "/v1/links"), "link list", "List the links", list),
        ApiRoute::new((POST, "/v1/links"), "link add", "Link an entity with an object", add),
        ApiRoute::new((DELETE, "/v1/links"), "link remove", "Remove a link", remove),
        ApiRoute::new((GET, "/v1/link"), "link find", "Find the links of an entity, or the link of an object", find),
        ApiRoute::new((POST, "/v1/link-imports"), "link import", "Import links", import),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Only those of this user.
    user: Option<UserId>,
    /// Only those of entities of this type.
    entity_type: Option<String>,
    connection: Option<ConnectionName>,
    resource: Option<String>,
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor>,
}

async fn list(call: Call<ListQuery, Unused>) -> Result<JsonReply<CursorPage<LinkView>>> {
    let ListQuery { user, entity_type, connection, resource, limit, cursor } = call.query;
    let after = cursor.map(|cursor| cursor.key().map(LinkId)).transpose()?;
    let most = usize::try_from(limit.with_next()).ok();
    let request = ListLinksRequest { user, entity_type, connection, resource, after, limit: most };
    let links = links::list_links(&call.workspace, request).await?.links;
    Ok(JsonReply(CursorPage::new(links, limit, |link| link.id.0.to_string())))
}

fn entity(text: &str) -> Result<Entity> {
    let invalid = |reason: String| RequestError::Value { at: " at entity".to_owned(), reason };
    text.parse().map_err(|error| invalid(crate::error::on_one_line(&error)).into())
}

fn object(resource: &str, id: &str) -> Result<LinkedObject> {
    Ok(LinkedObject::new(resource, id)?)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LinkBody {
    user: Option<UserId>,
    /// `TYPE/ID`, such as `appointment/123`.
    entity: String,
    connection: ConnectionName,
    /// A stream, or another kind of object of the service.
    resource: String,
    /// The object's id at the service.
    object: String,
}

async fn add(call: Call<Unused, LinkBody>) -> Result<Created<AddedLinkView>> {
    let LinkBody { user, entity: text, connection, resource, object: id } = call.body;
    let request = AddLinkRequest { user, entity: entity(&text)?, connection, object: object(&resource, &id)? };
    Ok(Created("/v1/links".to_owned(), links::add_link(&call.workspace, request).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RemoveQuery {
    user: Option<UserId>,
    /// `TYPE/ID`.
    entity: String,
    connection: ConnectionName,
    resource: String,
}

async fn remove(call: Call<RemoveQuery, Unused>) -> Result<JsonReply<RemovedLinkView>> {
    let RemoveQuery { user, entity: text, connection, resource } = call.query;
    let request = RemoveLinkRequest { user, entity: entity(&text)?, connection, resource };
    Ok(JsonReply(links::remove_link(&call.workspace, request).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FindQuery {
    user: Option<UserId>,
    /// `TYPE/ID`; or the object, by `connection`, `resource` and `object`.
    entity: Option<String>,
    connection: Option<ConnectionName>,
    resource: Option<String>,
    object: Option<String>,
}

async fn find(call: Call<FindQuery, Unused>) -> Result<JsonReply<LinkListView>> {
    let side = match call.query {
        FindQuery { entity: Some(text), .. } => LinkSide::Entity(entity(&text)?),
        FindQuery { connection: Some(connection), resource: Some(resource), object: Some(id), .. } => {
            LinkSide::Object(connection, object(&resource, &id)?)
        }
        _ => {
            let reason = "name `entity`, or `connection`, `resource` and `object`".to_owned();
            return Err(RequestError::Value { at: String::new(), reason }.into());
        }
    };
    Ok(JsonReply(links::find_links(&call.workspace, FindLinksRequest { user: call.query.user, side }).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ImportBody {
    /// The text that `integ link list --json` prints: a link on each line.
    text: String,
}

async fn import(call: Call<Unused, ImportBody>) -> Result<JsonReply<ImportedLinksView>> {
    Ok(JsonReply(links::import_links(&call.workspace, ImportLinksRequest { text: call.body.text }).await?))
}
