//! Webhook requests of every size, encoding and repetition, and what becomes of them.
