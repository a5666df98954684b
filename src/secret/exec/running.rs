//! A command from its start to its end, by process group and pipes.

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

/// How soon after its start the end of a command is looked for; the pause doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// How long the end of a command that was killed is waited for. It dies at once, unless it cannot be killed.
const LONGEST_DYING: Duration = Duration::from_secs(1);
/// The longest that a command is waited for, also if its timeout is longer: the clock cannot add every duration.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// A key, its line end, and one byte to see that there is more.
const MAX_OUTPUT_BYTES: usize = MAX_KEY_BYTES + 3;

/// What every command gets of this process's environment.
const PASSED: [&str; 3] = ["PATH", "HOME", "LANG"];

pub(super) fn run(command: &KeyCommand, given_up: &AtomicBool) -> Result<ApiKey, SecretErrorKind> {
    let deadline = Instant::now() + command.timeout.min(LONGEST);
    let mut running = Running::start(command)?;
    running.watch(deadline, given_up).map_err(|stopped| match stopped {
        Stopped::TooLarge => SecretErrorKind::TooLarge(MAX_KEY_BYTES),
        Stopped::GivenUp => SecretErrorKind::GivenUp,
        Stopped::Late if running.ending.is_some() => SecretErrorKind::OutputHeldOpen(command.timeout),
        Stopped::Late => SecretErrorKind::TimedOut(command.timeout),
    })?;
    running.judge(command)
}

/// A command that was started. Dropped, it leaves nothing behind unless it gave a key.
struct Running {
    child: Child,
    /// Of the process, and of its group.
    id: Pid,
    stdout: Option<ChildStdout>,
    /// Of a fixed size: a buffer that grows leaves copies behind that are not wiped.
    output: Zeroizing<Vec<u8>>,
    printed: usize,
    stderr: Option<ChildStderr>,
    complaint: Vec<u8>,
    ending: Option<Ending>,
    gave_key: bool,
}

#[derive(Clone, Copy)]
enum Ending {
    Seen(ExitStatus),
    /// The program ignores SIGCHLD, or reaps children that are not its own: the status is lost.
    Unseen,
}

/// Why a command is not waited for any longer.
enum Stopped {
    Late,
    TooLarge,
    GivenUp,
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
            complaint: Vec::new(),
            ending: None,
            gave_key: false,
            child,
        })
    }

    /// Reads what it prints, until it ended and its output is complete.
    fn watch(&mut self, deadline: Instant, given_up: &AtomicBool) -> Result<(), Stopped> {
        let mut pause = FIRST_PAUSE;
        loop {
            // Before the pipes are read: what it printed before it ended is in them.
            self.look_for_its_end();
            self.read_what_is_there();
            if self.printed == MAX_OUTPUT_BYTES {
                return Err(Stopped::TooLarge);
            }
            let is_complete = self.stdout.is_none() || self.output[..self.printed].ends_with(b"\n");
            match self.ending {
                Some(Ending::Seen(status)) if !status.success() => return Ok(()),
                Some(_) if is_complete => return Ok(()),
                Some(_) | None => {}
            }
            // Relaxed: it guards nothing else.
            if given_up.load(Ordering::Relaxed) {
                return Err(Stopped::GivenUp);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Stopped::Late);
            }
            self.wait_for_output(pause.min(left));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Leaves it to be reaped: as long as it is not, its number is not given to another process or group.
    fn look_for_its_end(&mut self) {
        if self.ending.is_some() {
            return;
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.ending = match waitid(WaitId::Pid(self.id), options) {
            Ok(None) | Err(Errno::INTR) => None,
            Ok(Some(status)) => Some(Ending::Seen(exit_status(&status))),
            Err(_) => Some(Ending::Unseen),
        };
    }

    fn read_what_is_there(&mut self) {
        while let Some(pipe) = self.stdout.as_mut().filter(is_readable) {
            match pipe.read(&mut self.output[self.printed..]) {
                Ok(0) => {
                    self.stdout = None;
                    break;
                }
                Ok(more) => self.printed += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What came before is judged as it is.
                Err(_) => self.stdout = None,
            }
            if self.printed == MAX_OUTPUT_BYTES {
                break;
            }
        }
        while let Some(pipe) = self.stderr.as_mut().filter(is_readable) {
            let mut some = [0; 1024];
            match pipe.read(&mut some) {
                Ok(0) => self.stderr = None,
                Ok(more) => {
                    let room = stderr::MAX_BYTES - self.complaint.len();
                    self.complaint.extend(&some[..more.min(room)]);
                    // One that never stops complaining must not keep the clock from being looked at.
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
        // If it was interrupted, the loop comes back.
        let _ = poll(&mut pipes, Some(&time));
    }

    fn judge(&mut self, command: &KeyCommand) -> Result<ApiKey, SecretErrorKind> {
        self.output.truncate(self.printed);
        if let Some(Ending::Seen(status)) = self.ending
            && !status.success()
        {
            // If it printed something, its complaint may repeat that.
            let complaint = (self.printed == 0).then(|| stderr::harmless(&self.complaint, environment_passed(command)));
            return Err(SecretErrorKind::Failed {
                status: status.to_string(),
                stderr: complaint.flatten(),
            });
        }
        if matches!(self.ending, Some(Ending::Unseen)) && self.printed == 0 {
            return Err(SecretErrorKind::StatusUnknown);
        }
        let key = ApiKey::from_output(mem::take(&mut *self.output))?;
        self.gave_key = true;
        Ok(key)
    }

    /// Kills what is in the process group of the command, the command with it.
    fn kill_group(&self) {
        // Reaped elsewhere, its number may be another process's by now; while its group has members, it cannot be.
        let may_be_anothers = matches!(self.ending, Some(Ending::Unseen)) && getpgid(Some(self.id)).is_ok();
        if !may_be_anothers {
            // Fails only if nothing is left in it.
            let _ = kill_process_group(self.id, Signal::KILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.gave_key {
            self.kill_group();
            if self.ending.is_none() {
                // It may have left its group.
                let _ = self.child.kill();
            }
        }
        // A command that became another user's, or that waits for a disk, cannot be killed: it is left to itself.
        let deadline = Instant::now() + LONGEST_DYING;
        // Fails only if it was reaped elsewhere.
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() >= deadline {
                return;
            }
            thread::sleep(FIRST_PAUSE);
        }
        if !self.gave_key {
            // The first process of a container, or a subreaper, is the parent of what the command left: that is reaped too.
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

/// Whether reading would return at once.
fn is_readable(pipe: &impl AsFd) -> bool {
    let mut pipes = [PollFd::new(pipe, PollFlags::IN)];
    poll(&mut pipes, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

fn exit_status(status: &WaitIdStatus) -> ExitStatus {
    // As wait(2) has it: the code in the second byte, or the signal in the first.
    let code = status.exit_status().map(|code| code << 8);
    ExitStatus::from_raw(code.or(status.terminating_signal()).unwrap_or_default())
}

fn environment(command: &KeyCommand) -> impl Iterator<Item = (&str, OsString)> {
    variables(PASSED).chain(environment_passed(command))
}

/// The variables that the command is passed beyond the usual ones.
fn environment_passed(command: &KeyCommand) -> impl Iterator<Item = (&str, OsString)> {
    variables(command.pass_env.iter().map(String::as_str))
}

#[expect(clippy::disallowed_methods, reason = "the command gets a part of the environment")]
fn variables<'n>(names: impl IntoIterator<Item = &'n str>) -> impl Iterator<Item = (&'n str, OsString)> {
    let values = names.into_iter().map(|name| (name, std::env::var_os(name)));
    values.filter_map(|(name, value)| Some((name, value?)))
}
