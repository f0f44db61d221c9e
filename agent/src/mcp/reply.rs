//! The messages that the gate makes itself.
//!
//! A refused tool call is an ordinary result with `isError`, in one sentence: agents show a JSON-RPC error to nobody,
//! or as a crash. Machine data is in `_meta["dev.authz/decision"]`; models see that too, so it has no secrets.

use std::fmt::Write as _;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::text::escape;

use super::judge::{CallView, DenialView};
use super::methods::Gated;
use super::request::{QUESTION, Request};
use super::wire::{Answer, Id, Members};

/// Codes of errors: outside of what JSON-RPC and MCP keep for themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The message is refused as it is.
    Malformed = 400,
    /// The policy denies it.
    Denied = 403,
    /// The id is in use.
    InUse = 409,
    /// Too much is under way.
    TooMany = 429,
    /// The server is gone.
    Lost = 502,
    /// JSON-RPC's own: nobody here knows the method.
    UnknownMethod = -32601,
}

/// An error; without an id if the message has none that could be read.
pub fn error(id: Option<&Id>, code: Code, message: &str) -> Vec<u8> {
    let error = json!({ "code": code as i32, "message": message });
    format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, id.map_or("null", Id::raw)).into_bytes()
}

fn result(id: &Id, result: &Value) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#).into_bytes()
}

/// What a call that does not go on is answered with.
#[derive(Debug, Clone, Copy)]
pub enum Refusal<'a> {
    /// By the policy, at once.
    Denied(&'a CallView),
    /// It was held under this id, and not approved.
    NotApproved(&'a CallView, &'a str),
    /// No decision was to be had.
    Failed(&'a str),
    /// The server ended before it answered.
    Lost,
}

impl Refusal<'_> {
    fn text(&self, what: &str) -> String {
        match self {
            Self::Denied(view) => format!("authz denied {what}: {}", because(view)),
            Self::NotApproved(view, pending) => {
                format!("authz held {what} as {pending} and it was not approved: {}", because(view))
            }
            Self::Failed(why) => {
                format!("authz denied {what}, since it could not be decided: {}", escape(why))
            }
            Self::Lost => format!("The server ended before it answered {what}."),
        }
    }

    fn data(&self) -> Option<Value> {
        match self {
            Self::Denied(view) => Some(data(view)),
            Self::NotApproved(view, pending) => {
                let mut data = data(view);
                data["pending"] = (*pending).into();
                Some(data)
            }
            Self::Failed(_) => Some(json!({ "effect": "deny" })),
            Self::Lost => None,
        }
    }

    fn code(&self) -> Code {
        if matches!(self, Self::Lost) { Code::Lost } else { Code::Denied }
    }
}

/// The answer to a call that does not go on.
pub fn refused(request: &Request, server: &str, refusal: Refusal<'_>) -> Vec<u8> {
    let text = refusal.text(&format!("{server}/{}", escape(request.name())));
    let data = refusal.data();
    if request.method != Gated::Tool {
        let mut error = json!({ "code": refusal.code() as i32, "message": text });
        if let Some(data) = data {
            error["data"] = json!({ "dev.authz/decision": data });
        }
        return format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, request.id).into_bytes();
    }
    let mut answer = json!({ "content": [{ "type": "text", "text": text }], "isError": true });
    if request.modern() {
        answer["resultType"] = "complete".into();
    }
    if let Some(data) = data {
        answer["_meta"] = json!({ "dev.authz/decision": data });
    }
    result(&request.id, &answer)
}

/// Rules and ids of a decision.
fn data(view: &CallView) -> Value {
    json!({
        "decision": view.call, "effect": "deny", "rules": view.rules, "session": view.session,
        "trace_id": view.trace_id,
    })
}

/// Reason, advice, rule and decision, on one line.
fn because(view: &CallView) -> String {
    let mut text = String::new();
    for rule in &view.rules {
        for part in [&rule.reason, &rule.advice].into_iter().filter(|part| !part.is_empty()) {
            write!(text, "{} ", escape(part)).ok();
        }
    }
    let ids: Vec<_> = view.rules.iter().map(|rule| escape(&rule.id)).collect();
    let rules = if ids.len() == 1 { "rule" } else { "rules" };
    write!(text, "[{rules} {}, decision {}]", ids.join(", "), view.call).ok();
    text
}

/// The question that a held call puts to whoever is at the client.
fn question(view: &CallView, server: &str, name: &str) -> Value {
    let pending = view.pending.as_deref().unwrap_or_default();
    let message = format!(
        "authz holds {server}/{}: {} To allow it, run in a terminal of your own: authz approve {pending}",
        escape(name),
        because(view),
    );
    json!({ "mode": "form", "message": message, "requestedSchema": { "type": "object", "properties": {} } })
}

/// The answer of 2026-07-28 to a call that is held: ask, and come again with `state`.
pub fn input_required(request: &Request, server: &str, view: &CallView, state: &str) -> Vec<u8> {
    let ask = json!({ "method": "elicitation/create", "params": question(view, server, request.name()) });
    let answer =
        json!({ "resultType": "input_required", "inputRequests": { QUESTION: ask }, "requestState": state });
    result(&request.id, &answer)
}

/// The older way to ask: a request of the gate's own.
pub fn elicitation(id: &Id, request: &Request, server: &str, view: &CallView) -> Vec<u8> {
    let mut params = question(view, server, request.name());
    // Not known before 2025-11-25.
    if let Some(params) = params.as_object_mut() {
        params.remove("mode");
    }
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"elicitation/create","params":{params}}}"#).into_bytes()
}

/// Takes that request back.
pub fn cancelled(id: &Id, why: &str) -> Vec<u8> {
    let why = Value::from(why);
    let params = format!(r#"{{"requestId":{id},"reason":{why}}}"#);
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#).into_bytes()
}

/// One line about a system call that was denied under a call.
pub fn denial(denial: &DenialView) -> String {
    let times = if denial.count > 1 { format!(" ({} times)", denial.count) } else { String::new() };
    let sure = if denial.attribution == crate::ledger::entry::Attribution::Exact {
        ""
    } else {
        "perhaps by this call, "
    };
    let mut text = format!("authz denied {} {}{times}: ", denial.action, escape(&denial.resource));
    for part in [&denial.reason, &denial.advice].into_iter().filter(|part| !part.is_empty()) {
        write!(text, "{} ", escape(part)).ok();
    }
    write!(text, "[{sure}rule {}, decision {}]", escape(&denial.rule), denial.id).ok();
    text
}

/// The server's answer to a call with what was denied under it: in the text of a tool's result and of an error, else
/// in `_meta`. The rest of it stays as the server wrote it. None if nothing was, or it cannot be added.
pub fn annotated(id: &Id, method: Gated, answer: Answer<'_>, denials: &[DenialView]) -> Option<Vec<u8>> {
    if denials.is_empty() {
        return None;
    }
    let lines: Vec<_> = denials.iter().map(denial).collect();
    match answer {
        Answer::Error(raw) => {
            let message = Members::of(raw).ok()?.get("message")?;
            let message: String = serde_json::from_str(message.get()).ok()?;
            let changed = Value::from([&[message][..], &lines].concat().join("\n")).to_string();
            let error = with_member(raw, "message", &changed)?;
            Some(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#).into_bytes())
        }
        Answer::Result(raw) if method == Gated::Tool => Some(self::answer(id, &with_texts(raw, &lines)?)),
        Answer::Result(raw) => {
            let meta = Members::of(raw).ok()?.get("_meta").map_or("{}", RawValue::get);
            let texts = format!("\"dev.authz/denials\":{}", Value::from(lines));
            Some(self::answer(id, &with_member(raw, "_meta", &extended(meta, ('{', '}'), &[texts])?)?))
        }
    }
}

/// An answer whose result is written already.
pub fn answer(id: &Id, result: &str) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#).into_bytes()
}

/// A notification whose parameters are written already.
pub fn notification(method: &str, params: &str) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","method":{},"params":{params}}}"#, Value::from(method)).into_bytes()
}

/// A task that has its tool's result, with what was denied under it in that. None if nothing was, or it has none.
pub fn with_denials(task: &RawValue, denials: &[DenialView]) -> Option<String> {
    let result = Members::of(task).ok()?.get("result").filter(|_| !denials.is_empty())?;
    let lines: Vec<_> = denials.iter().map(denial).collect();
    with_member(task, "result", &with_texts(result, &lines)?)
}

/// A tool's result, with lines of text more.
fn with_texts(result: &RawValue, lines: &[String]) -> Option<String> {
    let content = Members::of(result).ok()?.get("content").map_or("[]", RawValue::get);
    let texts = lines.iter().map(|line| json!({ "type": "text", "text": line }).to_string());
    with_member(result, "content", &extended(content, ('[', ']'), &texts.collect::<Vec<_>>())?)
}

/// An object with another value for one member, or with that one more.
fn with_member(object: &RawValue, member: &str, value: &str) -> Option<String> {
    let members = Members::of(object).ok()?;
    let others = members.iter().filter(|(key, _)| *key != member);
    let mut parts: Vec<_> =
        others.map(|(key, value)| format!("{}:{}", Value::from(key), value.get())).collect();
    parts.push(format!("{}:{value}", Value::from(member)));
    Some(format!("{{{}}}", parts.join(",")))
}

/// A JSON array or object, as text, with more in it.
fn extended(text: &str, (open, close): (char, char), more: &[String]) -> Option<String> {
    let inside = text.strip_prefix(open)?.strip_suffix(close)?;
    let old = Some(inside).filter(|inside| !inside.trim().is_empty());
    let all: Vec<_> = old.into_iter().chain(more.iter().map(String::as_str)).collect();
    Some(format!("{open}{}{close}", all.join(",")))
}
