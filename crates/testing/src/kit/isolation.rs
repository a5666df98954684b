//! Data of one project in another one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use memchr::memmem;

use super::keys::TestKeys;
use tracer_registry_collector::{LocalCollector, Project, RecordedRequest, SessionOrigin, Span};

/// The header with the name of the project that a request is for.
pub(super) const WHOSE: &str = "x-test-project";
/// In OTLP's flags of a span: its parent came from another process.
const PARENT_IS_REMOTE: u32 = 0x200;

/// Data of one project that arrived in another one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Leak {
    /// A request of one tracer came under the key of another one.
    #[error("a request of {of} came under the key of {under}: {path}")]
    Request {
        /// The project that it names.
        of: String,
        /// The project of its key.
        under: String,
        /// Path of the request.
        path: String,
    },
    /// A span's parent is in another project.
    #[error("span {span:?} of {project} is a child of {parent:?}, which is in {parent_project}")]
    Parent {
        /// The span's name.
        span: String,
        /// Its project.
        project: String,
        /// The parent's name.
        parent: String,
        /// The parent's project.
        parent_project: String,
    },
    /// A trace is in several projects, and did not come from outside.
    #[error("trace {trace} is in several projects: {}", .projects.join(", "))]
    Trace {
        /// Its id.
        trace: String,
        /// The projects.
        projects: Vec<String>,
    },
    /// A span is of a session that was started in another project.
    #[error("span {span:?} of {project} is in session {session}, which was started in {session_project}")]
    Session {
        /// The span's name.
        span: String,
        /// Its project.
        project: String,
        /// The session's id.
        session: String,
        /// The session's project.
        session_project: String,
    },
    /// A canary of one project came under the key of another one.
    #[error("{canary} of {of} came under the key of {under}: {path}")]
    Canary {
        /// The text.
        canary: String,
        /// The project that it belongs to.
        of: String,
        /// The project of the key that it came under.
        under: String,
        /// Path of the request.
        path: String,
    },
    /// A key was in a request elsewhere than in the header that keys are sent in.
    #[error("a key was sent outside its header, under the key of {under}: {path}")]
    Key {
        /// The project of its key.
        under: String,
        /// Path of the request.
        path: String,
    },
    /// More arrived than is kept, so not everything was looked through.
    #[error(
        "not all was looked through: {requests} requests, {spans} spans and {sessions} sessions gave way to newer ones"
    )]
    Unseen {
        /// Requests that are not kept any more.
        requests: u64,
        /// Spans that are not kept any more.
        spans: u64,
        /// Sessions that are not kept any more.
        sessions: u64,
    },
}

pub(super) fn leaks(keys: &TestKeys) -> Vec<Leak> {
    let collector = &keys.collector;
    let summaries = collector.projects();
    let held = summaries
        .iter()
        .filter_map(|summary| collector.project_of_fingerprint(summary.fingerprint));
    let projects: Vec<(String, Project)> = held.map(|project| (name_of(&project), project)).collect();
    let mut leaks = unseen(collector, &projects);
    spans(&projects, &mut leaks);
    requests(keys, &mut leaks);
    leaks
}

/// A project of a key that is not the kit's is shown by its fingerprint.
fn name_of(project: &Project) -> String {
    let name = project.name().map(str::to_owned);
    name.unwrap_or_else(|| project.fingerprint().to_string())
}

fn unseen(collector: &LocalCollector, projects: &[(String, Project)]) -> Vec<Leak> {
    let dropped = || projects.iter().map(|(_, project)| project.summary().dropped);
    let requests = collector.dropped_requests();
    let spans = dropped().map(|dropped| dropped.spans).sum();
    let sessions = dropped().map(|dropped| dropped.sessions).sum();
    if (requests, spans, sessions) == (0, 0, 0) {
        return Vec::new();
    }
    vec![Leak::Unseen {
        requests,
        spans,
        sessions,
    }]
}

fn spans(projects: &[(String, Project)], leaks: &mut Vec<Leak>) {
    let all = || {
        projects
            .iter()
            .flat_map(|(name, project)| project.spans().iter().map(move |span| (name, span)))
    };
    let by_id: HashMap<(&str, &str), (&String, &str)> = all()
        .map(|(name, span)| {
            (
                (span.trace_id.as_str(), span.span_id.as_str()),
                (name, span.name.as_str()),
            )
        })
        .collect();
    let mut sessions: HashMap<&str, &String> = HashMap::new();
    for (name, project) in projects {
        let started = project
            .sessions()
            .iter()
            .filter(|session| session.origin == SessionOrigin::Started);
        sessions.extend(started.map(|session| (session.id.as_str(), name)));
    }
    let mut traces: BTreeMap<&str, BTreeSet<&String>> = BTreeMap::new();
    for (name, span) in all() {
        let parent = span
            .parent_span_id
            .as_deref()
            .and_then(|id| by_id.get(&(span.trace_id.as_str(), id)));
        if let Some((parent_project, parent)) = parent.filter(|(project, _)| *project != name) {
            leaks.push(Leak::Parent {
                span: span.name.clone(),
                project: name.clone(),
                parent: (*parent).to_owned(),
                parent_project: (*parent_project).clone(),
            });
        }
        let session = span.session_id.as_deref().and_then(|id| Some((id, *sessions.get(id)?)));
        if let Some((session, session_project)) = session.filter(|(_, project)| *project != name) {
            leaks.push(Leak::Session {
                span: span.name.clone(),
                project: name.clone(),
                session: session.to_owned(),
                session_project: session_project.clone(),
            });
        }
        traces.entry(&span.trace_id).or_default().insert(name);
    }
    // Two tenants that trust the same caller are in one trace, which is the caller's.
    let from_outside: BTreeSet<(&str, &String)> = all()
        .filter(|(_, span)| is_from_outside(span))
        .map(|(name, span)| (span.trace_id.as_str(), name))
        .collect();
    for (trace, projects) in traces {
        if projects.len() > 1 && !projects.iter().all(|name| from_outside.contains(&(trace, *name))) {
            leaks.push(Leak::Trace {
                trace: trace.to_owned(),
                projects: projects.into_iter().cloned().collect(),
            });
        }
    }
}

fn is_from_outside(span: &Span) -> bool {
    span.flags & PARENT_IS_REMOTE != 0
}

fn requests(keys: &TestKeys, leaks: &mut Vec<Leak>) {
    let needles = keys.needles();
    let needles: Vec<_> = needles
        .iter()
        .map(|(text, owner)| (text, owner, memmem::Finder::new(text)))
        .collect();
    for request in keys.collector.requests() {
        let under = request.project.clone().unwrap_or_else(|| "an unknown key".to_owned());
        if let Some(of) = request.header(WHOSE).filter(|of| *of != under) {
            leaks.push(Leak::Request {
                of: of.to_owned(),
                under: under.clone(),
                path: request.path.clone(),
            });
        }
        for (text, owner, finder) in &needles {
            if owner.as_ref() == Some(&under) || !is_in(&request, finder) {
                continue;
            }
            let (under, path) = (under.clone(), request.path.clone());
            leaks.push(match owner {
                Some(of) => Leak::Canary {
                    canary: (*text).clone(),
                    of: of.clone(),
                    under,
                    path,
                },
                None => Leak::Key { under, path },
            });
        }
    }
}

fn is_in(request: &RecordedRequest, finder: &memmem::Finder<'_>) -> bool {
    let headers = request
        .headers
        .iter()
        .flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    let mut texts = headers.chain([request.path.as_bytes(), &request.body]);
    texts.any(|text| finder.find(text).is_some())
}
