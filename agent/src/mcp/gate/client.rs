//! What the client sends.

use serde_json::Value;
use serde_json::value::RawValue;

use super::{Gate, REQUESTS_MAX, State, tasks};
use crate::mcp::judge::{Judge, Outcome};
use crate::mcp::methods::{self, Gated, Side};
use crate::mcp::reply::{self, Code};
use crate::mcp::request::{Request, can_elicit};
use crate::mcp::wire::{self, Id, Members, Message, WireError};

impl<J: Judge> Gate<J> {
    pub(super) fn on_client(&mut self, line: &[u8]) {
        if line.trim_ascii().is_empty() {
            return;
        }
        match Message::parse(line) {
            Err((error, id)) => self.malformed(id, &error),
            Ok(Message::Request { id, method, params }) => self.requested(line, id, &method, params),
            Ok(Message::Notification { method, params }) => match &*method {
                "notifications/cancelled" => self.cancelled(line, params),
                method if methods::notification_passes(Side::Client, method) => {
                    self.for_server(line.to_vec(), None);
                }
                method => self.note(format!("a notification of the client was dropped: {method:?}")),
            },
            Ok(Message::Response { id: Some(id), answer }) => {
                if let Some(about) = self.questions.remove(id.key()) {
                    self.question_answered(&about, answer);
                } else if self.asked.remove(id.key()).is_some() {
                    self.for_server(line.to_vec(), None);
                } else {
                    self.note(format!("an answer of the client to nothing was dropped: id {id}"));
                }
            }
            Ok(Message::Response { id: None, .. }) => {
                self.note("an answer of the client without an id was dropped".into());
            }
        }
    }

    fn malformed(&mut self, id: Option<Id>, error: &WireError) {
        let line = reply::error(id.as_ref(), Code::Malformed, &format!("authz refused a message: {error}"));
        self.for_client(line, id);
    }

    fn requested(&mut self, line: &[u8], id: Id, method: &str, params: Option<&RawValue>) {
        let refusal = if self.waiting.contains_key(id.key()) {
            Some((Code::InUse, "the id is that of a request that has no answer yet"))
        } else if self.waiting.len() >= REQUESTS_MAX {
            Some((Code::TooMany, "too many requests wait for an answer"))
        } else if self.server_gone {
            Some((Code::Lost, "the server has ended"))
        } else {
            None
        };
        if let Some((code, why)) = refusal {
            return self.for_client(reply::error(Some(&id), code, why), Some(id));
        }
        if let Some(gated) = Gated::from_name(method) {
            return match self.checked(id.clone(), gated, params) {
                Err(error) => self.malformed(Some(id), &error),
                Ok(request) if self.busy() => {
                    self.wait_for(&id, State::Queued);
                    self.queue.push_back(request);
                }
                Ok(request) => self.judge_request(request),
            };
        }
        if !methods::request_passes(Side::Client, method) {
            let why = format!("authz knows no method {method:?}");
            return self.for_client(reply::error(Some(&id), Code::UnknownMethod, &why), Some(id));
        }
        if method == "initialize" {
            match initialized(params) {
                Ok(elicits) => self.elicits = elicits,
                Err(error) => return self.malformed(Some(id), &error),
            }
        }
        let task = tasks::asked_about(method, params);
        self.wait_for(&id, State::Passed { method: method.to_owned(), task });
        self.for_server(line.to_vec(), Some(id));
    }

    fn checked(&self, id: Id, method: Gated, params: Option<&RawValue>) -> Result<Request, WireError> {
        let request = Request::parse(id, method, params)?;
        let (_, arguments) = self.shared.tool(request.name());
        request.refuse_variants(arguments.iter().map(String::as_str))?;
        Ok(request)
    }

    /// The client takes a request back.
    fn cancelled(&mut self, line: &[u8], params: Option<&RawValue>) {
        let id = match cancelled_id(params) {
            Ok(id) => id,
            Err(error) => return self.note(format!("a cancellation of the client was dropped: {error}")),
        };
        let Some(waiting) = self.waiting.remove(id.key()) else { return };
        match waiting.state {
            State::Queued => self.queue.retain(|request| request.id.key() != id.key()),
            State::Held { view, question, .. } => {
                self.judge.withdraw(view.call);
                self.take_back(question);
            }
            State::Open { call, .. } => {
                if let Some(call) = call {
                    self.judge.close(call, Outcome::Cancelled);
                }
                self.for_server(line.to_vec(), None);
            }
            State::Passed { .. } => self.for_server(line.to_vec(), None),
        }
    }
}

/// Whether a client that introduces itself can show a question.
fn initialized(params: Option<&RawValue>) -> Result<bool, WireError> {
    let Some(params) = params else { return Ok(false) };
    let params = wire::object(params, &["protocolVersion", "capabilities", "clientInfo", "_meta"])?;
    Ok(params.get("capabilities").is_some_and(can_elicit as fn(&Value) -> bool))
}

pub(super) fn cancelled_id(params: Option<&RawValue>) -> Result<Id, WireError> {
    let params = Members::of(params.ok_or(WireError::Shape("\"params\" is missing"))?)?;
    params.refuse_variants(&["requestId", "reason", "_meta"])?;
    let id = params.get("requestId").ok_or(WireError::Shape("\"requestId\" is missing"))?;
    Id::parse(id.get())
}
