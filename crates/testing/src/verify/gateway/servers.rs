//! NATS servers that replicas share.

pub(super) use self::processes::Servers;

#[cfg(all(feature = "jetstream", unix))]
mod processes {
    use std::sync::Mutex;

    use tokio::runtime::Handle;
    use tracer_registry_stream::test::TestCluster;

    use super::super::super::error::VerifyError;
    use crate::lock::lock;

    /// Servers as processes. All methods block.
    pub(in super::super) struct Servers {
        cluster: Mutex<TestCluster>,
        runtime: Handle,
    }

    impl Servers {
        pub(in super::super) fn start(nodes: usize, runtime: &Handle) -> Result<Self, VerifyError> {
            TestCluster::check_program().map_err(VerifyError::Servers)?;
            let cluster = runtime.block_on(TestCluster::start(nodes));
            Ok(Self {
                cluster: Mutex::new(cluster),
                runtime: runtime.clone(),
            })
        }

        pub(in super::super) fn nodes(&self) -> usize {
            lock(&self.cluster).nodes()
        }

        pub(in super::super) fn urls(&self) -> Vec<String> {
            lock(&self.cluster).urls()
        }

        pub(in super::super) fn monitor_urls(&self) -> Vec<String> {
            lock(&self.cluster).monitor_urls()
        }

        /// Kills a server, chosen by number, and starts it again.
        pub(in super::super) fn kill(&self, number: usize) {
            let mut cluster = lock(&self.cluster);
            let node = number % cluster.nodes();
            cluster.kill(node);
            self.runtime.block_on(cluster.restart(node));
        }

        /// Kills all servers.
        pub(in super::super) fn end(&self) {
            let mut cluster = lock(&self.cluster);
            (0..cluster.nodes()).for_each(|node| cluster.kill(node));
        }
    }
}

#[cfg(not(all(feature = "jetstream", unix)))]
mod processes {
    use tokio::runtime::Handle;

    use super::super::super::error::VerifyError;

    /// There are none.
    pub(in super::super) enum Servers {}

    impl Servers {
        pub(in super::super) fn start(_nodes: usize, _runtime: &Handle) -> Result<Self, VerifyError> {
            Err(VerifyError::Servers(
                "this needs Unix and the feature jetstream".to_owned(),
            ))
        }

        pub(in super::super) fn nodes(&self) -> usize {
            match *self {}
        }

        pub(in super::super) fn urls(&self) -> Vec<String> {
            match *self {}
        }

        pub(in super::super) fn monitor_urls(&self) -> Vec<String> {
            match *self {}
        }

        pub(in super::super) fn kill(&self, _number: usize) {
            match *self {}
        }

        pub(in super::super) fn end(&self) {
            match *self {}
        }
    }
}

/// Ends the servers when it is dropped, also if a thread that hangs still has them.
pub(super) struct End<'s>(pub(super) &'s Servers);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
