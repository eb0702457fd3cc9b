//! `integ`: the connection layer between a developer's programs and the services they use.
//!
//! # How it is built
//!
//! [`cli`] parses a command and prints the results of the modules below it. The table is in the order of the layers: a module
//! uses only modules further down, and within a row only those further right. `tests/it/tidy.rs` enforces that.
//!
//! | module | purpose |
//! | --- | --- |
//! | [`cli`], [`server`], [`mcp_server`] | arguments, dispatch, tables and JSON, prompts; the HTTP API and its workers; tools for agents |
//! | [`remote`] | a server elsewhere in place of the store: the operations of commands over its HTTP API |
//! | [`ops`], [`view`] | one function per operation, and the results of operations |
//! | [`doctor`] | finds problems of integ on this machine |
//! | [`connect`] | connects and disconnects accounts |
//! | [`worker`] | workers that deliver, refresh, check, sync, renew, report and prune |
//! | [`webhook`] | receives, verifies, queues, replays and simulates webhooks |
//! | [`endpoint`] | sends the user's own events: endpoints, messages, the schedule of attempts |
//! | [`calendar`] | one calendar over several services: events, free/busy, conflicts, changes |
//! | [`export`] | writes synced records for other programs: Parquet files, Singer messages |
//! | [`sync`] | copies a service's records into the store |
//! | [`health`] | checks whether connections work |
//! | [`env_variables`] | the parts of credentials, and their environment variables |
//! | [`mcp_settings`] | the settings of MCP clients on this machine |
//! | [`mcp_client`] | describes remote MCP servers and their tools; relays a local client to one |
//! | [`api`] | calls to services' APIs: actions, paths, pagination, retries |
//! | [`oauth`] | flows, refresh, revocation, discovery; every token comes from [`oauth::refresh`] |
//! | [`notify`] | runs the user's hooks when a connection breaks or recovers |
//! | [`audit`], [`consent`] | records operations and verifies their log; what a connection's user allows |
//! | [`runtime`] | the parts shared by operations, each created on first use; the loop around workers |
//! | [`sandbox`] | the emulated vendors |
//! | [`bundle`] | connections for a machine without a store: what may be exported, and its format |
//! | [`vault`] | keys, recipients, the OS keyring, storage of tokens |
//! | [`store`] | storage: the traits, the encrypted SQLite store and that in PostgreSQL, with all SQL |
//! | [`http`] | outgoing requests, the egress guard, and the bounded server |
//! | [`signing`] | verifies and signs webhooks, reads keys and certificates, signs assertions; pure |
//! | [`connector`] | the TOML files that describe services |
//! | [`config`] | settings |
//! | [`mapping`] | bindings: a record or an event in the user's own shape; pure |
//! | [`model`] | the domain's types, without I/O |
//! | [`jq`], [`program`], [`mask`], `converter` | jq expressions, the user's programs, masking of secrets in their output, conversions of times, money and text |
//! | [`files`], [`json`] | private files; lossless reading of external JSON |
//! | [`nesting`], `near`, [`size`], [`duration`] | limits of TOML, suggestions, human-readable sizes and durations |
//! | [`env`](mod@env), `hex`, `hash`, [`error`], [`secret`], [`clock`], `task`, `backoff` | the environment, hexadecimal text, digests, failures, secrets, time and randomness, blocking work, growing delays |
//!
//! An operation is one function in [`ops`]: it takes the workspace and a request, and returns a view. A command parses its
//! arguments into the request and renders the view; an HTTP handler or an MCP tool can call the same function.
//!
//! # The path of a token
//!
//! 1. `cli::token` parses the arguments and asks `ops::tokens::stored_token`, which needs no runtime and parses no connector.
//! 2. `vault::open` opens the store: the identity opens `vault.age`, which holds the store's key.
//! 3. `vault::TokenVault::load` reads the connection and its grant in one query, from the OS keyring if the secrets are there.
//! 4. `oauth::refresh::is_fresh` decides whether the token is valid for long enough. If so, it is printed.
//! 5. If not, `ops::tokens::access_token` calls `oauth::refresh::fresh_grant`, which takes the connection's lock, reads the
//!    grant again, commits a marker that the grant is being presented, presents it once (`oauth::OAuthClient`) and commits
//!    the response. Of any number of processes, one asks the vendor, and the others use its response.
//!
//! A machine without a store has connections in variables (`runtime::EnvironmentConnections`), usually in a bundle
//! ([`bundle`]). Step 2 then creates a store in memory; the other steps are the same.
//!
//! # The path of a webhook
//!
//! 1. `http::serve` accepts the connection and `webhook::inbound::server` gets the request's head. `webhook::inbound::receiver`
//!    finds the connection in `webhook::inbound::registry` by the secret part of the URL, and verifies the request with
//!    `signing::verify` before the body is parsed. Keys that the vendor publishes are fetched once and cached.
//! 2. `store::Events::insert` commits the events, many requests in one commit; only then does the service get its answer.
//!    Duplicates are recognized in the same transaction. The commit wakes the connection's dispatcher
//!    (`webhook::inbound::target`). The display (`webhook::feed`) gets a copy, and nothing waits for it.
//! 3. `webhook::handle::dispatch` passes each event to its handlers: the synced records, a file, a command, a URL. Failures are
//!    retried with growing delays until the event is dead; `integ webhook retry` queues it again.
//!
//! # The path of a page in a sync
//!
//! 1. `sync::run` locks each stream of a connection, parents before children, and starts its job. A stream is one list, or
//!    one list for each record of its parent; each such `sync::partition` has its own cursor.
//! 2. `sync::list` resumes the list at its checkpoint, and `sync::pass` goes from page to page with the pager that
//!    `integ api --paginate` also uses (`api::Pager`). `sync::request` builds the request for the checkpoint's page, and
//!    `sync::fetch` sends it within the service's rate limits.
//! 3. `sync::page` checks that the response is plainly a list, and finds its records without copying them.
//! 4. `sync::checkpoint` computes the next position. The page and this checkpoint are queued for `sync::ingest`, while the
//!    next page is fetched; `store::Records::commit_pages` stores the records, the checkpoint and the job's counts in one
//!    transaction.
//! 5. At the end of a list its cursor moves, and a full list marks the records that it did not contain as deleted
//!    (`store::Records::sweep`). `sync::ingest` also stores records from webhooks.
//!
//! # Background work
//!
//! 1. A [`runtime::worker::Worker`] does one kind of work for one workspace: `runtime::worker::Worker::tick` starts what is due
//!    and returns the time of the next tick, and `runtime::worker::Worker::woken` resolves when started work has ended.
//! 2. `runtime::worker::run` waits in between, regularly checking the wall clock, and retries failures. A command such as
//!    `integ refresh --due` runs a worker until it is idle; a `runtime::worker::WorkerSet` runs several: those of several
//!    workspaces, or of a listener (`webhook::listen`).
//! 3. The store records what is due and what is done. Locks and claims keep two processes from doing the same work.
//!
//! # The path of an agent's call
//!
//! 1. `mcp_server::handler` gets a call from a client on standard input, or from `server::agents`, which has checked host,
//!    origin, API token and scope. Each request has its [`ops::agents::AgentSession`]: named connections, allowed effects.
//! 2. [`ops::agents::AgentSession::call`] finds whether the call needs a person's approval, uses it up, commits the audit
//!    entry, and calls the action as `integ call` would.
//! 3. `mcp_server::output` masks every credential of the workspace in the result ([`ops::agents::CredentialRegistry`]), and
//!    cuts it.
//!
//! # Connecting an account
//!
//! `connect::connect` chooses an authentication method of the connector, finds the OAuth client, binds the loopback listener
//! (`oauth::callback_listener`), shows the URL, checks the callback (`oauth::callback`), exchanges the code with the
//! service's quirks (`oauth::quirks`), identifies the account (`health`) and stores the connection. A method with keys first
//! collects and checks them (`connect::credential_input`): `signing` reads them, and `oauth::assertion` signs and presents an
//! assertion. The resulting token is renewed in the same way.
//!
//! A server cannot wait for a person: `connect::pending` begins a sign-in with the same functions, stores it by the hash of
//! its `state`, and any process that gets the callback finishes it, once. `ops::connect_links` begins such sign-ins for
//! others.
//!
//! # The sandbox
//!
//! Every request of a connection passes `http::Route`: live, another origin, or the emulation. The URLs of a sandbox
//! connection are redirected to a server in this process, built from the same connector file as the client. Nothing above the
//! route knows the difference, and nothing can reach the vendor.

pub mod api;
pub mod audit;
mod backoff;
pub mod bundle;
pub mod calendar;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connect;
pub mod connector;
pub mod consent;
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
pub mod mcp_server;
pub mod mcp_settings;
pub mod model;
mod near;
pub mod nesting;
pub mod notify;
pub mod oauth;
pub mod ops;
pub mod program;
pub mod remote;
pub mod runtime;
pub mod sandbox;
pub mod secret;
pub mod server;
pub mod signing;
pub mod size;
pub mod store;
pub mod sync;
mod task;
pub mod vault;
pub mod view;
pub mod webhook;
pub mod worker;
