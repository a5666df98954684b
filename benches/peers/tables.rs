//! Cost per table of a configuration with many tables, compared with a tenth of them.

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tracer_registry::check::CheckMode;
use tracer_registry::config::Config;
use tracer_registry::{Selector, TracerRegistry};

use crate::control::{Ports, Receiver};
use crate::job::Job;
use crate::options::Options;
use crate::ours::{self, KEY_VARIABLE};
use crate::row::{Row, Target, median, number};
use crate::{Result, child};

const MANY: usize = 100_000;
const FEW: usize = 10_000;
/// Maximum ratio of the cost per table. Caches hold the smaller configuration; quadratic time would
/// give ten.
const MAX_RATIO: f64 = 4.0;

/// Microseconds per table.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Tables {
    load: f64,
    check: f64,
    look_up: f64,
    unknown: f64,
    reload: f64,
    remove: f64,
}

pub(crate) fn rows(options: &Options, receiver: &Receiver) -> Result<Vec<Row>> {
    let (mut many, mut few) = (Vec::new(), Vec::new());
    for _ in 0..options.long_rounds() {
        for (tables, measured) in [(MANY, &mut many), (FEW, &mut few)] {
            let job = Job::Tables {
                ports: receiver.ports,
                tables,
            };
            measured.push(child::measure::<Tables>(&job)?);
        }
    }
    let row = |what: &'static str, of: fn(&Tables) -> f64| {
        let of_all = |all: &[Tables]| median(all.iter().map(of).map(Some));
        Row::of(
            what,
            format!("{MANY} tables"),
            "us a table",
            Target::RatioAtMost(MAX_RATIO),
        )
        .measured(of_all(&many), "10000 tables", of_all(&few))
    };
    Ok(vec![
        row("tables: load", |of| of.load),
        row("tables: check, keys from the environment", |of| of.check),
        row("tables: first look-up of each selector", |of| of.look_up),
        row("tables: look-up of an unknown name", |of| of.unknown),
        row("tables: reload, one of them changed", |of| of.reload),
        row("tables: reload, all tables removed", |of| of.remove),
    ])
}

pub(crate) fn measure(ports: Ports, tables: usize) -> Result<Tables> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("bench.toml");
    let each = |begun: Instant| begun.elapsed().as_secs_f64() * 1e6 / number(tables as u64);
    fs::write(&file, text(ports, tables, 1)?)?;
    let begun = Instant::now();
    let config = Config::load_files(&file)?;
    let load = each(begun);
    let selectors = config.selectors();
    let registry = TracerRegistry::builder().config(config).build()?;
    let begun = Instant::now();
    let checked = registry.check(CheckMode::Keys);
    let check = each(begun);
    if checked.len() != tables + 1 || checked.iter().any(|binding| binding.error.is_some()) {
        return Err(format!("{} bindings were checked, or some are invalid", checked.len()).into());
    }
    drop(checked);
    let begun = Instant::now();
    for selector in &selectors {
        black_box(registry.get(selector)?);
    }
    let look_up = each(begun);
    let begun = Instant::now();
    for at in 0..tables {
        let error = registry.get(Selector::tenant(&format!("unknown-{at}")));
        if !error.is_err_and(|error| error.is_unknown()) {
            return Err("an unknown name was found".into());
        }
    }
    let unknown = each(begun);
    fs::write(&file, text(ports, tables, 2)?)?;
    let begun = Instant::now();
    let report = registry.reload()?;
    let reload = each(begun);
    // The tenant's own selector and that of its route.
    if report.changed.len() != 2 || !report.removed.is_empty() {
        return Err(format!("one table changed, but the reload reports {report}").into());
    }
    fs::write(&file, text(ports, 0, 1)?)?;
    let begun = Instant::now();
    let report = registry.reload()?;
    let remove = each(begun);
    if report.removed.len() != tables {
        return Err(format!("all tables were removed, but the reload reports {report}").into());
    }
    Ok(Tables {
        load,
        check,
        look_up,
        unknown,
        reload,
        remove,
    })
}

/// Half of the tables are tenants, and each has a route.
fn text(ports: Ports, tables: usize, weight: usize) -> Result<String> {
    let mut text = format!(
        "[pool]\nmax_tracers = {}\n[defaults]\nbackend = \"otlp\"\nendpoint = \"{}\"\n[features.search]\n\
         api_key = {{ env = \"{KEY_VARIABLE}\" }}\n",
        2 * MANY,
        ports.url()
    );
    for at in 0..tables / 2 {
        let (name, weight) = (ours::name(at), if at == 0 { weight } else { 1 });
        writeln!(
            text,
            "[tenants.{name}]\napi_key = {{ env = \"{KEY_VARIABLE}\" }}\nweight = {weight}"
        )?;
        writeln!(
            text,
            "[[routes]]\nwhen = {{ tenant = \"{name}\", feature = \"search\" }}"
        )?;
    }
    Ok(text)
}
