//! The oracle on handwritten requests, and the checker on data that a test sends to the receiver in
//! the gateway's place.

mod cluster;
mod copies;
mod spool;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::super::check::Checked;
use super::super::check::finding::FindingKind;
use super::super::options::Verify;
use super::super::program::cast::Member;
use super::super::stage::collector;
use super::check::{Left, check};
use super::client::Answer;
use super::content;
use super::generate::generate;
use super::oracle::{expect, owners};
use super::program::{
    Action, Block, Call, Credential, Encoding, Export, Flaw, Format, Kind, Op, Program, SessionCall, SessionRef, Span,
    Storage,
};
use super::run::Observed;
use super::seen::Seen;
use super::wire;
use super::world::{Rule, State, World};
use tracer_registry_collector::LocalCollector;

const SEED: u64 = 7;

/// Members of which the gateway changes no span: tenants `t1` and `t13`.
const PLAIN: [usize; 2] = [1, 13];
/// Members whose backend has sessions: tenants `t0` and `t6`.
const CALLS: [usize; 2] = [0, 6];

/// Returns a world without copies.
fn world() -> World {
    let mut world = World::new(14);
    world.members.iter_mut().for_each(|member| member.also.clear());
    world
}

fn span(id: u32, trace: u32) -> Span {
    Span {
        id,
        trace,
        number: 1,
        parent: Some(0),
        link: None,
        session: None,
        lies: 0,
        is_big: false,
        shape: 0,
    }
}

fn block(id: u32, named: &[&str]) -> Block {
    Block {
        id,
        named: named.iter().map(|name| Some((*name).to_owned())).collect(),
        has_resource: true,
        lies: 0,
        spans: vec![span(id + 1, id)],
    }
}

fn export(caller: usize, blocks: Vec<Block>) -> Export {
    Export {
        call: Call {
            caller,
            credential: Credential::Bearer,
            header: Vec::new(),
            path: None,
            prefix: 0,
            http2: false,
            lies: 0,
            flaw: None,
        },
        format: Format::Protobuf,
        encoding: Encoding::Plain,
        blocks,
    }
}

/// Returns the index of a caller.
fn caller(world: &World, name: &str) -> usize {
    let index = world.callers.iter().position(|caller| caller.name == name);
    index.expect("a caller of the world")
}

/// Returns the refusals of a request, or the members of its blocks.
fn outcome(world: &World, export: &Export) -> Result<Vec<usize>, Vec<u16>> {
    let expected = expect(world, &world.initial(), export, Some(0));
    if expected.refusals.is_empty() {
        Ok(expected.members)
    } else {
        Err(expected.refusals.into_iter().collect())
    }
}

#[test]
fn the_rule_of_a_caller_decides_the_tenant() {
    let world = world();
    let mut fixed = export(3, vec![block(1, &["t5"])]);
    assert_eq!(outcome(&world, &fixed), Ok(vec![3]), "an attribute chooses nothing");
    fixed.call.path = Some("t3".to_owned());
    assert_eq!(outcome(&world, &fixed), Ok(vec![3]));
    fixed.call.path = Some("t4".to_owned());
    assert_eq!(outcome(&world, &fixed), Err(vec![403]));

    let mut header = export(caller(&world, "header-even"), vec![block(1, &[])]);
    assert_eq!(outcome(&world, &header), Err(vec![400]));
    for (names, expected) in [
        (&["t2"][..], Ok(vec![2])),
        (&["t1"], Err(vec![403])),
        (&["t2", "t2"], Err(vec![400])),
        (&["T2"], Err(vec![403])),
        (&["t2, t4"], Err(vec![403])),
    ] {
        header.call.header = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(outcome(&world, &header), expected, "{names:?}");
    }

    let mut path = export(caller(&world, "path-all"), vec![block(1, &[])]);
    assert_eq!(outcome(&world, &path), Err(vec![400]));
    for (written, expected) in [
        ("t7", Ok(vec![7])),
        ("%74%37", Ok(vec![7])),
        ("%2574", Err(vec![403])),
        ("t99", Err(vec![403])),
    ] {
        path.call.path = Some(written.to_owned());
        assert_eq!(outcome(&world, &path), expected, "{written}");
    }
    path.format = Format::Grpc;
    assert_eq!(outcome(&world, &path), Err(vec![400]), "gRPC has no path");

    let split = |named: [&[&str]; 2]| {
        export(
            caller(&world, "resource-pattern"),
            vec![block(1, named[0]), block(3, named[1])],
        )
    };
    assert_eq!(outcome(&world, &split([&["t1"], &["t0"]])), Ok(vec![1, 0]));
    assert_eq!(outcome(&world, &split([&["t1"], &["t2"]])), Err(vec![403]));
    assert_eq!(outcome(&world, &split([&["t1"], &[]])), Err(vec![400]));
    assert_eq!(outcome(&world, &split([&["t1"], &["t1", "t1"]])), Err(vec![400]));
}

#[test]
fn a_request_with_several_faults_may_get_the_answer_of_any() {
    let world = world();
    let mut wrong = export(0, vec![block(1, &[])]);
    wrong.call.credential = Credential::Unknown;
    wrong.call.flaw = Some(Flaw::Truncated);
    wrong.call.path = Some("t4".to_owned());
    assert_eq!(outcome(&world, &wrong), Err(vec![400, 401, 403]));
    assert_eq!(owners(&world, &wrong), [None], "nothing of it may arrive");
}

#[test]
fn a_change_of_the_configuration_changes_the_answer() {
    let world = world();
    let mut state = world.initial();
    let even = caller(&world, "header-even");
    let mut request = export(even, vec![block(1, &[])]);
    request.call.header = vec!["t0".to_owned()];
    let refusals = |state: &State, token: Option<u32>| expect(&world, state, &request, token).refusals;
    assert!(refusals(&state, Some(1)).is_empty());
    state.tokens[even] += 1;
    assert!(refusals(&state, Some(1)).is_empty(), "both tokens are valid");
    assert_eq!(refusals(&state, Some(0)), BTreeSet::from([401]));
    state.narrowed.insert(even);
    assert_eq!(refusals(&state, Some(1)), BTreeSet::from([403]));
    state.narrowed.clear();
    state.removed.insert(0);
    assert_eq!(refusals(&state, Some(1)), BTreeSet::from([403]));
}

#[test]
fn a_seed_has_one_program_with_requests_of_every_kind() {
    let world = world();
    let options = Verify::new().chaos(true);
    let program = generate(3, 4000, &world, &options);
    assert_eq!(program, generate(3, 4000, &world, &options));
    assert_ne!(program, generate(4, 4000, &world, &options));
    let kinds: BTreeSet<&str> = program.ops().map(|op| op.kind.name()).collect();
    assert_eq!(kinds.len(), 8 + 4 + 13, "{kinds:?}");
    let exports = program.ops().filter_map(|op| match &op.kind {
        Kind::Export(export) => Some(export),
        Kind::Session(_) | Kind::Disturb(_) => None,
    });
    let (mut accepted, mut statuses) = ([0; 4], BTreeSet::new());
    for export in exports {
        match outcome(&world, export) {
            Ok(_) => {
                accepted[match &world.callers[export.call.caller].rule {
                    Rule::Fixed(_) => 0,
                    Rule::Header(_) => 1,
                    Rule::Resource(_) => 2,
                    Rule::Path(_) => 3,
                }] += 1;
            }
            Err(refusals) => statuses.extend(refusals),
        }
    }
    assert!(accepted.iter().all(|count| *count > 100), "{accepted:?}");
    assert_eq!(statuses, BTreeSet::from([400, 401, 403, 404, 405, 413, 415]));
    assert!(program.print(&world).contains("tenant.id="));
}

/// A receiver, and a program whose requests a test delivers itself.
struct Delivery {
    world: World,
    collector: LocalCollector,
    program: Program,
    left: Left,
}

impl Delivery {
    /// Returns a program of one client whose requests were answered with these statuses.
    fn of(world: World, ops: Vec<(Kind, u16, Value)>) -> Self {
        let ids: Vec<u32> = (1..).take(ops.len()).collect();
        let observed = |status, json: Value| Observed {
            session: json["session_id"].as_str().map(str::to_owned),
            answer: Some(Answer {
                status,
                rejected: 0,
                malformed: None,
                json,
            }),
            token: Some(0),
            ..Observed::default()
        };
        let observations = ids.iter().zip(&ops);
        let observations = observations.map(|(id, (_, status, json))| (*id, observed(*status, json.clone())));
        Self {
            left: Left {
                observed: observations.collect(),
                states: vec![world.initial()],
                seen: Seen::default(),
                repeated: BTreeSet::new(),
            },
            collector: collector(&world.members).expect("a port"),
            program: Program {
                clients: vec![
                    ids.into_iter()
                        .zip(ops)
                        .map(|(id, (kind, ..))| Op { id, replica: 0, kind })
                        .collect(),
                ],
                seed: SEED,
                storage: Storage::Memory,
            },
            world,
        }
    }

    /// Returns a program with an accepted request of each plain tenant, and a refused one.
    fn new() -> Self {
        Self::in_world(world())
    }

    fn in_world(world: World) -> Self {
        let mut refused = export(PLAIN[0], vec![block(30, &[])]);
        refused.call.path = Some("t2".to_owned());
        let exports = [
            (export(PLAIN[0], vec![block(10, &[])]), 200),
            (export(PLAIN[1], vec![block(20, &[])]), 200),
            (refused, 403),
        ];
        let delivered = PLAIN.map(|member| (world.members[member].selector(), 1));
        let ops = exports.map(|(export, status)| (Kind::Export(export), status, Value::Null));
        let mut delivery = Self::of(world, ops.into());
        delivery.left.seen.delivered = delivered.into();
        delivery
    }

    /// Returns a program with the start of a session and two enrichments.
    fn of_session() -> Self {
        let session = SessionRef::Given(1);
        let enrich = Action::Enrich {
            session,
            in_path: false,
        };
        let start = Action::Start {
            session: Some(1),
            bare: false,
        };
        let id = content::session_id(SEED, 1);
        let ops = [start, enrich, enrich].map(|action| {
            let call = SessionCall {
                call: export(CALLS[0], Vec::new()).call,
                is_compressed: false,
                action,
            };
            let answer = json!({"event_id": id, "session_id": id, "org_id": "", "workspace_id": "", "project_id": ""});
            (Kind::Session(call), 200, answer)
        });
        Self::of(world(), ops.into())
    }

    /// Delivers the start of the session, or one of its enrichments.
    fn deliver_session(&self, op: u32, member: usize) {
        let id = content::session_id(SEED, 1);
        let canary = content::canary(&self.world, Some(CALLS[0]), op);
        let (line, body) = if op == 1 {
            let source = &self.world.members[CALLS[0]].source;
            let session = json!({"session_id": id, "session_name": canary, "source": source});
            ("POST /session/start", json!({"session": session}))
        } else {
            let metadata = json!({format!("e{op}"): canary, "last": canary});
            ("PUT /events", json!({"event_id": id, "metadata": metadata}))
        };
        self.send(member, line, "application/json", body.to_string().as_bytes());
    }

    /// Sends a request of the program under the key of a member.
    fn deliver(&self, request: usize, member: usize) {
        self.deliver_changed(request, member, |_| ());
    }

    fn deliver_changed(&self, request: usize, member: usize, change: impl FnOnce(&mut content::SentBlock)) {
        let Kind::Export(export) = &self.program.clients[0][request].kind else {
            unreachable!("all are requests");
        };
        let owner = owners(&self.world, export)[0];
        let mut block = content::block(&self.world, SEED, &export.blocks[0], owner);
        change(&mut block);
        let body = wire::Request::new(&[block], None).to_protobuf();
        self.send(member, "POST /v1/traces", "application/x-protobuf", &body);
    }

    /// Sends a request to the receiver under the key of a member.
    fn send(&self, member: usize, line: &str, content_type: &str, body: &[u8]) {
        let Member { key, .. } = &self.world.members[member];
        let project = self.world.members[member].own("project");
        let mut stream = TcpStream::connect(self.collector.addr()).expect("it listens");
        write!(
            stream,
            "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
             x-project: {project}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .and_then(|()| stream.write_all(body))
        .expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    fn check(&self) -> Checked {
        check(&self.program, &self.world, &self.collector, &self.left).0
    }

    fn kinds(&self) -> BTreeSet<FindingKind> {
        self.check().findings.counts.into_keys().collect()
    }
}

#[test]
fn a_right_delivery_is_clean_and_every_byte_is_searched() {
    let delivery = Delivery::new();
    delivery.deliver(0, PLAIN[0]);
    delivery.deliver(1, PLAIN[1]);
    let checked = delivery.check();
    assert!(checked.findings.counts.is_empty(), "{:?}", checked.findings.first);
    assert!((checked.spans, checked.requests) == (2, 2) && checked.bytes > 500);
}

#[test]
fn data_under_the_key_of_another_tenant_is_found() {
    let delivery = Delivery::new();
    delivery.deliver(0, PLAIN[1]);
    delivery.deliver(1, PLAIN[0]);
    let checked = delivery.check();
    assert!(
        checked.findings.counts[&FindingKind::Leaked] >= 4,
        "{:?}",
        checked.findings.first
    );
    assert_eq!(checked.findings.counts[&FindingKind::Lost], 2);
}

#[test]
fn lost_repeated_and_refused_data_is_found() {
    use FindingKind::{Duplicated, Leaked, Lost, Unexpected};

    let mut delivery = Delivery::new();
    delivery.deliver(0, PLAIN[0]);
    delivery.deliver(0, PLAIN[0]);
    delivery.deliver(2, PLAIN[0]);
    let found = delivery.kinds();
    assert_eq!(found, BTreeSet::from([Leaked, Lost, Duplicated, Unexpected]));
    delivery.left.repeated.insert(PLAIN[0]);
    assert!(!delivery.kinds().contains(&Duplicated), "the receiver lost an answer");
}

#[test]
fn changed_spans_are_found() {
    type Change = fn(&mut content::SentBlock);
    let changes: [(Change, FindingKind); 6] = [
        (|block| block.spans[0].parent = None, FindingKind::WrongParent),
        (|block| block.spans[0].trace_id[15] ^= 1, FindingKind::WrongTrace),
        (|block| block.spans[0].end += 1, FindingKind::WrongAttribute),
        (|block| block.scope.version.clear(), FindingKind::WrongAttribute),
        (
            |block| block.spans[0].attributes.push(("more".to_owned(), true.into())),
            FindingKind::WrongAttribute,
        ),
        (
            |block| block.spans[0].attributes.push(("session.id".to_owned(), "s".into())),
            FindingKind::WrongSession,
        ),
    ];
    for (index, (change, kind)) in changes.into_iter().enumerate() {
        let delivery = Delivery::new();
        delivery.deliver_changed(0, PLAIN[0], change);
        delivery.deliver(1, PLAIN[1]);
        assert!(
            delivery.kinds().contains(&kind),
            "{index}: {:?}",
            delivery.check().findings.first
        );
    }
}

#[test]
fn wrong_answers_and_reports_are_found() {
    type Deviation = fn(&mut Left);
    let deviations: [(Deviation, FindingKind); 4] = [
        (
            |left| {
                let refused = left.observed.get_mut(&3).and_then(|observed| observed.answer.as_mut());
                refused.expect("an answer").status = 400;
            },
            FindingKind::WrongAnswer,
        ),
        (
            |left| {
                let success = left.observed.get_mut(&1).and_then(|observed| observed.answer.as_mut());
                success.expect("an answer").rejected = 1;
            },
            FindingKind::WrongAnswer,
        ),
        (|left| left.seen.delivered.clear(), FindingKind::WrongLedger),
        (|left| left.seen.lost = true, FindingKind::Incomplete),
    ];
    for (deviate, kind) in deviations {
        let mut delivery = Delivery::new();
        delivery.deliver(0, PLAIN[0]);
        delivery.deliver(1, PLAIN[1]);
        deviate(&mut delivery.left);
        assert_eq!(delivery.kinds(), BTreeSet::from([kind]));
    }
}

#[test]
fn sessions_in_order_are_clean_and_other_ones_are_found() {
    use FindingKind::{Duplicated, Leaked, Lost, WrongOrder, WrongSource};
    type Requests = &'static [(u32, usize)];

    const OWN: usize = CALLS[0];
    const OTHER: usize = CALLS[1];
    let deliveries: [(Requests, &[FindingKind]); 6] = [
        (&[(1, OWN), (2, OWN), (3, OWN)], &[]),
        (&[(1, OWN), (3, OWN), (2, OWN)], &[WrongOrder]),
        (&[(2, OWN), (1, OWN), (3, OWN)], &[WrongOrder]),
        (&[(1, OWN), (2, OWN)], &[Lost]),
        (&[(1, OWN), (2, OWN), (3, OWN), (3, OWN)], &[Duplicated]),
        (&[(1, OTHER), (2, OTHER), (3, OTHER)], &[Leaked, Lost]),
    ];
    for (index, (requests, kinds)) in deliveries.into_iter().enumerate() {
        let delivery = Delivery::of_session();
        for (op, member) in requests {
            delivery.deliver_session(*op, *member);
        }
        let found = delivery.kinds();
        let shown = || delivery.check().findings.first;
        assert_eq!(found, kinds.iter().copied().collect(), "{index}: {:?}", shown());
    }
    let mut delivery = Delivery::of_session();
    (1..=3).for_each(|op| delivery.deliver_session(op, OWN));
    delivery.left.states[0].settings[OWN].binding = 1;
    assert!(delivery.kinds().contains(&WrongSource), "the source of other settings");
}

#[test]
fn an_answer_without_the_id_of_the_session_is_found() {
    let mut delivery = Delivery::of_session();
    (1..=3).for_each(|op| delivery.deliver_session(op, CALLS[0]));
    let start = delivery
        .left
        .observed
        .get_mut(&1)
        .and_then(|observed| observed.answer.as_mut());
    start.expect("an answer").json["session_id"] = json!("another");
    assert_eq!(delivery.kinds(), BTreeSet::from([FindingKind::WrongAnswer]));
}
