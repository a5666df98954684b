//! What all connections share.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::Body;
use tokio::sync::Semaphore;

use crate::admin::Admin;
use crate::answer::Answer;
use crate::counters::Counters;
use crate::ingest::Ingest;
use crate::log::Log;
use crate::running::{Current, Running};

pub(crate) struct Server {
    pub(crate) handler: Handler,
    pub(crate) current: Arc<Current>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) log: Arc<Log>,
    /// Turns of HTTP/2 connections with more to do than others.
    pub(crate) turns: Semaphore,
    /// Bytes of memory that incomplete heads have reserved. They share the budget as the requests
    /// of one caller do.
    pub(crate) of_heads: Arc<AtomicUsize>,
}

/// What answers the requests.
pub(crate) enum Handler {
    Ingest(Arc<Ingest>),
    Admin(Arc<Admin>),
}

impl Server {
    pub(super) fn running(&self) -> Arc<Running> {
        self.current.running()
    }

    pub(super) fn max_connections(&self) -> usize {
        match self.handler {
            Handler::Ingest(_) => self.running().settings.max_connections,
            Handler::Admin(_) => Admin::MAX_CONNECTIONS,
        }
    }

    pub(super) fn idle_timeout(&self) -> Duration {
        let configured = self.running().settings.idle_timeout;
        match self.handler {
            Handler::Ingest(_) => configured,
            Handler::Admin(_) => configured.min(Admin::IDLE_TIMEOUT),
        }
    }

    /// Returns whether an answer with `connection: close` ends a connection of HTTP/2 too.
    pub(super) fn ends_connections(&self) -> bool {
        matches!(self.handler, Handler::Admin(_))
    }

    pub(super) async fn answer<B>(&self, request: Request<B>, peer: IpAddr) -> Answer
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        match &self.handler {
            Handler::Ingest(ingest) => ingest.answer(request, peer).await,
            Handler::Admin(admin) => admin.answer(request, peer).await,
        }
    }
}
