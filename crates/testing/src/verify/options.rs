//! What is asked.

use std::time::Duration;

/// How much is tried, and from which seed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "nothing is tried before `verify`"]
pub struct Verify {
    pub(super) seed: u64,
    pub(super) tenants: usize,
    pub(super) operations: usize,
    pub(super) threads: usize,
    pub(super) duration: Option<Duration>,
    pub(super) peer: bool,
    pub(super) chaos: bool,
    pub(super) limit: Duration,
}

impl Default for Verify {
    fn default() -> Self {
        Self {
            seed: 1,
            tenants: 12,
            operations: 20_000,
            threads: 4,
            duration: None,
            peer: false,
            chaos: false,
            limit: Duration::from_secs(300),
        }
    }
}

impl Verify {
    /// A try of default size: 20 000 operations for 12 tenants on 4 threads, from the seed 1.
    pub fn new() -> Self {
        Self::default()
    }

    /// The seed. The same one makes the same programs.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How many tenants the first registry has, at least 1; there are some tracers more, for
    /// environments, features and the second registry.
    pub fn tenants(mut self, tenants: usize) -> Self {
        self.tenants = tenants.max(1);
        self
    }

    /// How many operations are tried, in rounds.
    pub fn operations(mut self, operations: usize) -> Self {
        self.operations = operations.max(1);
        self
    }

    /// How many threads run at the same time on the same tracers, at least 1.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Goes on until so much time is over, however many operations that are.
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = Some(duration);
        self
    }

    /// Disturbs the registries while the programs run: tracers that are taken out and evicted,
    /// configurations that are read again, tenants that go and come back, keys that are refused
    /// from the moment in which others come in their place.
    pub fn chaos(mut self, chaos: bool) -> Self {
        self.chaos = chaos;
        self
    }

    /// How long a program of up to 4000 operations may take until it is held to have no end, 5
    /// minutes by default: with the making of the tracers, the delivery and the checks. That is a
    /// deviation; its threads are left as they are.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Also runs the same programs on plain providers, and counts what they leak.
    pub fn peer(mut self, peer: bool) -> Self {
        self.peer = peer;
        self
    }
}
