//! The home of `#[trace]`, the attribute macro of `tracer-registry`.
//!
//! A crate of its own because the compiler wants procedural macros so. It exports nothing yet.
