//! Runs a measurement in a separate process of this program.

use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;

use crate::Result;
use crate::job::Job;
use crate::ours::KEY_VARIABLE;

/// Runs a job in a separate process and returns its result.
pub(crate) fn measure<T: DeserializeOwned>(job: &Job) -> Result<T> {
    let output = Command::new(std::env::current_exe()?)
        .arg("--child")
        .arg(serde_json::to_string(job)?)
        .env(KEY_VARIABLE, "a-key-of-the-benchmark")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{job:?} ended with {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
