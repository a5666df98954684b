//! The registry's own work as metrics.

mod instruments;
mod observe;
mod series;
