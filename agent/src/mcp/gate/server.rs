//! What the server sends.

use uuid::Uuid;

use super::client::cancelled_id;
use super::tasks::Task;
use super::{Gate, OWN, REQUESTS_MAX, State, Waiting, failed};
use crate::mcp::judge::{Judge, Outcome};
use crate::mcp::methods::{self, Side};
use crate::mcp::reply::{self, Code};
use crate::mcp::request::Request;
use crate::mcp::wire::{Answer, Id, Key, Message};

impl<J: Judge> Gate<J> {
    pub(super) fn on_server(&mut self, line: &[u8]) {
        if line.trim_ascii().is_empty() {
            return;
        }
        match Message::parse(line) {
            Err((error, _)) => self.note(format!("a line of the server was dropped: {error}")),
            Ok(Message::Request { id, method, .. }) => self.asked_by_server(line, id, &method),
            Ok(Message::Notification { method, params }) => {
                if !methods::notification_passes(Side::Server, &method) {
                    return self.note(format!("a notification of the server was dropped: {method:?}"));
                }
                if method == "notifications/cancelled"
                    && let Ok(id) = cancelled_id(params)
                {
                    self.asked.remove(id.key());
                }
                let line = match params {
                    Some(params) if method.starts_with("notifications/tasks") => {
                        self.task_notified(line, &method, params)
                    }
                    _ => line.to_vec(),
                };
                self.for_client(line, None);
            }
            Ok(Message::Response { id: Some(id), answer }) => self.server_answered(line, &id, answer),
            Ok(Message::Response { id: None, .. }) => {
                self.note("an answer of the server without an id was dropped".into());
            }
        }
    }

    fn asked_by_server(&mut self, line: &[u8], id: Id, method: &str) {
        let ours = matches!(id.key(), Key::Text(text) if text.starts_with(OWN));
        let refusal = if !methods::request_passes(Side::Server, method) {
            Some((Code::UnknownMethod, "authz knows no such method of a server"))
        } else if ours || self.asked.contains_key(id.key()) {
            Some((Code::InUse, "the id is that of a request that has no answer yet"))
        } else if self.asked.len() >= REQUESTS_MAX {
            Some((Code::TooMany, "too many requests wait for an answer"))
        } else {
            None
        };
        match refusal {
            Some((code, why)) => {
                self.note(format!("a request of the server was refused: {method:?}: {why}"));
                self.for_server(reply::error(Some(&id), code, why), None);
            }
            None => {
                self.asked.insert(id.key().clone(), id);
                self.for_client(line.to_vec(), None);
            }
        }
    }

    fn server_answered(&mut self, line: &[u8], id: &Id, answer: Answer<'_>) {
        match self.waiting.remove(id.key()) {
            Some(Waiting { id, state: State::Passed { method, task: Some(task) } }) => {
                let line = self.task_answered(line, &id, (&method, &task), answer);
                self.for_client(line, Some(id));
            }
            Some(Waiting { id, state: State::Passed { method, task: None } }) => {
                if let ("tools/list", Answer::Result(result)) = (method.as_str(), answer) {
                    self.shared.learn(result);
                }
                self.for_client(line.to_vec(), Some(id));
            }
            Some(Waiting { state: State::Open { request, call }, .. }) => {
                let line = match (call, Task::begun(&request, answer)) {
                    (Some(call), Some(task)) => {
                        self.task_began(call, &task);
                        line.to_vec()
                    }
                    _ => self.finished(line, &request, call, answer),
                };
                self.for_client(line, Some(request.id));
            }
            // It was never sent: the server made the answer up.
            Some(waiting) => {
                self.note(format!("an answer of the server to what it was not asked was dropped: id {id}"));
                self.waiting.insert(id.key().clone(), waiting);
            }
            None => self.note(format!("an answer of the server to nothing was dropped: id {id}")),
        }
    }

    /// The call is over: the server's line, with what was denied underneath.
    fn finished(
        &mut self,
        line: &[u8],
        request: &Request,
        call: Option<Uuid>,
        answer: Answer<'_>,
    ) -> Vec<u8> {
        let outcome = if failed(answer) { Outcome::Error } else { Outcome::Ok };
        let denials = call.map(|call| self.judge.close(call, outcome)).unwrap_or_default();
        reply::annotated(&request.id, request.method, answer, &denials).unwrap_or_else(|| line.to_vec())
    }
}
