//! Behaviour, tested with real parts: a receiver on loopback, files, processes. All tests are in one
//! binary, so they are linked once.

mod architecture;
mod attention;
mod batch_splitting;
mod breakers;
mod changes;
mod child_process;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod clock;
mod coalescing;
mod collector;
mod config;
mod copies;
mod dead_letters;
mod documentation;
mod dynamic_tenants;
mod encodings;
mod eviction;
mod examples;
mod explain;
mod export_failures;
mod fault_isolation;
mod flush;
#[cfg(unix)]
mod forks;
mod full_queue;
mod global;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(feature = "grpc")]
mod grpc_server;
mod health_log;
mod http2;
#[cfg(feature = "gateway")]
mod ingest;
mod inline;
mod inline_pool;
mod isolation;
mod key_redaction;
mod keys;
mod ledger;
mod llm;
mod log;
mod lookup;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(feature = "metrics")]
mod metrics;
mod pause;
mod processes;
mod projects;
mod propagation;
mod proxies;
mod proxy;
mod public_api;
mod quota;
mod receiver_capacity;
mod receiver_responses;
#[cfg(feature = "redact")]
mod redaction;
mod reload;
#[cfg(feature = "reqwest")]
mod reqwest;
mod rotation;
mod routes;
mod routing;
mod runtimes;
mod scopes;
mod session_modes;
mod sessions;
mod shared_tracers;
mod soak;
mod sources;
mod spool;
mod status;
mod support;
#[cfg(target_os = "linux")]
mod system_errors;
mod tenant_keys;
mod test_kit;
mod thread_ends;
#[cfg(target_os = "linux")]
mod thread_exhaustion;
mod tls;
mod tls_server;
#[cfg(feature = "tower")]
mod tower;
#[cfg(feature = "macros")]
mod trace_macro;
mod tracer_flush;
mod tracer_pages;
#[cfg(feature = "tracing")]
mod tracing_layer;
mod untrusted;
mod verify;
mod weights;
