//! An entry as attributes: `authz.` and the field's name in the ledger, and the names that OpenTelemetry's
//! conventions have for the same.

use std::net::SocketAddr;

use opentelemetry::logs::AnyValue;
use serde_json::Value;

use crate::ledger::Entry;

/// Fields that a log record has a place of its own for.
const ELSEWHERE: &[&str] = &["timestamp", "trace_id", "span_id", "kind"];

/// All that an entry says.
pub(super) fn of(entry: &Entry) -> Vec<(String, AnyValue)> {
    let mut found = Vec::new();
    if let Ok(Value::Object(fields)) = serde_json::to_value(entry) {
        for (name, value) in fields.into_iter().filter(|(name, _)| !ELSEWHERE.contains(&name.as_str())) {
            match value {
                Value::Object(members) => {
                    let members =
                        members.into_iter().map(|(member, value)| (format!("{name}.{member}"), value));
                    members.for_each(|(name, value)| add(&mut found, &name, value));
                }
                value => add(&mut found, &name, value),
            }
        }
    }
    conventional(entry, &mut found);
    found
}

fn add(found: &mut Vec<(String, AnyValue)>, name: &str, value: Value) {
    if let Some(value) = any(value) {
        found.push((format!("authz.{name}"), value));
    }
}

fn any(value: Value) -> Option<AnyValue> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(flag) => AnyValue::Boolean(flag),
        Value::Number(number) => match number.as_i64() {
            Some(number) => AnyValue::Int(number),
            None => AnyValue::Double(number.as_f64().unwrap_or(f64::MAX)),
        },
        Value::String(text) => text.into(),
        Value::Array(items) => items.into_iter().filter_map(any).collect(),
        Value::Object(members) => {
            members.into_iter().filter_map(|(name, value)| Some((name, any(value)?))).collect()
        }
    })
}

fn conventional(entry: &Entry, found: &mut Vec<(String, AnyValue)>) {
    let mut put = |name: &str, value: AnyValue| found.push((name.to_owned(), value));
    if let Some(subject) = &entry.subject {
        for (name, member) in [("process.pid", "pid"), ("thread.id", "tid")] {
            if let Some(number) = subject[member].as_i64().filter(|number| *number > 0) {
                put(name, number.into());
            }
        }
        if let Some(comm) = subject["comm"].as_str() {
            put("thread.name", comm.to_owned().into());
        }
    }
    let Some(resource) = &entry.resource else { return };
    match resource.kind.as_str() {
        "file" => put("file.path", resource.id.clone().into()),
        "executable" => put("process.executable.path", resource.id.clone().into()),
        "address" => {
            let parts = resource.id.split_once("://");
            let parts =
                parts.and_then(|(transport, peer)| Some((transport, peer.parse::<SocketAddr>().ok()?)));
            if let Some((transport, peer)) = parts {
                put("network.transport", transport.to_owned().into());
                put("network.peer.address", peer.ip().to_string().into());
                put("network.peer.port", i64::from(peer.port()).into());
            }
        }
        _ => {}
    }
}
