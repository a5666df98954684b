//! Lifecycle of a command: start, output, exit and cleanup.

use std::ffi::OsString;
use std::io::{self, Read};
use std::mem;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, getpgid, kill_process_group, waitid};
use secrecy::zeroize::Zeroizing;

use super::super::key::ApiKey;
use super::super::rules::MAX_KEY_BYTES;
use super::super::{KeyCommand, SecretErrorKind};
use super::stderr;

/// First polling interval for the exit of a command; it doubles up to `MAX_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_millis(20);
/// Maximum wait for a killed command to exit.
const KILL_TIMEOUT: Duration = Duration::from_secs(1);
/// Upper bound of the configured timeout, because the clock cannot add every duration.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// A key, its line end, and one byte to detect excess output.
const MAX_OUTPUT_BYTES: usize = MAX_KEY_BYTES + 3;

/// Variables that every command inherits from this process.
const INHERITED: [&str; 3] = ["PATH", "HOME", "LANG"];

pub(super) fn run(command: &KeyCommand, cancelled: &AtomicBool) -> Result<ApiKey, SecretErrorKind> {
    let deadline = Instant::now() + command.timeout.min(MAX_TIMEOUT);
    let mut running = Running::start(command)?;
    running.watch(deadline, cancelled).map_err(|stopped| match stopped {
        Stopped::TooLarge => SecretErrorKind::TooLarge(MAX_KEY_BYTES),
        Stopped::Cancelled => SecretErrorKind::Cancelled,
        Stopped::TimedOut if running.exit.is_some() => SecretErrorKind::OutputHeldOpen(command.timeout),
        Stopped::TimedOut => SecretErrorKind::TimedOut(command.timeout),
    })?;
    running.finish(command)
}

/// A running command. Dropping it kills and reaps everything that it started, unless it provided a
/// key.
struct Running {
    child: Child,
    /// Id of the process and of its group.
    id: Pid,
    stdout: Option<ChildStdout>,
    /// Has a fixed size, because a growing buffer leaves copies behind that are not wiped.
    output: Zeroizing<Vec<u8>>,
    printed: usize,
    stderr: Option<ChildStderr>,
    stderr_output: Vec<u8>,
    exit: Option<Exit>,
    succeeded: bool,
}

#[derive(Clone, Copy)]
enum Exit {
    Status(ExitStatus),
    /// The status is lost because the program ignores SIGCHLD or reaps all child processes.
    Lost,
}

/// Reason to stop waiting for a command.
enum Stopped {
    TimedOut,
    TooLarge,
    Cancelled,
}

impl Running {
    fn start(command: &KeyCommand) -> Result<Self, SecretErrorKind> {
        let not_started = |error: io::Error| SecretErrorKind::NotStarted(error.into());
        let (program, arguments) = command
            .words
            .split_first()
            .ok_or(SecretErrorKind::NotStarted(io::ErrorKind::InvalidInput.into()))?;
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(environment(command))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(if command.show_stderr {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .spawn()
            .map_err(not_started)?;
        Ok(Self {
            id: Pid::from_child(&child),
            stdout: child.stdout.take(),
            output: Zeroizing::new(vec![0; MAX_OUTPUT_BYTES]),
            printed: 0,
            stderr: child.stderr.take(),
            stderr_output: Vec::new(),
            exit: None,
            succeeded: false,
            child,
        })
    }

    /// Reads the output until the command exited and its output is complete.
    fn watch(&mut self, deadline: Instant, cancelled: &AtomicBool) -> Result<(), Stopped> {
        let mut pause = FIRST_PAUSE;
        loop {
            // Before the pipes are read, so that they contain all output of an exited command.
            self.check_exit();
            self.read_available();
            if self.printed == MAX_OUTPUT_BYTES {
                return Err(Stopped::TooLarge);
            }
            let is_complete = self.stdout.is_none() || self.output[..self.printed].ends_with(b"\n");
            match self.exit {
                Some(Exit::Status(status)) if !status.success() => return Ok(()),
                Some(_) if is_complete => return Ok(()),
                Some(_) | None => {}
            }
            // Relaxed, because the flag publishes no other data.
            if cancelled.load(Ordering::Relaxed) {
                return Err(Stopped::Cancelled);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Stopped::TimedOut);
            }
            self.wait_for_output(pause.min(left));
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Does not reap the command: until it is reaped, its id cannot be reused by another process or
    /// group.
    fn check_exit(&mut self) {
        if self.exit.is_some() {
            return;
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.exit = match waitid(WaitId::Pid(self.id), options) {
            Ok(None) | Err(Errno::INTR) => None,
            Ok(Some(status)) => Some(Exit::Status(exit_status(&status))),
            Err(_) => Some(Exit::Lost),
        };
    }

    fn read_available(&mut self) {
        while let Some(pipe) = self.stdout.as_mut().filter(is_readable) {
            match pipe.read(&mut self.output[self.printed..]) {
                Ok(0) => {
                    self.stdout = None;
                    break;
                }
                Ok(more) => self.printed += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Treats the output so far as complete.
                Err(_) => self.stdout = None,
            }
            if self.printed == MAX_OUTPUT_BYTES {
                break;
            }
        }
        while let Some(pipe) = self.stderr.as_mut().filter(is_readable) {
            let mut chunk = [0; 1024];
            match pipe.read(&mut chunk) {
                Ok(0) => self.stderr = None,
                Ok(more) => {
                    let room = stderr::MAX_BYTES - self.stderr_output.len();
                    self.stderr_output.extend(&chunk[..more.min(room)]);
                    // Endless standard error must not delay the timeout check.
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.stderr = None,
            }
        }
    }

    fn wait_for_output(&self, time: Duration) {
        let stdout = self.stdout.as_ref().map(AsFd::as_fd);
        let stderr = self.stderr.as_ref().map(AsFd::as_fd);
        let pipes = [stdout, stderr].into_iter().flatten();
        let mut pipes: Vec<_> = pipes
            .map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN))
            .collect();
        let time = Timespec::try_from(time).expect("a pause is short");
        // After an interruption, the loop polls again.
        let _ = poll(&mut pipes, Some(&time));
    }

    fn finish(&mut self, command: &KeyCommand) -> Result<ApiKey, SecretErrorKind> {
        self.output.truncate(self.printed);
        if let Some(Exit::Status(status)) = self.exit
            && !status.success()
        {
            // The error output may repeat what was printed to standard output.
            let stderr = (self.printed == 0).then(|| stderr::sanitized(&self.stderr_output, passed_variables(command)));
            return Err(SecretErrorKind::Failed {
                status: status.to_string(),
                stderr: stderr.flatten(),
            });
        }
        if matches!(self.exit, Some(Exit::Lost)) && self.printed == 0 {
            return Err(SecretErrorKind::StatusUnknown);
        }
        let key = ApiKey::from_output(mem::take(&mut *self.output))?;
        self.succeeded = true;
        Ok(key)
    }

    /// Kills all processes in the command's group.
    fn kill_group(&self) {
        // If other code reaped the command, its id may belong to another process now, but not while
        // its group has members.
        let id_may_be_reused = matches!(self.exit, Some(Exit::Lost)) && getpgid(Some(self.id)).is_ok();
        if !id_may_be_reused {
            // Fails only if the group is empty.
            let _ = kill_process_group(self.id, Signal::KILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.succeeded {
            self.kill_group();
            if self.exit.is_none() {
                // The command may have left its group.
                let _ = self.child.kill();
            }
        }
        // A command that runs as another user or waits for a disk cannot be killed, and is
        // abandoned.
        let deadline = Instant::now() + KILL_TIMEOUT;
        // Fails only if other code reaped the command.
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() >= deadline {
                return;
            }
            thread::sleep(FIRST_PAUSE);
        }
        if !self.succeeded {
            // As the first process of a container, or as a subreaper, this process must reap the
            // command's descendants too.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            loop {
                match waitid(WaitId::Pgid(Some(self.id)), options) {
                    Ok(Some(_)) | Err(Errno::INTR) => {}
                    Ok(None) if Instant::now() < deadline => thread::sleep(FIRST_PAUSE),
                    Ok(None) | Err(_) => return,
                }
            }
        }
    }
}

/// Returns whether a read would return at once.
fn is_readable(pipe: &impl AsFd) -> bool {
    let mut pipes = [PollFd::new(pipe, PollFlags::IN)];
    poll(&mut pipes, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

fn exit_status(status: &WaitIdStatus) -> ExitStatus {
    // Encoding of wait(2): the code in the second byte, or the signal in the first.
    let code = status.exit_status().map(|code| code << 8);
    ExitStatus::from_raw(code.or(status.terminating_signal()).unwrap_or_default())
}

fn environment(command: &KeyCommand) -> impl Iterator<Item = (&str, OsString)> {
    variables(INHERITED).chain(passed_variables(command))
}

/// Returns the variables of [`KeyCommand::pass_env`] that are set.
fn passed_variables(command: &KeyCommand) -> impl Iterator<Item = (&str, OsString)> {
    variables(command.pass_env.iter().map(String::as_str))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command inherits a part of the environment"
)]
fn variables<'n>(names: impl IntoIterator<Item = &'n str>) -> impl Iterator<Item = (&'n str, OsString)> {
    let values = names.into_iter().map(|name| (name, std::env::var_os(name)));
    values.filter_map(|(name, value)| Some((name, value?)))
}
