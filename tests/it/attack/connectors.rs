//! Hostile connector files: hosts, private addresses, quoting, names.
