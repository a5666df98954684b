//! Search for data of one project in another one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use memchr::memmem;

use super::keys::TestKeys;
use tracer_registry_collector::{LocalCollector, Project, RecordedRequest, SessionOrigin, Span};

/// Header with the name of the project that a request is for.
pub(super) const PROJECT_HEADER: &str = "x-test-project";
/// OTLP span flag: the parent is remote.
const PARENT_IS_REMOTE: u32 = 0x200;

/// Data of one project that arrived in another one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Leak {
    /// A request of one tracer was received under the key of another one.
    #[error("request of {owner} was received under the key of {received_in}: {path}")]
    Request {
        /// Project that the request is for.
        owner: String,
        /// Project of the key in the request.
        received_in: String,
        /// Path of the request.
        path: String,
    },
    /// The parent of a span is in another project.
    #[error("span {span:?} of {project} is a child of {parent:?}, which is in {parent_project}")]
    Parent {
        /// Name of the span.
        span: String,
        /// Project of the span.
        project: String,
        /// Name of the parent.
        parent: String,
        /// Project of the parent.
        parent_project: String,
    },
    /// A trace that did not start outside the process is in several projects.
    #[error("trace {trace} is in several projects: {}", .projects.join(", "))]
    Trace {
        /// Trace id.
        trace: String,
        /// Projects with spans of the trace.
        projects: Vec<String>,
    },
    /// A span belongs to a session that was started in another project, and not in its own.
    #[error("span {span:?} of {project} is in session {session}, which was started in {session_project}")]
    Session {
        /// Name of the span.
        span: String,
        /// Project of the span.
        project: String,
        /// Id of the session.
        session: String,
        /// Project of the session.
        session_project: String,
    },
    /// A canary of one project was received under the key of another one.
    #[error("{canary} of {owner} was received under the key of {received_in}: {path}")]
    Canary {
        /// Text of the canary.
        canary: String,
        /// Project that the canary belongs to.
        owner: String,
        /// Project of the key in the request.
        received_in: String,
        /// Path of the request.
        path: String,
    },
    /// A request contained a key outside the header for keys.
    #[error("a key was sent outside its header, under the key of {received_in}: {path}")]
    Key {
        /// Project of the key in the request's header.
        received_in: String,
        /// Path of the request.
        path: String,
    },
    /// The collector discarded some of the data, so not everything was searched.
    #[error(
        "not everything was searched: {requests} requests, {spans} spans and {sessions} sessions were discarded for newer ones"
    )]
    NotSearched {
        /// Discarded requests.
        requests: u64,
        /// Discarded spans.
        spans: u64,
        /// Discarded sessions.
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
    let mut leaks = not_searched(collector, &projects);
    spans(&projects, &mut leaks);
    requests(keys, &mut leaks);
    leaks
}

/// Returns the project's name, or the fingerprint of a key that the kit did not generate.
fn name_of(project: &Project) -> String {
    let name = project.name().map(str::to_owned);
    name.unwrap_or_else(|| project.fingerprint().to_string())
}

fn not_searched(collector: &LocalCollector, projects: &[(String, Project)]) -> Vec<Leak> {
    let dropped = || projects.iter().map(|(_, project)| project.summary().dropped);
    let requests = collector.dropped_requests();
    let spans = dropped().map(|dropped| dropped.spans).sum();
    let sessions = dropped().map(|dropped| dropped.sessions).sum();
    if (requests, spans, sessions) == (0, 0, 0) {
        return Vec::new();
    }
    vec![Leak::NotSearched {
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
    // The same session id in two projects is two sessions.
    let mut sessions: HashMap<&str, BTreeSet<&String>> = HashMap::new();
    for (name, project) in projects {
        for session in project.sessions() {
            if session.origin == SessionOrigin::Started {
                sessions.entry(&session.id).or_default().insert(name);
            }
        }
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
        let session = span.session_id.as_deref().and_then(|id| Some((id, sessions.get(id)?)));
        if let Some((session, projects)) = session.filter(|(_, projects)| !projects.contains(name))
            && let Some(session_project) = projects.first()
        {
            leaks.push(Leak::Session {
                span: span.name.clone(),
                project: name.clone(),
                session: session.to_owned(),
                session_project: (*session_project).clone(),
            });
        }
        traces.entry(&span.trace_id).or_default().insert(name);
    }
    // Tenants that trust the same remote caller may share its trace.
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
        let received_in = request.project.clone().unwrap_or_else(|| "an unknown key".to_owned());
        if let Some(owner) = request.header(PROJECT_HEADER).filter(|owner| *owner != received_in) {
            leaks.push(Leak::Request {
                owner: owner.to_owned(),
                received_in: received_in.clone(),
                path: request.path.clone(),
            });
        }
        for (text, owner, finder) in &needles {
            if owner.as_ref() == Some(&received_in) || !is_in(&request, finder) {
                continue;
            }
            let (received_in, path) = (received_in.clone(), request.path.clone());
            leaks.push(match owner {
                Some(owner) => Leak::Canary {
                    canary: (*text).clone(),
                    owner: owner.clone(),
                    received_in,
                    path,
                },
                None => Leak::Key { received_in, path },
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
