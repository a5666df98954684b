use proptest::prelude::*;
use serde_json::json;

use super::*;

const ID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";
const OTHER: &str = "0af76519-16cd-43dd-8448-eb211c80319c";

fn read(call: &SessionCall, body: &Value) -> Result<SessionRequest, String> {
    SessionRequest::from_json(call, body.to_string().as_bytes()).map_err(|error| error.to_string())
}

fn fields(call: &SessionCall, body: &Value) -> Value {
    Value::Object(read(call, body).expect("valid").fields)
}

#[test]
fn a_start_keeps_its_id_in_lower_case_and_its_unknown_fields() {
    let session = json!({
        "session_id": ID.to_uppercase(), "session_name": "chat", "metadata": {"a": [1, null]}, "new_field": {"x": -1.5},
    });
    let mut expected = session.clone();
    expected["session_id"] = json!(ID);
    for (call, body) in [
        (SessionCall::Start, json!({"session": session})),
        (SessionCall::BareStart, session.clone()),
    ] {
        let request = read(&call, &body).expect("valid");
        assert_eq!((request.kind, request.id().to_string().as_str()), (Kind::Start, ID));
        assert_eq!(Value::Object(request.fields), expected);
    }
}

#[test]
fn an_id_that_is_no_uuid_is_replaced() {
    for id in [
        json!(null),
        json!(""),
        json!("chat-7"),
        json!("67e5504410b1426f9247bb680e5fe0c8"),
    ] {
        let request = read(&SessionCall::BareStart, &json!({"session_id": id})).expect("valid");
        assert_eq!(request.id().get_version_num(), 4, "{id}");
        assert_eq!(request.fields["session_id"], json!(request.id().to_string()));
        let request = read(&SessionCall::BareEvent, &json!({"event_id": id})).expect("valid");
        assert_eq!(request.fields["event_id"], json!(request.id().to_string()), "{id}");
    }
}

#[test]
fn a_sessions_event_id_is_its_session_id() {
    let start = |body| read(&SessionCall::BareStart, &body);
    for body in [
        json!({"event_id": ID}),
        json!({"event_id": ID, "session_id": ID}),
        json!({"event_id": "chat", "session_id": ID}),
        json!({"event_id": ID, "session_id": "chat"}),
    ] {
        let request = start(body.clone()).expect("valid");
        assert_eq!(request.id().to_string(), ID, "{body}");
        assert_eq!(
            (&request.fields["event_id"], &request.fields["session_id"]),
            (&json!(ID), &json!(ID))
        );
    }
    let error = start(json!({"event_id": ID, "session_id": OTHER})).expect_err("two ids");
    assert_eq!(error, "event_id and session_id differ, but name the same session");
}

#[test]
fn an_event_keeps_its_session_even_if_it_is_no_uuid() {
    let body = json!({"event": {"event_id": ID, "session_id": OTHER.to_uppercase(), "event_name": "call"}});
    let request = read(&SessionCall::Event, &body).expect("valid");
    assert_eq!((request.kind, request.id.to_string().as_str()), (Kind::Single, ID));
    assert_eq!(request.session.map(|id| id.to_string()).as_deref(), Some(OTHER));
    assert_eq!(request.fields["session_id"], json!(OTHER));
    let request = read(&SessionCall::BareEvent, &json!({"session_id": "chat-7"})).expect("valid");
    assert_eq!(
        (request.session, &request.fields["session_id"]),
        (None, &json!("chat-7"))
    );
}

#[test]
fn an_enrichment_names_one_uuid_in_its_path_or_body() {
    let enrich = |id: Option<&str>, body| {
        read(
            &SessionCall::Enrich {
                id: id.map(str::to_owned),
            },
            &body,
        )
    };
    let upper = ID.to_uppercase();
    for (id, body) in [
        (None, json!({"event_id": ID, "metadata": {"a": 1}})),
        (Some(ID), json!({"metadata": {"a": 1}})),
        (Some(&*upper), json!({"event_id": ID, "metadata": {"a": 1}})),
    ] {
        let request = enrich(id, body.clone()).expect("valid");
        assert_eq!(
            Value::Object(request.fields),
            json!({"event_id": ID, "metadata": {"a": 1}}),
            "{id:?} {body}"
        );
    }
    for (id, body, expected) in [
        (None, json!({}), "event_id is not a UUID"),
        (None, json!({"event_id": "chat"}), "event_id is not a UUID"),
        (
            Some("chat"),
            json!({"event_id": ID}),
            "the id in the path is not a UUID",
        ),
        (Some(""), json!({}), "the id in the path is not a UUID"),
        (
            Some(ID),
            json!({"event_id": OTHER}),
            "event_id differs from the id in the path",
        ),
        (
            Some(ID),
            json!({"event_id": "chat"}),
            "event_id differs from the id in the path",
        ),
    ] {
        assert_eq!(enrich(id, body).expect_err(expected), expected);
    }
}

#[test]
fn fields_that_choose_a_project_are_removed_in_any_spelling() {
    let body = json!({
        "session_id": ID, "project": "globex", "project_id": 7, "projectName": "globex", "PROJECT-ID": "g",
        "workspace_id": "w", "org_id": "o", "tenant": "globex", "tenant_id": {"a": 1},
        "projects": 1, "metadata": {"project": "a value of the client"},
    });
    let kept = json!({"session_id": ID, "projects": 1, "metadata": {"project": "a value of the client"}});
    assert_eq!(fields(&SessionCall::BareStart, &body), kept);
    assert_eq!(
        fields(&SessionCall::Start, &json!({"session": body, "project": "globex"})),
        kept
    );
    let event = json!({"event": {"event_id": ID, "project_id": "globex"}, "org_id": "o"});
    assert_eq!(fields(&SessionCall::Event, &event), json!({"event_id": ID}));
    let enriched = fields(
        &SessionCall::Enrich {
            id: Some(ID.to_owned()),
        },
        &json!({"project_name": "globex"}),
    );
    assert_eq!(enriched, json!({"event_id": ID}));
}

#[test]
fn a_repeated_field_is_refused_at_any_depth_and_spelling() {
    for body in [
        format!(r#"{{"session_id": "{ID}", "session_id": "{OTHER}"}}"#),
        format!(r#"{{"session_id": "{ID}", "session\u005fid": "{ID}"}}"#),
        r#"{"metadata": {"list": [{"a": 1, "a": 1}]}}"#.to_owned(),
        format!(r#"{{"{name}": 1, "{name}": 2}}"#, name = "long".repeat(1000)),
    ] {
        let error = SessionRequest::from_json(&SessionCall::BareStart, body.as_bytes()).expect_err(&body);
        assert!(error.to_string().contains("repeated field"), "{error}");
        assert!(error.to_string().len() < 200);
    }
}

#[test]
fn known_fields_have_the_type_of_the_api() {
    for (name, value, expected) in [
        ("metadata", json!([1]), "metadata is not an object"),
        ("user_properties", json!("text"), "user_properties is not an object"),
        ("duration", json!("7"), "duration is not a number"),
        ("start_time", json!({}), "start_time is not a number"),
        ("session_id", json!(7), "session_id is not a string"),
        ("event_id", json!({}), "event_id is not a string"),
        ("event_name", json!(false), "event_name is not a string"),
    ] {
        let body = json!({ name: value });
        assert_eq!(read(&SessionCall::BareStart, &body).expect_err(name), expected);
        read(&SessionCall::BareStart, &json!({ name: null })).expect("null counts as absent");
    }
}

#[test]
fn a_body_of_another_shape_is_refused() {
    let missing = "the body has no object \"session\"";
    for (body, expected) in [
        ("[]", "the body is not an object"),
        ("null", "the body is not an object"),
        ("{}", missing),
        (r#"{"session": []}"#, missing),
        (r#"{"event": {}}"#, missing),
    ] {
        let error = SessionRequest::from_json(&SessionCall::Start, body.as_bytes()).expect_err(body);
        assert_eq!(error.to_string(), expected);
    }
    for body in [
        "",
        "{",
        r#"{"session": {}} {}"#,
        r#"{"session": {"a": NaN}}"#,
        "\u{feff}{}",
        r#"{"a": "\ud800"}"#,
        r#"{"a": 1e999}"#,
    ] {
        let error = SessionRequest::from_json(&SessionCall::Start, body.as_bytes()).expect_err(body);
        assert!(error.to_string().starts_with("the body is not valid JSON: "), "{error}");
    }
    SessionRequest::from_json(&SessionCall::BareStart, b"{\"a\": \"\xff\"}").expect_err("not UTF-8");
}

#[test]
fn nesting_and_memory_are_bounded() {
    let nested = |levels: usize| format!("{}{}", r#"{"a":"#.repeat(levels), "[]".to_owned() + &"}".repeat(levels));
    let start = |body: &str| SessionRequest::from_json(&SessionCall::BareStart, body.as_bytes());
    start(&nested(MAX_LEVELS - 1)).expect("as deep as allowed");
    for levels in [MAX_LEVELS, 100_000] {
        let error = start(&nested(levels)).expect_err("deeper").to_string();
        assert!(error.contains("nested deeper than 64 levels"), "{error}");
    }
    let list = |item: &str, count: usize| format!(r#"{{"a":[{}{item}]}}"#, format!("{item},").repeat(count - 1));
    let numbers = (MAX_VALUE_BYTES - NODE_BYTES) / ITEM_BYTES;
    start(&list("0", numbers)).expect("as many as allowed");
    for body in [list("0", numbers + 1), list(r#"{"":0}"#, MAX_VALUE_BYTES / NODE_BYTES)] {
        assert!(
            start(&body)
                .expect_err("too many")
                .to_string()
                .contains("too many values")
        );
    }
    let texts = list(&format!("{:?}", "x".repeat(1 << 20)), 8);
    let request = start(&texts).expect("texts count only as bytes");
    assert!(request.memory() < texts.len() + 2000);
    assert!(request.memory() <= SessionRequest::max_memory(texts.as_bytes()));
}

/// JSON of any shape, with names that mean something.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        Just(json!(ID)),
    ];
    let name = prop_oneof![
        3 => prop::sample::select(vec!["session", "event", "session_id", "event_id", "metadata", "outputs", "duration", "project"])
            .prop_map(str::to_owned),
        1 => "\\PC{0,8}",
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn any_call() -> impl Strategy<Value = SessionCall> {
    prop::sample::select(vec![
        SessionCall::Start,
        SessionCall::BareStart,
        SessionCall::Event,
        SessionCall::BareEvent,
        SessionCall::Enrich { id: None },
        SessionCall::Enrich {
            id: Some(ID.to_owned()),
        },
        SessionCall::Enrich {
            id: Some("chat".to_owned()),
        },
    ])
}

proptest! {
    #[test]
    fn any_json_is_read_or_refused(call in any_call(), body in any_json()) {
        let text = body.to_string();
        prop_assert_eq!(parse(text.as_bytes()).map(|(value, _)| value), Ok(body.clone()));
        if let Ok(request) = SessionRequest::from_json(&call, text.as_bytes()) {
            prop_assert!(!request.id.is_nil());
            prop_assert!(!request.fields.keys().any(|name| chooses_project(name)));
            // What is sent is read again as the same.
            let id = request.id.to_string();
            let again = match request.kind {
                Kind::Start => SessionCall::BareStart,
                Kind::Single => SessionCall::BareEvent,
                Kind::Enrich => SessionCall::Enrich { id: Some(id) },
            };
            let sent = Value::Object(request.fields);
            prop_assert_eq!(fields(&again, &sent), sent);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(call in any_call(), body in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(SessionRequest::from_json(&call, &body));
    }

    #[test]
    fn reading_takes_at_most_the_memory_that_is_reserved_for_it(body in any_json()) {
        let text = body.to_string();
        let (_, values) = parse(text.as_bytes()).expect("valid");
        prop_assert!(text.len() + values <= SessionRequest::max_memory(text.as_bytes()), "{}", text);
    }
}
