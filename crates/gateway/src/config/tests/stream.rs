//! `[gateway.stream]`.

use super::*;

const SERVERS: &str = "servers = ['nats://a:4222']\nmonitor = ['http://a:8222']\n";

fn stream(text: &str) -> Result<StreamSettings, Vec<String>> {
    let settings = settings(&format!("[gateway.stream]\n{SERVERS}{text}"));
    settings
        .map(|settings| settings.stream.expect("a table"))
        .map_err(|error| listed(&error))
}

#[test]
fn a_table_with_servers_has_defaults_for_the_rest() {
    let expected = StreamSettings {
        servers: vec!["nats://a:4222".to_owned()],
        monitor: vec!["http://a:8222".to_owned()],
        ..StreamSettings::default()
    };
    assert_eq!(stream(""), Ok(expected));
    assert_eq!(settings("").expect("valid").stream, None);
}

#[test]
fn each_way_to_log_in() {
    let of = |text: &str| stream(&format!("credentials = {{ {text} }}")).map(|stream| stream.credentials);
    assert!(matches!(of("token = { env = 'T' }"), Ok(StreamCredentials::Token(_))));
    assert!(matches!(of("nkey = { file = '/k' }"), Ok(StreamCredentials::Nkey(_))));
    assert!(matches!(
        of("user = 'gateway', password = { env = 'P' }"),
        Ok(StreamCredentials::Password(user, _)) if user == "gateway"
    ));
    assert_eq!(
        of("file = '/nats.creds'"),
        Ok(StreamCredentials::File("/nats.creds".into()))
    );
    let rule = "gateway.stream.credentials: expected one of: token; user and password; nkey; file";
    for text in [
        "",
        "user = 'a'",
        "token = { env = 'T' }, nkey = { env = 'N' }",
        "password = { env = 'P' }",
    ] {
        assert_eq!(of(text), Err(vec![rule.to_owned()]), "{text}");
    }
}

#[test]
fn each_fault_is_reported_with_its_rule() {
    let problem = |text: &str| stream(text).expect_err(text).join("\n");
    for (text, key, rule) in [
        ("replicas = 2", "replicas", "must be 1, 3 or 5"),
        ("replicas = 7", "replicas", "must be 1, 3 or 5"),
        ("partitions = 0", "partitions", "must be from 1 to 1024"),
        ("partitions = 70000", "partitions", "must be from 1 to 1024"),
        ("prefix = 'a.b'", "prefix", "expected 1 to 32 letters"),
        ("prefix = ''", "prefix", "expected 1 to 32 letters"),
        (
            "max_bytes = '16MiB'",
            "max_bytes",
            "must be at least 32MiB, 1MiB for each partition",
        ),
        ("max_parked_bytes = 1", "max_parked_bytes", "must be at least 32MiB"),
        (
            "max_messages_per_selector = 0",
            "max_messages_per_selector",
            "must be at least 1",
        ),
        ("publish_timeout = '0s'", "publish_timeout", "must be from 100ms to 1m"),
        ("window = '1KiB'", "window", "must be at least 1MiB"),
        (
            "tls = { certificate = '/c' }",
            "tls",
            "certificate and key are both needed",
        ),
        ("role = 'leader'", "role", "both"),
        ("server = 'a'", "server", "unknown"),
    ] {
        let problem = problem(text);
        assert!(problem.starts_with(&format!("gateway.stream.{key}: ")), "{problem}");
        assert!(problem.contains(rule), "{problem}");
    }
}

#[test]
fn servers_and_monitoring_are_needed_and_have_no_password() {
    let of = |text: &str| listed(&settings(&format!("[gateway.stream]\n{text}")).expect_err(text)).join("\n");
    assert!(of("").contains("gateway.stream.servers: missing"));
    let without_monitor = "servers = ['nats://a:4222']\n";
    assert!(of(without_monitor).contains("gateway.stream.monitor: missing"));
    let weaker = format!("[gateway.stream]\n{without_monitor}accept_weaker_durability = true\n");
    assert!(settings(&weaker).is_ok());
    for address in [
        "a:4222",
        "http://a:4222",
        "nats://a",
        "nats://gateway:s3cret@a:4222",
        "nats://a:4222/x",
    ] {
        let problem = of(&format!("servers = ['{address}']\nmonitor = ['http://a:8222']"));
        assert!(
            problem.contains("entry 0 is not nats or tls://host:port"),
            "{address}: {problem}"
        );
        assert!(!problem.contains("s3cret"), "{problem}");
    }
}

#[test]
fn a_replica_that_only_sends_needs_no_listener_and_no_caller() {
    let read = |role: &str| {
        let text = format!("[gateway]\nhttp = false\ngrpc = false\n[gateway.stream]\n{SERVERS}role = '{role}'\n");
        Folder::new(&[("gateway.toml", &text)]).read()
    };
    let settings = read("send").expect("valid");
    assert_eq!(settings.stream.map(|stream| stream.role), Some(StreamRole::Send));
    for role in ["both", "ingest"] {
        let problems = listed(&read(role).expect_err("refused")).join("\n");
        assert!(problems.contains("both http and grpc are off"), "{problems}");
        assert!(problems.contains("gateway.callers: no caller"), "{problems}");
    }
}
