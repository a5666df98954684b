//! The table of backends. Each row's source is the vendor's documentation, named beside it.

use super::attributes::Spelling;
use super::project::{Carrier, Form, Naming, ProjectRule};
use crate::config::{AuthScheme, BackendName};

/// What is known of a backend.
#[derive(Debug)]
pub(super) struct Preset {
    /// Its address, if it has one for all customers.
    pub(super) endpoint: Option<&'static str>,
    /// The path that takes spans, from the endpoint's root.
    pub(super) traces_path: &'static str,
    /// What an endpoint's own path means.
    pub(super) path: PathRule,
    pub(super) header: &'static str,
    pub(super) scheme: AuthScheme,
    /// Headers of every request.
    pub(super) headers: &'static [(&'static str, &'static str)],
    pub(super) spelling: &'static Spelling,
    pub(super) project: ProjectRule,
    /// Sessions by HoneyHive's API.
    pub(super) session_api: bool,
    /// Takes OTLP/HTTP with protobuf bodies only.
    pub(super) protobuf_only: bool,
    /// Takes OTLP/gRPC, at the endpoint that it is given.
    pub(super) grpc: bool,
}

/// What the path of a configured endpoint means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathRule {
    /// It is the path that takes spans.
    AsGiven,
    /// It is the base that the backend's paths are added to, unless it already ends in `/v1/traces`.
    Base,
}

const PLAIN: Preset = Preset {
    endpoint: None,
    traces_path: "/v1/traces",
    path: PathRule::AsGiven,
    header: "authorization",
    scheme: AuthScheme::Bearer,
    headers: &[],
    spelling: &Spelling::PLAIN,
    project: ProjectRule::Key,
    session_api: false,
    protobuf_only: false,
    grpc: false,
};

impl Naming {
    const PLAIN: Self = Self {
        carrier: Carrier::Header(""),
        form: Form::AsGiven,
        also: &[],
        default: None,
        is_required: false,
    };
}

const OTLP: Preset = Preset {
    project: ProjectRule::Unknown,
    grpc: true,
    ..PLAIN
};

/// <https://docs.honeyhive.ai/v2/integrations/opentelemetry-collector>
const HONEYHIVE: Preset = Preset {
    endpoint: Some("https://api.dp1.us.honeyhive.ai"),
    traces_path: "/opentelemetry/v1/traces",
    path: PathRule::Base,
    spelling: &Spelling::HONEYHIVE,
    session_api: true,
    ..PLAIN
};

/// <https://langfuse.com/integrations/native/opentelemetry>: Basic with `public_key:secret_key`; protobuf and JSON, no gRPC.
const LANGFUSE: Preset = Preset {
    endpoint: Some("https://cloud.langfuse.com/api/public/otel"),
    traces_path: "/api/public/otel/v1/traces",
    path: PathRule::Base,
    scheme: AuthScheme::Basic,
    headers: &[("x-langfuse-ingestion-version", "4")],
    spelling: &Spelling::LANGFUSE,
    ..PLAIN
};

/// <https://arize.com/docs/phoenix/self-hosting/features/authentication>. The cloud's address has the space in it
/// (`https://app.phoenix.arize.com/s/<space>`), so it must be configured. Answers 415 to JSON. gRPC has a port of
/// its own, 4317. The project is an attribute of the resource
/// (<https://arize.com/docs/phoenix/tracing/how-to-tracing/setup-tracing/setup-projects>), and by HTTP also the header `x-project-name`, which comes
/// first (<https://arize.com/docs/phoenix/release-notes/05-2026/05-08-2026-otlp-project-header>).
const PHOENIX: Preset = Preset {
    path: PathRule::Base,
    project: ProjectRule::Named(&Naming {
        carrier: Carrier::Resource("openinference.project.name"),
        also: &[Carrier::Header("x-project-name")],
        default: Some("default"),
        ..Naming::PLAIN
    }),
    protobuf_only: true,
    grpc: true,
    ..PLAIN
};

/// <https://docs.langchain.com/langsmith/trace-with-opentelemetry>. The project is the header `Langsmith-Project`; a key is of an account.
const LANGSMITH: Preset = Preset {
    endpoint: Some("https://api.smith.langchain.com/otel"),
    traces_path: "/otel/v1/traces",
    path: PathRule::Base,
    header: "x-api-key",
    scheme: AuthScheme::Raw,
    spelling: &Spelling::LANGSMITH,
    project: ProjectRule::Named(&Naming {
        carrier: Carrier::Header("langsmith-project"),
        default: Some("default"),
        ..Naming::PLAIN
    }),
    ..PLAIN
};

/// <https://logfire.pydantic.dev/docs/how-to-guides/alternative-clients>: the write token without a scheme. EU: `logfire-eu`.
const LOGFIRE: Preset = Preset {
    endpoint: Some("https://logfire-us.pydantic.dev"),
    path: PathRule::Base,
    scheme: AuthScheme::Raw,
    ..PLAIN
};

/// <https://braintrust.dev/docs/integrations/sdk-integrations/opentelemetry/send-traces-and-logs>. The project is the header
/// `x-bt-parent`, or the attribute `braintrust.parent`; a key is of an organization.
const BRAINTRUST: Preset = Preset {
    endpoint: Some("https://api.braintrust.dev/otel"),
    traces_path: "/otel/v1/traces",
    path: PathRule::Base,
    project: ProjectRule::Named(&Naming {
        carrier: Carrier::Header("x-bt-parent"),
        form: Form::Parent,
        also: &[Carrier::Resource("braintrust.parent")],
        ..Naming::PLAIN
    }),
    ..PLAIN
};

/// <https://docs.honeycomb.io/send-data/opentelemetry>. EU: `api.eu1.honeycomb.io`.
const HONEYCOMB: Preset = Preset {
    endpoint: Some("https://api.honeycomb.io"),
    path: PathRule::Base,
    header: "x-honeycomb-team",
    scheme: AuthScheme::Raw,
    grpc: true,
    ..PLAIN
};

/// <https://grafana.com/docs/grafana-cloud/send-data/otlp/send-data-otlp/>: Basic with `instance_id:token`. The address has the zone in
/// it (`https://otlp-gateway-<zone>.grafana.net/otlp`), so it must be configured.
const GRAFANA: Preset = Preset {
    traces_path: "/otlp/v1/traces",
    path: PathRule::Base,
    scheme: AuthScheme::Basic,
    ..PLAIN
};

/// <https://mlflow.org/docs/latest/genai/tracing/opentelemetry/ingest/>: HTTP alone, from MLflow 3.6 on, and the header with the experiment's id is
/// required. `user:password` as <https://mlflow.org/docs/latest/self-hosting/security/basic-http-auth/> has it.
const MLFLOW: Preset = Preset {
    path: PathRule::Base,
    scheme: AuthScheme::Basic,
    project: ProjectRule::Named(&Naming {
        carrier: Carrier::Header("x-mlflow-experiment-id"),
        is_required: true,
        ..Naming::PLAIN
    }),
    ..PLAIN
};

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
