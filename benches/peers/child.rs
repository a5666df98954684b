//! A measurement in a process of its own: this program again.

use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;

use crate::Result;
use crate::job::Job;
use crate::ours::KEY_VARIABLE;

/// Runs a job in a process of its own and gives what it measured.
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
