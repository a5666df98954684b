//! How a request names the project, if the backend's key does not choose it.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use http::{HeaderName, HeaderValue};
use opentelemetry::KeyValue;

use super::DestinationError;
use super::flatten::to_otel;
use crate::config::{BackendName, Protocol, ResolvedBinding};
use crate::secret::Fingerprint;

/// What chooses the project of a backend.
#[derive(Debug)]
pub(super) enum ProjectRule {
    /// The key.
    Key,
    /// What, depends on the receiver: perhaps a header, perhaps an attribute of the resource.
    Unknown,
    /// The setting `project`.
    Named(&'static Naming),
}

/// How the setting `project` is sent.
#[derive(Debug)]
pub(super) struct Naming {
    pub(super) carrier: Carrier,
    /// How a project is written.
    pub(super) form: Form,
    /// Headers and attributes of the resource by which the backend chooses too: a binding sets one of them or `project`.
    pub(super) also: &'static [Carrier],
    /// The project of what names none; none if the backend refuses that, or does not say.
    pub(super) default: Option<&'static str>,
    /// Whether the backend takes nothing without a project.
    pub(super) is_required: bool,
}

/// What carries the project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// An attribute of the resource, with each protocol.
    Resource(&'static str),
    /// A header, in lower case. Not with gRPC: Phoenix, the only one of these with gRPC, does not look at metadata.
    Header(&'static str),
}

/// How a project is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    AsGiven,
    /// Braintrust: the kind of parent, a colon, and its id or name. A project without a kind is a project's name.
    Parent,
}

const HASHES: BuildHasherDefault<DefaultHasher> = BuildHasherDefault::new();

const PARENTS: [&str; 3] = ["project_id:", "project_name:", "experiment_id:"];

/// Where spans land, as a hash: of two tracers with equal ids it is one project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ProjectId(u64);

#[cfg(test)]
impl ProjectId {
    /// One that differs by the key alone.
    pub(crate) fn of_key(key: Fingerprint) -> Self {
        Self(HASHES.hash_one(key))
    }
}

/// The project of a destination.
#[derive(Debug)]
pub(crate) struct Project {
    /// Its name as it is sent to the backend, or the backend's default. `None` if the key alone chooses it, or it is not known.
    pub(crate) name: Option<String>,
    /// Whether the setting `project` could choose another.
    pub(crate) is_named: bool,
    /// Whether another key could.
    pub(crate) is_of_key: bool,
    /// A hash of the address and of what is said of the project there.
    place: u64,
}

impl Project {
    /// The project that a binding chooses at an address, with what is sent for it.
    pub(super) fn of(
        rule: &ProjectRule,
        binding: &ResolvedBinding,
        traces_url: &str,
        protocol: Protocol,
    ) -> Result<(Self, Option<Sent>), DestinationError> {
        let (name, sent) = match rule {
            ProjectRule::Named(naming) => naming.choose(binding, protocol)?,
            _ if binding.project.is_some() => return Err(DestinationError::NoProject(binding.backend)),
            ProjectRule::Key | ProjectRule::Unknown => (None, None),
        };
        let by_anything = matches!(rule, ProjectRule::Unknown).then_some((&binding.headers, &binding.resource));
        let place = HASHES.hash_one((traces_url, &name, by_anything));
        let project = Self {
            name,
            is_named: matches!(rule, ProjectRule::Named(_)),
            is_of_key: !binding.backend.shares_projects(),
            place,
        };
        Ok((project, sent))
    }

    /// Whether tracers that have the same key, or another one if `has_same_key` is false, send to one project.
    pub(crate) fn is_same(&self, other: &Self, has_same_key: bool) -> bool {
        self.place == other.place && (has_same_key || !self.is_of_key)
    }

    /// Returns what to configure for two selectors that send to one project, so that they do not.
    pub(crate) fn advice(&self) -> &'static str {
        match (self.is_named, self.is_of_key) {
            (true, true) => "give each a `project` or a key of its own",
            (true, false) => "give each a `project` of its own, because no key of this backend chooses one",
            (false, _) => "give each a key of its own",
        }
    }

    /// The project, with a key.
    pub(crate) fn id(&self, key: Fingerprint) -> ProjectId {
        ProjectId(HASHES.hash_one((self.place, self.is_of_key.then_some(key))))
    }
}

/// A project as it is sent.
pub(super) enum Sent {
    Resource(KeyValue),
    Header(HeaderName, HeaderValue),
}

impl Sent {
    fn new(carrier: Carrier, name: &str, backend: BackendName) -> Result<Self, DestinationError> {
        Ok(match carrier {
            Carrier::Resource(key) => Self::Resource(KeyValue::new(key, name.to_owned())),
            Carrier::Header(header) => {
                // Receivers differ in what they take other characters for.
                let value = Some(name).filter(|name| name.is_ascii());
                let value = value.and_then(|name| HeaderValue::from_str(name).ok());
                let value = value.ok_or(DestinationError::ProjectCharacters(backend))?;
                Self::Header(HeaderName::from_static(header), value)
            }
        })
    }
}

impl Naming {
    /// The project of a binding, and what is sent for it if the setting chooses it.
    fn choose(
        &self,
        binding: &ResolvedBinding,
        protocol: Protocol,
    ) -> Result<(Option<String>, Option<Sent>), DestinationError> {
        let backend = binding.backend;
        Ok(match (&binding.project, self.by_hand(binding, protocol)) {
            (Some(_), Some((carrier, _))) => {
                let by = carrier.to_string();
                return Err(DestinationError::ProjectTwice { backend, by });
            }
            (Some(project), None) => {
                let name = self.form.write(project);
                let sent = Sent::new(self.carrier, &name, backend)?;
                (Some(name), Some(sent))
            }
            (None, Some((_, name))) => (Some(name), None),
            (None, None) if self.is_required => return Err(DestinationError::ProjectMissing(backend)),
            (None, None) => (self.default.map(str::to_owned), None),
        })
    }

    /// The project that a binding chooses by other means than the setting.
    fn by_hand(&self, binding: &ResolvedBinding, protocol: Protocol) -> Option<(Carrier, String)> {
        let mut carriers = self.also.iter().chain([&self.carrier]);
        carriers.find_map(|carrier| {
            let name = match carrier {
                Carrier::Resource(key) => to_otel(binding.resource.get(*key)?)?.to_string(),
                Carrier::Header(_) if protocol == Protocol::Grpc => return None,
                Carrier::Header(header) => {
                    let (_, value) = binding.headers.iter().find(|(name, _)| name == header)?;
                    String::from_utf8_lossy(value.as_bytes()).into_owned()
                }
            };
            Some((*carrier, name))
        })
    }
}

impl Form {
    fn write(self, project: &str) -> String {
        let has_kind = PARENTS.iter().any(|kind| project.starts_with(kind));
        match self {
            Self::Parent if !has_kind => format!("project_name:{project}"),
            Self::Parent | Self::AsGiven => project.to_owned(),
        }
    }
}

impl std::fmt::Display for Carrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Resource(key) => write!(f, "resource.\"{key}\""),
            Self::Header(name) => write!(f, "headers.{name}"),
        }
    }
}
