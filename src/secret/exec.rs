//! Keys printed by a command: the way to any secret manager that has a command line.
//!
//! No shell is involved: the first word is the program, the others are its arguments as they are. The command has no
//! standard input, a time limit and an output limit.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use super::key::{ApiKey, MAX_KEY_BYTES};
use super::{SecretError, SecretFault};

/// How often a command that closed its output is asked whether it ended.
const POLL: Duration = Duration::from_millis(2);
/// The longest that a command is waited for, whatever its timeout says: the clock cannot add every duration.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// How much of a command's standard error is looked at.
const MAX_STDERR_BYTES: usize = 1024;

pub(super) fn read(words: &[String], timeout: Duration) -> Result<ApiKey, SecretError> {
    run(words, timeout).map_err(|fault| SecretError::new(format!("command {}", shown_program(words)), fault))
}

/// What a message says of a command: the program. Where a whole command line stands in its place, only the first word of it, for a token
/// may be among the others.
pub(super) fn shown_program(words: &[String]) -> &str {
    let first = words.first().map(|program| program.split_whitespace().next());
    first.flatten().unwrap_or_default()
}

fn run(words: &[String], timeout: Duration) -> Result<ApiKey, SecretFault> {
    let deadline = Instant::now() + timeout.min(LONGEST);
    let (program, arguments) = words
        .split_first()
        .ok_or(SecretFault::NotStarted(io::ErrorKind::InvalidInput))?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| SecretFault::NotStarted(error.kind()))?;
    let stdout = collect(child.stdout.take(), MAX_KEY_BYTES + 3);
    let stderr = collect(child.stderr.take(), MAX_STDERR_BYTES);
    let ended = wait(&mut child, deadline);
    let Some(status) = ended else {
        // Killing may fail only because it has just ended; either way it is reaped.
        drop(child.kill());
        drop(child.wait());
        return Err(SecretFault::TimedOut(timeout));
    };
    // A grandchild may hold the pipes open after the command ended: what is there by the deadline is what counts.
    let left = deadline.saturating_duration_since(Instant::now());
    let output = stdout.recv_timeout(left).map_err(|_| SecretFault::TimedOut(timeout))?;
    if status.success() {
        return ApiKey::from_output(output);
    }
    let said = stderr.recv_timeout(Duration::from_millis(50)).unwrap_or_default();
    let stderr = if output.is_empty() { harmless_line(&said) } else { None };
    drop(secrecy::SecretSlice::from(output));
    Err(SecretFault::Failed {
        status: status.to_string(),
        stderr,
    })
}

/// Reads a pipe to its end or to `limit` on a thread of its own, so that a command that prints a lot is not stuck.
fn collect(pipe: Option<impl Read + Send + 'static>, limit: usize) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    if let Some(mut pipe) = pipe {
        let read = move || {
            let mut kept = Vec::with_capacity(limit);
            let bound = u64::try_from(limit).expect("a small constant");
            // An error while reading leaves what came before it, which the checks of a key then judge.
            drop(pipe.by_ref().take(bound).read_to_end(&mut kept));
            drop(sender.send(kept));
            drop(io::copy(&mut pipe, &mut io::sink()));
        };
        // Where no thread can be had, the channel's end says at once that there is no output.
        drop(
            thread::Builder::new()
                .name("tracer-registry-exec".to_owned())
                .spawn(read),
        );
    }
    receiver
}

fn wait(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(POLL),
            Ok(None) | Err(_) => return None,
        }
    }
}

/// The first line of standard error, if no word in it could be a key: keys are long, and have digits in them.
fn harmless_line(stderr: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().next()?.trim();
    let could_be_key =
        |word: &str| word.len() >= 24 || (word.len() >= 8 && word.contains(|c: char| c.is_ascii_digit()));
    let printable = !line.is_empty() && line.len() <= 200 && !line.contains(char::is_control);
    (printable && !line.split_whitespace().any(could_be_key)).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, timeout: Duration) -> Result<ApiKey, SecretError> {
        read(&["sh".into(), "-c".into(), script.into()], timeout)
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn a_command_prints_a_key() {
        let key = sh("echo hh_key", LONG).expect("a key");
        assert!(key.appears_in("Bearer hh_key"));
    }

    #[test]
    fn arguments_are_not_read_by_a_shell() {
        let key = read(&["printf".into(), "%s".into(), "$HOME;id".into()], LONG).expect("a key");
        assert!(key.appears_in("$HOME;id"));
    }

    #[test]
    fn a_command_that_hangs_is_killed_in_time() {
        let error = sh("sleep 600", Duration::from_millis(50)).expect_err("hangs");
        assert_eq!(error.fault(), &SecretFault::TimedOut(Duration::from_millis(50)));
    }

    #[test]
    fn a_command_that_floods_is_refused() {
        let error = sh("head -c 1000000 /dev/zero | tr '\\0' a", LONG).expect_err("too much");
        assert_eq!(error.fault(), &SecretFault::TooLarge(MAX_KEY_BYTES));
    }

    #[test]
    fn a_failing_command_shows_its_first_line_only_where_no_key_can_be_in_it() {
        let shown = sh("echo permission denied >&2; echo more >&2; exit 3", LONG).expect_err("fails");
        assert_eq!(
            shown.to_string(),
            "command sh: ended with exit status: 3: permission denied"
        );
        for hidden in [
            "echo token hh_1234567890 denied >&2; exit 3",
            "echo partial; echo denied >&2; exit 3",
        ] {
            let error = sh(hidden, LONG).expect_err("fails");
            assert_eq!(error.to_string(), "command sh: ended with exit status: 3", "{hidden}");
        }
    }

    #[test]
    fn a_command_that_is_not_there_or_prints_nothing_is_refused() {
        let missing = read(&["/nonexistent/program".into()], LONG).expect_err("missing");
        assert_eq!(missing.fault(), &SecretFault::NotStarted(io::ErrorKind::NotFound));
        assert_eq!(sh("true", LONG).expect_err("empty").fault(), &SecretFault::Empty);
        assert_eq!(
            sh("printf 'a\\nb'", LONG).expect_err("two lines").fault(),
            &SecretFault::ControlCharacter(1)
        );
    }
}
