//! Calls that become tasks. What the server answers first is only a handle, and the tool runs on: the call stays open
//! until the task is over, by what the server says of it, and what was denied under it is told with its result.
//!
//! Before 2026-07-28 the client asks for a task and fetches its result by `tasks/result`; since then the server decides,
//! and `tasks/get` or a notification brings the result. A task of which nothing is heard is given up after a while.

use std::time::Instant;

use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Gate, failed};
use crate::mcp::judge::{Judge, Outcome};
use crate::mcp::methods::Gated;
use crate::mcp::reply;
use crate::mcp::request::Request;
use crate::mcp::wire::{Answer, Id, Members};

/// The longest id of a task that is kept, in bytes.
const ID_MAX: usize = 1024;

/// JSON-RPC's code by which a server says that it knows no such task.
const INVALID_PARAMS: &str = "-32602";

/// A task as the server tells of it.
pub(super) struct Task {
    id: String,
    /// Unless it goes on.
    ended: Option<Outcome>,
}

impl Task {
    /// From the members of a task's object.
    fn of(members: &Members<'_>) -> Option<Self> {
        let ended = match text(members, "status")?.as_str() {
            "completed" => Some(Outcome::Ok),
            "failed" => Some(Outcome::Error),
            "cancelled" => Some(Outcome::Cancelled),
            _ => None,
        };
        let id = text(members, "taskId").filter(|id| id.len() <= ID_MAX)?;
        Some(Self { id, ended })
    }

    /// The task that a call became, if its answer is a handle.
    pub(super) fn begun(request: &Request, answer: Answer<'_>) -> Option<Self> {
        let Answer::Result(result) = answer else { return None };
        let members = Members::of(result).ok()?;
        if text(&members, "resultType").as_deref() == Some("task") {
            return Self::of(&members);
        }
        let task = members.get("task").filter(|_| request.wants_task())?;
        Self::of(&Members::of(task).ok()?)
    }
}

/// The id of the task that a request of the client is about.
pub(super) fn asked_about(method: &str, params: Option<&RawValue>) -> Option<String> {
    let params = params.filter(|_| method.starts_with("tasks/"))?;
    text(&Members::of(params).ok()?, "taskId").filter(|id| id.len() <= ID_MAX)
}

fn text(members: &Members<'_>, name: &str) -> Option<String> {
    serde_json::from_str(members.get(name)?.get()).ok()
}

impl<J: Judge> Gate<J> {
    /// The call goes on as a task.
    pub(super) fn task_began(&mut self, call: Uuid, task: &Task) {
        if let Some(lost) = self.shared.begin_task(&task.id, call) {
            self.judge.close(lost, Outcome::Lost);
        }
        self.task_told(task);
    }

    fn task_told(&mut self, task: &Task) {
        match task.ended {
            None => self.shared.heard_of(&task.id),
            Some(outcome) => self.task_ended(&task.id, outcome),
        }
    }

    fn task_ended(&mut self, id: &str, outcome: Outcome) {
        if let Some(call) = self.shared.end_task(id) {
            let denials = self.judge.close(call, outcome);
            self.shared.keep_denials(id, denials);
        }
    }

    /// The server's answer about a task, with what was denied under it where it has the task's result.
    pub(super) fn task_answered(
        &mut self,
        line: &[u8],
        id: &Id,
        (method, task): (&str, &str),
        answer: Answer<'_>,
    ) -> Vec<u8> {
        if method == "tasks/result" {
            self.task_ended(task, if failed(answer) { Outcome::Error } else { Outcome::Ok });
            let denials = self.shared.denials(task);
            return reply::annotated(id, Gated::Tool, answer, &denials).unwrap_or_else(|| line.to_vec());
        }
        let members = match answer {
            Answer::Result(result) | Answer::Error(result) => Members::of(result).ok(),
        };
        match (answer, members) {
            (Answer::Result(result), Some(members)) => {
                // An answer about another task says nothing of this one.
                if let Some(told) = Task::of(&members).filter(|told| told.id == task) {
                    self.task_told(&told);
                }
                let told = reply::with_denials(result, &self.shared.denials(task));
                told.map_or_else(|| line.to_vec(), |result| reply::answer(id, &result))
            }
            (Answer::Error(_), Some(members)) => {
                let unknown = members.get("code").is_some_and(|code| code.get() == INVALID_PARAMS);
                if method == "tasks/get" && unknown {
                    self.task_ended(task, Outcome::Lost);
                }
                line.to_vec()
            }
            _ => line.to_vec(),
        }
    }

    /// The server's notification about a task, likewise.
    pub(super) fn task_notified(&mut self, line: &[u8], method: &str, params: &RawValue) -> Vec<u8> {
        let Some(told) = Members::of(params).ok().and_then(|members| Task::of(&members)) else {
            return line.to_vec();
        };
        self.task_told(&told);
        let params = reply::with_denials(params, &self.shared.denials(&told.id));
        params.map_or_else(|| line.to_vec(), |params| reply::notification(method, &params))
    }

    /// Gives up tasks that are silent.
    pub(super) fn silent_tasks(&mut self) {
        for call in self.shared.give_up_tasks(Instant::now(), false) {
            self.judge.close(call, Outcome::Lost);
        }
    }

    /// The server itself has ended, and its tasks with it. Where several gates speak with one server, the end of a
    /// conversation is not that.
    pub fn server_ended(&mut self) {
        for call in self.shared.give_up_tasks(Instant::now(), true) {
            self.judge.close(call, Outcome::Lost);
        }
    }
}
