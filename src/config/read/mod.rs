//! Reads files and variables into a document, and collects all problems.

pub(crate) mod declared;
pub(crate) mod defined_paths;
pub(crate) mod layers;
pub(crate) mod parse;
pub(crate) mod table;
pub(crate) mod variables;
#[cfg(feature = "yaml")]
mod yaml;
