//! `integ`: the connection layer between a developer's programs and the services they use.

pub mod clock;
pub mod config;
pub mod connection;
pub mod duration;
pub mod env;
pub mod error;
pub mod files;
pub mod secret;
pub mod connector;
pub mod store;
pub mod vault;
pub mod http;
pub mod sandbox;
pub mod app;
pub mod oauth;
pub mod health;
pub mod connect;
