//! Credentials in every spelling, tenants that requests may and may not address, and reloads.

mod admin;
mod credentials;
mod hashes;
mod properties;
mod reading;
mod targets;

use http::{HeaderMap, HeaderName, HeaderValue};
use tracer_registry::config::ConfigError;
use tracer_registry::secret::SecretSources;

use super::*;
use crate::config::Settings;
use crate::config::tests::Folder;

/// A folder with a configuration, and the callers read from it.
struct World {
    folder: Folder,
    callers: Callers,
}

impl World {
    /// `files` are token files, by name.
    fn new(gateway: &str, files: &[(&str, &str)]) -> Self {
        let folder = Folder::new(&[("gateway.toml", gateway)]);
        for (name, token) in files {
            folder.write(name, token);
        }
        let callers = read(&folder, None).expect("valid");
        Self { folder, callers }
    }

    fn identified(&self, headers: &[(&str, &str)]) -> Result<String, Refusal> {
        self.callers
            .identify(&map(headers))
            .map(|caller| caller.name().to_string())
    }
}

fn read(folder: &Folder, previous: Option<&Callers>) -> Result<Callers, ConfigError> {
    let config = folder.config();
    let settings = Settings::read(&config).expect("valid");
    Callers::read(&config, &settings, &SecretSources::default(), previous)
}

fn map(headers: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::try_from(*name).expect("a name");
        map.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
    }
    map
}

fn one(caller: &str) -> Caller {
    let text = format!("[gateway.callers.acme-backend]\ntoken = {{ file = 'token' }}\n{caller}");
    let world = World::new(&text, &[("token", "token-of-acme-1")]);
    world.callers.all.into_iter().next().expect("configured")
}
