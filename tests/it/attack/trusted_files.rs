//! Files that others can write.
