//! Programs: requests and disturbances by client.

use std::fmt::{self, Write as _};

use super::super::program::operation::OpId;
use super::world::World;

/// Path of exports over HTTP.
pub(super) const TRACES: &str = "/v1/traces";

/// What each client does, one operation after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) clients: Vec<Vec<Op>>,
    /// Seed of the ids of traces, spans and sessions.
    pub(super) seed: u64,
    pub(super) storage: Storage,
}

/// Where accepted data is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Storage {
    #[default]
    Memory,
    /// On the gateway's disk, if it cannot be sent.
    Overflow,
    /// On the gateway's disk.
    Through,
    /// In a stream that replicas of the gateway share.
    Stream,
    /// In the stream, or on the disk of a replica while it cannot reach the servers.
    StreamAndDisk,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Op {
    pub(super) id: OpId,
    /// Replica of the gateway that gets the first attempt.
    pub(super) replica: usize,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Export(Export),
    Session(SessionCall),
    Disturb(Disturbance),
}

/// A request with spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Export {
    pub(super) call: Call,
    pub(super) format: Format,
    pub(super) encoding: Encoding,
    pub(super) blocks: Vec<Block>,
}

/// A request to the session API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SessionCall {
    pub(super) call: Call,
    pub(super) is_compressed: bool,
    pub(super) action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Starts a session: with an id of the client, or with a text that is no id.
    Start { session: Option<u32>, bare: bool },
    /// Enriches a session, whose id is in the body or in the path.
    Enrich { session: SessionRef, in_path: bool },
    /// Posts an event of a session.
    Event { session: SessionRef },
}

/// A session of a client, which may be another tenant's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionRef {
    /// The id that the answer to an earlier operation of this client has.
    StartedBy(OpId),
    /// An id that the client chose.
    Given(u32),
}

/// What requests of each kind have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) caller: usize,
    pub(super) credential: Credential,
    /// Values of the tenant's header.
    pub(super) header: Vec<String>,
    /// Text after `/t/` in the path.
    pub(super) path: Option<String>,
    /// Chooses what comes before or after that.
    pub(super) prefix: usize,
    pub(super) http2: bool,
    /// Further headers that must have no effect, as bits of `LIES`.
    pub(super) lies: u8,
    pub(super) flaw: Option<Flaw>,
}

/// How a request proves who sends it. The second group is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    Bearer,
    LowerBearer,
    Raw,
    ApiKey,
    XApiKey,
    XHoneycombTeam,
    Basic,

    Missing,
    Unknown,
    /// A token that was valid before. Unknown if there was none.
    Revoked,
    /// The right token as another part of a `Basic` credential.
    OtherBasicPart,
    MalformedBasic,
    /// The right token in two headers.
    Twice,
    /// Two headers `authorization`, the second one with the token of another caller.
    SecondOf(usize),
    /// A second header with the token of another caller.
    AlsoOf(usize),
}

/// Format of a request. JSON has a number that chooses among its spellings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Protobuf,
    Json(u32),
    Grpc,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
    /// Several gzip members.
    GzipMembers,
}

/// Spans with one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) id: OpId,
    /// Values of the attribute that names the tenant; `None` for a number.
    pub(super) named: Vec<Option<String>>,
    /// Whether there is a resource at all.
    pub(super) has_resource: bool,
    pub(super) lies: u16,
    pub(super) spans: Vec<Span>,
}

/// A span. Its ids and those of its links are numbers, so that spans of several tenants may have
/// the same ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) id: OpId,
    pub(super) trace: u32,
    pub(super) number: u32,
    pub(super) parent: Option<u32>,
    /// Trace and number of a linked span.
    pub(super) link: Option<(u32, u32)>,
    /// Number of the session that it claims.
    pub(super) session: Option<u32>,
    /// Attributes that would choose a project, as bits of `PROJECT_ATTRIBUTES`.
    pub(super) lies: u16,
    /// Whether it is larger than the limit of some tenants.
    pub(super) is_big: bool,
    /// Chooses what else it has.
    pub(super) shape: u32,
}

/// What makes a request wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    Truncated,
    Garbage,
    /// The last span has a trace id of zeros.
    ZeroTraceId,
    /// The last span has a span id of seven bytes.
    ShortSpanId,
    /// The name of the last span is not valid UTF-8.
    InvalidUtf8,
    /// The last span has two names.
    TwoNames,
    /// The body ends inside the gzip member.
    TruncatedGzip,
    /// The headers announce gzip, but the body is plain.
    NotGzip,
    WrongType,
    WrongEncoding,
    /// The length in the gRPC frame is one too large.
    WrongFrame,
    TwoFrames,
    /// The frame says that it is compressed, and no header says how.
    UnknownCompression,
    TooLarge,
    /// A small gzip body that inflates above the limit.
    Bomb,
    WrongMethod,
    UnknownPath,
    OtherSignal,
}

/// A disturbance. Members and callers are chosen by number, modulo how many can be disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disturbance {
    RotateKey(usize),
    RotateToken(usize),
    Reload(usize),
    ReloadDefaults,
    ReloadBroken,
    Remove(usize),
    Restore,
    Narrow(usize),
    Widen,
    Receiver(usize, ReceiverFault),
    /// Of one replica.
    Restart(usize),
    /// SIGKILL of one replica, and a new process on the same folder.
    Kill(usize),
    /// SIGKILL of a server of the stream, and a new process on the same folder.
    KillServer(usize),
    Pause,
}

/// A fault of the receiver of one member, for some of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReceiverFault {
    Unavailable,
    TooMany,
    Reset,
    /// Takes the data and resets the connection instead of answering, so it arrives again.
    LoseAnswer,
    /// Rejects two spans.
    Partial,
}

impl Program {
    /// Returns the number of operations.
    pub(super) fn len(&self) -> usize {
        self.clients.iter().map(Vec::len).sum()
    }

    pub(super) fn ops(&self) -> impl Iterator<Item = &Op> {
        self.clients.iter().flatten()
    }

    /// Returns the program as text.
    pub(super) fn print(&self, world: &World) -> String {
        let mut text = match self.storage {
            Storage::Memory => String::new(),
            storage => format!("storage: {storage:?}\n"),
        };
        for (index, ops) in self.clients.iter().enumerate() {
            let _ = writeln!(text, "client {index}:");
            for op in ops {
                let _ = write!(text, "    #{}: ", op.id);
                if self.storage.is_stream() && !matches!(op.kind, Kind::Disturb(_)) {
                    let _ = write!(text, "to {}, ", op.replica);
                }
                match &op.kind {
                    Kind::Export(export) => export.print(&mut text, world),
                    Kind::Session(session) => session.print(&mut text, world),
                    Kind::Disturb(disturbance) => {
                        let _ = writeln!(text, "{disturbance:?}");
                    }
                }
            }
        }
        text
    }
}

impl Storage {
    /// Returns the mode of the spool in the configuration. `None` if it is off.
    pub(super) fn spool_mode(self) -> Option<&'static str> {
        match self {
            Self::Memory | Self::Stream => None,
            Self::Overflow => Some("overflow"),
            Self::Through | Self::StreamAndDisk => Some("through"),
        }
    }

    /// Whether replicas share a stream.
    pub(super) fn is_stream(self) -> bool {
        matches!(self, Self::Stream | Self::StreamAndDisk)
    }

    /// Whether accepted data survives a kill of the gateway.
    pub(super) fn survives_kills(self) -> bool {
        self == Self::Through || self.is_stream()
    }
}

impl Kind {
    /// Returns the name of the kind for the report.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Export(export) => export.name(),
            Self::Session(session) => session.name(),
            Self::Disturb(disturbance) => disturbance.name(),
        }
    }
}

impl SessionCall {
    fn name(&self) -> &'static str {
        if self.call.flaw.is_some() || !self.call.credential.is_valid() {
            return "wrong session request";
        }
        match self.action {
            Action::Start { .. } => "start a session",
            Action::Enrich { .. } => "enrich a session",
            Action::Event { .. } => "post an event",
        }
    }

    fn print(&self, text: &mut String, world: &World) {
        let _ = write!(text, "{:?}, ", self.action);
        self.call.print(text, world, "");
        let _ = writeln!(text, "{}", if self.is_compressed { ", gzip" } else { "" });
    }
}

impl Export {
    fn name(&self) -> &'static str {
        if self.call.flaw.is_some() {
            return "malformed export";
        }
        if !self.call.credential.is_valid() {
            return "export with a wrong credential";
        }
        match (self.format, self.encoding) {
            (Format::Protobuf, Encoding::Plain) => "export, protobuf",
            (Format::Protobuf, _) => "export, protobuf, gzip",
            (Format::Json(_), Encoding::Plain) => "export, JSON",
            (Format::Json(_), _) => "export, JSON, gzip",
            (Format::Grpc, Encoding::Plain) => "export, gRPC",
            (Format::Grpc, _) => "export, gRPC, gzip",
        }
    }

    fn print(&self, text: &mut String, world: &World) {
        let _ = write!(text, "{:?}, {:?}, ", self.format, self.encoding);
        self.call.print(text, world, TRACES);
        text.push('\n');
        for block in &self.blocks {
            let _ = write!(text, "        resource #{}", block.id);
            if !block.has_resource {
                text.push_str(" (none)");
            }
            for named in &block.named {
                let _ = write!(text, " tenant.id={}", named.as_deref().unwrap_or("7"));
            }
            if block.lies > 0 {
                let _ = write!(text, " lies {:#b}", block.lies);
            }
            for span in &block.spans {
                let _ = write!(text, "\n            {span}");
            }
            text.push('\n');
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "span #{}: {}.{}", self.id, self.trace, self.number)?;
        if let Some(parent) = self.parent {
            write!(f, " under {parent}")?;
        }
        if let Some((trace, number)) = self.link {
            write!(f, ", link to {trace}.{number}")?;
        }
        if let Some(session) = self.session {
            write!(f, ", session {session}")?;
        }
        if self.lies > 0 {
            write!(f, ", lies {:#b}", self.lies)?;
        }
        if self.is_big {
            f.write_str(", big")?;
        }
        write!(f, ", shape {:#x}", self.shape)
    }
}

impl Call {
    fn print(&self, text: &mut String, world: &World, path: &str) {
        let caller = &world.callers[self.caller].name;
        let _ = write!(text, "{} of {caller}, {:?}", self.path_with(path), self.credential);
        if self.http2 {
            text.push_str(", HTTP/2");
        }
        for value in &self.header {
            let _ = write!(text, ", x-tenant: {value:?}");
        }
        if let Some(flaw) = self.flaw {
            let _ = write!(text, ", flaw {flaw:?}");
        }
        if self.lies > 0 {
            let _ = write!(text, ", lies {:#b}", self.lies);
        }
    }

    /// Returns the path of the request, which ends in `suffix`. Clients of some vendors add a path of
    /// their own to an address with a tenant.
    pub(super) fn path_with(&self, suffix: &str) -> String {
        let prefixes = ["", "/otlp", "/a/b"];
        let tenant = self.path.as_ref().map(|name| format!("/t/{name}")).unwrap_or_default();
        match self.prefix {
            3 if suffix == TRACES => format!("{tenant}/opentelemetry{suffix}"),
            4 if suffix == TRACES => format!("{tenant}/api/public/otel{suffix}"),
            prefix => format!("{}{tenant}{suffix}", prefixes[prefix % 3]),
        }
    }
}

impl Credential {
    /// Returns whether it is the valid token of its caller, once.
    pub(super) fn is_valid(self) -> bool {
        matches!(
            self,
            Self::Bearer
                | Self::LowerBearer
                | Self::Raw
                | Self::ApiKey
                | Self::XApiKey
                | Self::XHoneycombTeam
                | Self::Basic
        )
    }
}

impl Disturbance {
    fn name(self) -> &'static str {
        match self {
            Self::RotateKey(_) => "rotate a key",
            Self::RotateToken(_) => "rotate a token",
            Self::Reload(_) => "reload with new settings",
            Self::ReloadDefaults => "reload with new defaults",
            Self::ReloadBroken => "reload of an invalid file",
            Self::Remove(_) => "remove a tenant",
            Self::Restore => "restore tenants",
            Self::Narrow(_) => "narrow a caller",
            Self::Widen => "widen callers",
            Self::Receiver(..) => "fault of a receiver",
            Self::Restart(_) => "restart",
            Self::Kill(_) => "kill",
            Self::KillServer(_) => "kill a server of the stream",
            Self::Pause => "pause",
        }
    }
}
