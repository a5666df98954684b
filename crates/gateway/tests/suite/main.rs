//! Tests of a whole gateway: real clients in front, the local collector behind.

mod answers;
mod clients;

mod lifecycle;
mod limits;
mod requests;
mod support;
