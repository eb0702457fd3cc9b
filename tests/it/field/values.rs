//! Numbers, text and sizes of answers: what comes in comes out.

mod answers;
mod documents;
mod output;
mod service;
