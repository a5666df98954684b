//! The table `[gateway.admin]`.

use std::net::{IpAddr, SocketAddr};

use http::uri::Authority;
use tracer_registry::KeySource;
use tracer_registry::gateway::{GatewayProblems, GatewayTable};

/// The table `[gateway.admin]` with every default filled in. Contains no token.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminSettings {
    /// Address of the admin listener. Default: `127.0.0.1:4320`.
    pub listen: SocketAddr,
    /// Sources of the tokens. Each of them may do everything.
    pub tokens: Vec<KeySource>,
    /// Sources of the tokens that may only read `/metrics`. Default: none.
    pub metrics_tokens: Vec<KeySource>,
    /// Hosts that requests may be for, besides loopback and the listen address. In lower case.
    /// Default: none.
    pub hosts: Vec<String>,
    /// Whether a token is written, valid or not.
    pub(crate) has_token: bool,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 4320)),
            tokens: Vec::new(),
            metrics_tokens: Vec::new(),
            hosts: Vec::new(),
            has_token: false,
        }
    }
}

impl AdminSettings {
    /// Reads the fields of a layer over those of the layers below.
    pub(super) fn read(&mut self, table: &mut GatewayTable<'_, '_>) {
        let expected = "an address such as \"127.0.0.1:4320\"";
        if let Some(listen) = table.take("listen", expected) {
            self.listen = listen;
        }
        self.has_token |= table.has("token");
        if let Some(tokens) = table.key_sources("token") {
            self.tokens = tokens;
        }
        if let Some(tokens) = table.key_sources("metrics_token") {
            self.metrics_tokens = tokens;
        }
        if let Some(hosts) = read_hosts(table) {
            self.hosts = hosts;
        }
    }

    /// Checks the table beside the addresses of the other listeners.
    pub(super) fn check(
        &self,
        others: impl IntoIterator<Item = (&'static str, SocketAddr)>,
        has_tls: bool,
        problems: &mut GatewayProblems,
    ) {
        let field = "gateway.admin.listen";
        for (other, _) in others
            .into_iter()
            .filter(|(_, address)| self.listen.port() != 0 && *address == self.listen)
        {
            problems.add(field, format!("the address of {other}; each listener needs its own"));
        }
        if !has_tls && !self.listen.ip().to_canonical().is_loopback() {
            let rule = format!("{} is not a loopback address; set gateway.tls", self.listen);
            problems.add(field, rule);
        }
        if !self.has_token {
            problems.add("gateway.admin.token", "missing; every request needs a token");
        }
    }
}

fn read_hosts(table: &mut GatewayTable<'_, '_>) -> Option<Vec<String>> {
    let field = "hosts";
    let written: Vec<String> = table.take(field, "a list of host names such as \"gateway.internal\"")?;
    let mut hosts = Vec::with_capacity(written.len());
    for (index, text) in written.iter().enumerate() {
        match host(text) {
            Some(host) => hosts.push(host),
            None if text.contains('*') => {
                let rule = "\"*\" would turn the check of the host off; name the hosts";
                table.problem(field, format!("entry {index}: {rule}"));
            }
            None => table.problem(field, format!("entry {index} is not a host name without a port")),
        }
    }
    Some(hosts)
}

/// Returns a host name or an address in its only form.
fn host(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical().to_string());
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_name = |name: &str| {
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    let authority: Authority = name.parse().ok()?;
    (authority.host() == name && is_name(&name)).then_some(name)
}
