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
use super::cluster::ADMIN_TOKEN;
use super::program::Storage;
use super::world::{Basic, Caller, MAX_REQUEST, MAX_SPAN, Rule, State, TENANT_ATTRIBUTE, TENANT_HEADER, TOKENS, World};
use crate::lock::lock;

/// Small, so that queues are full now and then.
const QUEUE: usize = 48;
const BATCH: usize = 16;

/// A temporary folder.
pub(super) struct Files {
    folder: TempDir,
    url: String,
    /// The table `[gateway.stream]` of replicas.
    stream: Option<Value>,
    replicas: usize,
    /// Changed between two processes alone.
    storage: Mutex<Storage>,
}

impl Files {
    /// Writes the files of a state, for a receiver at this address.
    pub(super) fn new(url: String, stream: Option<Value>, replicas: usize, world: &World) -> io::Result<Self> {
        let files = Self {
            folder: tempfile::tempdir()?,
            url,
            stream,
            replicas,
            storage: Mutex::default(),
        };
        for folder in ["keys", "tokens", "callers.d"] {
            fs::create_dir(files.path(folder))?;
        }
        for member in &world.members {
            files.write_key(member, &member.key)?;
        }
        files.replace("admin", ADMIN_TOKEN)?;
        files.write(world, &world.initial())?;
        Ok(files)
    }

    /// Returns the file of a replica.
    pub(super) fn configuration(&self, replica: usize) -> PathBuf {
        self.path(&configuration_file(replica))
    }

    /// Writes the configuration with another storage.
    pub(super) fn write_with(&self, storage: Storage, world: &World, state: &State) -> io::Result<()> {
        *lock(&self.storage) = storage;
        self.write(world, state)
    }

    /// Returns the folder of a replica's data on disk.
    pub(super) fn spool(&self, replica: usize) -> PathBuf {
        self.path(&spool_folder(replica))
    }

    pub(super) fn has_spool(&self) -> bool {
        lock(&self.storage).spool_mode().is_some()
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
        let storage = *lock(&self.storage);
        document["gateway"] = json!({
            "http": "127.0.0.1:0",
            "grpc": "127.0.0.1:0",
            "max_request": format!("{MAX_REQUEST}B"),
            // What is not delivered by then goes to disk, or stays in the stream.
            "shutdown_timeout": if storage == Storage::Overflow || storage.is_stream() { "2s" } else { "60s" },
            "callers_dir": "callers.d",
            "callers": callers,
        });
        if let Some(stream) = &self.stream {
            document["gateway"]["stream"] = stream.clone();
            document["gateway"]["admin"] = json!({"listen": "127.0.0.1:0", "token": {"file": "admin"}});
        }
        for replica in 0..self.replicas {
            if let Some(mode) = storage.spool_mode() {
                let path = spool_folder(replica);
                document["spool"] = json!({"mode": mode, "path": path, "max_bytes": "64MiB"});
            }
            self.replace(&configuration_file(replica), &document.to_string())?;
        }
        Ok(())
    }

    /// Cuts the configuration off in the middle.
    pub(super) fn break_configuration(&self) -> io::Result<()> {
        for replica in 0..self.replicas {
            let text = fs::read_to_string(self.configuration(replica))?;
            self.replace(&configuration_file(replica), &text[..text.len() / 2])?;
        }
        Ok(())
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

fn configuration_file(replica: usize) -> String {
    format!("gateway-{replica}.json")
}

fn spool_folder(replica: usize) -> String {
    format!("spool-{replica}")
}

fn key_file(member: &Member) -> String {
    format!("keys/{}", member.token)
}

fn token_file(caller: &Caller, number: u32) -> String {
    format!("tokens/{}-{number}", caller.name)
}
