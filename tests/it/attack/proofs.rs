//! Webhooks that count as verified.
