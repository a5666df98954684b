//! Reads the tokens of all callers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tracer_registry::config::{Config, ConfigError};
use tracer_registry::gateway::GatewayProblems;
use tracer_registry::secret::SecretSources;
use tracer_registry::selector::{SelectorKind, Slug};
use tracer_registry::{KeySource, Selector};

use super::admin::{AdminTokens, Role};
use super::caller::Caller;
use super::credential::{TokenHash, TokenHasher};
use super::identify::Callers;
use crate::config::{CallerSettings, Settings, TenantRule, path_of};

/// Shortest token that is accepted, in bytes.
const MIN_TOKEN_BYTES: usize = 8;
/// Shorter tokens are accepted with a warning.
const SHORT_TOKEN_BYTES: usize = 16;
/// Shortest token of the admin listener that is accepted.
const MIN_ADMIN_TOKEN_BYTES: usize = 16;
/// Maximum number of threads that read tokens, because a command takes a while.
const MAX_THREADS: usize = 8;
/// Maximum time for all tokens. Each command has its own, shorter timeout.
const MAX_TIME: Duration = Duration::from_secs(60);
/// Name of the caller of all requests in an open gateway.
const OPEN: &str = "open";

/// A token as configured.
struct Token<'s> {
    owner: Owner<'s>,
    source: &'s KeySource,
    path: String,
}

/// Whom a token identifies.
#[derive(Clone, Copy)]
enum Owner<'s> {
    Caller(&'s Slug),
    Admin(Role),
}

impl Owner<'_> {
    /// Returns the least number of bytes of a token.
    fn min_bytes(self) -> usize {
        match self {
            Self::Caller(_) => MIN_TOKEN_BYTES,
            Self::Admin(_) => MIN_ADMIN_TOKEN_BYTES,
        }
    }
}

impl Callers {
    /// Reads the tokens of all callers and of the admin listener. A caller that `previous` has too
    /// keeps its counts. Logs a warning for a token of less than 16 bytes.
    ///
    /// Blocks the thread: it reads files and runs commands, for at most a minute.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] with every problem: a token that cannot be read, is shorter than 8
    /// bytes (of the admin listener: 16), or identifies two callers, or a caller and an admin.
    pub fn read(
        config: &Config,
        settings: &Settings,
        sources: &SecretSources,
        previous: Option<&Self>,
    ) -> Result<Self, ConfigError> {
        let mut problems = GatewayProblems::new(config);
        let hasher = previous.map_or_else(TokenHasher::new, |previous| previous.hasher.clone());
        let tokens = tokens(settings);
        let read_tokens = read_all(&tokens, |source| {
            let key = config.read_key(source, sources).map_err(|error| error.to_string())?;
            Ok(hasher.hash_key(&key))
        });
        let mut callers = Self {
            hasher,
            by_hash: HashMap::default(),
            admin: AdminTokens::default(),
            is_open: settings.open.is_some(),
            all: Box::default(),
            unidentified: previous
                .map(|previous| Arc::clone(&previous.unidentified))
                .unwrap_or_default(),
            warnings: Vec::new(),
        };
        let digests = settings.callers.values().map(|caller| caller.token_sha256.len());
        callers.by_hash.reserve(tokens.len() + digests.sum::<usize>());
        let all = settings.callers.iter();
        let all = all.map(|(name, settings)| caller(name.clone(), Arc::clone(settings), previous));
        let open = settings.open.iter().map(|selector| open(selector, previous));
        callers.all = all.chain(open).collect();
        let mut admins = Vec::new();
        for (token, hash) in tokens.iter().zip(read_tokens) {
            let min = token.owner.min_bytes();
            match hash {
                Ok((_, len)) if len < min => {
                    let rule = format!("{}: shorter than {min} bytes", token.source);
                    problems.add(token.path.as_str(), rule);
                }
                Ok((hash, len)) => {
                    if len < SHORT_TOKEN_BYTES {
                        let rule = format!("shorter than {SHORT_TOKEN_BYTES} bytes, and may be guessed");
                        callers
                            .warnings
                            .push(format!("{}: {}: {rule}", token.path, token.source));
                    }
                    match token.owner {
                        Owner::Caller(name) => callers.add(name, &hash, &token.path, &mut problems),
                        Owner::Admin(role) => admins.push((role, hash, &token.path)),
                    }
                }
                Err(error) => problems.add(token.path.as_str(), error),
            }
        }
        for (name, settings) in &settings.callers {
            for digest in &settings.token_sha256 {
                let hash = callers.hasher.hash_digest(digest);
                callers.add(name, &hash, &format!("{}.token_sha256", path_of(name)), &mut problems);
            }
        }
        // After those of all callers, with which they are compared.
        for (role, hash, path) in admins {
            callers.add_admin(role, &hash, path, &mut problems);
        }
        problems.into_result()?;
        for warning in &callers.warnings {
            tracing::warn!("{warning}");
        }
        Ok(callers)
    }

    fn add(&mut self, name: &Slug, hash: &TokenHash, path: &str, problems: &mut GatewayProblems) {
        let place = self.place_of(name).and_then(|place| u32::try_from(place).ok());
        match self.by_hash.entry(*hash) {
            Entry::Vacant(vacant) => {
                vacant.insert(place.expect("all callers are there, less than 2^32"));
            }
            // Different tokens with one hash do not occur.
            Entry::Occupied(other) => {
                let other = self.all[*other.get() as usize].name();
                if other != name {
                    problems.add(path, format!("the token of {name} is also the token of {other}"));
                }
            }
        }
    }

    fn add_admin(&mut self, role: Role, hash: &TokenHash, path: &str, problems: &mut GatewayProblems) {
        let other = self.admin.role(hash).filter(|other| *other != role);
        if let Some(caller) = self.caller_of(hash) {
            problems.add(path, format!("also the token of the caller {}", caller.name()));
        } else if let Some(other) = other {
            problems.add(path, format!("also a token of {}", other.setting()));
        } else {
            self.admin.add(*hash, role);
        }
    }
}

/// Returns the caller of an open gateway.
fn open(selector: &Selector, previous: Option<&Callers>) -> Caller {
    let settings = CallerSettings {
        tenant: TenantRule::Fixed(selector.get(SelectorKind::Tenant).cloned()),
        environment: selector.get(SelectorKind::Environment).cloned(),
        feature: selector.get(SelectorKind::Feature).cloned(),
        ..CallerSettings::default()
    };
    caller(Slug::new(OPEN).expect("a slug"), Arc::new(settings), previous)
}

fn caller(name: Slug, settings: Arc<CallerSettings>, previous: Option<&Callers>) -> Caller {
    let counts = previous
        .and_then(|previous| previous.get(&name))
        .map(|caller| Arc::clone(caller.counts()));
    Caller::new(name, settings, counts.unwrap_or_default())
}

fn tokens(settings: &Settings) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut add = |owner, path: &str, sources| {
        let sources: &[KeySource] = sources;
        for (index, source) in sources.iter().enumerate() {
            let path = if sources.len() > 1 {
                format!("{path}[{index}]")
            } else {
                path.to_owned()
            };
            tokens.push(Token { owner, source, path });
        }
    };
    for (caller, settings) in &settings.callers {
        add(
            Owner::Caller(caller),
            &format!("{}.token", path_of(caller)),
            &settings.tokens,
        );
    }
    if let Some(admin) = &settings.admin {
        for (role, sources) in [(Role::Admin, &admin.tokens), (Role::Metrics, &admin.metrics_tokens)] {
            add(Owner::Admin(role), role.setting(), sources);
        }
    }
    tokens
}

type Hashed = Result<(TokenHash, usize), String>;

/// Reads all tokens on a few threads, in the order of `tokens`.
fn read_all(tokens: &[Token<'_>], read: impl Fn(&KeySource) -> Hashed + Sync) -> Vec<Hashed> {
    let (next, until) = (AtomicUsize::new(0), Instant::now() + MAX_TIME);
    let read_some = || {
        let mut hashes = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(token) = tokens.get(index) else { return hashes };
            let hash = if Instant::now() < until {
                read(token.source)
            } else {
                Err(format!(
                    "{}: not read, because all tokens together took {MAX_TIME:?}",
                    token.source
                ))
            };
            hashes.push((index, hash));
        }
    };
    let mut hashes = thread::scope(|scope| {
        let more = (1..tokens.len().min(MAX_THREADS)).map(|_| {
            thread::Builder::new()
                .name("tracer-registry-tokens".to_owned())
                .spawn_scoped(scope, read_some)
        });
        // Without further threads, this one reads all.
        let threads: Vec<_> = more.filter_map(Result::ok).collect();
        let mut hashes = read_some();
        for thread in threads {
            hashes.extend(thread.join().expect("reading does not panic"));
        }
        hashes
    });
    hashes.sort_unstable_by_key(|(index, _)| *index);
    hashes.into_iter().map(|(_, hash)| hash).collect()
}
