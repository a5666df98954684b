use serde_json::json;

use super::*;

const PARTS: [DataPart; 7] = [
    DataPart::Inputs,
    DataPart::Outputs,
    DataPart::Metadata,
    DataPart::Metrics,
    DataPart::Feedback,
    DataPart::Config,
    DataPart::UserProperties,
];

/// Returns the attributes that one entry becomes.
fn attributes(names: &AttributeNames, part: DataPart, key: &str, value: &Json) -> Vec<String> {
    let converted = names.span_data(part, [(key, value)]);
    let shown = converted.attributes.iter();
    shown.map(|kv| format!("{}={}", kv.key, kv.value)).collect()
}

#[test]
fn each_backend_has_its_own_prefix_for_each_part_of_span_data() {
    let prefixes = |names: &AttributeNames| PARTS.map(|part| attributes(names, part, "k", &json!(1)).concat());
    assert_eq!(
        prefixes(&AttributeNames::HONEYHIVE),
        [
            "honeyhive_inputs.k=1",
            "honeyhive_outputs.k=1",
            "honeyhive_metadata.k=1",
            "honeyhive_metrics.k=1",
            "honeyhive_feedback.k=1",
            "honeyhive_config.k=1",
            "honeyhive_user_properties.k=1",
        ]
    );
    let plain = [
        "tracer_registry.inputs.k=1",
        "tracer_registry.outputs.k=1",
        "tracer_registry.metadata.k=1",
        "tracer_registry.metrics.k=1",
        "tracer_registry.feedback.k=1",
        "tracer_registry.config.k=1",
        "tracer_registry.user_properties.k=1",
    ];
    assert_eq!(prefixes(&AttributeNames::OPENTELEMETRY), plain);
    for (names, metadata) in [
        (&AttributeNames::LANGFUSE, "langfuse.observation.metadata.k=1"),
        (&AttributeNames::LANGSMITH, "langsmith.metadata.k=1"),
    ] {
        let mut expected = plain;
        expected[2] = metadata;
        assert_eq!(prefixes(names), expected);
    }
}

#[test]
fn each_backend_has_its_own_prefix_for_each_part_of_session_data() {
    let prefixes = |names: &AttributeNames| PARTS.map(|part| names.session_part(part));
    assert_eq!(
        prefixes(&AttributeNames::HONEYHIVE)[2..],
        [
            "honeyhive_metadata.",
            "honeyhive_metrics.",
            "honeyhive_feedback.",
            "honeyhive_config.",
            "honeyhive_user_properties."
        ]
    );
    assert_eq!(
        prefixes(&AttributeNames::OPENTELEMETRY)[..3],
        [
            "tracer_registry.session.inputs.",
            "tracer_registry.session.outputs.",
            "tracer_registry.session.metadata."
        ]
    );
    assert_eq!(
        prefixes(&AttributeNames::LANGFUSE)[1..4],
        [
            "langfuse.trace.metadata.outputs.",
            "langfuse.trace.metadata.",
            "langfuse.trace.metadata.metrics."
        ]
    );
    assert_eq!(
        prefixes(&AttributeNames::LANGSMITH)[2..4],
        ["langsmith.metadata.", "langsmith.metadata.metrics."]
    );
}

#[test]
fn conventional_data_has_conventional_names_except_on_honeyhive() {
    let messages = json!([{"role": "user"}]);
    for (part, key, value, plain) in [
        (
            DataPart::Inputs,
            "messages",
            &messages,
            r#"gen_ai.input.messages=[{"role":"user"}]"#,
        ),
        (
            DataPart::Outputs,
            "messages",
            &messages,
            r#"gen_ai.output.messages=[{"role":"user"}]"#,
        ),
        (
            DataPart::Metrics,
            "input_tokens",
            &json!(7),
            "gen_ai.usage.input_tokens=7",
        ),
        (DataPart::Config, "model", &json!("m"), "gen_ai.request.model=m"),
        (
            DataPart::Config,
            "stop_sequences",
            &json!(["a", "b"]),
            r#"gen_ai.request.stop_sequences=["a","b"]"#,
        ),
        (
            DataPart::Metadata,
            "model",
            &json!("m"),
            "tracer_registry.metadata.model=m",
        ),
        (
            DataPart::Config,
            "retries",
            &json!(2),
            "tracer_registry.config.retries=2",
        ),
    ] {
        assert_eq!(attributes(&AttributeNames::OPENTELEMETRY, part, key, value), [plain]);
    }
    assert_eq!(
        attributes(&AttributeNames::HONEYHIVE, DataPart::Inputs, "messages", &messages),
        ["honeyhive_inputs.messages.0.role=user"]
    );
    let temperature = AttributeNames::OPENTELEMETRY.span_data(DataPart::Config, [("temperature", &json!(0))]);
    assert_eq!(
        temperature.attributes,
        [KeyValue::new("gen_ai.request.temperature", 0.0)]
    );
}

#[test]
fn each_backend_has_its_own_event_types() {
    let typed = |names: &AttributeNames| {
        let types = [EventType::Model, EventType::Tool, EventType::Chain];
        types.map(|event_type| names.event_type(event_type).value.to_string())
    };
    assert_eq!(typed(&AttributeNames::HONEYHIVE), ["model", "tool", "chain"]);
    assert_eq!(
        typed(&AttributeNames::OPENTELEMETRY),
        ["chat", "execute_tool", "invoke_workflow"]
    );
}

#[cfg(feature = "redact")]
#[test]
fn rules_of_redaction_know_the_names_of_flattened_data_of_each_backend() {
    let of_backends = [
        AttributeNames::OPENTELEMETRY,
        AttributeNames::HONEYHIVE,
        AttributeNames::LANGFUSE,
        AttributeNames::LANGSMITH,
    ];
    for prefix in of_backends.iter().flat_map(AttributeNames::prefixes) {
        assert!(crate::policy::redaction::is_flattened(prefix), "{prefix}");
    }
}
