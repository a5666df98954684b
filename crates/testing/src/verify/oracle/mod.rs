//! The oracle: predicts the data of a program from lexical rules only.

pub(super) mod env;
pub(super) mod expect;
