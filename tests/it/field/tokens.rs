//! Tokens that are refreshed, used, described and handed out.
