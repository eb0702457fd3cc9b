//! Numbers, text and sizes of answers: what comes in comes out.
