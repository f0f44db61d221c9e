//! A request that is judged: validated when it comes, and written anew from what was judged.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::methods::Gated;
use super::wire::{self, Id, WireError};

/// The retry of a question that this gate asked carries the answer under this key.
pub const QUESTION: &str = "dev.authz/approval";

const TOOL: &[&str] = &["name", "arguments", "_meta", "task", "inputResponses", "requestState"];
const RESOURCE: &[&str] = &["uri", "_meta", "inputResponses", "requestState"];
const PROMPT: &[&str] = &["name", "arguments", "_meta", "inputResponses", "requestState"];
const META: &[&str] = &[
    "progressToken",
    "traceparent",
    "tracestate",
    "baggage",
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
];

/// A request that is judged.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its id, as written.
    pub id: Id,
    /// Its method.
    pub method: Gated,
    params: Map<String, Value>,
}

impl Request {
    /// Reads and checks its parameters.
    pub fn parse(id: Id, method: Gated, params: Option<&RawValue>) -> Result<Self, WireError> {
        let known = match method {
            Gated::Tool => TOOL,
            Gated::Resource => RESOURCE,
            Gated::Prompt => PROMPT,
        };
        let params = params.ok_or(WireError::Shape("\"params\" is missing"))?;
        let mut params = wire::object(params, known)?;
        if params.get("arguments").is_some_and(Value::is_null) {
            params.remove("arguments");
        }
        let is = |name: &str, fits: fn(&Value) -> bool| params.get(name).is_none_or(fits);
        if !is("arguments", Value::is_object) {
            return Err(WireError::Shape("\"arguments\" is not an object"));
        }
        if !is("inputResponses", Value::is_object) || !is("requestState", Value::is_string) {
            return Err(WireError::Shape(
                "\"inputResponses\" is not an object, or \"requestState\" not a string",
            ));
        }
        match params.get("_meta") {
            None => {}
            Some(Value::Object(meta)) => {
                meta.keys().try_for_each(|key| wire::refuse_variant(key, META.iter().copied()))?;
            }
            Some(_) => return Err(WireError::Shape("\"_meta\" is not an object")),
        }
        let request = Self { id, method, params };
        let name = request.member(if method == Gated::Resource { "uri" } else { "name" });
        if name.is_none_or(|name| name.is_empty() || name.chars().any(char::is_control)) {
            return Err(WireError::Shape("\"name\" or \"uri\" is not a string that names something"));
        }
        if method == Gated::Tool && name.and_then(Gated::from_name).is_some() {
            return Err(WireError::Shape("a tool has the name of a method"));
        }
        Ok(request)
    }

    fn member(&self, name: &str) -> Option<&str> {
        self.params.get(name)?.as_str()
    }

    fn meta(&self, name: &str) -> Option<&Value> {
        self.params.get("_meta")?.get(name)
    }

    /// What policy knows it by: the tool's name, or the method's.
    pub fn name(&self) -> &str {
        match self.method {
            Gated::Tool => self.member("name").unwrap_or_default(),
            other => other.as_str(),
        }
    }

    /// What policy sees as its arguments.
    pub fn arguments(&self) -> Value {
        match self.method {
            Gated::Tool => self.params.get("arguments").cloned().unwrap_or_else(|| json!({})),
            Gated::Resource => json!({ "uri": self.params.get("uri") }),
            Gated::Prompt => json!({
                "name": self.params.get("name"),
                "arguments": self.params.get("arguments").cloned().unwrap_or_else(|| json!({})),
            }),
        }
    }

    /// Refuses keys of the arguments that the server could take for one that its schema names.
    pub fn refuse_variants<'k>(&self, known: impl Iterator<Item = &'k str> + Clone) -> Result<(), WireError> {
        let arguments = self.params.get("arguments").and_then(Value::as_object);
        arguments.into_iter().flat_map(Map::keys).try_for_each(|key| wire::refuse_variant(key, known.clone()))
    }

    /// The same arguments for the same thing.
    pub fn same_as(&self, other: &Self) -> bool {
        self.method == other.method && self.name() == other.name() && self.arguments() == other.arguments()
    }

    /// Whether it is of 2026-07-28, where every request says so.
    pub fn modern(&self) -> bool {
        self.meta("io.modelcontextprotocol/protocolVersion").is_some()
    }

    /// Whether its sender can show a question, as it says in the request itself.
    pub fn can_elicit(&self) -> bool {
        let capabilities = self.meta("io.modelcontextprotocol/clientCapabilities");
        capabilities.is_some_and(can_elicit)
    }

    /// W3C trace context of the caller.
    pub fn traceparent(&self) -> Option<&str> {
        self.meta("traceparent")?.as_str()
    }

    /// What the caller names the call by, besides the id.
    pub fn call_id(&self) -> String {
        let named = ["claudecode/toolUseId", "callId"].into_iter().find_map(|key| self.meta(key)?.as_str());
        named.map_or_else(|| self.id.to_string(), str::to_owned)
    }

    /// Identities that the caller claims: no proof of anything.
    pub fn claimed(&self) -> Map<String, Value> {
        let keys = ["claudecode/toolUseId", "callId", "threadId"];
        let claims = keys.into_iter().filter_map(|key| Some((key.to_owned(), self.meta(key)?.clone())));
        claims.chain([("jsonrpc.id".to_owned(), self.id.raw().into())]).collect()
    }

    /// Whether its sender asks for a task instead of an answer, as it could before 2026-07-28.
    pub fn wants_task(&self) -> bool {
        self.params.get("task").is_some_and(Value::is_object)
    }

    /// The state of an earlier answer that the retry brings back.
    pub fn state(&self) -> Option<&str> {
        self.member("requestState")
    }

    /// How the gate's own question was answered: `accept`, `decline` or `cancel`.
    pub fn answer(&self) -> Option<&str> {
        self.params.get("inputResponses")?.get(QUESTION)?.get("action")?.as_str()
    }

    /// Takes out what belongs to the gate's own question, and puts back what the first try had.
    pub fn restore(&mut self, first: &Self) {
        for name in ["inputResponses", "requestState"] {
            match first.params.get(name) {
                Some(value) => self.params.insert(name.to_owned(), value.clone()),
                None => self.params.remove(name),
            };
        }
    }

    /// Forgets the state that a retry brought.
    pub fn drop_state(&mut self) {
        self.params.remove("requestState");
    }

    /// Puts other arguments in place, where the policy forces them; false if they do not fit.
    pub fn rewrite(&mut self, arguments: &Value) -> bool {
        match (self.method, arguments) {
            (Gated::Tool, Value::Object(_)) => {
                self.params.insert("arguments".into(), arguments.clone());
                true
            }
            (_, Value::Object(members)) => {
                let known =
                    |(key, _): &(&String, &Value)| ["uri", "name", "arguments"].contains(&key.as_str());
                self.params.extend(members.iter().filter(known).map(|(k, v)| (k.clone(), v.clone())));
                true
            }
            _ => false,
        }
    }

    /// The line for the server: what was judged, in the call's own trace context.
    pub fn line(&self, traceparent: Option<&str>) -> Vec<u8> {
        let mut params = self.params.clone();
        if let Some(responses) = params.get_mut("inputResponses").and_then(Value::as_object_mut) {
            responses.remove(QUESTION);
        }
        if let Some(traceparent) = traceparent
            && let Value::Object(meta) = params.entry("_meta").or_insert_with(|| json!({}))
        {
            // The caller's state belongs to the caller's trace.
            let trace = |text: &str| text.get(3..35).map(str::to_owned);
            if self.traceparent().and_then(trace) != trace(traceparent) {
                meta.remove("tracestate");
            }
            meta.insert("traceparent".into(), traceparent.into());
        }
        let params = Value::Object(params);
        format!(
            r#"{{"jsonrpc":"2.0","id":{},"method":"{}","params":{params}}}"#,
            self.id,
            self.method.as_str()
        )
        .into_bytes()
    }
}

/// Whether capabilities of a client say that it can show a form.
pub fn can_elicit(capabilities: &Value) -> bool {
    match capabilities.get("elicitation") {
        Some(Value::Object(kinds)) => kinds.is_empty() || kinds.contains_key("form"),
        _ => false,
    }
}
