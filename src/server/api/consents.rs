//! Consents, and your own end users.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounded::Bounded;
use super::super::call::Call;
use super::super::page::{CursorPage, Limit};
use super::super::problem::RequestError;
use super::super::reply::{Created, JsonReply};
use super::{ApiRoute, DELETE, GET, POST, Unused};
use crate::error::Result;
use crate::model::{ConsentFilter, ConsentPurpose, ConsentResource, ConsentType, UserId};
use crate::ops::consents::{self, GrantConsentRequest, ListConsentsRequest, RevokeConsentRequest};
use crate::ops::users::{self, DeleteUserRequest};
use crate::view::consent::{ConsentStatusView, ConsentView, GrantedConsentView, RevokedConsentsView};
use crate::view::user::{DeletedUserView, UserDetailView, UserListView};

pub(super) fn routes() -> Vec<ApiRoute> {
    vec![
        ApiRoute::new((GET, "/v1/consents"), "consent list", "List consents, the newest first", list),
        ApiRoute::new((POST, "/v1/consents"), "consent grant", "Record that a user allowed a purpose", grant),
        ApiRoute::new((DELETE, "/v1/consents/{consent}"), "consent revoke", "Revoke a consent", revoke),
        ApiRoute::new(
            (GET, "/v1/consent-status"),
            "consent status",
            "Return what users allow, and what is missing",
            status,
        ),
        ApiRoute::new(
            (GET, "/v1/users"),
            "user list",
            "List your users with their numbers of connections, links and consents",
            user_list,
        ),
        ApiRoute::new((GET, "/v1/users/{user}"), "user show", "Show what belongs to a user", user_show),
        ApiRoute::new(
            (DELETE, "/v1/users/{user}"),
            "user delete",
            "Revoke a user's grants, and erase everything that names the user but audit entries",
            user_delete,
        ),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    user: Option<UserId>,
    /// `sync`, `webhooks`, `deliver`, `call`, or a purpose of your own.
    purpose: Option<String>,
    #[serde(default)]
    limit: Limit,
}

fn parse<T: std::str::FromStr>(place: &str, text: Option<String>) -> Result<Option<T>>
where
    T::Err: std::error::Error + 'static,
{
    let invalid =
        |error: T::Err| RequestError::Value { at: format!(" at {place}"), reason: crate::error::on_one_line(&error) };
    Ok(text.map(|text| text.parse().map_err(invalid)).transpose()?)
}

async fn list(call: Call<ListQuery, Unused>) -> Result<JsonReply<CursorPage<ConsentView>>> {
    let ListQuery { user, purpose, limit } = call.query;
    let filter = ConsentFilter { user, purpose: parse("purpose", purpose)?, ..ConsentFilter::default() };
    let request = ListConsentsRequest { filter, limit: limit.get() };
    let consents = consents::list_consents(&call.workspace, request).await?.consents;
    Ok(JsonReply(CursorPage { data: consents, next_cursor: None }))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GrantBody {
    user: UserId,
    /// `sync`, `webhooks`, `deliver`, `call`, or a purpose of your own.
    purpose: String,
    #[serde(default, rename = "type")]
    kind: ConsentTypeBody,
    /// A connection such as `slack@work`, `connector:slack`, or `TYPE:ID`; all data of the user if absent.
    resource: Option<String>,
    /// The setting `consents.policy_version` if absent.
    policy_version: Option<Bounded<0, { u32::MAX }>>,
    description: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ConsentTypeBody {
    #[default]
    ThirdParty,
    DataSharing,
    DataProcessing,
    Marketing,
}

impl From<ConsentTypeBody> for ConsentType {
    fn from(kind: ConsentTypeBody) -> Self {
        match kind {
            ConsentTypeBody::ThirdParty => Self::ThirdParty,
            ConsentTypeBody::DataSharing => Self::DataSharing,
            ConsentTypeBody::DataProcessing => Self::DataProcessing,
            ConsentTypeBody::Marketing => Self::Marketing,
        }
    }
}

async fn grant(call: Call<Unused, GrantBody>) -> Result<Created<GrantedConsentView>> {
    let GrantBody { user, purpose, kind, resource, policy_version, description } = call.body;
    let purpose: ConsentPurpose = purpose.parse()?;
    let resource: Option<ConsentResource> = resource.map(|text| text.parse()).transpose()?;
    let policy_version = policy_version.map(Bounded::get);
    let request = GrantConsentRequest { user, purpose, kind: kind.into(), resource, policy_version, description };
    let view = consents::grant_consent(&call.workspace, request).await?;
    Ok(Created("/v1/consents".to_owned(), view))
}

async fn revoke(call: Call<Unused, Unused>) -> Result<JsonReply<RevokedConsentsView>> {
    let request = RevokeConsentRequest::One(call.path("consent")?);
    Ok(JsonReply(consents::revoke_consents(&call.workspace, request).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StatusQuery {
    /// All users if absent.
    user: Option<UserId>,
}

async fn status(call: Call<StatusQuery, Unused>) -> Result<JsonReply<ConsentStatusView>> {
    Ok(JsonReply(consents::consent_status(&call.workspace, call.query.user).await?))
}

async fn user_list(call: Call<Unused, Unused>) -> Result<JsonReply<UserListView>> {
    Ok(JsonReply(users::list_users(&call.workspace).await?))
}

async fn user_show(call: Call<Unused, Unused>) -> Result<JsonReply<UserDetailView>> {
    Ok(JsonReply(users::show_user(&call.workspace, call.path("user")?).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DeleteQuery {
    /// Also erase connections whose grants cannot be revoked.
    #[serde(default)]
    force: bool,
}

async fn user_delete(call: Call<DeleteQuery, Unused>) -> Result<JsonReply<DeletedUserView>> {
    let request = DeleteUserRequest { user: call.path("user")?, force: call.query.force };
    Ok(JsonReply(Box::pin(users::delete_user(&call.workspace, request)).await?))
}
