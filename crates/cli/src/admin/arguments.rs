//! Commands of `admin`, and the paths that they ask for.

use std::fmt::Display;

use clap::{Args, Subcommand, ValueEnum};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Variable with the token, if no option names another source.
pub(crate) const TOKEN_VARIABLE: &str = "TRACER_REGISTRY_ADMIN_TOKEN";
/// What a path segment or a parameter has unchanged.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List tenants, page by page
    Tenants(Tenants),
    /// Show one tenant: its key, destination, counts and errors
    Tenant(Selected),
    /// List the last batches of a tenant that its receiver refused, with the receiver's words
    Refused(Selected),
    /// List callers with their requests and refusals
    Callers(Callers),
    /// List receivers with the tenants that send there
    Endpoints,
    /// Show the running configuration
    Config,
    /// List what needs an operator; exits with 1 if one of it is an error
    Attention,
    /// Print each change of state until ctrl-c
    Events(Events),
    /// Print the metrics in Prometheus text
    Metrics,
    /// Read the configuration again
    Reload,
    /// Send what a tenant has queued, and wait for it
    Flush(Flush),
    /// Stop sending for a tenant; its data keeps queueing
    Pause(Selected),
    /// Send again for a paused tenant
    Resume(Selected),
    /// Remove the tracer of a tenant; the next data creates a new one
    Remove(Selected),
    /// Read the key of a tenant again and use it
    Rotate(Rotate),
    /// Make all replicas that share a stream read the key of a tenant again
    Nudge(Selected),
    /// Show what is on disk
    Spool,
    /// Show the ledger of all replicas that share a stream
    Cluster,
    /// Show the state of this replica's stream
    Stream,
    /// Erase the data of a tenant, in memory and on disk, and refuse later data
    Purge(Selected),
    /// Take data of an erased tenant again
    Allow(Selected),
}

#[derive(Debug, Args)]
pub(super) struct Selected {
    /// Name of a tenant, or a selector such as feature:search,tenant:acme
    #[arg(value_name = "SELECTOR")]
    pub(super) selector: String,
}

#[derive(Debug, Args)]
pub(super) struct Tenants {
    /// Order: by name, or the largest number or age first
    #[arg(long, value_enum, default_value_t = Order::Selector)]
    pub(super) order: Order,
    /// List only these
    #[arg(long, value_enum, default_value_t = Only::All)]
    pub(super) only: Only,
    /// List only selectors that contain this text
    #[arg(long, value_name = "TEXT")]
    pub(super) contains: Option<String>,
    /// Continue after this position, which the page before shows at its end
    #[arg(long, value_name = "POSITION")]
    pub(super) after: Option<String>,
    /// Most tenants to list, up to 1000
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(super) limit: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Order {
    Selector,
    QueuedBytes,
    Queued,
    Dropped,
    Delivered,
    OldestQueued,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Only {
    All,
    Failing,
    Paused,
}

#[derive(Debug, Args)]
pub(super) struct Callers {
    /// List only callers with this text in their name
    #[arg(long, value_name = "TEXT")]
    pub(super) contains: Option<String>,
    /// Continue after this caller
    #[arg(long, value_name = "NAME")]
    pub(super) after: Option<String>,
    /// Most callers to list, up to 1000
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(super) limit: u32,
}

#[derive(Debug, Args)]
pub(super) struct Events {
    /// Begin after the change with this number; 0 begins with the oldest that is kept
    #[arg(long, value_name = "NUMBER")]
    pub(super) after: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct Flush {
    #[command(flatten)]
    pub(super) of: Selected,
    /// Longest time to wait, up to 30s
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub(super) timeout: String,
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    pub(super) of: Selected,
    /// Read the key and try it at the receiver, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl Selected {
    /// Returns the path of the selector, with what follows it.
    pub(super) fn path(&self, rest: &str) -> String {
        format!("/api/tenants/{}{rest}", encoded(&self.selector))
    }
}

impl Tenants {
    pub(super) fn path(&self) -> String {
        let order = match self.order {
            Order::Selector => "selector",
            Order::QueuedBytes => "queued_bytes",
            Order::Queued => "queued",
            Order::Dropped => "dropped",
            Order::Delivered => "delivered",
            Order::OldestQueued => "oldest_queued",
        };
        let only = match self.only {
            Only::All => "all",
            Only::Failing => "failing",
            Only::Paused => "paused",
        };
        let path = format!("/api/tenants?order={order}&only={only}&limit={}", self.limit);
        with_text(path, [("contains", &self.contains), ("after", &self.after)])
    }
}

impl Callers {
    pub(super) fn path(&self) -> String {
        let path = format!("/api/callers?limit={}", self.limit);
        with_text(path, [("contains", &self.contains), ("after", &self.after)])
    }
}

/// Appends the parameters that are set.
fn with_text(mut path: String, parameters: [(&str, &Option<String>); 2]) -> String {
    for (name, value) in parameters {
        if let Some(value) = value {
            path = format!("{path}&{name}={}", encoded(value));
        }
    }
    path
}

/// Encodes a path segment or a parameter.
pub(super) fn encoded(text: &str) -> impl Display + '_ {
    utf8_percent_encode(text, UNRESERVED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_one_path_segment() {
        assert_eq!(encoded("tenant:acme-1.a_b~").to_string(), "tenant%3Aacme-1.a_b~");
        assert_eq!(encoded("../x?y#z%2f ü").to_string(), "..%2Fx%3Fy%23z%252f%20%C3%BC");
    }
}
