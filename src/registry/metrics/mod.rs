//! Metrics about the registry itself.

mod instruments;
mod observe;
mod series;
mod whole;
