//! The record that `strace` writes of a process: its calls on the files of one folder.

use std::collections::HashMap;

/// A call. Files are named relative to the folder.
pub(super) enum Call {
    /// A line of the diary.
    Line(String),
    Create(String),
    Write {
        file: String,
        at: usize,
        data: Vec<u8>,
    },
    Resize {
        file: String,
        to: usize,
    },
    /// Makes a file at least so large.
    Grow {
        file: String,
        to: usize,
    },
    /// The folder itself has an empty name.
    Sync(String),
    Rename(String, String),
    Unlink(String),
}

/// The begin or end of the call with this number. Calls of several threads overlap.
#[derive(Clone, Copy)]
pub(super) enum Step {
    Begin(usize),
    End(usize),
}

pub(super) struct Record {
    pub(super) calls: Vec<Call>,
    pub(super) steps: Vec<Step>,
}

impl Record {
    /// Reads the output of `strace -f -y -xx`.
    pub(super) fn read(lines: impl Iterator<Item = String>, folder: &str) -> Self {
        let mut record = Self {
            calls: Vec::new(),
            steps: Vec::new(),
        };
        let mut unfinished: HashMap<String, String> = HashMap::new();
        let mut begun: HashMap<String, usize> = HashMap::new();
        let mut positions = HashMap::new();
        for line in lines {
            let (process, text) = line.split_once(' ').expect("a process and a call");
            let text = text.trim_start();
            if let Some(begin) = text.strip_suffix(" <unfinished ...>") {
                // A call that changes names counts when it ends, if it does not fail.
                if let Some(call) = parse(begin, folder, &mut positions).filter(Call::counts_at_begin) {
                    begun.insert(process.to_owned(), record.begin(call));
                } else {
                    unfinished.insert(process.to_owned(), begin.to_owned());
                }
            } else if let Some((_, end)) = text.strip_prefix("<... ").and_then(|text| text.split_once(" resumed>")) {
                if let Some(call) = begun.remove(process) {
                    assert!(!end.contains("= -1 "), "a call failed: {line}");
                    record.steps.push(Step::End(call));
                } else if let Some(begin) = unfinished.remove(process) {
                    record.whole(&format!("{begin}{end}"), folder, &mut positions);
                }
            } else {
                record.whole(text, folder, &mut positions);
            }
        }
        record
    }

    fn begin(&mut self, call: Call) -> usize {
        self.steps.push(Step::Begin(self.calls.len()));
        self.calls.push(call);
        self.calls.len() - 1
    }

    fn whole(&mut self, text: &str, folder: &str, positions: &mut HashMap<String, usize>) {
        if text.contains(") = -1 ") || text.contains(")  = -1 ") {
            return;
        }
        if let Some(call) = parse(text, folder, positions) {
            let call = self.begin(call);
            self.steps.push(Step::End(call));
        }
    }

    /// The line of the diary that a step begins to write.
    pub(super) fn line(&self, step: Step) -> Option<&str> {
        match step {
            Step::Begin(call) => match &self.calls[call] {
                Call::Line(line) => Some(line),
                _ => None,
            },
            Step::End(_) => None,
        }
    }

    /// The places of the steps that end a sync.
    pub(super) fn ends_of_syncs(&self) -> impl Iterator<Item = usize> {
        let is_sync = |step: &Step| matches!(step, Step::End(call) if matches!(self.calls[*call], Call::Sync(_)));
        (0..self.steps.len()).filter(move |&place| is_sync(&self.steps[place]))
    }
}

impl Call {
    fn counts_at_begin(&self) -> bool {
        !matches!(self, Self::Create(_) | Self::Rename(..) | Self::Unlink(_))
    }
}

/// Parses a call. Returns `None` if it is about other files, or changes nothing.
fn parse(text: &str, folder: &str, positions: &mut HashMap<String, usize>) -> Option<Call> {
    let (name, arguments) = text.split_once('(')?;
    let of = |path: &str| {
        let name = path.strip_prefix(folder)?;
        (name.is_empty() || name.starts_with('/')).then(|| name.trim_start_matches('/').to_owned())
    };
    // Quoted strings are all in hexadecimal, so that no quote is in them.
    let strings: Vec<Vec<u8>> = arguments.split('"').skip(1).step_by(2).map(bytes).collect();
    let path = |number: usize| of(&String::from_utf8(strings.get(number)?.clone()).ok()?);
    let (fd, _) = arguments.split_once('<').unwrap_or_default();
    let file = || of(&String::from_utf8(bytes(between(arguments, '<', '>'))).ok()?);
    // The arguments after the file and the data.
    let after = arguments
        .rsplit_once('"')
        .map_or_else(|| arguments.split_once('>'), Some);
    let after = after
        .map_or("", |(_, after)| after)
        .split(')')
        .next()
        .unwrap_or_default();
    let number = |place: usize| -> usize {
        let number = after.split(", ").nth(place).and_then(|number| number.parse().ok());
        number.unwrap_or_else(|| panic!("argument {place} of {}", &text[..text.len().min(300)]))
    };
    match name {
        "write" if fd == "2" => {
            let line = String::from_utf8(strings.into_iter().next()?).expect("text");
            Some(Call::Line(line.trim_end().to_owned()))
        }
        "write" => {
            let (file, data) = (file()?, strings.into_iter().next()?);
            let position = positions.entry(file.clone()).or_default();
            let at = *position;
            *position += data.len();
            Some(Call::Write { file, at, data })
        }
        "pwrite64" => Some(Call::Write {
            file: file()?,
            at: number(2),
            data: strings.into_iter().next()?,
        }),
        "ftruncate" => Some(Call::Resize {
            file: file()?,
            to: number(1),
        }),
        "fallocate" => Some(Call::Grow {
            file: file()?,
            to: number(2) + number(3),
        }),
        "fsync" | "fdatasync" => file().map(Call::Sync),
        "openat" => {
            let file = path(0)?;
            positions.remove(&file);
            text.contains("O_CREAT").then_some(Call::Create(file))
        }
        "unlink" => path(0).map(Call::Unlink),
        "rename" => Some(Call::Rename(path(0)?, path(1)?)),
        "lseek" => file().map(|file| panic!("{file} is written at a position")),
        _ => {
            let is_ours = file().is_some() || path(0).is_some();
            assert!(
                !is_ours,
                "a call that the test does not know: {}",
                &text[..text.len().min(300)]
            );
            None
        }
    }
}

fn between(text: &str, open: char, close: char) -> &str {
    let text = text.split_once(open).map_or("", |(_, text)| text);
    text.split_once(close).map_or("", |(text, _)| text)
}

/// Decodes `\x2f\x74`.
fn bytes(text: &str) -> Vec<u8> {
    let digits = text.split("\\x").skip(1);
    digits
        .map(|digits| u8::from_str_radix(digits, 16).expect("two digits"))
        .collect()
}
