//! Tool calls and sessions as spans: what begins with one entry and ends with another.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use opentelemetry::trace::{Link, SpanContext, SpanKind, Status, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use serde_json::Value;
use uuid::Uuid;

use super::queue::ToolNames;
use super::records::at;
use crate::event::{Action, Layer};
use crate::ledger::{Effect, Entry, Hex, Kind};

/// Calls whose end is waited for; the oldest gives way.
const OPEN_MAX: usize = 4096;

/// The calls and sessions whose end is not known yet.
#[derive(Default)]
pub(super) struct Spans {
    sessions: HashMap<Uuid, SpanData>,
    /// By their ids, which are in order of time.
    calls: BTreeMap<Uuid, (Option<Uuid>, SpanData)>,
}

impl Spans {
    /// The spans that end with an entry.
    pub(super) fn see(&mut self, entry: &Entry, tool: Option<&ToolNames>) -> Vec<SpanData> {
        match entry.kind {
            Kind::SessionStart => {
                let start = session(entry);
                self.sessions.extend(entry.session.zip(start));
                Vec::new()
            }
            Kind::Decision if begins_call(entry) => self.begin(entry, tool),
            // A human, or the deadline, has said no.
            Kind::Answer if effect(entry) == Some(Effect::Deny) => {
                self.end(entry.id, entry, "denied").into_iter().collect()
            }
            Kind::CallClosed => {
                let member = |name: &str| entry.detail.as_ref().and_then(|detail| detail[name].as_str());
                let call = member("call").and_then(|id| id.parse().ok());
                let ended =
                    call.and_then(|call| self.end(call, entry, member("outcome").unwrap_or("unknown")));
                ended.into_iter().collect()
            }
            Kind::SessionEnd => self.end_session(entry),
            _ => Vec::new(),
        }
    }

    fn begin(&mut self, entry: &Entry, tool: Option<&ToolNames>) -> Vec<SpanData> {
        let session = entry.session.and_then(|id| self.sessions.get(&id));
        let Some(span) = call(entry, tool, session) else { return Vec::new() };
        self.calls.insert(entry.id, (entry.session, span));
        if entry.enforced == Some(true) && effect(entry) == Some(Effect::Deny) {
            return self.end(entry.id, entry, "denied").into_iter().collect();
        }
        if self.calls.len() <= OPEN_MAX {
            return Vec::new();
        }
        self.calls.pop_first().map(|(_, (_, span))| close(span, entry, "unknown")).into_iter().collect()
    }

    fn end(&mut self, call: Uuid, entry: &Entry, outcome: &str) -> Option<SpanData> {
        let (_, span) = self.calls.remove(&call)?;
        Some(close(span, entry, outcome))
    }

    fn end_session(&mut self, entry: &Entry) -> Vec<SpanData> {
        let Some(id) = entry.session else { return Vec::new() };
        let open: Vec<Uuid> =
            self.calls.iter().filter(|(_, (of, _))| *of == Some(id)).map(|(call, _)| *call).collect();
        let mut ended: Vec<_> = open.into_iter().filter_map(|call| self.end(call, entry, "lost")).collect();
        if let Some(mut span) = self.sessions.remove(&id) {
            span.end_time = at(entry.time);
            ended.push(span);
        }
        ended
    }
}

fn effect(entry: &Entry) -> Option<Effect> {
    entry.decision.as_ref().map(|decision| decision.effect)
}

/// Of the entries of a call the first; the others are of what it implies.
fn begins_call(entry: &Entry) -> bool {
    let implied = entry.detail.as_ref().is_some_and(|detail| detail.get("implied_by").is_some());
    let gate = matches!(entry.layer, Some(Layer::Mcp | Layer::Hook));
    gate && !implied && entry.action.as_ref().is_some_and(|action| *action == Action::ToolCall)
}

fn close(mut span: SpanData, entry: &Entry, outcome: &str) -> SpanData {
    span.end_time = at(entry.time).max(span.start_time);
    span.attributes.push(KeyValue::new("authz.outcome", outcome.to_owned()));
    span.status = match outcome {
        "ok" => Status::Unset,
        "denied" => {
            let rule = entry.decision.as_ref().and_then(|decision| decision.rules.first());
            span.attributes.push(KeyValue::new("error.type", "authz.denied"));
            Status::error(
                rule.map_or("denied".to_owned(), |rule| format!("denied [{}]: {}", rule.id, rule.reason)),
            )
        }
        "error" => {
            span.attributes.push(KeyValue::new("error.type", "tool_error"));
            Status::error("the tool gave an error")
        }
        _ => Status::Unset,
    };
    span
}

fn session(entry: &Entry) -> Option<SpanData> {
    let (trace, own) = entry.trace_id.zip(entry.span_id)?;
    let agent = entry.detail.as_ref().and_then(|detail| detail["agent"].as_str()).unwrap_or("agent");
    let mut attributes = of_session(entry);
    attributes.push(KeyValue::new("gen_ai.agent.name", agent.to_owned()));
    let name = format!("authz session {agent}");
    Some(span(name.into(), SpanKind::Internal, context(trace, own), at(entry.time), attributes))
}

fn call(entry: &Entry, tool: Option<&ToolNames>, session: Option<&SpanData>) -> Option<SpanData> {
    let (trace, own) = entry.trace_id.zip(entry.span_id)?;
    let tool = tool.cloned().unwrap_or_default();
    let mut attributes = of_session(entry);
    let mut put = |name: &'static str, value: String| attributes.push(KeyValue::new(name, value));
    let mcp = entry.layer == Some(Layer::Mcp);
    // Resources and prompts are named by their method.
    let method = if mcp && tool.name.contains('/') { tool.name.clone() } else { "tools/call".into() };
    let name = match (mcp, method.as_str()) {
        (true, "tools/call") => format!("tools/call {}", tool.name),
        (true, method) => method.to_owned(),
        (false, _) => format!("execute_tool {}", tool.name),
    };
    if mcp {
        put("mcp.method.name", method.clone());
    }
    if !mcp || method == "tools/call" {
        put("gen_ai.operation.name", "execute_tool".into());
        put("gen_ai.tool.name", tool.name);
    }
    if let Some(id) = tool.call_id {
        put("gen_ai.tool.call.id", id);
    }
    if let Some(server) = tool.server {
        put("authz.tool.server", server);
    }
    put("authz.decision_id", entry.id.to_string());
    if let Some(decision) = &entry.decision {
        put("authz.effect", decision.effect.to_string());
        let rules: Vec<_> = decision.rules.iter().map(|rule| rule.id.clone().into()).collect();
        attributes.push(KeyValue::new(
            "authz.rules",
            opentelemetry::Value::Array(opentelemetry::Array::String(rules)),
        ));
    }
    let kind = if mcp { SpanKind::Server } else { SpanKind::Internal };
    let mut made = span(name.into(), kind, context(trace, own), at(entry.time), attributes);
    let parent = entry.detail.as_ref().and_then(|detail| detail["parent_span"].as_str());
    match (parent.and_then(|parent| parent.parse::<Hex<8>>().ok()), session) {
        (Some(parent), session) => {
            made.parent_span_id = SpanId::from_bytes(parent.0);
            made.parent_span_is_remote = true;
            let link = session.map(|session| Link::with_context(session.span_context.clone()));
            made.links.links.extend(link);
        }
        (None, Some(session)) => made.parent_span_id = session.span_context.span_id(),
        (None, None) => {}
    }
    Some(made)
}

fn of_session(entry: &Entry) -> Vec<KeyValue> {
    let mut attributes = Vec::new();
    attributes.extend(entry.session.map(|id| KeyValue::new("authz.session", id.to_string())));
    attributes.extend(entry.policy.clone().map(|policy| KeyValue::new("authz.policy", policy)));
    if let Ok(Value::String(mode)) = serde_json::to_value(entry.mode) {
        attributes.push(KeyValue::new("authz.mode", mode));
    }
    attributes
}

fn context(trace: Hex<16>, span: Hex<8>) -> SpanContext {
    let (trace, span) = (TraceId::from_bytes(trace.0), SpanId::from_bytes(span.0));
    SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::NONE)
}

fn span(
    name: Cow<'static, str>,
    span_kind: SpanKind,
    span_context: SpanContext,
    start: SystemTime,
    attributes: Vec<KeyValue>,
) -> SpanData {
    SpanData {
        span_context,
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind,
        name,
        start_time: start,
        end_time: start,
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("authz")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ledger::Decision;

    fn opened(decision: Decision) -> Entry {
        let mut entry = Entry::new(Kind::Decision);
        (entry.trace_id, entry.span_id) = (Some(Hex([1; 16])), Some(Hex([2; 8])));
        (entry.layer, entry.action) = (Some(Layer::Mcp), Some(Action::ToolCall.into()));
        (entry.decision, entry.enforced) = (Some(decision), Some(true));
        entry.detail = Some(json!({ "parent_span": null }));
        entry
    }

    fn allowed() -> Entry {
        opened(Decision { effect: Effect::Allow, ..Decision::deny("r", "") })
    }

    fn closed(call: Uuid) -> Entry {
        let mut entry = Entry::new(Kind::CallClosed);
        entry.detail = Some(json!({ "call": call, "outcome": "ok" }));
        entry
    }

    #[test]
    fn a_call_ends_once() {
        let mut spans = Spans::default();
        let call = allowed();
        assert!(spans.see(&call, None).is_empty());
        let [ended] = &spans.see(&closed(call.id), None)[..] else { panic!("one span") };
        assert!(ended.end_time > ended.start_time && ended.name == "tools/call ");
        assert!(spans.see(&closed(call.id), None).is_empty());
        let denied = spans.see(&opened(Decision::deny("no", "never")), None);
        assert_eq!(denied[0].status, Status::error("denied [no]: never"));
        // What it implies has the call's span and is none of its own.
        let mut implied = allowed();
        implied.detail = Some(json!({ "implied_by": call.id }));
        assert!(spans.see(&implied, None).is_empty() && spans.calls.is_empty());
    }

    #[test]
    fn calls_that_never_end_are_bounded() {
        let mut spans = Spans::default();
        let first = allowed();
        spans.see(&first, None);
        let given_up: usize = (0..OPEN_MAX + 9).map(|_| spans.see(&allowed(), None).len()).sum();
        assert_eq!((given_up, spans.calls.len()), (10, OPEN_MAX));
        assert!(spans.see(&closed(first.id), None).is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_no_span() {
        let mut spans = Spans::default();
        for detail in [json!(null), json!([]), json!({ "call": 7 }), json!({ "call": "x", "outcome": [] })] {
            for kind in [Kind::CallClosed, Kind::Decision, Kind::SessionStart, Kind::SessionEnd, Kind::Answer]
            {
                let mut entry = Entry::new(kind);
                entry.detail = Some(detail.clone());
                assert!(spans.see(&entry, None).is_empty());
            }
        }
    }
}
