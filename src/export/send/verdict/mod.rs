//! Verdicts on attempts, from the receiver's answer or its absence.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
#[cfg(feature = "grpc")]
mod grpc;
mod judge;
mod partial_success;
mod success;
#[cfg(test)]
mod tests;
mod verdict;

pub(crate) use judge::judge;
pub(crate) use verdict::Verdict;
