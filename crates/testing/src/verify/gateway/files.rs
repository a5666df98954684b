//! Configuration, keys and tokens of the gateway.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::super::chaos::files::{bindings, pool};
use super::super::ours::EXPLAINED;
use super::super::program::cast::Member;
use super::program::Spool;
use super::world::{Basic, Caller, MAX_REQUEST, MAX_SPAN, Rule, State, TENANT_ATTRIBUTE, TENANT_HEADER, TOKENS, World};
use crate::lock::lock;

/// Small, so that queues are full now and then.
const QUEUE: usize = 48;
const BATCH: usize = 16;

/// A temporary folder.
pub(super) struct Files {
    folder: TempDir,
    url: String,
    /// Changed between two processes alone.
    spool: Mutex<Spool>,
}

impl Files {
    /// Writes the files of a state whose receiver has this address.
    pub(super) fn new(url: String, world: &World) -> io::Result<Self> {
        let files = Self {
            folder: tempfile::tempdir()?,
            url,
            spool: Mutex::default(),
        };
        for folder in ["keys", "tokens", "callers.d"] {
            fs::create_dir(files.path(folder))?;
        }
        for member in &world.members {
            files.write_key(member, &member.key)?;
        }
        files.write(world, &world.initial())?;
        Ok(files)
    }

    pub(super) fn configuration(&self) -> PathBuf {
        self.path("gateway.json")
    }

    /// Writes the configuration with another mode of the spool.
    pub(super) fn write_with(&self, spool: Spool, world: &World, state: &State) -> io::Result<()> {
        *lock(&self.spool) = spool;
        self.write(world, state)
    }

    /// Returns the folder of the data on disk.
    pub(super) fn spool(&self) -> PathBuf {
        self.path("spool")
    }

    pub(super) fn has_spool(&self) -> bool {
        *lock(&self.spool) != Spool::Off
    }

    /// Writes the key of a member.
    pub(super) fn write_key(&self, member: &Member, key: &str) -> io::Result<()> {
        self.replace(&key_file(member), key)
    }

    /// Writes the configuration and the tokens of a state.
    pub(super) fn write(&self, world: &World, state: &State) -> io::Result<()> {
        let mut callers = Map::new();
        for (index, caller) in world.callers.iter().enumerate() {
            for number in state.tokens[index]..state.tokens[index] + TOKENS {
                self.replace(&token_file(caller, number), &caller.token(number))?;
            }
            let table = self.caller_table(world, state, index);
            if caller.has_file {
                self.replace(&format!("callers.d/{}.json", caller.name), &table.to_string())?;
            } else {
                callers.insert(caller.name.clone(), table);
            }
        }
        let configured = world.members.iter().zip(&state.settings).enumerate();
        let configured = configured
            .filter(|(index, _)| !state.removed.contains(index))
            .map(|(_, pair)| pair);
        let rules = |member: &Member| {
            let index = world.members.iter().position(|known| known.token == member.token);
            index.map(|index| world.rules[index]).unwrap_or_default()
        };
        let mut document = bindings(
            configured.map(|(member, at)| (member, *at)),
            &self.url,
            |member, mut binding| {
                let rules = rules(member);
                let file = self.path(&key_file(member));
                // A command does not announce a new key, so only a refused request reveals it.
                binding["api_key"] = if member.has_key_in_vault {
                    json!({"exec": ["cat", file]})
                } else {
                    json!({"file": file})
                };
                if let (true, Value::Object(table)) = (rules.is_plain, &mut binding) {
                    for added in ["source", "metadata", "resource"] {
                        table.remove(added);
                    }
                }
                if rules.is_limited {
                    binding["limits"] = json!({"span_bytes": format!("{MAX_SPAN}B")});
                }
                binding
            },
        );
        document["export"] = json!({
            "scheduled_delay": "20ms",
            "max_queue_size": QUEUE,
            "max_export_batch_size": BATCH,
            "timeout": "60s",
            "explain": { "max_traces": EXPLAINED },
            "dead_letters": { "max_batches": 16 },
            "retry": {"initial_backoff": "5ms", "max_backoff": "50ms", "max_retry_after": "50ms"},
        });
        document["pool"] = pool(world.members.len());
        let spool = *lock(&self.spool);
        if let Some(mode) = spool.name() {
            document["spool"] = json!({"mode": mode, "path": "spool", "max_bytes": "64MiB"});
        }
        document["gateway"] = json!({
            "http": "127.0.0.1:0",
            "grpc": "127.0.0.1:0",
            "max_request": format!("{MAX_REQUEST}B"),
            // What is not delivered by then goes to disk.
            "shutdown_timeout": if spool == Spool::Overflow { "2s" } else { "60s" },
            "callers_dir": "callers.d",
            "callers": callers,
        });
        self.replace("gateway.json", &document.to_string())
    }

    /// Cuts the configuration off in the middle.
    pub(super) fn break_configuration(&self) -> io::Result<()> {
        let text = fs::read_to_string(self.configuration())?;
        self.replace("gateway.json", &text[..text.len() / 2])
    }

    /// Replaces a file atomically.
    fn replace(&self, name: &str, content: &str) -> io::Result<()> {
        let new = self.path("new");
        fs::write(&new, content)?;
        fs::rename(new, self.path(name))
    }

    // Paths of tokens are absolute, because those in a file of a caller start at its folder.
    fn caller_table(&self, world: &World, state: &State, index: usize) -> Value {
        let caller = &world.callers[index];
        let tokens = state.tokens[index]..state.tokens[index] + TOKENS;
        let tokens: Vec<Value> = tokens
            .map(|number| json!({"file": self.path(&token_file(caller, number))}))
            .collect();
        let mut table = json!({
            "token": tokens,
            "basic": match caller.basic {
                Basic::Pair => "pair",
                Basic::User => "user",
                Basic::Password => "password",
            },
        });
        let allow = state.allow(world, index);
        let tenant = match &caller.rule {
            Rule::Fixed(tenant) => json!(tenant),
            Rule::Header(_) => json!({"header": TENANT_HEADER, "allow": allow}),
            Rule::Resource(_) => json!({"resource": TENANT_ATTRIBUTE, "allow": allow}),
            Rule::Path(_) => json!({"path": true, "allow": allow}),
        };
        if !tenant.is_null() {
            table["tenant"] = tenant;
        }
        for (kind, name) in &caller.others {
            table[kind.to_string()] = json!(name);
        }
        table
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join(name)
    }
}

fn key_file(member: &Member) -> String {
    format!("keys/{}", member.token)
}

fn token_file(caller: &Caller, number: u32) -> String {
    format!("tokens/{}-{number}", caller.name)
}
