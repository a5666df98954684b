//! A registry for a service's tests, with access to the spans that it delivered.

mod builder;
mod isolation;
mod keys;
mod project;
mod registry;
mod spans;
#[cfg(test)]
mod tests;

pub use builder::TestRegistryBuilder;
pub use isolation::Leak;
pub use project::TestProject;
pub use registry::TestRegistry;
pub use spans::Spans;
