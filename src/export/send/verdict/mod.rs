//! What an answer, or the lack of one, means for what was sent.

#[cfg(feature = "grpc")]
mod grpc;
pub(crate) mod judge;
mod partial_success;
mod success;
#[cfg(test)]
mod tests;
pub(crate) mod verdict;
