//! What happened to each trace in the last minutes, for `TracerRegistry::explain`.
//!
//! The table is off unless `export.explain.max_traces` is set. A trace id is kept as a keyed hash,
//! and what happened to its spans is kept by selector: equal trace ids of two tenants have two
//! [`Fate`](fate::Fate)s. Only lanes record, each under its own selector (`lane/fates.rs`).
//!
//! | file | owns |
//! |---|---|
//! | `fate` | what happened to the spans of a trace, for one selector |
//! | `counts` | the traces of a batch, with the number of their spans |
//! | `table` | fates by trace, bounded in number and age |
//! | `explanation` | the public types |

pub(crate) mod counts;
pub(crate) mod explanation;
pub(crate) mod fate;
pub(crate) mod table;
