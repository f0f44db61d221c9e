//! What a policy decides about: the input document, version 1, shaped as the AuthZEN Authorization
//! API 1.0. `policies/input.schema.json` is generated from these types.

use std::net::SocketAddr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::event::{ACTIONS, ActionName, Layer, Mode, Operation};

/// The input document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Input {
    /// Who acts.
    pub subject: Subject,
    /// What it does.
    pub action: ActionInput,
    /// To what.
    pub resource: ResourceInput,
    /// Under which circumstances.
    pub context: Context,
}

/// Who acts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Subject {
    /// `agent`; through the decision API, whatever the other gate calls it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The agent's name, or the other gate's.
    pub id: String,
    /// The process of the agent that acts.
    #[serde(default)]
    pub properties: SubjectProperties,
}

/// The process of the agent that acts. A field that is not known, or that the policy does not read, is
/// left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubjectProperties {
    /// Its user's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Its user's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The path of its program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// The name it gives itself: whatever it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    /// The programs of its parents up to the session's first, the nearest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parents: Option<Vec<String>>,
    /// Other facts.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActionInput {
    /// The action.
    #[schemars(schema_with = "action_schema")]
    pub name: ActionName,
    /// Facts of it, such as `syscall` and `flags`.
    #[serde(default)]
    pub properties: Map<String, Value>,
}

/// What it is done to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceInput {
    /// `file`, `executable`, `process`, `address`, `system` or `tool`; of other gates' actions anything.
    #[serde(rename = "type")]
    pub kind: String,
    /// Canonical identity: an absolute resolved path, an address, a name.
    pub id: String,
    /// Facts of it, such as `exists`, `mode`, `role`, `ip`, `port`.
    #[serde(default)]
    pub properties: Map<String, Value>,
}

/// The circumstances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Context {
    /// Where the operation was seen.
    #[schemars(schema_with = "layer_schema")]
    pub layer: Layer,
    /// Whether the decision binds.
    #[schemars(schema_with = "mode_schema")]
    pub mode: Mode,
    /// The session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The trace the operation belongs to, 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The span of the operation, 16 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
    /// The tool call during which the operation was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<Tool>,
    /// What another gate says of the circumstances; only from the decision API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Map<String, Value>>,
}

/// A tool call under way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tool {
    /// The server that offers the tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The tool.
    pub name: String,
    /// The call's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// What it was called with.
    #[serde(default)]
    pub arguments: Value,
}

impl Input {
    /// The input for an operation of an agent.
    pub fn new(subject: Subject, operation: &Operation, context: Context) -> Self {
        Self {
            subject,
            action: ActionInput { name: operation.action.into(), properties: operation.properties.clone() },
            resource: ResourceInput {
                kind: operation.action.resource_type().to_owned(),
                id: operation.resource.id.clone(),
                properties: operation.resource.properties.clone(),
            },
            context,
        }
    }

    /// As JSON, which is what the policy sees.
    pub fn to_value(&self) -> Value {
        // Only a map with keys that are not strings could fail, and there is none.
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// The JSON schema of the input, as in `policies/input.schema.json`.
    pub fn schema() -> String {
        let schema = schemars::schema_for!(Self);
        let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
        text.push('\n');
        text
    }
}

impl Subject {
    /// An agent of that name.
    pub fn agent(id: &str, properties: SubjectProperties) -> Self {
        Self { kind: "agent".into(), id: id.into(), properties }
    }
}

/// The facts that an address such as `tcp://1.2.3.4:443` or `udp://[::1]:53` names, for
/// `input.resource.properties`; none for any other resource.
pub fn address_properties(id: &str) -> Map<String, Value> {
    let mut properties = Map::new();
    if let Some((protocol, address)) = id.split_once("://")
        && let Ok(address) = address.parse::<SocketAddr>()
    {
        properties.insert("protocol".into(), protocol.into());
        properties.insert("ip".into(), address.ip().to_string().into());
        properties.insert("port".into(), address.port().into());
        properties.insert("family".into(), if address.is_ipv4() { "ipv4" } else { "ipv6" }.into());
    }
    properties
}

fn action_schema(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<_> = ACTIONS.iter().map(|(_, name)| *name).collect();
    let spaces: std::collections::BTreeSet<_> =
        names.iter().filter_map(|name| Some(name.split_once('.')?.0)).collect();
    let spaces = spaces.into_iter().collect::<Vec<_>>().join("|");
    json_schema!({"type": "string", "anyOf": [
        {"enum": names},
        {"description": "Another gate's action, which data.authz.actions lists.",
         "pattern": format!("^(?!({spaces})(\\.|$))")},
    ]})
}

fn layer_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["kernel", "seccomp", "mcp", "hook", "api"]})
}

fn mode_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["enforce", "observe"]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The example of the documentation.
    fn example() -> Value {
        json!({
            "subject": {"type": "agent", "id": "claude", "properties": {"uid": 1000, "user": "dev",
                "pid": 4242, "exe": "/usr/bin/node", "comm": "node", "parents": ["/usr/bin/bash"]}},
            "action": {"name": "file.write", "properties": {"syscall": "openat", "flags": ["WRONLY", "CREAT"]}},
            "resource": {"type": "file", "id": "/prod/config.yaml",
                "properties": {"exists": true, "nlink": 1, "mode": "0644"}},
            "context": {"layer": "kernel", "mode": "enforce", "session": "0192",
                "trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331",
                "tool": {"server": "fs", "name": "write_file", "call_id": "toolu_01",
                    "arguments": {"path": "/prod/config.yaml"}}}
        })
    }

    #[test]
    fn the_documented_example_survives_the_types_unchanged() {
        let input: Input = serde_json::from_value(example()).unwrap();
        assert_eq!(input.to_value(), example());
    }

    /// `AUTHZ_BLESS=1 cargo test` writes the file.
    #[test]
    fn the_schema_in_the_repository_is_up_to_date() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/input.schema.json");
        if std::env::var_os("AUTHZ_BLESS").is_some() {
            std::fs::write(file, Input::schema()).unwrap();
        }
        let stored = std::fs::read_to_string(file).unwrap_or_default();
        assert!(stored == Input::schema(), "run: AUTHZ_BLESS=1 cargo test -p authz schema");
    }
}
