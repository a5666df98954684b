//! All routes of the admin listener.

use http::Method;

use super::call::{Call, Json};
use super::refusal::Refusal;
use super::{actions, attention, pages};
use crate::callers::Role;

/// Place of a selector in a pattern.
const SELECTOR: &str = "{selector}";

/// A path, a method, and what they ask for.
pub(crate) struct Route {
    /// Segments, of which `{selector}` stands for any text.
    pub(crate) path: &'static str,
    pub(crate) method: &'static str,
    /// The weakest role that is allowed.
    pub(super) role: Role,
    /// Names of its parameters.
    pub(crate) parameters: &'static [&'static str],
    pub(super) work: Work,
}

/// What a route does, and where.
#[derive(Clone, Copy)]
pub(super) enum Work {
    /// On the thread of the connection: it takes less than a millisecond.
    Quick(Run),
    /// On a blocking thread: it visits all tenants, or reads a file.
    Pass(Run),
    /// On a blocking thread: it may wait for a source of keys.
    Slow(Run),
    /// On a blocking thread: it waits for a receiver.
    Flush(Run),
    /// A stream of what changes.
    Events,
    /// Metrics as text.
    Metrics,
}

type Run = fn(&Call) -> Result<Json, Refusal>;

/// A page of JSON for admins.
const fn page(path: &'static str, parameters: &'static [&'static str], work: Work) -> Route {
    Route {
        path,
        method: "GET",
        role: Role::Admin,
        parameters,
        work,
    }
}

/// An action of admins.
const fn action(path: &'static str, parameters: &'static [&'static str], work: Work) -> Route {
    Route {
        method: "POST",
        ..page(path, parameters, work)
    }
}

pub(crate) const ROUTES: &[Route] = &[
    page(
        "/api/tenants",
        &["order", "only", "contains", "after", "limit"],
        Work::Pass(pages::tenants),
    ),
    page("/api/tenants/{selector}", &[], Work::Pass(pages::tenant)),
    page("/api/tenants/{selector}/refused", &["body"], Work::Pass(pages::refused)),
    page("/api/tenants/{selector}/history", &[], Work::Pass(pages::history)),
    page("/api/endpoints", &["limit"], Work::Pass(pages::endpoints)),
    page(
        "/api/callers",
        &["contains", "after", "limit"],
        Work::Pass(pages::callers),
    ),
    page("/api/config", &[], Work::Pass(pages::config)),
    page("/api/spool", &[], Work::Pass(pages::spool)),
    page("/api/cluster", &[], Work::Slow(pages::cluster)),
    page("/api/stream", &[], Work::Pass(pages::stream)),
    page("/api/attention", &[], Work::Pass(attention::attention)),
    page("/api/explain", &["trace_id"], Work::Quick(pages::explain)),
    page("/api/events", &["after"], Work::Events),
    Route {
        role: Role::Metrics,
        ..page("/metrics", &[], Work::Metrics)
    },
    action("/api/reload", &[], Work::Slow(actions::reload)),
    action(
        "/api/tenants/{selector}/flush",
        &["timeout"],
        Work::Flush(actions::flush),
    ),
    action("/api/tenants/{selector}/pause", &[], Work::Pass(actions::pause)),
    action("/api/tenants/{selector}/resume", &[], Work::Pass(actions::resume)),
    action("/api/tenants/{selector}/remove", &[], Work::Pass(actions::remove)),
    action(
        "/api/tenants/{selector}/rotate",
        &["dry_run"],
        Work::Slow(actions::rotate),
    ),
    action("/api/tenants/{selector}/nudge", &[], Work::Slow(actions::nudge)),
    action("/api/tenants/{selector}/purge", &[], Work::Slow(actions::purge)),
    action("/api/tenants/{selector}/allow", &[], Work::Slow(actions::allow)),
];

/// What a path and a method ask for.
pub(super) enum Found<'p> {
    /// A route, and the selector as the path writes it.
    Route(&'static Route, Option<&'p str>),
    /// The path has other methods.
    OtherMethod(String),
    /// The path is unknown.
    Nothing,
}

pub(super) fn find<'p>(path: &'p str, method: &Method) -> Found<'p> {
    let mut methods = Vec::new();
    for route in ROUTES {
        let Some(selector) = matched(route.path, path) else {
            continue;
        };
        if route.method == method.as_str() {
            return Found::Route(route, Some(selector).filter(|selector| !selector.is_empty()));
        }
        methods.push(route.method);
    }
    if methods.is_empty() {
        Found::Nothing
    } else {
        Found::OtherMethod(methods.join(", "))
    }
}

/// Returns the selector if a path matches a pattern, segment by segment and without decoding. It is
/// empty for a pattern without one.
fn matched<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    let mut selector = "";
    let mut segments = path.split('/');
    for expected in pattern.split('/') {
        let segment = segments.next()?;
        if expected == SELECTOR && !segment.is_empty() {
            selector = segment;
        } else if expected != segment {
            return None;
        }
    }
    segments.next().is_none().then_some(selector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_matches_segment_by_segment_as_it_is_written() {
        let flush = "/api/tenants/{selector}/flush";
        assert_eq!(matched(flush, "/api/tenants/acme/flush"), Some("acme"));
        assert_eq!(matched(flush, "/api/tenants/a%2Fb/flush"), Some("a%2Fb"));
        assert_eq!(matched("/api/tenants", "/api/tenants"), Some(""));
        for path in [
            "/api/tenants//flush",
            "/api/tenants/acme/flush/",
            "//api/tenants/acme/flush",
            "/api/tenants/acme/FLUSH",
            "/api/tenants/acme/fl%75sh",
            "/api/tenants/acme",
            "/api/tenants/a/b/flush",
            "api/tenants/acme/flush",
            "*",
            "",
        ] {
            assert_eq!(matched(flush, path), None, "{path}");
        }
    }

    #[test]
    fn no_two_routes_answer_the_same_request() {
        for (index, route) in ROUTES.iter().enumerate() {
            let same = |other: &Route| other.method == route.method && matched(other.path, route.path).is_some();
            assert_eq!(ROUTES.iter().position(same), Some(index), "{}", route.path);
        }
    }
}
