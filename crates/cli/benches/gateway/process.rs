//! Numbers of another process from `/proc`. `None` on systems without it.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Linux reports processor time in hundredths of a second on every machine.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of a process so far.
pub(crate) struct Cpu {
    /// Time of each running thread.
    threads: BTreeMap<String, Duration>,
    /// Time of all threads, including ended ones, in hundredths of a second.
    all: Duration,
}

impl Cpu {
    pub(crate) fn of(process: u32) -> Option<Self> {
        let mut threads = BTreeMap::new();
        for thread in fs::read_dir(format!("/proc/{process}/task")).ok()? {
            let thread = thread.ok()?;
            // A thread may end meanwhile.
            let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else {
                continue;
            };
            let nanos = text.split_whitespace().next()?.parse().ok()?;
            threads.insert(
                thread.file_name().to_string_lossy().into_owned(),
                Duration::from_nanos(nanos),
            );
        }
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The second field is the program's name in parentheses, which may contain spaces.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut times = fields.split_whitespace().skip(11).map(str::parse::<u32>);
        let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
        Some(Self {
            threads,
            all: TICK * (user + system),
        })
    }

    /// Returns the time since `before`: in nanoseconds if no thread ended, otherwise in hundredths
    /// of a second.
    pub(crate) fn since(&self, before: &Self) -> Duration {
        if before.threads.keys().any(|thread| !self.threads.contains_key(thread)) {
            return self.all.saturating_sub(before.all);
        }
        let [after, before] = [self, before].map(|cpu| cpu.threads.values().sum::<Duration>());
        after.saturating_sub(before)
    }
}

/// Returns the resident memory in bytes.
pub(crate) fn resident_bytes(process: u32) -> Option<u64> {
    let kibibytes: u64 = status(process, "VmRSS:")?.trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Returns the number of running threads.
pub(crate) fn threads(process: u32) -> Option<u64> {
    status(process, "Threads:")?.parse().ok()
}

fn status(process: u32, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().to_owned())
}
