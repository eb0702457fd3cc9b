//! What the programs that `exec` and `connect` start find in their environment.
