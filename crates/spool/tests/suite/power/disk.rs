//! What a disk may hold after a loss of power: all that was synced, and any part of the rest.

use std::collections::{BTreeMap, HashMap};

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use super::record::{Call, Step};

const SECTOR: usize = 512;

/// What is kept of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Nothing,
    All,
    /// Each write, or not.
    Some,
    /// The same, in any order.
    Reordered,
    /// Each sector of a write, or not.
    Torn,
}

/// The disk of a process, by its calls so far.
#[derive(Default)]
pub(super) struct Disk<'a> {
    files: Vec<Content<'a>>,
    /// Files by their names, as the process sees them.
    names: BTreeMap<&'a str, usize>,
    synced_names: BTreeMap<&'a str, usize>,
    /// What was not synced, in order.
    changed_names: Vec<Names<'a>>,
    /// Calls to sync that run: the file, and the changes that were made before. Or of names.
    syncs: HashMap<usize, Sync>,
}

enum Sync {
    Names(usize),
    File(usize, Vec<usize>),
}

#[derive(Default)]
struct Content<'a> {
    synced: Vec<u8>,
    /// Changes that were not synced, in order.
    changes: Vec<Change<'a>>,
}

/// The call that changes a file.
#[derive(Clone, Copy)]
struct Change<'a> {
    number: usize,
    call: &'a Call,
    is_done: bool,
}

/// A change of names: each to a file, or to none.
type Names<'a> = Vec<(&'a str, Option<usize>)>;

impl<'a> Disk<'a> {
    pub(super) fn apply(&mut self, calls: &'a [Call], step: Step) {
        match step {
            Step::Begin(number) => self.begin(number, &calls[number]),
            Step::End(number) => self.end(number, &calls[number]),
        }
    }

    fn begin(&mut self, number: usize, call: &'a Call) {
        match call {
            Call::Write { file, .. } | Call::Resize { file, .. } | Call::Grow { file, .. } => {
                // A file without a name is of no interest.
                if let Some(&file) = self.names.get(&**file) {
                    let is_done = false;
                    self.files[file].changes.push(Change { number, call, is_done });
                }
            }
            Call::Sync(name) if name.is_empty() => {
                self.syncs.insert(number, Sync::Names(self.changed_names.len()));
            }
            Call::Sync(name) => {
                if let Some(&file) = self.names.get(&**name) {
                    let done = self.files[file].changes.iter().filter(|change| change.is_done);
                    self.syncs
                        .insert(number, Sync::File(file, done.map(|change| change.number).collect()));
                }
            }
            Call::Line(_) | Call::Create(_) | Call::Rename(..) | Call::Unlink(_) => {}
        }
    }

    fn end(&mut self, number: usize, call: &'a Call) {
        match call {
            Call::Line(_) => {}
            Call::Write { file, .. } | Call::Resize { file, .. } | Call::Grow { file, .. } => {
                if let Some(&file) = self.names.get(&**file) {
                    let changes = self.files[file].changes.iter_mut();
                    for change in changes.filter(|change| change.number == number) {
                        change.is_done = true;
                    }
                }
            }
            Call::Sync(_) => match self.syncs.remove(&number) {
                Some(Sync::Names(changes)) => {
                    for names in self.changed_names.drain(..changes) {
                        rename(&mut self.synced_names, &names);
                    }
                }
                Some(Sync::File(file, done)) => {
                    let Content { synced, changes } = &mut self.files[file];
                    changes.retain(|change| {
                        let is_synced = done.contains(&change.number);
                        if is_synced {
                            change.make(synced, None);
                        }
                        !is_synced
                    });
                }
                None => {}
            },
            Call::Create(name) if self.names.contains_key(&**name) => {}
            Call::Create(name) => {
                self.files.push(Content::default());
                self.change_names(vec![(name, Some(self.files.len() - 1))]);
            }
            Call::Rename(from, to) => {
                let file = self.names[&**from];
                self.change_names(vec![(from, None), (to, Some(file))]);
            }
            Call::Unlink(name) => self.change_names(vec![(name, None)]),
        }
    }

    fn change_names(&mut self, names: Names<'a>) {
        rename(&mut self.names, &names);
        self.changed_names.push(names);
    }

    /// The files after a loss of power now, without `-shm`.
    pub(super) fn image(&self, kept: Kept, random: &mut StdRng) -> BTreeMap<&'a str, Vec<u8>> {
        let mut names = self.synced_names.clone();
        // Names change in order: file systems keep a log of them.
        let changes = match kept {
            Kept::Nothing => 0,
            Kept::All => self.changed_names.len(),
            _ => random.random_range(0..=self.changed_names.len()),
        };
        for change in &self.changed_names[..changes] {
            rename(&mut names, change);
        }
        let names = names.into_iter().filter(|(name, _)| !name.ends_with("-shm"));
        names
            .map(|(name, file)| (name, self.files[file].image(kept, random)))
            .collect()
    }
}

fn rename<'a>(names: &mut BTreeMap<&'a str, usize>, changes: &Names<'a>) {
    for &(name, file) in changes {
        match file {
            Some(file) => names.insert(name, file),
            None => names.remove(name),
        };
    }
}

impl Content<'_> {
    fn image(&self, kept: Kept, random: &mut StdRng) -> Vec<u8> {
        let mut content = self.synced.clone();
        let mut changes = self.changes.clone();
        changes.retain(|_| match kept {
            Kept::Nothing => false,
            Kept::All | Kept::Torn => true,
            Kept::Some | Kept::Reordered => random.random(),
        });
        if kept == Kept::Reordered {
            changes.shuffle(random);
        }
        for change in changes {
            change.make(&mut content, (kept == Kept::Torn).then_some(&mut *random));
        }
        content
    }
}

impl Change<'_> {
    /// Makes the change. With a random number generator, makes a part of it.
    fn make(&self, content: &mut Vec<u8>, mut torn: Option<&mut StdRng>) {
        match self.call {
            Call::Write { at, data, .. } => {
                let mut place = *at;
                while place < at + data.len() {
                    let end = ((place / SECTOR + 1) * SECTOR).min(at + data.len());
                    if torn.as_mut().is_none_or(Rng::random) {
                        content.resize(content.len().max(end), 0);
                        content[place..end].copy_from_slice(&data[place - at..end - at]);
                    }
                    place = end;
                }
            }
            Call::Resize { to, .. } if torn.as_mut().is_none_or(Rng::random) => content.resize(*to, 0),
            Call::Grow { to, .. } => content.resize(content.len().max(*to), 0),
            _ => {}
        }
    }
}
