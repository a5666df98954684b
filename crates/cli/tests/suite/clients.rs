//! Released clients, unmodified. Each program of `tests/clients` runs for two tenants at once.

mod opentelemetry;
mod page;
mod setup;
mod vendors;
