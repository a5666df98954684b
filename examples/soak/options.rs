//! The command line, and definitions shared by both processes.

use std::time::Duration;

use clap::Parser;
use rand::Rng;

/// A span that contains this is refused with 400, together with the other spans of its request.
pub(crate) const BAD: &str = "no-receiver-takes-this";

/// Many tenants and a failing receiver: checks that every ledger adds up and that memory stays
/// flat.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Options {
    /// Duration of the load in minutes
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = minutes)]
    pub(crate) minutes: f64,
    /// Number of tenants, each with its own key and project
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=9_000))]
    pub(crate) tenants: u32,
    /// Spans per second, all tenants together
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// Threads that create spans
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) threads: u32,
    /// Seed of the random generators; timing still varies between machines
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Print JSON, one object per line
    #[arg(long)]
    pub(crate) json: bool,
    /// Restart the registry after so many seconds, again and again. Its data is on disk: by turns all
    /// of it, or what could not be sent
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) restart_every: Option<u64>,
    /// Runs the receiver's process
    #[arg(long, hide = true)]
    pub(crate) receiver: bool,
}

impl Options {
    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }

    /// Returns a random tenant. Lower numbers are busier: the first tenth gets almost half of the
    /// load.
    pub(crate) fn any_tenant(&self, rng: &mut impl Rng) -> u32 {
        let at: f64 = rng.random();
        let tenants = f64::from(self.tenants);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from zero to below the number of tenants"
        )]
        let tenant = (at * at * at * tenants) as u32;
        tenant.min(self.tenants - 1)
    }
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if (0.01..=10_000.0).contains(&minutes) => Ok(minutes),
        _ => Err("a number from 0.01 to 10000".to_owned()),
    }
}

/// Returns the name of a tenant, also used for its selector and spans.
pub(crate) fn name_of(tenant: u32) -> String {
    format!("t{tenant:04}")
}

pub(crate) fn key_of(name: &str) -> String {
    format!("key-of-{name}")
}
