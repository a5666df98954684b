//! The registry of a test, and what its collector has of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tracer_registry::TracerRegistry;
use tracer_registry_collector::LocalCollector;

use super::isolation::{self, Leak};
use super::keys::TestKeys;
use super::project::TestProject;

/// Longer than anything on loopback takes; reached only where something is broken.
const FLUSH: Duration = Duration::from_secs(30);

/// A registry with a collector of its own in the same process: no file, no variable, no key to set, and as many at once as there are tests.
///
/// Each tenant, environment and feature has a key and a project of its own, both made up on first use. The project of a tenant has its slug for a
/// name, those of environments and features are `environment:staging` and `feature:search`. Any tenant is known, unless
/// [`tenants`](super::TestRegistryBuilder::tenants) names some.
///
/// ```
/// use tracer_registry::TracerRegistry;
/// use tracer_registry_testing::TestRegistry;
///
/// fn ask(registry: &TracerRegistry, tenant: &str) {                        // the service under test
///     let tracer = registry.tenant(tenant).expect("any tenant is known");
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
/// The collector lives as long as the registry, so that a service may outlive its test's assertions.
pub struct TestRegistry {
    pub(super) registry: TracerRegistry,
    pub(super) keys: Arc<TestKeys>,
}

impl TestRegistry {
    /// What the service under test is given; cheap to clone.
    pub fn registry(&self) -> &TracerRegistry {
        &self.registry
    }

    /// The collector, for faults, recorded requests and all that has no assertion here.
    pub fn collector(&self) -> &LocalCollector {
        &self.keys.collector
    }

    /// Sends all that has ended. Blocks the thread; nothing that it waits for runs on a runtime of the test.
    ///
    /// # Panics
    /// Where something was lost since the last flush, or is not delivered within 30 seconds; the message is the report.
    pub fn flush(&self) {
        let report = self.registry.force_flush(FLUSH);
        assert!(report.is_complete(), "not all was delivered:\n{report}");
    }

    /// A project as it is after a [`flush`](Self::flush): `acme` of a tenant, `environment:staging`, `feature:search`. One that got nothing is empty.
    ///
    /// # Panics
    /// As [`flush`](Self::flush).
    pub fn project(&self, name: &str) -> TestProject {
        self.flush();
        TestProject::new(name, self.keys.collector.project(name))
    }

    /// A text to put into what a project's owner is alone to see: a question, an attribute, a header. Wherever it arrives under another key,
    /// [`leaks`](Self::leaks) finds it, also within other text and in what no assertion looks at.
    pub fn canary(&self, project: &str) -> String {
        self.keys.canary(project)
    }

    /// What is in a project that is another one's, after a [`flush`](Self::flush). It looks for
    /// - requests of one tracer under the key of another one,
    /// - spans whose parent or whose trace is in another project, but for traces that both took from outside,
    /// - spans of a session that was started in another project,
    /// - [canaries](Self::canary) and keys, in every byte of every request.
    ///
    /// It cannot know what a service may tell of whom: put canaries into what must not cross.
    ///
    /// # Panics
    /// As [`flush`](Self::flush).
    pub fn leaks(&self) -> Vec<Leak> {
        self.flush();
        isolation::leaks(&self.keys)
    }

    /// Fails where there are [`leaks`](Self::leaks).
    ///
    /// # Panics
    /// With a line for each leak; also as [`flush`](Self::flush).
    pub fn assert_isolated(&self) {
        let leaks = self.leaks();
        let lines: Vec<String> = leaks.iter().map(ToString::to_string).collect();
        assert!(leaks.is_empty(), "not isolated:\n{}", lines.join("\n"));
    }
}

impl fmt::Debug for TestRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestRegistry")
            .field("collector", &self.keys.collector)
            .finish_non_exhaustive()
    }
}
