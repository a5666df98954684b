//! Built-in settings of backends. Each one names the vendor's documentation as its source.

use super::attributes::AttributeNames;
use super::project::{Carrier, ProjectFormat, ProjectRule, ProjectSetting};
use crate::config::{AuthScheme, BackendName};

/// Built-in settings of a backend.
#[derive(Debug)]
pub(super) struct Preset {
    /// Default endpoint, if it is the same for all customers.
    pub(super) endpoint: Option<&'static str>,
    /// Path that receives spans, from the endpoint's root.
    pub(super) traces_path: &'static str,
    /// Meaning of an endpoint's path.
    pub(super) path: PathRule,
    pub(super) header: &'static str,
    pub(super) scheme: AuthScheme,
    /// Headers of every request.
    pub(super) headers: &'static [(&'static str, &'static str)],
    pub(super) names: &'static AttributeNames,
    pub(super) project: ProjectRule,
    /// Whether sessions use HoneyHive's API.
    pub(super) session_api: bool,
    /// Whether OTLP/HTTP accepts only protobuf bodies.
    pub(super) protobuf_only: bool,
    /// Whether the endpoint accepts OTLP/gRPC.
    pub(super) grpc: bool,
}

/// Meaning of a configured endpoint's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathRule {
    /// The path receives spans.
    AsGiven,
    /// The path is the base of the backend's paths, unless it ends in `/v1/traces`.
    Base,
}

const DEFAULT: Preset = Preset {
    endpoint: None,
    traces_path: "/v1/traces",
    path: PathRule::AsGiven,
    header: "authorization",
    scheme: AuthScheme::Bearer,
    headers: &[],
    names: &AttributeNames::OPENTELEMETRY,
    project: ProjectRule::Key,
    session_api: false,
    protobuf_only: false,
    grpc: false,
};

impl ProjectSetting {
    const DEFAULT: Self = Self {
        carrier: Carrier::Header(""),
        format: ProjectFormat::AsGiven,
        alternatives: &[],
        default: None,
        is_required: false,
    };
}

const OTLP: Preset = Preset {
    project: ProjectRule::Unknown,
    grpc: true,
    ..DEFAULT
};

/// <https://docs.honeyhive.ai/v2/integrations/opentelemetry-collector>
const HONEYHIVE: Preset = Preset {
    endpoint: Some("https://api.dp1.us.honeyhive.ai"),
    traces_path: "/opentelemetry/v1/traces",
    path: PathRule::Base,
    names: &AttributeNames::HONEYHIVE,
    session_api: true,
    ..DEFAULT
};

/// <https://langfuse.com/integrations/native/opentelemetry>: Basic with `public_key:secret_key`;
/// protobuf and JSON, no gRPC.
const LANGFUSE: Preset = Preset {
    endpoint: Some("https://cloud.langfuse.com/api/public/otel"),
    traces_path: "/api/public/otel/v1/traces",
    path: PathRule::Base,
    scheme: AuthScheme::Basic,
    headers: &[("x-langfuse-ingestion-version", "4")],
    names: &AttributeNames::LANGFUSE,
    ..DEFAULT
};

/// <https://arize.com/docs/phoenix/self-hosting/features/authentication>. The cloud's address
/// contains the space (`https://app.phoenix.arize.com/s/<space>`), so it must be configured.
/// Responds 415 to JSON. gRPC has its own port, 4317. The project is a resource attribute
/// (<https://arize.com/docs/phoenix/tracing/how-to-tracing/setup-tracing/setup-projects>), and with
/// HTTP also the header `x-project-name`, which takes precedence
/// (<https://arize.com/docs/phoenix/release-notes/05-2026/05-08-2026-otlp-project-header>).
const PHOENIX: Preset = Preset {
    path: PathRule::Base,
    project: ProjectRule::Named(&ProjectSetting {
        carrier: Carrier::Resource("openinference.project.name"),
        alternatives: &[Carrier::Header("x-project-name")],
        default: Some("default"),
        ..ProjectSetting::DEFAULT
    }),
    protobuf_only: true,
    grpc: true,
    ..DEFAULT
};

/// <https://docs.langchain.com/langsmith/trace-with-opentelemetry>. The project is the header
/// `Langsmith-Project`; a key belongs to an account.
const LANGSMITH: Preset = Preset {
    endpoint: Some("https://api.smith.langchain.com/otel"),
    traces_path: "/otel/v1/traces",
    path: PathRule::Base,
    header: "x-api-key",
    scheme: AuthScheme::Raw,
    names: &AttributeNames::LANGSMITH,
    project: ProjectRule::Named(&ProjectSetting {
        carrier: Carrier::Header("langsmith-project"),
        default: Some("default"),
        ..ProjectSetting::DEFAULT
    }),
    ..DEFAULT
};

/// <https://logfire.pydantic.dev/docs/how-to-guides/alternative-clients>: the write token without a
/// scheme. EU: `logfire-eu`.
const LOGFIRE: Preset = Preset {
    endpoint: Some("https://logfire-us.pydantic.dev"),
    path: PathRule::Base,
    scheme: AuthScheme::Raw,
    ..DEFAULT
};

/// <https://braintrust.dev/docs/integrations/sdk-integrations/opentelemetry/send-traces-and-logs>.
/// The project is the header `x-bt-parent` or the attribute `braintrust.parent`; a key belongs to
/// an organization.
const BRAINTRUST: Preset = Preset {
    endpoint: Some("https://api.braintrust.dev/otel"),
    traces_path: "/otel/v1/traces",
    path: PathRule::Base,
    project: ProjectRule::Named(&ProjectSetting {
        carrier: Carrier::Header("x-bt-parent"),
        format: ProjectFormat::Parent,
        alternatives: &[Carrier::Resource("braintrust.parent")],
        ..ProjectSetting::DEFAULT
    }),
    ..DEFAULT
};

/// <https://docs.honeycomb.io/send-data/opentelemetry>. EU: `api.eu1.honeycomb.io`.
const HONEYCOMB: Preset = Preset {
    endpoint: Some("https://api.honeycomb.io"),
    path: PathRule::Base,
    header: "x-honeycomb-team",
    scheme: AuthScheme::Raw,
    grpc: true,
    ..DEFAULT
};

/// <https://grafana.com/docs/grafana-cloud/send-data/otlp/send-data-otlp/>: Basic with
/// `instance_id:token`. The address contains the zone
/// (`https://otlp-gateway-<zone>.grafana.net/otlp`), so it must be configured.
const GRAFANA: Preset = Preset {
    traces_path: "/otlp/v1/traces",
    path: PathRule::Base,
    scheme: AuthScheme::Basic,
    ..DEFAULT
};

/// <https://mlflow.org/docs/latest/genai/tracing/opentelemetry/ingest/>: HTTP only, from MLflow 3.6
/// on; the header with the experiment's id is required. The key is `user:password`
/// (<https://mlflow.org/docs/latest/self-hosting/security/basic-http-auth/>).
const MLFLOW: Preset = Preset {
    path: PathRule::Base,
    scheme: AuthScheme::Basic,
    project: ProjectRule::Named(&ProjectSetting {
        carrier: Carrier::Header("x-mlflow-experiment-id"),
        is_required: true,
        ..ProjectSetting::DEFAULT
    }),
    ..DEFAULT
};

/// Attributes by which a receiver chooses the project of a span.
pub(super) struct ProjectAttributes {
    /// Backend of the receiver. `None` if it is reached with the backend `otlp`.
    backend: Option<BackendName>,
    /// On a resource, a scope or a span.
    pub(super) anywhere: &'static [&'static str],
    /// Only on a resource, because programs use the name on spans for something else.
    pub(super) on_resource: &'static [&'static str],
}

/// Project attributes of known receivers.
///
/// - Phoenix and Arize AX:
///   <https://arize.com/docs/phoenix/tracing/how-to-tracing/setup-tracing/setup-projects>,
///   <https://arize.com/docs/ax/concepts/otel-openinference/resource>;
/// - Braintrust: <https://www.braintrust.dev/docs/integrations/sdk-integrations/opentelemetry>;
/// - LangSmith, where a session is a project or an experiment:
///   <https://docs.langchain.com/langsmith/evaluate-with-opentelemetry>;
/// - MLflow: <https://mlflow.org/docs/latest/genai/tracing/opentelemetry/ingest/>;
/// - HoneyHive's clients: <https://github.com/honeyhiveai/python-sdk>;
/// - W&B Weave: <https://docs.wandb.ai/weave/guides/tracking/otel>;
/// - Galileo: <https://github.com/rungalileo/galileo-python>;
/// - Google Cloud:
///   <https://docs.cloud.google.com/stackdriver/docs/instrumentation/migrate-to-otlp-endpoints>.
pub(super) const PROJECT_ATTRIBUTES: &[ProjectAttributes] = &[
    ProjectAttributes {
        backend: Some(BackendName::Phoenix),
        anywhere: &["openinference.project.name"],
        on_resource: &[],
    },
    ProjectAttributes {
        backend: Some(BackendName::Braintrust),
        anywhere: &["braintrust.parent"],
        on_resource: &[],
    },
    ProjectAttributes {
        backend: Some(BackendName::Langsmith),
        anywhere: &["langsmith.trace.session_id", "langsmith.trace.session_name"],
        on_resource: &[],
    },
    ProjectAttributes {
        backend: Some(BackendName::Mlflow),
        anywhere: &["mlflow.experimentId"],
        on_resource: &[],
    },
    ProjectAttributes {
        backend: Some(BackendName::Honeyhive),
        anywhere: &[
            "honeyhive.project",
            "honeyhive.project_name",
            "traceloop.association.properties.project",
            "traceloop.association.properties.project_name",
        ],
        on_resource: &[],
    },
    ProjectAttributes {
        backend: None,
        anywhere: &[
            "arize.project.name",
            "arize.space_id",
            "wandb.entity",
            "wandb.project",
            "galileo.project.name",
            "galileo.logstream.name",
            "galileo.experiment.id",
        ],
        on_resource: &["model_id", "gcp.project_id"],
    },
];

/// Returns the project attributes of a backend's receiver. With `otlp` it may be any.
pub(super) fn project_attributes(backend: BackendName) -> impl Iterator<Item = &'static ProjectAttributes> {
    let rows = PROJECT_ATTRIBUTES.iter();
    rows.filter(move |row| backend == BackendName::Otlp || row.backend == Some(backend))
}

/// Returns whether a backend's receiver chooses a project by this attribute of a resource.
pub(super) fn is_project_attribute_of(backend: BackendName, key: &str) -> bool {
    let mut lists = project_attributes(backend).flat_map(|row| [row.anywhere, row.on_resource]);
    lists.any(|keys| keys.contains(&key))
}

/// Fields of HoneyHive's session API that choose or name a project, in lower case and without
/// separators. The key alone chooses it, but older servers read some of them.
#[cfg(feature = "encoded")]
const PROJECT_FIELDS: [&str; 13] = [
    "project",
    "projectid",
    "projectname",
    "workspace",
    "workspaceid",
    "workspacename",
    "org",
    "orgid",
    "orgname",
    "organization",
    "organizationid",
    "tenant",
    "tenantid",
];

/// Returns whether a field of a session or event chooses a project, in any spelling such as
/// `project_id` or `projectId`.
#[cfg(feature = "encoded")]
pub(crate) fn chooses_project(field: &str) -> bool {
    let letters = || field.chars().filter(|letter| !matches!(letter, '_' | '-'));
    let is_named = |name: &&str| letters().map(|letter| letter.to_ascii_lowercase()).eq(name.chars());
    PROJECT_FIELDS.iter().any(is_named)
}

pub(super) fn of(backend: BackendName) -> &'static Preset {
    match backend {
        BackendName::Honeyhive => &HONEYHIVE,
        BackendName::Otlp => &OTLP,
        BackendName::Langfuse => &LANGFUSE,
        BackendName::Phoenix => &PHOENIX,
        BackendName::Langsmith => &LANGSMITH,
        BackendName::Logfire => &LOGFIRE,
        BackendName::Braintrust => &BRAINTRUST,
        BackendName::Honeycomb => &HONEYCOMB,
        BackendName::Grafana => &GRAFANA,
        BackendName::Mlflow => &MLFLOW,
    }
}
