//! One request from its head to its answer.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT};
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode, Version};
use http_body::Body;
use tracer_registry::gateway::{Amount, Charge};
use tracer_registry::ingest::{IngestError, Ingested, InvalidTraces, Traces};
use tracer_registry::{LookupError, Selector, TracerHandle, TracerRegistry};

use super::client;
use super::decode_thread::DecodeThread;
use super::encoding::{Encoding, Inflated};
use super::frame;
use super::head;
use super::info::info;
use super::read::{self, MinRate, Shape};
use super::route::{OTHER_ROUTE, Route};
use super::turn::Turn;
use crate::answer::{self, Answer, Format, Refusal, RefusalKind};
use crate::budget::Reserved;
use crate::callers::{Caller, Reason, Target, tenant_in_path};
use crate::cluster::Cluster;
use crate::config::OtherSignals;
use crate::counters::{Counters, GatewayStatus, MemoryStatus};
use crate::log::Log;
use crate::otlp_json::traces_from_json;
use crate::running::{Current, Running};

/// Messages that a caller has checked one at a time are larger.
pub(super) const LARGE_BYTES: usize = 128 * 1024;

/// Takes requests.
pub(crate) struct Ingest {
    pub(super) registry: TracerRegistry,
    pub(super) current: Arc<Current>,
    pub(super) decode: DecodeThread,
    pub(super) counters: Arc<Counters>,
    log: Arc<Log>,
    cluster: Arc<Cluster>,
}

/// A request whose body is not read yet.
pub(super) struct Export<'r, 'c, B> {
    pub(super) running: &'c Running,
    pub(super) head: &'r Parts,
    /// Tenant that the path names.
    pub(super) in_path: Option<&'r str>,
    pub(super) format: Option<Format>,
    pub(super) body: &'r mut B,
    /// Set once the credential is known.
    pub(super) caller: &'r mut Option<&'c Caller>,
}

impl Ingest {
    pub(crate) fn new(
        registry: TracerRegistry,
        current: Arc<Current>,
        decode: DecodeThread,
        counters: Arc<Counters>,
        log: Arc<Log>,
        cluster: Arc<Cluster>,
    ) -> Self {
        Self {
            registry,
            current,
            decode,
            counters,
            log,
            cluster,
        }
    }

    pub(crate) fn registry(&self) -> &TracerRegistry {
        &self.registry
    }

    fn running(&self) -> Arc<Running> {
        self.current.running()
    }

    /// Returns counts and what is in progress.
    pub(crate) fn status(&self) -> GatewayStatus {
        self.counters.status(self.memory())
    }

    /// Another replica can take what this one cannot store.
    fn is_ready(&self) -> bool {
        self.counters.is_ready() && self.cluster.can_store()
    }

    /// Makes `/readyz` answer 503. Requests are still served.
    pub(crate) fn set_not_ready(&self) {
        self.counters.set_not_ready();
    }

    fn memory(&self) -> MemoryStatus {
        let budget = self.current.budget();
        MemoryStatus {
            used: budget.used(),
            limit: budget.limit(),
        }
    }

    /// Answers a request.
    ///
    /// # Cancel safety
    /// If the future is dropped before all of the body is read, nothing of the request is queued.
    pub(crate) async fn answer<B>(&self, request: Request<B>, peer: IpAddr) -> Answer
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let start = self.counters.durations.start();
        let (head, mut body) = request.into_parts();
        // gRPC needs the trailers of HTTP/2.
        let is_usable = |format: &Format| *format != Format::Grpc || head.version == Version::HTTP_2;
        let format = Format::of(&head.headers).filter(is_usable);
        let running = self.running();
        let mut caller = None;
        let route = Route::of(head.uri.path(), format);
        let export = Export {
            running: &running,
            head: &head,
            in_path: route.as_ref().ok().and_then(|(_, prefix)| tenant_in_path(prefix)),
            format,
            body: &mut body,
            caller: &mut caller,
        };
        let route = route.map(|(route, _)| route);
        let route_name = route
            .as_ref()
            .map_or(OTHER_ROUTE, |route| route.name(format, export.in_path.is_some()));
        let is_other_api = matches!(route, Ok(Route::Session(_) | Route::Info));
        let sound = head::check(&head);
        let may_continue = sound.is_ok();
        let outcome = match sound.and(route) {
            Ok(Route::Health) => health(&head.method, true),
            Ok(Route::Ready) => health(&head.method, self.is_ready()),
            Ok(_) if !running.settings.takes_requests() => Err(Refusal::only_sends()),
            Ok(Route::Info) => info(&running, &head, export.in_path, export.caller),
            Ok(Route::Traces) => {
                let running = self.counters.start_request();
                let outcome = self.traces(export).await;
                running.end();
                outcome
            }
            Ok(Route::Session(path)) => {
                let running = self.counters.start_request();
                let outcome = self.session(export, path).await;
                running.end();
                outcome
            }
            Ok(Route::OtherSignal) => self.other_signal(export).await,
            Err(refusal) => Err(refusal),
        };
        let refused = outcome.as_ref().err().map(|refusal| refusal.kind);
        let mut answer = outcome.unwrap_or_else(|refusal| {
            self.counters.refuse(refusal.kind);
            if let (Some(caller), Some(reason)) = (caller, refusal.reason) {
                caller.counts().refuse(reason);
            }
            let client = client::address(peer, &head.headers, &running.settings.trusted_proxies);
            self.log
                .refused(client, caller.map(|caller| caller.name().as_str()), &refusal);
            // A client that waits for 100 sends nothing, and neither does one that is too slow.
            let is_sending = refusal.reason != Some(Reason::Incomplete) && !head.headers.contains_key(EXPECT);
            if is_sending && !body.is_end_stream() {
                tokio::spawn(read::discard(body, 2 * running.settings.max_request));
            }
            if is_other_api {
                answer::refused_api(&refusal)
            } else {
                answer::refused(format.unwrap_or(Format::Json), &refusal)
            }
        });
        if !may_continue {
            // What follows may be meant as something else than another request.
            answer
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let durations = &self.counters.durations;
        durations.record(start, route_name, &head.method, answer.status(), refused);
        answer
    }

    /// Takes an export of traces.
    async fn traces<B: Body<Data = Bytes> + Unpin>(&self, export: Export<'_, '_, B>) -> Result<Answer, Refusal> {
        let Export {
            running,
            head,
            in_path,
            body,
            ..
        } = export;
        require_post(&head.method)?;
        let caller = export.caller.insert(running.callers.identify(&head.headers)?);
        let target = caller.target(in_path, &head.headers)?;
        let format = export.format.ok_or_else(unsupported_type)?;
        let encoding = Encoding::of(format, &head.headers)?;
        self.charge_request(caller)?;

        let limit = running.settings.max_request;
        let mut reserved = self.reserve(caller, head)?;
        let mut turn = Turn::new(&caller.counts().large_message);
        let shape = if format == Format::Grpc {
            Shape::Framed
        } else {
            Shape::Plain
        };
        let body = read::read(body, shape, limit, MinRate::of(&running.settings), &mut reserved).await?;
        let (encoding, message) = match shape {
            Shape::Plain => (encoding, body),
            Shape::Framed => {
                let (is_compressed, message) = frame::unframe(&body)?;
                (encoding.of_message(is_compressed)?, message)
            }
        };
        let inflated = encoding.inflate(message, limit, &mut reserved, &mut turn).await?;
        // The message in protobuf is not larger than in JSON.
        if format == Format::Json && !reserved.grow(inflated.message.len()) {
            return Err(Refusal::no_memory());
        }
        let bytes = inflated.message.len();
        let traces = self.check(format, inflated, &mut turn).await?;
        // A look-up may take long.
        drop(turn);
        let charge = self.charge_data(caller, traces.spans(), traces.byte_size())?;
        let mut parts = Vec::new();
        for (selector, traces) in split(target, traces)? {
            parts.push((self.look_up(caller, selector).await?, traces));
        }
        let ingested = self.take(caller, charge, bytes, parts).await?;
        Ok(self.queued(format, &ingested))
    }

    /// Takes a request of the caller's quota, before its body is read. It counts whatever becomes of
    /// it.
    pub(super) fn charge_request(&self, caller: &Caller) -> Result<(), Refusal> {
        let amount = Amount {
            requests: 1,
            ..Amount::default()
        };
        let charge = caller.charge(&self.registry, amount);
        charge
            .map(|charge| charge.map_or((), Charge::keep))
            .map_err(|retry_after| Refusal::quota("caller", retry_after))
    }

    /// Takes the data of a request of the caller's quota. Keep the charge once the data is queued.
    pub(super) fn charge_data(&self, caller: &Caller, spans: usize, bytes: usize) -> Result<Option<Charge>, Refusal> {
        let amount = Amount {
            spans: spans as u64,
            bytes: bytes as u64,
            requests: 0,
        };
        let charge = caller.charge(&self.registry, amount);
        charge.map_err(|retry_after| Refusal::quota("caller", retry_after))
    }

    /// Reserves the memory of a request without its body.
    pub(super) fn reserve(&self, caller: &Caller, head: &Parts) -> Result<Reserved, Refusal> {
        let mut reserved = self.current.budget().reservation(&caller.counts().reserved);
        if reserved.grow(head::byte_size(head)) {
            Ok(reserved)
        } else {
            Err(Refusal::no_memory())
        }
    }

    /// Checks a message on the way that suits its size, after its conversion from JSON.
    async fn check(&self, format: Format, inflated: Inflated, turn: &mut Turn<'_>) -> Result<Traces, Refusal> {
        let Inflated { message, gzip } = inflated;
        let bytes = message.len();
        if bytes > LARGE_BYTES {
            turn.take().await;
        }
        let check = move || {
            if format == Format::Json {
                return traces_from_json(&message).map_err(|error| Refusal::malformed(error.to_string()));
            }
            let traces = Traces::from_protobuf(message).map_err(|error| invalid(&error))?;
            Ok(match gzip {
                Some(gzip) => traces.with_gzip(gzip),
                None => traces,
            })
        };
        self.decode.run(format, bytes, check).await
    }

    pub(super) async fn look_up(&self, caller: &Caller, selector: Selector) -> Result<TracerHandle, Refusal> {
        let found = self.registry.get_async(&selector).await;
        found.map_err(|error| match error {
            LookupError::Selector(_) => Refusal::unknown_tenant(),
            error if error.is_unknown() => {
                self.log.not_configured(caller.name(), &error);
                Refusal::unknown_tenant()
            }
            LookupError::Shutdown => Refusal::shutting_down(),
            LookupError::Erased(_) => Refusal::erased(),
            error => {
                self.log.look_up_failed(&selector, &error);
                Refusal::unavailable("the tenant cannot take data now")
            }
        })
    }

    pub(super) fn not_queued(&self, error: &IngestError) -> Refusal {
        match error {
            IngestError::TooLarge { max, .. } => Refusal::too_large(*max),
            IngestError::TooLargeToRedact { .. } => Refusal::too_large_to_redact(),
            IngestError::Closed => Refusal::shutting_down(),
            IngestError::Erased { .. } => Refusal::erased(),
            IngestError::Quota { retry_after, .. } => Refusal::quota("tenant", *retry_after),
            error => {
                self.log.not_queued(error);
                Refusal::unavailable(match error {
                    IngestError::SpoolFull { .. } => "the gateway has no room on disk for the tenant's data now",
                    IngestError::SpoolUnavailable => "the gateway cannot store data now",
                    _ => "the tenant has no room for more data now",
                })
            }
        }
    }

    /// Counts and answers a request with accepted spans.
    fn queued(&self, format: Format, ingested: &[Ingested]) -> Answer {
        let too_large = ingested.iter().map(|part| part.too_large).sum();
        let counters = &self.counters;
        counters.succeeded.add(1);
        counters.partial.add(u64::from(too_large > 0));
        answer::exported(format, too_large, "spans are larger than the limit of the tenant")
    }

    /// Refuses metrics, logs and profiles, or discards them.
    async fn other_signal<B: Body<Data = Bytes> + Unpin>(&self, export: Export<'_, '_, B>) -> Result<Answer, Refusal> {
        let Export {
            running, head, body, ..
        } = export;
        require_post(&head.method)?;
        let caller = export.caller.insert(running.callers.identify(&head.headers)?);
        if running.settings.other_signals == OtherSignals::Refuse {
            self.counters.other_refused.add(1);
            return Err(Refusal::new(RefusalKind::NotFound, "the gateway takes only traces"));
        }
        let format = export.format.ok_or_else(unsupported_type)?;
        let _reserved = self.reserve(caller, head)?;
        read::skip(body, running.settings.max_request, MinRate::of(&running.settings)).await?;
        self.counters.other_discarded.add(1);
        Ok(answer::discarded(format))
    }
}

/// Returns the traces of each tenant. Looks nothing up, so a request that names a tenant which the
/// caller may not address has no effect.
fn split(target: Target<'_>, traces: Traces) -> Result<Vec<(Selector, Traces)>, Refusal> {
    match target {
        Target::Selector(selector) => Ok(vec![(selector, traces)]),
        Target::Resources(by_resource) => {
            let parts = traces
                .split_by_resource(by_resource.attribute())
                .map_err(|error| invalid(&error))?;
            let named = parts
                .into_iter()
                .map(|(value, traces)| Ok((by_resource.selector(value.as_deref())?, traces)));
            named.collect()
        }
    }
}

fn health(method: &Method, is_healthy: bool) -> Result<Answer, Refusal> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Refusal::method_not_allowed("GET, HEAD"));
    }
    Ok(if is_healthy {
        answer::plain(StatusCode::OK, "ok\n")
    } else {
        answer::plain(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
    })
}

fn require_post(method: &Method) -> Result<(), Refusal> {
    if *method == Method::POST {
        Ok(())
    } else {
        Err(Refusal::method_not_allowed("POST"))
    }
}

fn unsupported_type() -> Refusal {
    Refusal::unsupported("unsupported content type: use application/x-protobuf, application/json, or application/grpc")
}

fn invalid(error: &InvalidTraces) -> Refusal {
    Refusal::malformed(error.to_string())
}
