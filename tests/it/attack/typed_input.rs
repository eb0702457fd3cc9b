//! Connector files and vendors that name local files.
