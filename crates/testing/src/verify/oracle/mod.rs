//! The oracle: what a program must come to, by lexical rules and nothing else.

pub(super) mod env;
pub(super) mod expect;
