//! Bytes that reach a terminal, and expressions that never end.
