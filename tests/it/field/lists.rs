//! Lists that end early, late, never or with an error, and what may be deleted after them.
