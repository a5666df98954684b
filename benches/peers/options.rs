//! The command line.

use std::path::PathBuf;

use crate::Result;

/// Role of this process.
pub(crate) enum Role {
    Bench(Options),
    /// Runs a job, given as JSON, and prints its result.
    Child(String),
    Receiver,
    /// Not started by `cargo bench`, for example by `cargo test --benches`.
    Nothing,
}

/// Measurements to run and their thoroughness.
#[derive(Debug, Default)]
pub(crate) struct Options {
    quick: bool,
    pub(crate) json: Option<PathBuf>,
    only: Option<String>,
}

impl Role {
    pub(crate) fn from_args() -> Result<Self> {
        let mut options = Options::default();
        let mut benched = false;
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = |of: &str| args.next().ok_or_else(|| format!("{of} needs a value"));
            match arg.as_str() {
                "--receiver" => return Ok(Self::Receiver),
                "--child" => return Ok(Self::Child(value("--child")?)),
                "--bench" => benched = true,
                "--quick" => options.quick = true,
                "--json" => options.json = Some(value("--json")?.into()),
                "--only" => options.only = Some(value("--only")?),
                other => {
                    return Err(
                        format!("unknown argument {other:?}; known are --quick, --json FILE, --only ROW").into(),
                    );
                }
            }
        }
        Ok(if benched { Self::Bench(options) } else { Self::Nothing })
    }
}

impl Options {
    pub(crate) fn wants(&self, row: &str) -> bool {
        self.only.as_deref().is_none_or(|only| row.contains(only))
    }

    /// Number of rounds of a short measurement.
    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 5 } else { 11 }
    }

    /// Number of rounds of a measurement that takes seconds.
    pub(crate) fn long_rounds(&self) -> usize {
        if self.quick { 1 } else { 5 }
    }

    /// Returns `quick` or `full`, depending on the options.
    pub(crate) fn pick<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }
}
