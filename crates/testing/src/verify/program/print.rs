//! Programs as text that a reader understands: indented pseudo-code, an operation a line, with its number.

use std::fmt::Write as _;

use super::cast::Member;
use super::operation::{Carried, Disturbance, How, Kind, Lie, Misname, Mode, Op, Program, Who};

/// A program as text. Workers are shown where something is sent to them.
pub(crate) fn print(program: &Program, cast: &[Member]) -> String {
    let mut printer = Printer {
        cast,
        text: String::new(),
    };
    let mut used = Vec::new();
    program.each(|op| {
        if let Kind::Channel { worker, .. } = op.kind {
            used.push(worker);
        }
    });
    for (index, (op, who)) in program.workers.iter().enumerate() {
        if used.contains(&index) {
            let line = format!(
                "worker {index}: {}.in_span(|| for job in inbox {{ job() }})",
                printer.name(*who)
            );
            printer.line(0, &line, *op);
        }
    }
    for (index, thread) in program.threads.iter().enumerate() {
        if thread.block.is_empty() {
            continue;
        }
        let mode = match thread.mode {
            Mode::Sync => "",
            Mode::Async => "async ",
        };
        let text = &mut printer.text;
        let _infallible = writeln!(text, "thread {index}: {mode}{{");
        printer.block(1, &thread.block);
        printer.text.push_str("}\n");
    }
    printer.text
}

struct Printer<'a> {
    cast: &'a [Member],
    text: String,
}

impl Printer<'_> {
    fn line(&mut self, depth: usize, line: &str, op: u32) {
        let line = format!("{:depth$}{line}", "", depth = 4 * depth);
        let _infallible = writeln!(self.text, "{line:<80}  #{op}");
    }

    fn block(&mut self, depth: usize, block: &[Op]) {
        for op in block {
            self.op(depth, op);
        }
    }

    fn op(&mut self, depth: usize, op: &Op) {
        let line = self.describe(op);
        if op.body.is_empty() {
            self.line(depth, &line, op.id);
            return;
        }
        let mode = match op.mode {
            Mode::Sync => "",
            Mode::Async => "async ",
        };
        self.line(depth, &format!("{line} {mode}{{"), op.id);
        let ended = match op.kind {
            Kind::Span {
                how: How::ByHand { ended_after },
                ..
            } => Some((ended_after, "span.end()")),
            Kind::Session { end: Some(after), .. } => Some((after, "session.end()")),
            _ => None,
        };
        let (after, end) = ended.unwrap_or((usize::MAX, ""));
        let (before, rest) = op.split(after);
        self.block(depth + 1, before);
        if !end.is_empty() {
            self.line(depth + 1, end, op.id);
        }
        self.block(depth + 1, rest);
        let _infallible = writeln!(self.text, "{:depth$}}}", "", depth = 4 * depth);
    }

    fn name(&self, who: Who) -> String {
        let name = self.cast[who.member].name();
        match who.dedicated {
            Some(op) => format!("dedicated #{op} of [{name}]"),
            None => format!("[{name}]"),
        }
    }

    fn describe(&self, op: &Op) -> String {
        match &op.kind {
            Kind::Span { who, how: How::Closure } => format!("{}.in_span", self.name(*who)),
            Kind::Span { who, how: How::Trait } => format!("{}.tracer().in_span", self.name(*who)),
            Kind::Span { who, how: How::Routed } => {
                format!("routing provider in the scope of {}: in_span", self.name(*who))
            }
            Kind::Span { who, how: How::Traced } => format!("#[trace(tracer = {})] fn", self.name(*who)),
            Kind::Span {
                who,
                how: How::TracedInScope,
            } => format!("in the scope of {}: #[trace] fn", self.name(*who)),
            Kind::Span {
                who,
                how: How::Subscriber,
            } => format!("in the scope of {}: a span of the tracing crate", self.name(*who)),
            Kind::Span { who, .. } => format!("with Context::with_span({}.start_span())", self.name(*who)),
            Kind::Loose { who, elsewhere: false } => format!("{}.start_span(), ended after", self.name(*who)),
            Kind::Loose { who, elsewhere: true } => {
                format!("{}.start_span(), ended on a thread after", self.name(*who))
            }
            Kind::Scope { who } => format!("{}.scope", self.name(*who)),
            Kind::Session { who, current, .. } => {
                let current = if *current { ".scope" } else { ", not entered," };
                format!("{}.session().start(){current}", self.name(*who))
            }
            Kind::Rejoin { session } => format!("the session of #{session}.scope"),
            Kind::Enrich { session } => format!("the session of #{session} is enriched"),
            Kind::Late { span } => format!("the span of #{span} gets an attribute"),
            Kind::Current { who } => format!("{}.current_span() gets an attribute", self.name(*who)),
            Kind::Link { from, to, remote } => {
                let flag = if *remote { ", flagged remote" } else { "" };
                format!("the span of #{from} gets a link to that of #{to}{flag}")
            }
            Kind::Overfull { who } => format!(
                "{}.start_span() in its scope, on a thread with too many contexts",
                self.name(*who)
            ),
            Kind::Baggage { who } => format!("with baggage of {}", self.name(*who)),
            Kind::Ask => "TracerRegistry::current(), Session::current()".to_owned(),
            Kind::Inject { who } => format!("{}.inject()", self.name(*who)),
            Kind::Incoming { who, lie } => format!("{}.extract({}).scope", self.name(*who), self.lie(*lie)),
            Kind::Request { member, lie, read } => {
                let body = if *read { "read" } else { "dropped" };
                let name = self.cast[*member].name();
                format!("a request for [{name}] with {}, its response {body},", self.lie(*lie))
            }
            Kind::Event { who } => format!("an event of the tracing crate, in the scope of {}", self.name(*who)),
            Kind::Unscoped { by_subscriber: true } => "in no scope: a span of the tracing crate".to_owned(),
            Kind::Unscoped { by_subscriber: false } => "in no scope: #[trace] fn".to_owned(),
            Kind::Dedicated { member } => format!("a dedicated tracer of [{}]", self.cast[*member].name()),
            Kind::Misname { how, .. } => match how {
                Misname::Unknown => "look-up of a tenant that is not there".to_owned(),
                Misname::NotAName => "look-up of what is no name".to_owned(),
                Misname::OtherRegistry => "look-up of what another registry has".to_owned(),
            },
            Kind::Panic { who } => format!("{}.in_span that panics after", self.name(*who)),
            Kind::Thread { carried, .. } => format!("thread::spawn{}", with(*carried)),
            Kind::Channel { worker, carried } => format!("sent to worker {worker}{}", with(*carried)),
            Kind::Spawn { carried } => match carried {
                Carried::Nothing => "tokio::spawn".to_owned(),
                Carried::Scope => "tokio::spawn with the scope".to_owned(),
                Carried::Context => "tokio::spawn with_current_context".to_owned(),
            },
            Kind::SpawnSpan { who } => format!("tokio::spawn of {}.in_span", self.name(*who)),
            Kind::JoinSet { carried } => format!("a task each{}", with(*carried)),
            Kind::Blocking { carried } => format!("spawn_blocking{}", with(*carried)),
            Kind::Select { who, on_drop } => {
                format!(
                    "select! that drops (and that starts #{on_drop}) {}.in_span",
                    self.name(*who)
                )
            }
            Kind::Abort { who, on_drop } => {
                format!(
                    "an aborted task with (and its drop starts #{on_drop}) {}.in_span",
                    self.name(*who)
                )
            }
            Kind::Deferred { carried } => format!("tokio::spawn{}, begun after the thread's block", with(*carried)),
            Kind::Stream { reader } => format!("scope.stream, read in the scope of {}, of", self.name(*reader)),
            Kind::Yield => "yield_now()".to_owned(),
            Kind::Disturb(disturbance) => self.disturbance(*disturbance),
            Kind::Refused { member } => {
                let name = self.cast[*member].name();
                format!("[{name}].start_span(), its key is rotated, span.end(), [{name}].force_flush()")
            }
        }
    }

    fn disturbance(&self, disturbance: Disturbance) -> String {
        let name = |member: usize| format!("[{}]", self.cast[member].name());
        match disturbance {
            Disturbance::Remove { member } => format!("registry.remove({})", name(member)),
            Disturbance::Rebind { member, count } => {
                format!("reload with other bindings for {count} from {} on", name(member))
            }
            Disturbance::Defaults { registry } => format!("reload of registry {registry} with other defaults"),
            Disturbance::Broken { registry } => format!("reload of registry {registry} from files with a fault"),
            Disturbance::Rotate { member } => format!("the key of {} is rotated", name(member)),
            Disturbance::Vanish { member } => format!("reload with {} gone, or back", name(member)),
        }
    }

    fn lie(&self, lie: Lie) -> String {
        match lie {
            Lie::Parent => "a parent that nobody made".to_owned(),
            Lie::ParentOf(op) => format!("the span of #{op} as parent"),
            Lie::Baggage(member) => format!(
                "baggage with a canary of [{}], and a session in its metadata",
                self.cast[member].name()
            ),
            Lie::Session => "a parent and a session that nobody made".to_owned(),
            Lie::Garbage => "a parent and a session that are no ids".to_owned(),
            Lie::SessionOf(op) => format!("the session of #{op}"),
        }
    }
}

fn with(carried: bool) -> &'static str {
    if carried { " with the scope" } else { "" }
}
