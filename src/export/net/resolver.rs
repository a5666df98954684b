//! Name resolution, without addresses that an untrusted layer may not reach.
//!
//! Runs for each new connection, and the checked addresses are the ones connected to. So DNS
//! rebinding is caught.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec;

use http::Uri;
use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use crate::config::{Addresses, line_for_address};
use crate::export::schedule::blocking::Blocking;

/// Resolves names for endpoints of the operator or of an untrusted layer.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    blocking: Blocking,
    /// Set if the endpoint is of an untrusted layer: the non-public addresses that it may use.
    untrusted: Option<Arc<Addresses>>,
}

impl Resolver {
    pub(crate) fn new(untrusted: Option<Arc<Addresses>>, blocking: &Blocking) -> Self {
        Self {
            blocking: blocking.clone(),
            untrusted,
        }
    }

    /// Checks a host that is an address, for which no name is resolved.
    pub(crate) fn check_literal(&self, to: &Uri) -> io::Result<()> {
        let host = to.host().unwrap_or_default().trim_matches(['[', ']']);
        match (&self.untrusted, host.parse::<IpAddr>()) {
            (Some(allowed), Ok(address)) => check(allowed, host, address),
            _ => Ok(()),
        }
    }
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { blocking, untrusted } = self.clone();
        Box::pin(async move {
            let host = name.clone();
            let addresses = blocking.run(move || (host.as_str(), 0).to_socket_addrs()).await;
            let addresses = addresses.map_err(|error| no_thread(&error))??;
            match untrusted {
                None => Ok(addresses),
                Some(allowed) => reachable(&allowed, name.as_str(), addresses),
            }
        })
    }
}

fn no_thread(error: &io::Error) -> io::Error {
    io::Error::other(format!("cannot resolve the name: cannot start a thread: {error}"))
}

/// Returns the allowed addresses, or the last refusal if none is allowed.
fn reachable(
    allowed: &Addresses,
    name: &str,
    addresses: impl Iterator<Item = SocketAddr>,
) -> io::Result<vec::IntoIter<SocketAddr>> {
    let mut refused = None;
    let mut left = Vec::new();
    for address in addresses {
        match check(allowed, name, address.ip()) {
            Ok(()) => left.push(address),
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) if left.is_empty() => Err(error),
        _ => Ok(left.into_iter()),
    }
}

fn check(allowed: &Addresses, host: &str, address: IpAddr) -> io::Result<()> {
    let Some(word) = allowed.refusal(address) else {
        return Ok(());
    };
    let line = line_for_address(allowed, address);
    let at = if host.parse::<IpAddr>().is_ok() {
        String::new()
    } else {
        format!("{host} is ")
    };
    Err(io::Error::other(format!(
        "{at}{address}, which is {word} and not allowed for an endpoint of an untrusted layer; to allow it: {line}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_not_allowed_are_removed() {
        let socket = |text: &str| SocketAddr::new(text.parse().expect("an address"), 443);
        let reached = |addresses: &[&str]| {
            let addresses = addresses.iter().map(|text| socket(text));
            reachable(&Addresses::default(), "collector.example", addresses)
        };
        let left = reached(&["127.0.0.1", "8.8.8.8", "::1", "2606:4700::1111"]).expect("some are public");
        assert_eq!(left.as_slice(), [socket("8.8.8.8"), socket("2606:4700::1111")]);
        let error = reached(&["169.254.169.254", "::ffff:10.0.0.1"]).expect_err("none is public");
        assert_eq!(
            error.to_string(),
            "collector.example is ::ffff:10.0.0.1, which is private and not allowed for an endpoint of an untrusted layer; \
             to allow it: untrusted.addresses = [\"::ffff:10.0.0.1\"]"
        );
        assert_eq!(reached(&[]).expect("nothing to refuse").len(), 0);
    }
}
