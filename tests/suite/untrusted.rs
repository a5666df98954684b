//! Untrusted bindings from tenant files and database rows: what they may set, and what is refused.

mod connections;
mod files;
mod keys;
mod reloads;

use std::io::ErrorKind;
use std::net::TcpListener;

use tracer_registry::LookupError;
use tracer_registry::config::ResolveError;

const FOLDER: &str = "tenants_dir = \"tenants.d\"\n";

/// The operator's wildcard table.
const WILDCARD: &str = "[tenants.\"*\"]\napi_key = { provider = \"test\", name = \"any\" }\n";

/// A foreign server, which must receive no connection.
struct Attacker(TcpListener);

impl Attacker {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        Self(listener)
    }

    fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().expect("bound"))
    }

    /// Call after the exports are done: a connection would be in the listen queue by now.
    fn assert_untouched(&self) {
        let error = self.0.accept().expect_err("no connection");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
}

/// Returns the refused settings, each as `key: message`.
fn refused(error: &LookupError) -> Vec<String> {
    let LookupError::Resolve(ResolveError::Refused(refused)) = error else {
        panic!("{error}")
    };
    let faults = refused.problems().iter();
    faults
        .map(|fault| format!("{}: {}", fault.key(), fault.message()))
        .collect()
}
