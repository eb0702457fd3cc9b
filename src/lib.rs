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
//! | [`webhook`] | receives, verifies, queues, replays and simulates webhooks |
//! | [`endpoint`] | sends the user's own events: endpoints, messages, the schedule of attempts |
//! | [`export`] | writes synced records for other programs: Parquet files, Singer messages |
//! | [`sync`] | pulls a service's data into the store |
//! | [`health`] | checks whether connections work |
//! | [`env_variables`] | the parts of credentials, and the environment variables in which programs get them |
//! | [`api`] | calls of services' APIs: actions, paths, pages, retries |
//! | [`oauth`] | flows, refresh, revocation, discovery; [`oauth::refresh`] is the one way to a token |
//! | [`runtime`] | what every operation is given, each part made when it is first needed |
//! | [`notify`] | runs the user's hooks when a connection breaks or recovers |
//! | [`sandbox`] | the emulated vendors |
//! | [`vault`] | keys, recipients, the OS keyring, custody of tokens |
//! | [`store`] | the encrypted SQLite store; all SQL is here |
//! | [`http`] | outgoing requests, the egress guard, and the bounded loopback server |
//! | [`signing`] | verifies and signs webhooks; pure |
//! | [`connector`] | the TOML files that describe services |
//! | [`config`] | settings |
//! | [`model`] | the domain's types, without I/O |
//! | [`jq`], [`program`] | expressions over JSON, programs of the user's own |
//! | [`files`], [`json`] | private files; JSON from outside, read without loss |
//! | [`nesting`], `near`, [`size`], [`duration`] | limits of TOML, suggestions, sizes and durations as people write them |
//! | [`env`](mod@env), `hex`, [`error`], [`secret`], [`clock`] | the environment, hexadecimal text, failures, secrets, time and randomness |
//!
//! # How a token is handed out
//!
//! `integ token slack` (`ops::tokens::stored_token`) opens the store (`vault::open`: the identity opens `vault.age`, which holds the store's key), reads
//! the connection and its grant in one query (`vault::TokenVault::load`) and prints it, if it is good for long enough
//! (`oauth::refresh::is_fresh`). No connector is parsed and no runtime is started for that. Otherwise `oauth::refresh::fresh_grant`
//! takes the connection's lock, reads again, commits a marker, presents the grant once and commits the answer.
//!
//! # How an account is connected
//!
//! `connect::connect` picks a way of authenticating from the connector's file, finds the OAuth client, binds the loopback
//! listener (`oauth::callback_listener`), shows the URL, judges what comes back (`oauth::callback`), exchanges the code through the
//! service's quirks (`oauth::quirks`), asks whose account it is (`health`) and keeps it.
//!
//! # How a sync runs
//!
//! `sync::run` takes a connection's streams, parents before children, each with its lock (`locks/stream-N.lock`) and its job.
//! A stream is one list, or one for each record of its parent: a part, with a cursor of its own. `sync::checkpoint` says what to ask
//! first and what after each page, `sync::request` makes the request, `api::send` sends it within the vendor's budget, and
//! `sync::document` finds the records without copying them. The page goes through a channel to the writer, so that the next
//! one is fetched meanwhile; `store::Records::commit` keeps its records, the list's progress and the job's counts in one
//! transaction. At the list's end the cursor moves, and what a full list did not meet is swept away. What a webhook brings
//! takes the same way from `sync::ingest` on.
//!
//! # How the sandbox fits in
//!
//! Every request of a connection passes `http::Route`: live, another origin, or the emulation. A sandbox connection's URLs
//! are moved to a server inside this process, built from the same file that the client follows, so that nothing above the
//! route knows the difference and nothing can reach the vendor.

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connect;
pub mod connector;
pub mod doctor;
pub mod duration;
pub mod endpoint;
pub mod env;
pub mod env_variables;
pub mod error;
pub mod export;
pub mod files;
pub mod health;
mod hex;
pub mod http;
pub mod jq;
pub mod json;
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
pub mod vault;
pub mod view;
pub mod webhook;
