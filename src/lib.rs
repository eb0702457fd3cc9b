//! `integ`: the connection layer between a developer's programs and the services they use.
//!
//! # How it is built
//!
//! A command is parsed in [`cli`], which prints what the modules below it return. The table is in the order of the layers: a
//! module uses only those further down, and in a row only those further right. `tests/it/tidy.rs` holds it to that.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`cli`] | arguments, dispatch, tables and JSON, the person at the terminal |
//! | [`ops`], [`view`] | one function an operation, and the shapes that operations return |
//! | [`doctor`] | finds what is wrong with this machine's integ |
//! | [`connect`] | connects an account and disconnects it |
//! | [`worker`] | workers that deliver, refresh, sync, renew and prune |
//! | [`webhook`] | receives, verifies, queues, replays and simulates webhooks |
//! | [`endpoint`] | sends the user's own events: endpoints, messages, the schedule of attempts |
//! | [`calendar`] | one calendar over several services: events, free/busy, conflicts, changes |
//! | [`export`] | writes synced records for other programs: Parquet files, Singer messages |
//! | [`sync`] | pulls a service's data into the store |
//! | [`health`] | checks whether connections work |
//! | [`env_variables`] | the parts of credentials, and the environment variables in which programs get them |
//! | [`mcp_settings`] | the settings of MCP clients on this machine |
//! | [`mcp_client`] | asks remote MCP servers what they are and which tools they have; relays a local client to one |
//! | [`api`] | calls of services' APIs: actions, paths, pages, retries |
//! | [`oauth`] | flows, refresh, revocation, discovery; [`oauth::refresh`] is the one way to a token |
//! | [`notify`] | runs the user's hooks when a connection breaks or recovers |
//! | [`runtime`] | what every operation is given, each part made when it is first needed; the loop around workers |
//! | [`sandbox`] | the emulated vendors |
//! | [`bundle`] | connections for a machine without a store: what may leave, and the text that carries it |
//! | [`vault`] | keys, recipients, the OS keyring, custody of tokens |
//! | [`store`] | where data is kept: the traits, and the encrypted SQLite store; all SQL is here |
//! | [`http`] | outgoing requests, the egress guard, and the bounded server |
//! | [`signing`] | verifies and signs webhooks, reads keys and certificates, signs assertions; pure |
//! | [`connector`] | the TOML files that describe services |
//! | [`config`] | settings |
//! | [`mapping`] | bindings: a record or an event in the user's own shape; pure |
//! | [`model`] | the domain's types, without I/O |
//! | [`jq`], [`program`], [`mask`], `converter` | expressions over JSON, programs of the user's own, secrets hidden in what they print, conversions of times, money and texts |
//! | [`files`], [`json`] | private files; JSON from outside, read without loss |
//! | [`nesting`], `near`, [`size`], [`duration`] | limits of TOML, suggestions, sizes and durations as people write them |
//! | [`env`](mod@env), `hex`, `hash`, [`error`], [`secret`], [`clock`], `task`, `backoff` | the environment, hexadecimal text, digests, failures, secrets, time and randomness, blocking work, growing delays |
//!
//! An operation is one function in [`ops`]: it takes the workspace and a request and returns a view. A command parses its
//! words into the request and renders the view; an HTTP handler or an MCP tool can call the same function.
//!
//! # How a token travels
//!
//! 1. `cli::token` parses the arguments and asks `ops::tokens::stored_token`, which needs no runtime and parses no connector.
//! 2. `vault::open` opens the store: the identity opens `vault.age`, which holds the store's key.
//! 3. `vault::TokenVault::load` reads the connection and its grant in one query, from the OS keyring if the secrets are there.
//! 4. `oauth::refresh::is_fresh` decides whether the token is good for long enough. If so, it is printed.
//! 5. If not, `ops::tokens::access_token` calls `oauth::refresh::fresh_grant`, which takes the connection's lock, reads the
//!    grant again, commits a marker that the grant is being presented, presents it once (`oauth::OAuthClient`) and commits
//!    the answer. Of any number of processes one asks the vendor, and the others use its answer.
//!
//! A machine without a store has connections in variables (`runtime::EnvironmentConnections`), most of them in a bundle
//! ([`bundle`]). Step 2 then makes a store in memory, and the other steps are the same.
//!
//! # How a webhook travels
//!
//! 1. `http::serve` accepts the connection and `webhook::inbound::server` gets the request's head. `webhook::inbound::receiver`
//!    finds the connection in `webhook::inbound::registry` by the secret part of the URL, and verifies the request with
//!    `signing::verify` before the body is parsed. Keys that the vendor publishes are fetched once and cached.
//! 2. `store::Events::insert` commits the events, many requests in one commit; only then is the vendor answered with 200.
//!    Duplicates are recognised in the same transaction. The commit wakes the connection's dispatcher
//!    (`webhook::inbound::target`); what is shown of it (`webhook::feed`) is a copy that nothing waits for.
//! 3. `webhook::handle::dispatch` gives each event to its handlers: the synced records, a file, a command, a URL. What fails is
//!    tried again with growing delays, and is dead in the end; `integ webhook retry` brings it back.
//!
//! # How a page of a sync travels
//!
//! 1. `sync::run` locks each stream of a connection, parents before children, and begins its job. A stream is one list, or
//!    one list for each record of its parent; each such `sync::partition` has its own cursor.
//! 2. `sync::list` resumes the list at its checkpoint, and `sync::pass` goes from page to page with the pager that
//!    `integ api --paginate` uses too (`api::Pager`). `sync::request` builds the request for the page that the checkpoint
//!    names, and `sync::fetch` sends it within the service's rate limits.
//! 3. `sync::page` checks that the answer is plainly a list, and finds the records in it without copying them.
//! 4. `sync::checkpoint` says what to ask for next. The page goes with this checkpoint through a queue to `sync::ingest`,
//!    so that the next page is fetched meanwhile; `store::Records::commit_pages` stores the records, the checkpoint and
//!    the job's counts in one transaction.
//! 5. At the end of a list its cursor moves, and a full list marks what it did not contain as deleted
//!    (`store::Records::sweep`). Records that webhooks bring are stored by `sync::ingest` too.
//!
//! # How work is done when it is due
//!
//! 1. A [`runtime::worker::Worker`] does one kind of work of one workspace: `runtime::worker::Worker::tick` begins what is due
//!    and returns when the next is, and `runtime::worker::Worker::woken` resolves when something that it began has ended.
//! 2. `runtime::worker::run` waits in between, never for long without a look at the wall clock, and retries what failed. A
//!    command such as `integ refresh --due` runs a worker until it is idle; a `runtime::worker::WorkerSet` runs many: those of
//!    several workspaces, or those of a listener (`webhook::listen`).
//! 3. What is due and what is done is in the store. Locks and claims keep two processes from doing the same.
//!
//! # How an account is connected
//!
//! `connect::connect` chooses an authentication method of the connector, finds the OAuth client, binds the loopback listener
//! (`oauth::callback_listener`), shows the URL, checks the callback (`oauth::callback`), exchanges the code with the
//! service's quirks in mind (`oauth::quirks`), asks whose account it is (`health`) and stores the connection. A method with keys
//! collects and checks them first (`connect::credential_input`): `signing` reads them, `oauth::assertion` signs with them and
//! presents them, and the token that comes of it is renewed in the same way.
//!
//! # How the sandbox fits in
//!
//! Every request of a connection passes `http::Route`: live, another origin, or the emulation. A sandbox connection's URLs
//! are moved to a server inside this process, built from the same connector file that the client follows: nothing above the
//! route knows the difference, and nothing can reach the vendor.

pub mod api;
mod backoff;
pub mod bundle;
pub mod calendar;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connect;
pub mod connector;
mod converter;
pub mod doctor;
pub mod duration;
pub mod endpoint;
pub mod env;
pub mod env_variables;
pub mod error;
pub mod export;
pub mod files;
mod hash;
pub mod health;
mod hex;
pub mod http;
pub mod jq;
pub mod json;
pub mod mapping;
pub mod mask;
pub mod mcp_client;
pub mod mcp_settings;
pub mod model;
mod near;
pub mod nesting;
pub mod notify;
pub mod oauth;
pub mod ops;
pub mod program;
pub mod runtime;
pub mod sandbox;
pub mod secret;
pub mod signing;
pub mod size;
pub mod store;
pub mod sync;
mod task;
pub mod vault;
pub mod view;
pub mod webhook;
pub mod worker;
