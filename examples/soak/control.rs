//! Controls the receiver's process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::Result;
use crate::accepted::Accepted;
use crate::options::Options;

/// The receiver's process. Ends when this is dropped or its parent ends.
pub(crate) struct Receiver {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub(crate) url: String,
}

impl Receiver {
    pub(crate) fn start(options: &Options) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["--receiver", "--tenants", &options.tenants.to_string()])
            .args(["--seed", &options.seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let commands = process.stdin.take().ok_or("the receiver has no input")?;
        let answers = process.stdout.take().ok_or("the receiver has no output")?;
        let mut receiver = Self {
            process,
            commands,
            answers: BufReader::new(answers),
            url: String::new(),
        };
        receiver.url = receiver.line()?;
        Ok(receiver)
    }

    /// Ends all faults. Returns once the receiver works again.
    pub(crate) fn end_faults(&mut self) -> Result<()> {
        self.ask("end_faults").map(drop)
    }

    /// Returns what the receiver has accepted so far.
    pub(crate) fn accepted(&mut self) -> Result<Accepted> {
        Ok(serde_json::from_str(&self.ask("accepted")?)?)
    }

    fn ask(&mut self, command: &str) -> Result<String> {
        writeln!(self.commands, "{command}")?;
        self.commands.flush()?;
        self.line()
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        match self.answers.read_line(&mut line)? {
            0 => Err("the receiver ended".into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // If this fails the receiver ends by itself, because its input closes with this process.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
