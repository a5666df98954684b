//! Prints programs as indented pseudo-code, one operation per line, with its number.

use std::fmt::Write as _;

use super::cast::Member;
use super::operation::{Carried, Disturbance, Forgery, How, Kind, Misname, Mode, Op, Program, TracerRef};

/// Returns a program as text. Omits unused workers.
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
    for (index, (op, target)) in program.workers.iter().enumerate() {
        if used.contains(&index) {
            let line = format!(
                "worker {index}: {}.in_span(|| for job in inbox {{ job() }})",
                printer.name(*target)
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

    fn name(&self, target: TracerRef) -> String {
        let name = self.cast[target.member].name();
        match target.dedicated {
            Some(op) => format!("dedicated #{op} of [{name}]"),
            None => format!("[{name}]"),
        }
    }

    fn describe(&self, op: &Op) -> String {
        match &op.kind {
            Kind::Span { target, how } => self.span(*target, *how),
            Kind::Loose {
                target,
                elsewhere: false,
            } => format!("{}.start_span(), ended after", self.name(*target)),
            Kind::Loose {
                target,
                elsewhere: true,
            } => {
                format!("{}.start_span(), ended on another thread after", self.name(*target))
            }
            Kind::Scope { target } => format!("{}.scope", self.name(*target)),
            Kind::Session { target, current, .. } => {
                let current = if *current { ".scope" } else { ", not entered," };
                format!("{}.session().start(){current}", self.name(*target))
            }
            Kind::Rejoin { session } => format!("the session of #{session}.scope"),
            Kind::Enrich { session } => format!("the session of #{session}.enrich()"),
            Kind::Late { span } => format!("the span of #{span}.set_attribute()"),
            Kind::Current { target } => format!("{}.current_span().set_attribute()", self.name(*target)),
            Kind::Link { from, to, remote } => {
                let flag = if *remote { ", flagged remote" } else { "" };
                format!("the span of #{from}.add_link(the span of #{to}{flag})")
            }
            Kind::Overfull { target } => format!(
                "{}.start_span() in its scope, on a thread with too many contexts",
                self.name(*target)
            ),
            Kind::Baggage { target } => format!("with baggage of {}", self.name(*target)),
            Kind::Ask => "TracerRegistry::current(), Session::current()".to_owned(),
            Kind::Inject { target } => format!("{}.inject()", self.name(*target)),
            Kind::Incoming { target, forgery } => {
                format!("{}.extract({}).scope", self.name(*target), self.forgery(*forgery))
            }
            Kind::Request { member, forgery, read } => {
                let body = if *read { "read" } else { "dropped" };
                let (name, headers) = (self.cast[*member].name(), self.forgery(*forgery));
                format!("a request for [{name}] with {headers}, its response {body},")
            }
            Kind::Event { target } => format!("in the scope of {}: an event of the tracing crate", self.name(*target)),
            Kind::Unscoped { by_subscriber: true } => "outside any scope: a span of the tracing crate".to_owned(),
            Kind::Unscoped { by_subscriber: false } => "outside any scope: #[trace] fn".to_owned(),
            Kind::Dedicated { member } => format!("a dedicated tracer of [{}]", self.cast[*member].name()),
            Kind::Misname { how, .. } => match how {
                Misname::Unknown => "look-up of an unknown tenant".to_owned(),
                Misname::Invalid => "look-up of an invalid name".to_owned(),
                Misname::OtherRegistry => "look-up of a name of the other registry".to_owned(),
            },
            Kind::Panic { target } => format!("{}.in_span that panics after", self.name(*target)),
            Kind::Thread { carried, .. } => format!("thread::spawn{}", with(*carried)),
            Kind::Channel { worker, carried } => format!("sent to worker {worker}{}", with(*carried)),
            Kind::Spawn { carried } => match carried {
                Carried::Nothing => "tokio::spawn".to_owned(),
                Carried::Scope => "tokio::spawn with the scope".to_owned(),
                Carried::Context => "tokio::spawn with_current_context".to_owned(),
            },
            Kind::SpawnSpan { target } => format!("tokio::spawn of {}.in_span", self.name(*target)),
            Kind::JoinSet { carried } => format!("a JoinSet with a task per operation{}", with(*carried)),
            Kind::Blocking { carried } => format!("spawn_blocking{}", with(*carried)),
            Kind::Select { target, on_drop } => {
                format!(
                    "select! that drops (and its drop starts #{on_drop}) {}.in_span",
                    self.name(*target)
                )
            }
            Kind::Abort { target, on_drop } => {
                format!(
                    "an aborted task with (and its drop starts #{on_drop}) {}.in_span",
                    self.name(*target)
                )
            }
            Kind::Deferred { carried } => format!("tokio::spawn{}, run after the thread's block", with(*carried)),
            Kind::Stream { reader } => format!("scope.stream, read in the scope of {}, of", self.name(*reader)),
            Kind::Yield => "yield_now()".to_owned(),
            Kind::Disturb(disturbance) => self.disturbance(*disturbance),
            Kind::Refused { member } => {
                let name = self.cast[*member].name();
                format!("[{name}].start_span(), rotate its key, span.end(), [{name}].force_flush()")
            }
        }
    }

    fn span(&self, target: TracerRef, how: How) -> String {
        let name = self.name(target);
        match how {
            How::Closure => format!("{name}.in_span"),
            How::Trait => format!("{name}.tracer().in_span"),
            How::Routed => format!("in the scope of {name}: routing provider in_span"),
            How::Traced => format!("#[trace(tracer = {name})] fn"),
            How::TracedInScope => format!("in the scope of {name}: #[trace] fn"),
            How::Subscriber => format!("in the scope of {name}: a span of the tracing crate"),
            How::ByHand { .. } => format!("with Context::with_span({name}.start_span())"),
        }
    }

    fn disturbance(&self, disturbance: Disturbance) -> String {
        let name = |member: usize| format!("[{}]", self.cast[member].name());
        match disturbance {
            Disturbance::Remove { member } => format!("registry.remove({})", name(member)),
            Disturbance::Rebind { member, count } => {
                format!(
                    "reload with new bindings for {count} members, starting at {}",
                    name(member)
                )
            }
            Disturbance::Defaults { registry } => format!("reload of registry {registry} with new defaults"),
            Disturbance::Broken { registry } => format!("reload of registry {registry} with invalid files"),
            Disturbance::Rotate { member } => format!("rotate the key of {}", name(member)),
            Disturbance::Pause { member } => format!("registry.pause({}), and resume", name(member)),
            Disturbance::Refuse { member } => format!("refuse the requests of {}", name(member)),
            Disturbance::Withhold { member } => {
                format!(
                    "reload with a new binding of {} and without its key, and return it",
                    name(member)
                )
            }
            Disturbance::Vanish { member } => format!("reload with {} removed or restored", name(member)),
        }
    }

    fn forgery(&self, forgery: Forgery) -> String {
        match forgery {
            Forgery::Parent => "an unknown parent".to_owned(),
            Forgery::ParentOf(op) => format!("the span of #{op} as parent"),
            Forgery::Baggage(member) => format!(
                "baggage with a canary of [{}], and a session in its metadata",
                self.cast[member].name()
            ),
            Forgery::Session => "an unknown parent and an unknown session".to_owned(),
            Forgery::Garbage => "an invalid parent and an invalid session".to_owned(),
            Forgery::SessionOf(op) => format!("the session of #{op}"),
        }
    }
}

fn with(carried: bool) -> &'static str {
    if carried { " with the scope" } else { "" }
}
