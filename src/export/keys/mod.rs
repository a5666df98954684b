//! API keys of lanes: read from their sources, shared by lanes with the same source, rotated.

mod key_read_limits;
mod key_renewals;
mod key_services;
pub(super) mod key_state;
pub(super) mod key_store;
pub(super) mod request_key;
pub(super) mod rotating_key;
