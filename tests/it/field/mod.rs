//! What users of similar tools reported, and what real peers showed: each fault with the correct value, numbered as in the
//! field review.

mod input;
mod lists;
mod sign_in;
mod tokens;
mod values;
mod webhooks;
