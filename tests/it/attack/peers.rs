//! Other users of the machine at the loopback listener.
