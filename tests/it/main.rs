//! The binary as its users run it. `tests/README.md` says what stands where, and which faults have no test.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![expect(unreachable_pub, reason = "a test binary has no outside")]
#![expect(clippy::disallowed_methods, reason = "the harness makes the environment that the program then reads")]

mod actions;
mod attack;
mod broken;
mod bundle;
mod call;
mod catalogue;
mod completion;
mod connect;
mod doctor;
mod draft;
mod endpoint;
mod engine;
mod export;
mod fake;
mod field;
mod flow;
mod fuzz;
mod guided;
mod harness;
mod help;
mod keyring;
mod lists;
mod masking;
mod notify;
mod oidc;
mod output;
mod postgres;
mod provider;
mod push;
mod race;
mod receiver;
mod reconnect;
mod sandbox;
mod sandbox_world;
mod secrets;
mod snapshots;
mod streams;
mod subscription;
mod supply;
mod sync;
mod sync_faults;
mod tidy;
mod unlock;
mod vault;
mod vault_faults;
mod vault_keys;
mod webhook;
mod webhook_bodies;
mod webhook_faults;
mod webhook_listener;
mod webhook_sdk;
mod wire;
mod worker;
