//! From files and variables to a document, with every fault on the way.

pub(crate) mod declared;
pub(crate) mod layers;
pub(crate) mod parse;
pub(crate) mod shape;
pub(crate) mod table;
pub(crate) mod variables;
#[cfg(feature = "yaml")]
mod yaml;
