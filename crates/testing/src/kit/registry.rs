//! A registry with its own collector.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::builder::TestRegistryBuilder;
use super::isolation::{self, Leak};
use super::keys::TestKeys;
use super::project::TestProject;
use tracer_registry::TracerRegistry;
use tracer_registry_collector::LocalCollector;

/// Longer than any delivery on loopback takes; reached only if something is broken.
const FLUSH: Duration = Duration::from_secs(30);

/// A registry with its own collector in the same process. It needs no files, variables or keys, and
/// each test can have its own.
///
/// Each tenant, environment and feature has its own key and project, created on first use. A
/// tenant's project is named by its slug, others as in `environment:staging` and `feature:search`.
/// Every tenant is known, unless [`tenants`](TestRegistryBuilder::tenants) lists the known ones.
///
/// ```
/// use tracer_registry::TracerRegistry;
/// use tracer_registry_testing::TestRegistry;
///
/// fn ask(registry: &TracerRegistry, tenant: &str) {                        // the service under test
///     let tracer = registry.tenant(tenant).expect("every tenant is known");
///     tracer.in_span("ask", |_| {
///         tracer.in_span("answer", |span| span.set_attribute("tokens", 7));
///     });
/// }
///
/// let test = TestRegistry::start();
/// ask(test.registry(), "acme");
/// ask(test.registry(), "globex");
///
/// let acme = test.project("acme");
/// assert_eq!(acme.spans().named("answer").one().attributes["tokens"], 7);
/// assert_eq!(acme.tree(), "ask\n└─ answer\n");
/// test.assert_isolated();
/// ```
///
/// The collector lives as long as the registry, so a service may run longer than its test.
pub struct TestRegistry {
    registry: TracerRegistry,
    pub(super) keys: Arc<TestKeys>,
}

impl TestRegistry {
    /// Starts a registry that knows every tenant, and no environment or feature.
    ///
    /// # Panics
    /// If loopback has no free port.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Returns a builder with the settings of [`start`](Self::start).
    pub fn builder() -> TestRegistryBuilder {
        TestRegistryBuilder::new()
    }

    /// Returns the registry for the service under test; cheap to clone.
    pub fn registry(&self) -> &TracerRegistry {
        &self.registry
    }

    /// Returns the collector, for faults, recorded requests and further assertions.
    pub fn collector(&self) -> &LocalCollector {
        &self.keys.collector
    }

    /// Sends all spans that have ended. Blocks the thread, and does not need the test's runtime.
    ///
    /// # Panics
    /// If data was lost since the last flush or is not delivered within 30 seconds. The message is
    /// the report.
    pub fn flush(&self) {
        let report = self.registry.force_flush(FLUSH);
        assert!(report.is_complete(), "not everything was delivered:\n{report}");
    }

    /// Returns a project after a [`flush`](Self::flush). Names are `acme` for a tenant,
    /// `environment:staging` and `feature:search`. A project without data is empty.
    ///
    /// # Panics
    /// Like [`flush`](Self::flush).
    pub fn project(&self, name: &str) -> TestProject {
        self.flush();
        TestProject::new(name, self.keys.collector.project(name))
    }

    /// Returns a unique text to put into data of this project: a question, an attribute, a header.
    /// If it arrives under another key, even inside other text, [`leaks`](Self::leaks) reports it.
    pub fn canary(&self, project: &str) -> String {
        self.keys.canary(project)
    }

    /// Returns data that arrived in the wrong project, after a [`flush`](Self::flush). Reports
    /// - requests of one tracer under the key of another one,
    /// - spans with a parent or a trace in another project, except for traces of a shared remote
    ///   caller,
    /// - spans of a session that was started in another project and not in theirs,
    /// - [canaries](Self::canary) and keys, in every byte of every request.
    ///
    /// It does not know which project a service's data belongs to: mark such data with canaries.
    ///
    /// # Panics
    /// Like [`flush`](Self::flush).
    pub fn leaks(&self) -> Vec<Leak> {
        self.flush();
        isolation::leaks(&self.keys)
    }

    /// Asserts that there are no [`leaks`](Self::leaks).
    ///
    /// # Panics
    /// If there are leaks, with a line for each; also like [`flush`](Self::flush).
    pub fn assert_isolated(&self) {
        let leaks = self.leaks();
        let lines: Vec<String> = leaks.iter().map(ToString::to_string).collect();
        assert!(leaks.is_empty(), "not isolated:\n{}", lines.join("\n"));
    }
}

impl TestRegistryBuilder {
    /// Starts the collector on a free loopback port and builds the registry.
    ///
    /// # Panics
    /// If loopback has no free port, a name is invalid, or [`configure`](Self::configure) made the
    /// configuration invalid.
    pub fn start(self) -> TestRegistry {
        let (registry, keys) = self.into_parts();
        TestRegistry { registry, keys }
    }
}

impl fmt::Debug for TestRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestRegistry")
            .field("collector", &self.keys.collector)
            .finish_non_exhaustive()
    }
}
