//! How a request names its project, for backends that do not derive it from the key.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use http::{HeaderName, HeaderValue};
use opentelemetry::KeyValue;

use super::DestinationError;
use super::flatten::to_otel;
use crate::config::{BackendName, Protocol, ResolvedBinding};
use crate::secret::Fingerprint;

/// What selects the project.
#[derive(Debug)]
pub(super) enum ProjectRule {
    /// The API key.
    Key,
    /// Unknown: the receiver may use the key, a header or a resource attribute.
    Unknown,
    /// The setting `project`.
    Named(&'static ProjectSetting),
}

/// How the setting `project` is sent.
#[derive(Debug)]
pub(super) struct ProjectSetting {
    pub(super) carrier: Carrier,
    /// Format of the project.
    pub(super) format: ProjectFormat,
    /// Other headers and resource attributes that select the project. A binding sets one of them or
    /// `project`.
    pub(super) alternatives: &'static [Carrier],
    /// Project if none is set. `None` if the backend refuses such requests, or does not document a
    /// default.
    pub(super) default: Option<&'static str>,
    /// Whether the backend requires a project.
    pub(super) is_required: bool,
}

/// Header or resource attribute with the project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// A resource attribute, with each protocol.
    Resource(&'static str),
    /// A header, in lower case. Not sent with gRPC: of the backends with gRPC only Phoenix has a
    /// project header, and it ignores gRPC metadata.
    Header(&'static str),
}

/// Format of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProjectFormat {
    AsGiven,
    /// Braintrust: the kind of parent, a colon, and its id or name. Without a kind, the text is a
    /// project's name.
    Parent,
}

const HASHER: BuildHasherDefault<DefaultHasher> = BuildHasherDefault::new();

const PARENTS: [&str; 3] = ["project_id:", "project_name:", "experiment_id:"];

/// Hash that identifies a project. Equal for tracers that send to the same project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ProjectId(u64);

#[cfg(test)]
impl ProjectId {
    /// Returns an id that depends only on the key.
    pub(crate) fn of_key(key: Fingerprint) -> Self {
        Self(HASHER.hash_one(key))
    }
}

/// Project that a destination sends to.
#[derive(Debug)]
pub(crate) struct Project {
    /// Name as sent to the backend, or the backend's default. `None` if only the key selects the
    /// project, or if it is unknown.
    pub(crate) name: Option<String>,
    /// Whether the setting `project` selects it.
    pub(crate) by_setting: bool,
    /// Whether the key selects it.
    pub(crate) by_key: bool,
    /// Hash of the address, and of the settings that select a project there.
    address_hash: u64,
}

impl Project {
    /// Returns the project that a binding selects, and the header or attribute to send for it.
    pub(super) fn new(
        rule: &ProjectRule,
        binding: &ResolvedBinding,
        traces_url: &str,
        protocol: Protocol,
    ) -> Result<(Self, Option<ProjectAttribute>), DestinationError> {
        let (name, sent) = match rule {
            ProjectRule::Named(naming) => naming.choose(binding, protocol)?,
            _ if binding.project.is_some() => return Err(DestinationError::NoProject(binding.backend)),
            ProjectRule::Key | ProjectRule::Unknown => (None, None),
        };
        let any_settings = matches!(rule, ProjectRule::Unknown).then_some((&binding.headers, &binding.resource));
        let address_hash = HASHER.hash_one((traces_url, &name, any_settings));
        let project = Self {
            name,
            by_setting: matches!(rule, ProjectRule::Named(_)),
            by_key: !binding.backend.shares_projects(),
            address_hash,
        };
        Ok((project, sent))
    }

    /// Returns whether two tracers send to the same project. `same_key` states whether they have
    /// the same key.
    pub(crate) fn is_same(&self, other: &Self, same_key: bool) -> bool {
        self.address_hash == other.address_hash && (same_key || !self.by_key)
    }

    /// Returns advice on separating two selectors that send to the same project.
    pub(crate) fn advice(&self) -> &'static str {
        match (self.by_setting, self.by_key) {
            (true, true) => "give each its own `project` or key",
            (true, false) => "give each its own `project`, because keys do not select the project on this backend",
            (false, _) => "give each its own key",
        }
    }

    /// Returns the id of the project under a key.
    pub(crate) fn id(&self, key: Fingerprint) -> ProjectId {
        ProjectId(HASHER.hash_one((self.address_hash, self.by_key.then_some(key))))
    }
}

/// Header or resource attribute to send for a project.
pub(super) enum ProjectAttribute {
    Resource(KeyValue),
    Header(HeaderName, HeaderValue),
}

impl ProjectAttribute {
    fn new(carrier: Carrier, name: &str, backend: BackendName) -> Result<Self, DestinationError> {
        Ok(match carrier {
            Carrier::Resource(key) => Self::Resource(KeyValue::new(key, name.to_owned())),
            Carrier::Header(header) => {
                // Receivers decode characters beyond ASCII differently.
                let value = Some(name).filter(|name| name.is_ascii());
                let value = value.and_then(|name| HeaderValue::from_str(name).ok());
                let value = value.ok_or(DestinationError::ProjectCharacters(backend))?;
                Self::Header(HeaderName::from_static(header), value)
            }
        })
    }
}

impl ProjectSetting {
    /// Returns the project of a binding, and the header or attribute to send for it if the setting
    /// selects it.
    fn choose(
        &self,
        binding: &ResolvedBinding,
        protocol: Protocol,
    ) -> Result<(Option<String>, Option<ProjectAttribute>), DestinationError> {
        let backend = binding.backend;
        Ok(
            match (&binding.project, self.project_in_alternatives(binding, protocol)) {
                (Some(_), Some((carrier, _))) => {
                    let by = carrier.to_string();
                    return Err(DestinationError::ProjectTwice { backend, by });
                }
                (Some(project), None) => {
                    let name = self.format.apply(project);
                    let sent = ProjectAttribute::new(self.carrier, &name, backend)?;
                    (Some(name), Some(sent))
                }
                (None, Some((_, name))) => (Some(name), None),
                (None, None) if self.is_required => return Err(DestinationError::ProjectMissing(backend)),
                (None, None) => (self.default.map(str::to_owned), None),
            },
        )
    }

    /// Returns the project that a binding sets directly in its headers or resource attributes.
    fn project_in_alternatives(&self, binding: &ResolvedBinding, protocol: Protocol) -> Option<(Carrier, String)> {
        let mut carriers = self.alternatives.iter().chain([&self.carrier]);
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

impl ProjectFormat {
    fn apply(self, project: &str) -> String {
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
