//! The committed counts, and the toolchain and processor they were measured on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::{Result, ratio};

/// Maximum growth of a count that passes.
const MAX_GROWTH: f64 = 1.05;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Baseline {
    toolchain: String,
    processor: String,
    instructions: BTreeMap<String, u64>,
}

impl Baseline {
    pub(crate) fn new(counts: &[(&str, u64)]) -> Result<Self> {
        let rustc = Command::new("rustc").arg("--version").output()?;
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processors.lines().find_map(|line| line.strip_prefix("model name"));
        Ok(Self {
            toolchain: String::from_utf8(rustc.stdout)?.trim().to_owned(),
            processor: model
                .unwrap_or_default()
                .trim_start_matches([':', ' ', '\t'])
                .to_owned(),
            instructions: counts
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
        })
    }

    pub(crate) fn write(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        Ok(fs::write(path(), text + "\n")?)
    }

    /// Compares the counts with the committed ones.
    pub(crate) fn check(&self) -> Result<()> {
        let committed: Self = serde_json::from_str(&fs::read_to_string(path())?)?;
        let mut grown = Vec::new();
        for (name, count) in &self.instructions {
            let Some(before) = committed.instructions.get(name) else {
                return Err(format!("{name}: not in the baseline").into());
            };
            if ratio(*count, *before) > MAX_GROWTH {
                grown.push(format!("{name}: {before} before, {count} now"));
            }
        }
        if grown.is_empty() {
            return Ok(());
        }
        let grown = grown.join("\n");
        if (&self.toolchain, &self.processor) == (&committed.toolchain, &committed.processor) {
            return Err(format!("instructions grew more than 5 % over the baseline\n{grown}").into());
        }
        println!(
            "the baseline was measured with {} on {}; counts grew here:\n{grown}",
            committed.toolchain, committed.processor
        );
        Ok(())
    }
}

fn path() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/baseline.json"))
}
