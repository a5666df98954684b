//! The program of the peer.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;

/// Path of the program, if it should not be installed.
const VARIABLE: &str = "GATEWAY_BENCH_ROTEL";
/// Pins the version and its hashes.
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/gateway/requirements.txt");
/// Prints the path of the program. The package starts it from there.
const FIND: &str = "import pathlib, rotel; print(pathlib.Path(rotel.__file__).with_name('rotel-agent'))";

/// Returns the program. Installs it if it is not there.
pub(crate) fn program() -> Result<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "where programs are found is no configuration")]
    let given = env::var_os(VARIABLE);
    if let Some(path) = given {
        return Ok(path.into());
    }
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rotel");
    let python = venv.join("bin/python");
    if let Ok(program) = find(&python) {
        return Ok(program);
    }
    eprintln!("installing the peer into {}", venv.display());
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    run(Command::new(&python)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--require-hashes",
            "-r",
        ])
        .arg(REQUIREMENTS))?;
    find(&python)
}

fn find(python: &Path) -> Result<PathBuf> {
    let program = PathBuf::from(run(Command::new(python).args(["-c", FIND]))?.trim());
    if program.is_file() {
        Ok(program)
    } else {
        Err(format!("{} is missing", program.display()).into())
    }
}

/// Runs a program and returns its output.
fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().last().unwrap_or_default();
        return Err(format!("{} failed: {last}", command.get_program().display()).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
