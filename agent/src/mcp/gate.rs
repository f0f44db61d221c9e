//! The gate of one connection: a state machine from messages to messages.

mod client;
mod held;
mod server;
mod tasks;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use uuid::Uuid;

use super::judge::{CallView, Judge, Outcome, ToolCall};
use super::reply::{self, Code, Refusal};
use super::request::Request;
use super::shared::Shared;
use super::wire::{Answer, Id, Key, Members};
use crate::event::{Layer, Mode};
use crate::policy::Effect;

/// Requests of one side that wait for their answer, at most.
const REQUESTS_MAX: usize = 1024;

/// What begins an id of ours, among those of servers.
const OWN: &str = "dev.authz:";

/// How a gate judges.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server's name: a tool is `server/name` to the policy.
    pub server: String,
    /// One call at a time.
    pub serialize: bool,
    /// Ask at the client too when a call is held, where the client can.
    pub elicit: bool,
    /// The mode, until a decision tells.
    pub mode: Mode,
    /// What relative paths in arguments are relative to.
    pub cwd: Option<PathBuf>,
    /// The home folder of the server's user.
    pub home: Option<PathBuf>,
    /// The session that calls belong to; none: the judge knows.
    pub session: Option<Uuid>,
}

/// Something to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Out {
    /// A message for the client.
    Client {
        /// One line, without its end.
        line: Vec<u8>,
        /// The client's request that it answers or belongs to.
        about: Option<Id>,
    },
    /// A message for the server.
    Server {
        /// One line, without its end.
        line: Vec<u8>,
        /// The client's request that it is.
        about: Option<Id>,
    },
    /// A word for who runs the gate: something was dropped.
    Note(String),
}

/// A request of the client that has no answer yet.
#[derive(Debug)]
struct Waiting {
    id: Id,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The server has it, unjudged; the task it is about.
    Passed { method: String, task: Option<String> },
    /// It waits for the call before it.
    Queued,
    /// A human is asked.
    Held { request: Box<Request>, view: Box<CallView>, question: Option<Id> },
    /// The server has it; its span is open, if it was decided.
    Open { request: Box<Request>, call: Option<Uuid> },
}

/// The gate of one connection. See [`crate::mcp`].
pub struct Gate<J> {
    options: Options,
    shared: Arc<Shared>,
    judge: J,
    mode: Mode,
    /// The client can show a question, as it said at its start.
    elicits: bool,
    waiting: HashMap<Key, Waiting>,
    queue: VecDeque<Request>,
    /// Requests of the server that the client has not answered.
    asked: HashMap<Key, Id>,
    /// Our own questions at the client, and the requests that they are about.
    questions: HashMap<Key, Key>,
    server_gone: bool,
    out: Vec<Out>,
}

impl<J: Judge> Gate<J> {
    /// A gate that has seen nothing yet.
    pub fn new(options: Options, shared: Arc<Shared>, judge: J) -> Self {
        Self {
            mode: options.mode,
            options,
            shared,
            judge,
            elicits: false,
            waiting: HashMap::new(),
            queue: VecDeque::new(),
            asked: HashMap::new(),
            questions: HashMap::new(),
            server_gone: false,
            out: Vec::new(),
        }
    }

    /// Who judges.
    pub fn judge(&mut self) -> &mut J {
        &mut self.judge
    }

    /// A message of the client.
    pub fn client(&mut self, line: &[u8]) -> Vec<Out> {
        self.silent_tasks();
        self.on_client(line);
        self.sent()
    }

    /// A message of the server.
    pub fn server(&mut self, line: &[u8]) -> Vec<Out> {
        self.on_server(line);
        self.sent()
    }

    /// A message of the client that was too long to be read.
    pub fn unreadable(&mut self) -> Vec<Out> {
        self.for_client(reply::error(None, Code::Malformed, "authz refused a message: it is too long"), None);
        self.sent()
    }

    /// What became of a call that [`Judge::wait`] was asked about.
    pub fn answered(&mut self, call: Uuid, view: Result<CallView, String>) -> Vec<Out> {
        self.held_is_answered(call, view);
        self.sent()
    }

    /// The client will send nothing more: nobody waits for what is held.
    pub fn client_gone(&mut self) -> Vec<Out> {
        self.queue.clear();
        let idle = |waiting: &Waiting| matches!(waiting.state, State::Held { .. } | State::Queued);
        let idle = self.waiting.iter().filter(|(_, waiting)| idle(waiting));
        let keys: Vec<_> = idle.map(|(key, _)| key.clone()).collect();
        for key in keys {
            if let Some(Waiting { state: State::Held { view, .. }, .. }) = self.waiting.remove(&key) {
                self.judge.withdraw(view.call);
            }
        }
        self.sent()
    }

    /// The server will send nothing more: what it has not answered is lost.
    pub fn server_gone(&mut self) -> Vec<Out> {
        self.server_gone = true;
        self.queue.clear();
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            self.lost(waiting);
        }
        self.sent()
    }

    fn lost(&mut self, Waiting { id, state }: Waiting) {
        let answer = match state {
            State::Open { request, call } => {
                if let Some(call) = call {
                    self.judge.close(call, Outcome::Lost);
                }
                reply::refused(&request, &self.options.server, Refusal::Lost)
            }
            State::Held { request, view, question } => {
                self.judge.withdraw(view.call);
                self.take_back(question);
                reply::refused(&request, &self.options.server, Refusal::Lost)
            }
            State::Passed { .. } | State::Queued => {
                reply::error(Some(&id), Code::Lost, "the server ended before it answered")
            }
        };
        self.for_client(answer, Some(id));
    }

    fn sent(&mut self) -> Vec<Out> {
        while !self.busy()
            && let Some(request) = self.queue.pop_front()
        {
            self.waiting.remove(request.id.key());
            self.judge_request(request);
        }
        std::mem::take(&mut self.out)
    }

    /// Whether a call is under way that others have to wait for.
    fn busy(&self) -> bool {
        let under_way = |state: &State| matches!(state, State::Held { .. } | State::Open { .. });
        self.options.serialize && self.waiting.values().any(|waiting| under_way(&waiting.state))
    }

    fn for_client(&mut self, line: Vec<u8>, about: Option<Id>) {
        self.out.push(Out::Client { line, about });
    }

    fn for_server(&mut self, line: Vec<u8>, about: Option<Id>) {
        self.out.push(Out::Server { line, about });
    }

    fn note(&mut self, text: String) {
        self.out.push(Out::Note(text));
    }

    fn wait_for(&mut self, id: &Id, state: State) {
        self.waiting.insert(id.key().clone(), Waiting { id: id.clone(), state });
    }

    fn judge_request(&mut self, mut request: Request) {
        if let Some(state) = request.state().filter(|state| Shared::is_ours(state)) {
            match self.shared.take(state) {
                Some(offer) if offer.request.same_as(&request) => return self.retried(request, offer),
                // Other arguments are another call.
                Some(offer) => self.judge.withdraw(offer.view.call),
                None => {}
            }
            request.drop_state();
        }
        // What the client may never ask about again must not hold others for ever: they are refused, not queued.
        if self.options.serialize
            && self.mode == Mode::Enforce
            && let Some(task) = self.shared.open_task()
        {
            let why = format!(
                "calls go one at a time, and task {task:?} of an earlier one is not over; ask for its result first"
            );
            return self.refuse(&request, Refusal::Failed(&why));
        }
        let (annotations, _) = self.shared.tool(request.name());
        let opened = self.judge.open(ToolCall {
            session: self.options.session,
            layer: Layer::Mcp,
            server: Some(self.options.server.clone()),
            name: request.name().to_owned(),
            call_id: Some(request.call_id()),
            arguments: request.arguments(),
            annotations,
            cwd: self.options.cwd.clone(),
            home: self.options.home.clone(),
            traceparent: request.traceparent().map(str::to_owned),
            claimed: request.claimed(),
        });
        match opened {
            Ok(view) => self.decided(request, view),
            Err(why) => self.undecided(request, &why),
        }
    }

    fn decided(&mut self, mut request: Request, view: CallView) {
        self.mode = view.mode;
        match view.effect {
            Effect::Allow => self.open(request, Some(&view)),
            Effect::Compute => {
                if view.arguments.as_ref().is_some_and(|arguments| request.rewrite(arguments)) {
                    return self.open(request, Some(&view));
                }
                self.judge.close(view.call, Outcome::Error);
                self.refuse(&request, Refusal::Failed("the policy's rewrite does not fit the call"));
            }
            Effect::Escalate => self.hold(request, view),
            Effect::Deny => self.refuse(&request, Refusal::Denied(&view)),
        }
    }

    /// The fail direction: closed, and in observe mode open.
    fn undecided(&mut self, request: Request, why: &str) {
        match self.mode {
            Mode::Enforce => self.refuse(&request, Refusal::Failed(why)),
            Mode::Observe => {
                self.note(format!("a call passed undecided: {why}"));
                self.open(request, None);
            }
        }
    }

    fn open(&mut self, request: Request, view: Option<&CallView>) {
        let (id, line) = (request.id.clone(), request.line(view.map(|view| view.traceparent.as_str())));
        let call = view.map(|view| view.call);
        self.wait_for(&id, State::Open { request: Box::new(request), call });
        self.for_server(line, Some(id));
    }

    fn refuse(&mut self, request: &Request, refusal: Refusal<'_>) {
        let line = reply::refused(request, &self.options.server, refusal);
        self.for_client(line, Some(request.id.clone()));
    }
}

/// Whether an answer says that the tool has failed.
fn failed(answer: Answer<'_>) -> bool {
    let Answer::Result(result) = answer else { return true };
    let members = Members::of(result).ok();
    members.and_then(|members| members.get("isError")).is_some_and(|value| value.get() == "true")
}

#[cfg(test)]
#[path = "gate/tests.rs"]
mod tests;
