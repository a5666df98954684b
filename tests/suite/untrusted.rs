//! Writers of tenants' files and of rows in a database that need not be trusted: what they get, and what they never get.

mod connections;
mod files;
mod keys;
mod reloads;

use std::io::ErrorKind;
use std::net::TcpListener;

use tracer_registry::LookupError;
use tracer_registry::config::ResolveError;

const FOLDER: &str = "tenants_dir = \"tenants.d\"\n";

/// What the operator gives every tenant.
const ANY: &str = "[tenants.\"*\"]\napi_key = { provider = \"test\", name = \"any\" }\n";

/// A server of somebody else's, where nothing may arrive.
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

    /// A connection that was begun is in the queue by now, whoever made it is done.
    fn assert_untouched(&self) {
        let error = self.0.accept().expect_err("nobody connects");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
}

/// What was refused, as `key: message`.
fn refused(error: &LookupError) -> Vec<String> {
    let LookupError::Resolve(ResolveError::Refused(refused)) = error else {
        panic!("{error}")
    };
    let faults = refused.problems().iter();
    faults
        .map(|fault| format!("{}: {}", fault.key(), fault.message()))
        .collect()
}
