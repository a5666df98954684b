//! Random programs. The same seed generates the same program.

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};

use super::super::options::Verify;
use super::super::program::operation::OpId;
use super::content::PROJECT_ATTRIBUTES;
use super::program::{
    Action, Block, Call, Credential, Disturbance, Encoding, Export, Flaw, Format, Kind, Op, Program, ReceiverFault,
    SessionCall, SessionRef, Span, Storage,
};
use super::replica::REPLICAS;
use super::world::{Rule, World};
use tracer_registry::selector::SelectorKind;

/// One of this many operations is a disturbance, in disturbed programs.
const DISTURBANCE: u32 = 40;
/// Share of requests that are wrong in one way.
const WRONG: f64 = 0.25;
/// Share of requests to the session API.
const SESSIONS: f64 = 0.25;
/// Ids of sessions that clients choose; few, so that tenants have some in common.
const IDS: u32 = 200;
/// Maximum spans of a trace.
const MAX_TRACE: u32 = 9;
/// Blocks of a request for several tenants.
const MAX_BLOCKS: usize = 5;

struct Generator<'w> {
    rng: StdRng,
    world: &'w World,
    next: OpId,
    traces: u32,
    /// By member: spans of its traces that no request has yet, as trace, number and parent.
    pending: Vec<Vec<(u32, u32, Option<u32>)>>,
    /// A recent span of any member.
    recent: (u32, u32),
    /// By client: sessions that it started.
    sessions: Vec<Vec<Started>>,
}

/// A session that an operation starts.
struct Started {
    op: OpId,
    /// The number of its id, if the client chooses it.
    number: Option<u32>,
    call: Call,
}

/// Generates a program with this number of operations, for the replicas of the options.
pub(super) fn generate(seed: u64, operations: usize, world: &World, options: &Verify) -> Program {
    let (clients, chaos) = (options.threads, options.chaos);
    let mut generator = Generator {
        rng: StdRng::seed_from_u64(seed),
        world,
        next: 1,
        traces: 0,
        pending: vec![Vec::new(); world.members.len()],
        recent: (0, 0),
        sessions: (0..clients).map(|_| Vec::new()).collect(),
    };
    let mut program = Program {
        clients: vec![Vec::new(); clients],
        seed,
        storage: match (options.cluster, chaos, seed % 2) {
            (true, _, 0) => Storage::Stream,
            (true, ..) => Storage::StreamAndDisk,
            (false, false, _) => Storage::Memory,
            (false, true, 0) => Storage::Overflow,
            (false, true, _) => Storage::Through,
        },
    };
    for _ in 0..operations {
        let id = generator.id();
        let client = generator.rng.random_range(0..clients);
        let kind = if chaos && generator.rng.random_ratio(1, DISTURBANCE) {
            Kind::Disturb(generator.disturbance(program.storage))
        } else if generator.chance(SESSIONS) {
            Kind::Session(generator.session(id, client))
        } else {
            Kind::Export(generator.export())
        };
        let replica = if options.cluster {
            generator.rng.random_range(0..REPLICAS)
        } else {
            0
        };
        program.clients[client].push(Op { id, replica, kind });
    }
    program.clients.retain(|ops| !ops.is_empty());
    program
}

impl Generator<'_> {
    fn id(&mut self) -> OpId {
        self.next += 1;
        self.next
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    fn disturbance(&mut self, storage: Storage) -> Disturbance {
        let number = self.rng.random_range(0..1000);
        match self.rng.random_range(0..20) {
            0..4 => Disturbance::RotateKey(number),
            4..7 => Disturbance::RotateToken(number),
            7..9 => Disturbance::Reload(number),
            9 => Disturbance::ReloadDefaults,
            10 => Disturbance::ReloadBroken,
            11 => Disturbance::Remove(number),
            12 => Disturbance::Restore,
            13 => Disturbance::Narrow(number),
            14 => Disturbance::Widen,
            15 | 16 => {
                let faults = [
                    ReceiverFault::Unavailable,
                    ReceiverFault::TooMany,
                    ReceiverFault::Reset,
                    ReceiverFault::LoseAnswer,
                    ReceiverFault::Partial,
                ];
                let fault = *faults.choose(&mut self.rng).unwrap_or(&ReceiverFault::Reset);
                Disturbance::Receiver(number, fault)
            }
            17 if storage.survives_kills() => Disturbance::Kill(number),
            17 | 18 => Disturbance::Restart(number),
            19 if storage.is_stream() => Disturbance::KillServer(number),
            _ => Disturbance::Pause,
        }
    }

    fn export(&mut self) -> Export {
        let world = self.world;
        // Callers with a fixed tenant are many.
        let by_rule: Vec<usize> = (0..world.callers.len())
            .filter(|index| !matches!(world.callers[*index].rule, Rule::Fixed(_)))
            .collect();
        let caller = if self.chance(0.5) {
            *by_rule.choose(&mut self.rng).unwrap_or(&0)
        } else {
            self.rng.random_range(0..world.callers.len())
        };
        let mut export = Export {
            call: Call {
                caller,
                credential: self.credential(),
                header: Vec::new(),
                path: None,
                prefix: self.rng.random_range(0..5),
                http2: self.chance(0.4),
                lies: if self.chance(0.3) { self.rng.random() } else { 0 },
                flaw: None,
            },
            format: match self.rng.random_range(0..3) {
                0 => Format::Protobuf,
                1 => Format::Json(self.rng.random()),
                _ => Format::Grpc,
            },
            encoding: match self.rng.random_range(0..9) {
                0..4 => Encoding::Plain,
                4..8 => Encoding::Gzip,
                _ => Encoding::GzipMembers,
            },
            blocks: Vec::new(),
        };
        self.address(&mut export);
        if self.chance(WRONG) {
            self.spoil(&mut export);
        }
        export
    }

    /// Returns a request to the session API. Most continue a session of the client.
    fn session(&mut self, op: OpId, client: usize) -> SessionCall {
        let known = self.sessions[client].len();
        let recent = known.saturating_sub(4);
        if known == 0 || self.chance(0.25) {
            // An export has the address of one tenant, or of several for callers by resource.
            let mut export = self.export();
            export.call.flaw = flaw_of_session(export.call.flaw);
            let number = self.chance(0.7).then(|| self.rng.random_range(0..IDS));
            if export.call.flaw.is_none() && export.call.credential.is_valid() {
                let call = export.call.clone();
                self.sessions[client].push(Started { op, number, call });
            }
            return SessionCall {
                action: Action::Start {
                    session: number,
                    bare: self.chance(0.3),
                },
                call: export.call,
                is_compressed: self.chance(0.3),
            };
        }
        let at = self.rng.random_range(recent..known);
        let Started { op, number, call } = &self.sessions[client][at];
        let (mut call, started) = (
            call.clone(),
            number.map_or(SessionRef::StartedBy(*op), SessionRef::Given),
        );
        call.credential = self.credential();
        let session = if self.chance(0.1) {
            // A session of another tenant, or none.
            SessionRef::Given(self.rng.random_range(0..IDS))
        } else {
            started
        };
        let is_compressed = self.chance(0.3);
        if self.chance(WRONG / 2.0) {
            call.flaw = self.flaw(Format::Json(0));
            call.flaw = flaw_of_session(call.flaw);
        }
        let action = if self.chance(0.25) {
            Action::Event { session }
        } else {
            let in_path = self.chance(0.3);
            Action::Enrich { session, in_path }
        };
        SessionCall {
            call,
            is_compressed,
            action,
        }
    }

    fn credential(&mut self) -> Credential {
        let valid = [
            Credential::Bearer,
            Credential::LowerBearer,
            Credential::Raw,
            Credential::ApiKey,
            Credential::XApiKey,
            Credential::XHoneycombTeam,
            Credential::Basic,
        ];
        *valid.choose(&mut self.rng).unwrap_or(&Credential::Bearer)
    }

    /// Chooses the members of a request, and fills it with their spans.
    fn address(&mut self, export: &mut Export) {
        let world = self.world;
        let caller = &world.callers[export.call.caller];
        let fixed = |rule: &Rule| match rule {
            Rule::Fixed(tenant) => world.member(tenant.as_deref(), &caller.others),
            _ => None,
        };
        match &caller.rule {
            rule @ Rule::Fixed(tenant) => {
                let Some(member) = fixed(rule) else { return };
                if tenant.is_some() && self.chance(0.2) {
                    export.call.path = tenant.clone();
                }
                self.fill(export, &[member]);
            }
            Rule::Header(_) => {
                let member = self.tenant_of(export.call.caller);
                let name = self.name(member);
                if self.chance(0.2) {
                    export.call.path = Some(self.in_path(&name));
                }
                export.call.header = vec![name];
                self.fill(export, &[member]);
            }
            Rule::Path(_) => {
                let member = self.tenant_of(export.call.caller);
                let name = self.name(member);
                export.call.path = Some(self.in_path(&name));
                if export.format == Format::Grpc && self.chance(0.8) {
                    export.format = Format::Protobuf;
                }
                self.fill(export, &[member]);
            }
            Rule::Resource(_) => {
                let count = self.rng.random_range(1..=MAX_BLOCKS);
                let members: Vec<usize> = (0..count).map(|_| self.tenant_of(export.call.caller)).collect();
                self.fill(export, &members);
                for (block, member) in export.blocks.iter_mut().zip(&members) {
                    block.has_resource = true;
                    block.named = vec![Some(self.name(*member))];
                }
                if count == 1 && self.chance(0.2) {
                    let name = self.name(members[0]);
                    export.call.path = Some(self.in_path(&name));
                }
            }
        }
    }

    /// Returns a tenant that a caller may name.
    fn tenant_of(&mut self, caller: usize) -> usize {
        let world = self.world;
        let allow = world.callers[caller].allow();
        let is_allowed = |name: &str| {
            allow.iter().any(|entry| match entry.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => entry == name,
            })
        };
        let tenants: Vec<usize> = (0..world.members.len())
            .filter(|index| match world.members[*index].parts.as_slice() {
                [(SelectorKind::Tenant, name)] => is_allowed(name),
                _ => false,
            })
            .collect();
        *tenants.choose(&mut self.rng).unwrap_or(&0)
    }

    /// Returns the name of a tenant.
    fn name(&self, member: usize) -> String {
        self.world.members[member].parts[0].1.clone()
    }

    /// Returns a name as it is written in a path.
    fn in_path(&mut self, name: &str) -> String {
        match name.split_at_checked(1) {
            Some((first, rest)) if self.chance(0.3) => format!("%{:02x}{rest}", first.as_bytes()[0]),
            _ => name.to_owned(),
        }
    }

    fn fill(&mut self, export: &mut Export, members: &[usize]) {
        for member in members {
            let blocks = if members.len() == 1 && self.chance(0.2) { 2 } else { 1 };
            for _ in 0..blocks {
                let count = match self.rng.random_range(0..20) {
                    // More than a batch, and sometimes more than a queue.
                    0 => self.rng.random_range(20..60),
                    _ => self.rng.random_range(1..6),
                };
                let spans = (0..count).map(|_| self.span(*member)).collect();
                let lies = self.lies();
                let block = Block {
                    id: self.id(),
                    named: Vec::new(),
                    has_resource: self.chance(0.9),
                    lies,
                    spans,
                };
                export.blocks.push(block);
            }
        }
    }

    fn span(&mut self, member: usize) -> Span {
        if self.pending[member].is_empty() {
            self.start_trace(member);
        }
        let (mut trace, mut number, mut parent) = self.pending[member].pop().unwrap_or_default();
        if self.chance(0.05) {
            // The ids of a span of another tenant.
            (trace, number) = self.recent;
            parent = parent.filter(|parent| *parent != number);
        }
        self.recent = (trace, number);
        Span {
            id: self.id(),
            trace,
            number,
            parent,
            link: self.chance(0.1).then_some((self.traces, 0)),
            session: self.chance(0.3).then(|| self.rng.random_range(0..IDS)),
            lies: self.lies(),
            is_big: self.chance(0.02),
            shape: self.rng.random(),
        }
    }

    fn start_trace(&mut self, member: usize) {
        self.traces += 1;
        let trace = self.traces;
        let size = self.rng.random_range(1..=MAX_TRACE);
        let mut spans: Vec<(u32, u32, Option<u32>)> = (0..size)
            .map(|number| (trace, number, (number > 0).then(|| self.rng.random_range(0..number))))
            .collect();
        // Requests have the spans of a trace in any order.
        spans.shuffle(&mut self.rng);
        self.pending[member] = spans;
    }

    fn lies(&mut self) -> u16 {
        if self.chance(0.15) {
            self.rng.random_range(0..1 << PROJECT_ATTRIBUTES.len())
        } else {
            0
        }
    }

    /// Makes a request wrong in one way.
    fn spoil(&mut self, export: &mut Export) {
        match self.rng.random_range(0..3) {
            0 => export.call.credential = self.wrong_credential(export.call.caller),
            1 => self.misaddress(export),
            _ => export.call.flaw = self.flaw(export.format),
        }
    }

    fn wrong_credential(&mut self, caller: usize) -> Credential {
        let other = (caller + self.rng.random_range(1..self.world.callers.len())) % self.world.callers.len();
        let wrong = [
            Credential::Missing,
            Credential::Unknown,
            Credential::Revoked,
            Credential::OtherBasicPart,
            Credential::MalformedBasic,
            Credential::Twice,
            Credential::SecondOf(other),
            Credential::AlsoOf(other),
        ];
        *wrong.choose(&mut self.rng).unwrap_or(&Credential::Missing)
    }

    /// Names another tenant, none, or several.
    fn misaddress(&mut self, export: &mut Export) {
        let tenants = self
            .world
            .members
            .iter()
            .filter(|member| matches!(member.parts.as_slice(), [(SelectorKind::Tenant, _)]));
        let tenants: Vec<String> = tenants.map(|member| member.parts[0].1.clone()).collect();
        let other = tenants.choose(&mut self.rng).cloned().unwrap_or_default();
        let names = [
            other.clone(),
            other.clone(),
            other.clone(),
            other.clone(),
            other.clone(),
            "nowhere".to_owned(),
            other.to_uppercase(),
            format!("{other}, t0"),
            format!("{other}/../t0"),
            String::new(),
            format!("%{other}"),
        ];
        let name = names.choose(&mut self.rng).cloned().unwrap_or_default();
        match &self.world.callers[export.call.caller].rule {
            Rule::Header(_) => match self.rng.random_range(0..6) {
                0 => export.call.header.clear(),
                1 => export.call.header.push(other),
                2 => export.call.header.push(export.call.header[0].clone()),
                3 => {
                    // A tenant that the caller may address, but not the one in the header.
                    let allowed = self.tenant_of(export.call.caller);
                    export.call.path = Some(self.name(allowed));
                }
                _ => export.call.header = vec![name],
            },
            Rule::Resource(_) => {
                let at = self.rng.random_range(0..export.blocks.len().max(1));
                let Some(block) = export.blocks.get_mut(at) else { return };
                match self.rng.random_range(0..7) {
                    0 => block.named.clear(),
                    1 => block.named.push(Some(other)),
                    2 => block.named = vec![None],
                    3 => block.has_resource = false,
                    4 => {
                        let allowed = self.tenant_of(export.call.caller);
                        export.call.path = Some(self.name(allowed));
                    }
                    _ => block.named = vec![Some(name)],
                }
            }
            Rule::Fixed(_) | Rule::Path(_) => {
                let is_printable = !name.contains(' ') && !name.contains('/');
                export.call.path = Some(if is_printable {
                    name
                } else {
                    other.replace('t', "%2574")
                });
                if export.format == Format::Grpc {
                    export.format = Format::Protobuf;
                }
            }
        }
    }

    fn flaw(&mut self, format: Format) -> Option<Flaw> {
        let of_all = [
            Flaw::Truncated,
            Flaw::Garbage,
            Flaw::ZeroTraceId,
            Flaw::ShortSpanId,
            Flaw::TruncatedGzip,
            Flaw::NotGzip,
            Flaw::WrongEncoding,
            Flaw::TooLarge,
            Flaw::Bomb,
            Flaw::UnknownPath,
            Flaw::OtherSignal,
        ];
        let of_protobuf = [Flaw::InvalidUtf8, Flaw::TwoNames];
        let of_http = [Flaw::WrongType, Flaw::WrongMethod];
        let of_grpc = [Flaw::WrongFrame, Flaw::TwoFrames, Flaw::UnknownCompression];
        let mut flaws = of_all.to_vec();
        match format {
            Format::Protobuf => flaws.extend(of_protobuf.into_iter().chain(of_http)),
            Format::Json(_) => flaws.extend(of_http),
            Format::Grpc => flaws.extend(of_protobuf.into_iter().chain(of_grpc)),
        }
        flaws.choose(&mut self.rng).copied()
    }
}

/// Returns a flaw if the session API has it.
fn flaw_of_session(flaw: Option<Flaw>) -> Option<Flaw> {
    flaw.filter(|flaw| {
        matches!(
            flaw,
            Flaw::Truncated
                | Flaw::Garbage
                | Flaw::TruncatedGzip
                | Flaw::NotGzip
                | Flaw::WrongType
                | Flaw::WrongEncoding
                | Flaw::TooLarge
                | Flaw::Bomb
                | Flaw::WrongMethod
                | Flaw::UnknownPath
        )
    })
}
