//! The receiver as the other process sees it: started, told, asked, ended.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::Result;
use crate::options::Options;
use crate::taken::Taken;

/// The receiver's process. It ends when this is dropped, or its owner ends.
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

    /// Ends all faults; returns when there are none.
    pub(crate) fn calm(&mut self) -> Result<()> {
        self.ask("calm").map(drop)
    }

    /// What it took so far.
    pub(crate) fn taken(&mut self) -> Result<Taken> {
        Ok(serde_json::from_str(&self.ask("taken")?)?)
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
        // It ends by itself where this fails: its input is closed with us.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
