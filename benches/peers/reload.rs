//! Reload of a configuration with many live tracers and one changed binding.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tracer_registry::config::Config;
use tracer_registry::{TracerHandle, TracerRegistry};

use crate::control::{Ports, Receiver};
use crate::job::Job;
use crate::options::Options;
use crate::ours::{self, KEY_VARIABLE};
use crate::row::{Row, Target, median, number};
use crate::{Result, child};

const TENANTS: usize = 10_000;

/// Result of several reloads.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reloaded {
    took: Vec<Duration>,
    /// Maximum number of tracers per reload that were wrongly replaced or kept.
    wrong: u64,
}

pub(crate) fn rows(options: &Options, receiver: &Receiver) -> Result<Vec<Row>> {
    let reloaded: Reloaded = child::measure(&Job::Reload {
        ports: receiver.ports,
        rounds: options.rounds(),
    })?;
    let at = format!("{TENANTS} live tracers, one binding changed");
    let millis = reloaded.took.iter().map(|took| Some(took.as_secs_f64() * 1e3));
    Ok(vec![
        Row::of("reload", at.clone(), "ms", Target::AtMost(1_000.0))
            .note(format!("{:?}", reloaded.took))
            .measured(median(millis), "", None),
        Row::of(
            "reload: tracers wrongly replaced or kept",
            at,
            "tracers",
            Target::AtMost(0.0),
        )
        .measured(Some(number(reloaded.wrong)), "", None),
    ])
}

pub(crate) fn measure(ports: Ports, rounds: usize) -> Result<Reloaded> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("bench.toml");
    fs::write(&file, text(ports, 0, 0)?)?;
    let registry = TracerRegistry::builder().config(Config::load_files(&file)?).build()?;
    let look_up = || -> Result<Vec<TracerHandle>> {
        let names = (0..TENANTS).map(ours::name);
        names.map(|name| Ok(registry.tenant(&name)?)).collect()
    };
    let mut before = look_up()?;
    let mut reloaded = Reloaded {
        took: Vec::new(),
        wrong: 0,
    };
    for round in 1..=rounds {
        let changed = (round * 4711) % TENANTS;
        fs::write(&file, text(ports, changed, round)?)?;
        let begun = Instant::now();
        let report = registry.reload()?;
        reloaded.took.push(begun.elapsed());
        let after = look_up()?;
        let differ = before.iter().zip(&after).enumerate();
        let wrong = differ.filter(|(at, (before, after))| before.same_tracer(after) == (*at == changed));
        let wrong = wrong.count() as u64 + u64::from(report.changed.len() != 1);
        reloaded.wrong = reloaded.wrong.max(wrong);
        before = after;
        // Change it back, so that the next round changes only one binding.
        fs::write(&file, text(ports, 0, 0)?)?;
        registry.reload()?;
        before[changed] = registry.tenant(&ours::name(changed))?;
    }
    Ok(reloaded)
}

fn text(ports: Ports, changed: usize, round: usize) -> Result<String> {
    let mut text = format!(
        "[pool]\nmax_tracers = {}\n[defaults]\nbackend = \"otlp\"\nendpoint = \"{}\"\n",
        2 * TENANTS,
        ports.url()
    );
    for at in 0..TENANTS {
        writeln!(
            text,
            "[tenants.{}]\napi_key = {{ env = \"{KEY_VARIABLE}\" }}",
            ours::name(at)
        )?;
        if at == changed && round > 0 {
            writeln!(text, "source = \"round-{round}\"")?;
        }
    }
    Ok(text)
}
