//! One request on the wire: connections, proxies, TLS, HTTP and gRPC.

pub(super) mod connections;
#[cfg(feature = "tls")]
mod connector;
pub(super) mod exchange;
#[cfg(feature = "grpc")]
mod grpc;
pub(super) mod proxy;
mod proxy_connector;
pub(super) mod receiver_text;
mod resolver;
pub(super) mod tls;
pub(super) mod transport;
mod tunnel;
