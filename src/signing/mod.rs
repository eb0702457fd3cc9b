//! Signatures of webhooks, both ways: one rule of the connector's file verifies by [`verify`] and signs by [`sign`];
//! [`standard`] is how integ signs what it sends itself. And the keys that users bring: [`private_key`] and [`certificate`]
//! read them, [`assertion`] signs with them. All of it is pure.

pub mod assertion;
pub mod certificate;
pub(crate) mod jwt;
pub mod private_key;
pub mod request;
pub mod rsa;
pub mod sign;
pub mod standard;
pub mod verify;
