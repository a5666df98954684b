//! Data on disk.
//!
//! | file | owns |
//! |---|---|
//! | `drain` | tracers for selectors that only the disk knows |

mod drain;
