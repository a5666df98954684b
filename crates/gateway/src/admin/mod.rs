//! The admin listener: pages and actions for operators.
//!
//! A request is refused unless its `Host` is allowed, its path and method are known, and it has a
//! token in `Authorization: Bearer`. Until then, nothing else of it is read. There are no cookies
//! and no CORS, so that no page of a browser can use the listener with the operator's rights.
//!
//! Work that visits every tenant, waits or reads files runs on a few of the blocking threads,
//! because the others read keys for requests with data.
//!
//! | file | owns |
//! |---|---|
//! | `refusal.rs` | refusals, as JSON |
//! | `host.rs` | hosts that requests may be for |
//! | `query.rs` | parameters, each known, once and bounded |
//! | `permits.rs` | how much runs at once |
//! | `state.rs` | what all requests share |
//! | `call.rs` | a request with a known token, path and parameters |
//! | `pages.rs` | what is |
//! | `actions.rs` | what changes something |
//! | `attention.rs` | what needs a look |
//! | `history.rs` | what was, in each minute of the last hour |
//! | `events.rs` | what changes, as a stream |
//! | `route.rs` | all routes |
//! | `static_page.rs` | the page for browsers |
//! | `handler.rs` | one request from its head to its answer |

mod actions;
mod attention;
mod call;
mod events;
mod handler;
mod history;
mod host;
mod pages;
mod permits;
mod query;
mod refusal;
mod route;
mod state;
mod static_page;

#[cfg(test)]
pub(crate) use route::ROUTES;
pub(crate) use state::Admin;
