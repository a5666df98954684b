//! Programs: operations on the tracers of a cast, as values and as text.

pub(super) mod cast;
pub(super) mod operation;
pub(super) mod print;
pub(super) mod shrink;
