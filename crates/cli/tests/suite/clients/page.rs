//! The programs of `docs/gateway.md` send to a `serve --demo`, as they are there.

use std::process::Command;

use crate::clients::setup::{node, python};
use crate::serve::Served;
use crate::text;

const PAGE: &str = include_str!("../../../../../docs/gateway.md");

/// Returns the only program in a language that contains a text.
fn program(language: &str, content: &str) -> &'static str {
    let blocks = PAGE.split("\n```").filter_map(|block| block.strip_prefix(language));
    let mut blocks = blocks.filter(|block| block.contains(content));
    let block = blocks.next().unwrap_or_else(|| panic!("no program with {content}"));
    assert!(blocks.next().is_none(), "several programs with {content}");
    block
}

struct Demo {
    served: Served,
    grpc: String,
}

impl Demo {
    fn start() -> Self {
        let mut served = Served::start(&[
            "--demo",
            "--http",
            "127.0.0.1:0",
            "--grpc",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
        ]);
        let line = served.line("OTLP/gRPC");
        let grpc = line.rsplit('/').next().expect("an address").to_owned();
        served.line("docs/gateway.md has programs");
        Self { served, grpc }
    }

    /// Runs a program with the variables of the page, and waits for its trace in a project.
    fn run(&mut self, mut command: Command, program: &str, protocol: &str, project: &str, root: &str) {
        let http = &self.served.http;
        let program = program
            .replace("127.0.0.1:4318", http)
            .replace("127.0.0.1:4317", &self.grpc);
        let address = if protocol == "grpc" { &self.grpc } else { http };
        command
            .arg(program)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"))
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env(
                "OTEL_EXPORTER_OTLP_HEADERS",
                "authorization=Bearer%20demo-token-of-acme",
            );
        let output = command.output().expect("installed");
        let stderr = text(&output.stderr);
        assert_eq!(
            (output.status.code(), stderr.as_str()),
            (Some(0), ""),
            "{protocol} {root}"
        );
        assert_eq!(
            self.served.line("project "),
            format!("project {project}:"),
            "{protocol} {root}"
        );
        assert!(
            self.served.line("[").starts_with(&format!("  {root} ")),
            "{protocol} {root}"
        );
    }
}

#[test]
#[ignore = "needs Python and the clients of tests/clients: run tests/clients/run"]
fn programs_in_python() {
    let mut demo = Demo::start();
    let run = || {
        let mut command = python();
        command.arg("-c");
        command
    };
    let variables = program("python", "reads the variables");
    let over_grpc = variables.replace("proto.http", "proto.grpc");
    let http = program("python", "python over HTTP");
    // Only the import and the exporter differ.
    let (_, rest) = http
        .split_once("trace_exporter import OTLPSpanExporter\n")
        .expect("an import");
    let (imports, rest) = rest.split_once("exporter = ").expect("an exporter");
    let (_, rest) = rest.split_once("\n)\n").expect("its end");
    let grpc = format!("{}\n{imports}{rest}", program("python", "insecure=True"));
    demo.run(run(), variables, "http/protobuf", "acme", "answer");
    demo.run(run(), &over_grpc, "grpc", "acme", "answer");
    demo.run(run(), http, "", "globex", "python over HTTP");
    demo.run(run(), &grpc, "", "globex", "python over HTTP");
    demo.served.stop();
}

#[test]
#[ignore = "needs Node and the clients of tests/clients: run tests/clients/run"]
fn programs_in_node() {
    let mut demo = Demo::start();
    let run = || {
        let mut command = node();
        command.args(["--input-type=module", "--eval"]);
        command
    };
    for protocol in ["http/protobuf", "http/json", "grpc"] {
        demo.run(run(), program("js", "reads the variables"), protocol, "acme", "answer");
    }
    let json = program("js", "node over JSON");
    let protobuf = json.replace("exporter-trace-otlp-http", "exporter-trace-otlp-proto");
    demo.run(run(), json, "", "globex", "node over JSON");
    demo.run(run(), &protobuf, "", "globex", "node over JSON");
    demo.run(run(), program("js", "node over gRPC"), "", "initech", "node over gRPC");
    demo.served.stop();
}
