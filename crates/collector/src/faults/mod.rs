//! Misbehaviour on request.

pub(crate) mod fault;
pub(crate) mod list;
