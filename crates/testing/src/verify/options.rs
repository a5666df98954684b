//! Options of `verify`.

use std::path::PathBuf;
use std::time::Duration;

/// Options of [`verify`](super::verify).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "nothing runs until `verify` is called"]
pub struct Verify {
    pub(super) seed: u64,
    pub(super) tenants: usize,
    pub(super) operations: usize,
    pub(super) threads: usize,
    pub(super) duration: Option<Duration>,
    pub(super) peer: bool,
    pub(super) chaos: bool,
    pub(super) gateway: Option<PathBuf>,
    pub(super) cluster: bool,
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
            gateway: None,
            cluster: false,
            limit: Duration::from_secs(300),
        }
    }
}

impl Verify {
    /// Creates the default options: 20 000 operations for 12 tenants on 4 threads, with seed 1.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the seed. The same seed generates the same programs.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the number of tenants in the first registry, at least 1. Environments, features and the
    /// second registry add further tracers.
    pub fn tenants(mut self, tenants: usize) -> Self {
        self.tenants = tenants.max(1);
        self
    }

    /// Sets the number of operations, at least 1.
    pub fn operations(mut self, operations: usize) -> Self {
        self.operations = operations.max(1);
        self
    }

    /// Sets the number of threads that use the same tracers concurrently, at least 1.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Starts new programs until this time has passed, instead of running a number of operations.
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = Some(duration);
        self
    }

    /// Disturbs the registries while the programs run: removes and evicts tracers, reloads
    /// configurations, removes and restores tenants, and rotates keys, with old keys refused at
    /// once.
    pub fn chaos(mut self, chaos: bool) -> Self {
        self.chaos = chaos;
        self
    }

    /// Runs programs of requests on a gateway instead, which `program serve` starts: the binary
    /// `tracer-registry`. [`operations`](Self::operations) are requests, which take about a
    /// millisecond each. Has no [`peer`](Self::peer).
    ///
    /// [`chaos`](Self::chaos) also rotates callers' tokens, makes receivers refuse data, and restarts
    /// the gateway. It needs the command `kill`.
    pub fn gateway(mut self, program: impl Into<PathBuf>) -> Self {
        self.gateway = Some(program.into());
        self
    }

    /// Runs the programs on three replicas of the [`gateway`](Self::gateway), which share a stream
    /// on one NATS server, or on three with [`chaos`](Self::chaos), which also kills replicas and
    /// servers. No effect without a gateway.
    ///
    /// The server is the program that the variable `NATS_SERVER` names, or `nats-server` on the
    /// path.
    #[cfg(feature = "jetstream")]
    #[cfg_attr(docsrs, doc(cfg(feature = "jetstream")))]
    pub fn cluster(mut self, cluster: bool) -> Self {
        self.cluster = cluster;
        self
    }

    /// Sets the time limit of a program of up to 4000 operations, including the creation of its
    /// tracers, the delivery and the checks. Default: 5 minutes. A program that exceeds it is
    /// reported as a deviation, and its threads are abandoned.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Also runs the same programs on plain SDK providers and counts their deviations.
    pub fn peer(mut self, peer: bool) -> Self {
        self.peer = peer;
        self
    }
}

/// Returns the seed of a round. The first round uses the seed from the options.
pub(super) fn round_seed(seed: u64, round: u64) -> u64 {
    seed.wrapping_add(round.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}
