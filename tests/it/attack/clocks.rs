//! Wrong clocks, and processes that were stopped while an answer arrived.
