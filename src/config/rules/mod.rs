//! Rules for values from files and from code.

pub(crate) mod check;
pub(crate) mod endpoint;
pub(crate) mod header;
pub(crate) mod routes;
pub(crate) mod template;
pub(crate) mod values;
