//! What an operator should look at.

use serde_json::{Value, json};

use super::call::{self, Call, Json};
use super::refusal::{Refusal, cut};
use crate::counters::GatewayStatus;

/// `GET /api/attention`
pub(super) fn attention(call: &Call) -> Result<Json, Refusal> {
    let admin = &call.admin;
    let running = admin.current.running();
    let of_tenants = admin.registry.attention();
    let mut items: Vec<Value> = own(
        &admin.ingest.status(),
        running.settings.max_connections,
        admin.current.certificates_are_usable(),
    );
    items.extend(admin.cluster.stream().and_then(|stream| of_stream(&stream)));
    items.extend(of_tenants.into_iter().map(|mut item| {
        item.message = cut(item.message);
        serde_json::to_value(item).unwrap_or_default()
    }));
    // Stable: the order of the library within each severity.
    items.sort_by_key(|item| match item["severity"].as_str() {
        Some("error") => 0,
        Some("warning") => 1,
        _ => 2,
    });
    call::json(&json!({"attention": items}))
}

/// Returns what is wrong with the stream that replicas share.
fn of_stream(stream: &Value) -> Option<Value> {
    stream["away_since"].as_u64()?;
    let error = stream["error"].as_str().unwrap_or("not connected");
    let (severity, meanwhile) = if stream["can_store"] == true {
        ("warning", "data waits in the local spool")
    } else {
        ("error", "requests get 503")
    };
    let message = cut(format!("the NATS servers cannot be used, and {meanwhile}: {error}"));
    Some(item("stream_away", severity, &message))
}

fn item(rule: &str, severity: &str, message: &str) -> Value {
    json!({
        "rule": rule, "severity": severity, "count": 0, "tracers": [], "endpoints": [], "since": null,
        "message": message,
    })
}

/// Returns what concerns the gateway itself.
fn own(status: &GatewayStatus, max_connections: usize, certificates_are_usable: bool) -> Vec<Value> {
    let mut items = Vec::new();
    let memory = &status.memory;
    if memory.used > memory.limit / 4 * 3 {
        let message = format!(
            "requests hold {} of {} bytes of gateway.memory",
            memory.used, memory.limit
        );
        items.push(item("gateway_memory", "error", &message));
    }
    let open = status.connections.open;
    if open >= max_connections - max_connections / 10 {
        let message = format!("{open} of {max_connections} connections are open");
        items.push(item("gateway_connections", "error", &message));
    }
    if !certificates_are_usable {
        let message = "the files of gateway.tls cannot be used, and the running certificates are kept";
        items.push(item("certificates_unusable", "error", message));
    }
    if !status.ready {
        items.push(item("shutting_down", "notice", "the gateway is shutting down"));
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(status: &GatewayStatus, usable: bool) -> Vec<String> {
        let rules = own(status, 100, usable).into_iter();
        rules
            .map(|item| item["rule"].as_str().expect("a rule").to_owned())
            .collect()
    }

    #[test]
    fn servers_that_are_away_are_an_error_without_a_local_spool() {
        assert_eq!(of_stream(&json!({"away_since": null, "can_store": true})), None);
        for (can_store, severity) in [(true, "warning"), (false, "error")] {
            let away = of_stream(&json!({"away_since": 1, "can_store": can_store, "error": "refused"}));
            let away = away.expect("an item");
            assert_eq!(
                (&away["rule"], &away["severity"]),
                (&"stream_away".into(), &severity.into())
            );
            assert!(
                away["message"]
                    .as_str()
                    .is_some_and(|message| message.ends_with("refused"))
            );
        }
    }

    #[test]
    fn each_state_of_the_gateway_has_its_rule() {
        let mut status = GatewayStatus {
            ready: true,
            ..GatewayStatus::default()
        };
        status.memory.limit = 400;
        status.memory.used = 300;
        status.connections.open = 89;
        assert_eq!(rules(&status, true), Vec::<String>::new());
        status.memory.used = 301;
        assert_eq!(rules(&status, true), ["gateway_memory"]);
        status.memory.used = 0;
        status.connections.open = 90;
        assert_eq!(rules(&status, true), ["gateway_connections"]);
        status.connections.open = 0;
        assert_eq!(rules(&status, false), ["certificates_unusable"]);
        status.ready = false;
        assert_eq!(rules(&status, true), ["shutting_down"]);
    }
}
