//! The command line, and what both processes agree on.

use std::time::Duration;

use clap::Parser;
use rand::Rng;

/// A span with this in it is refused with 400, and takes those with it that are sent in the same request.
pub(crate) const BAD: &str = "no-receiver-takes-this";

/// Many tenants and a receiver that fails: does every ledger add up, and does memory stay flat?
#[derive(Clone, Debug, Parser)]
pub(crate) struct Options {
    /// How long spans are made
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = minutes)]
    pub(crate) minutes: f64,
    /// How many tenants, each with a key and a project of its own
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=9_000))]
    pub(crate) tenants: u32,
    /// Spans a second, of all tenants together
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// Threads that make them
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) threads: u32,
    /// Where chance begins; which fault meets which request depends on the machine all the same
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Show everything as JSON, a line each
    #[arg(long)]
    pub(crate) json: bool,
    /// The other process
    #[arg(long, hide = true)]
    pub(crate) receiver: bool,
}

impl Options {
    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }

    /// A tenant by chance. The lower its number the busier it is: the first tenth has almost half of all.
    pub(crate) fn any_tenant(&self, chance: &mut impl Rng) -> u32 {
        let at: f64 = chance.random();
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

/// The name of a tenant, of its selector and of its spans.
pub(crate) fn name_of(tenant: u32) -> String {
    format!("t{tenant:04}")
}

pub(crate) fn key_of(name: &str) -> String {
    format!("key-of-{name}")
}
