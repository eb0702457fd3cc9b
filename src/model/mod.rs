//! The types of the domain: what a connection, a grant, an event, a delivery, a record and a job are. Nothing here does I/O.

pub mod app;
pub mod budget;
pub mod connection;
pub mod delivery;
pub mod endpoint;
pub mod event;
pub mod event_type;
pub mod grant;
pub mod job;
pub mod message;
pub mod name;
pub mod record;
pub mod schedule;
pub mod secrets;
pub mod stream;
pub mod subscription;
pub mod webhook;
pub mod words;

pub use app::OAuthApp;
pub use budget::Budget;
pub use connection::{
    Account, Check, CheckRecord, Connection, ConnectionHealth, ConnectionId, ConnectionMode, ConnectionTransition,
    GrantStatus, NewConnection, Transition, connect_command, reconnect_command,
};
pub use endpoint::{DisabledReason, Endpoint, EndpointId};
pub use event::{EventId, EventStatus, EventVerification};
pub use event_type::{EventPattern, EventType, EventTypeDefinition, matches_type};
pub use grant::{ClientCredentials, Expiry, Grant, RefreshMethod, StoredGrant};
pub use message::Message;
pub use name::{ConnectionName, NameError, WorkspaceName};
pub use schedule::Schedule;
pub use words::UnknownWord;
pub(crate) use words::words;
