//! Webhook signatures: a rule of the connector's file is used to [`verify`] and to [`sign`]; [`standard`] signs integ's
//! own webhooks, and [`checkpoint`] places of the audit log;
//! [`identity_token`] verifies who a CI job is. Also the user's keys: [`private_key`] and [`certificate`] read
//! them, [`assertion`] signs with them. All pure.

pub mod assertion;
pub mod certificate;
pub mod checkpoint;
pub mod identity_token;
pub(crate) mod jwt;
pub mod private_key;
pub mod request;
pub mod rsa;
pub mod sign;
pub mod standard;
pub mod verify;
