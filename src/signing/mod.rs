//! Signatures of webhooks, both ways: one rule of the connector's file verifies by [`verify`] and signs by [`sign`];
//! [`standard`] is how integ signs what it sends itself. All of it is pure.

pub(crate) mod jwt;
pub mod request;
pub mod rsa;
pub mod sign;
pub mod standard;
pub mod verify;
