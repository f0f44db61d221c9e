//! What gates ask about tool calls: those outside a session, which its owner runs, and those inside, which speak
//! for their own session only.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::Daemon;
use super::resolve::Opening;
use crate::control::{Door, Request, Response};
use crate::event::Task;
use crate::pipeline::calls::CallView;
use crate::policy::Effect;
use crate::policy::implied::Implied;
use crate::session::calls::{Outcome, Source, ToolCall};
use crate::sys::peer::Peer;

/// Calls that a human is asked about: who waits for the answer, and answers that nobody has fetched yet.
#[derive(Default)]
pub(super) struct Waiting {
    /// The session of each call that is pending.
    pending: HashMap<Uuid, u32>,
    waiting: HashMap<Uuid, oneshot::Sender<Response>>,
    answered: HashMap<Uuid, (CallView, Instant)>,
}

/// How long an answer is kept for a gate that has to ask again for it.
const KEPT: Duration = Duration::from_secs(600);

impl Waiting {
    /// The session is over, and with it its calls.
    pub(super) fn forget(&mut self, index: u32) {
        let over: Vec<_> =
            self.pending.iter().filter(|(_, session)| **session == index).map(|(id, _)| *id).collect();
        for id in over {
            self.pending.remove(&id);
            self.waiting.remove(&id);
            self.answered.remove(&id);
        }
    }
}

impl Daemon {
    /// A gate wants to open a call: its response comes when its paths are resolved.
    pub(super) fn call_asked(
        &mut self,
        peer: Peer,
        door: Door,
        asked: Box<ToolCall>,
        reply: oneshot::Sender<Response>,
    ) {
        let (index, session, source) = match self.session_of_call(&peer, door, asked.session) {
            Ok(found) => found,
            Err(error) => return drop(reply.send(Response::Error { error: format!("{error:#}") })),
        };
        self.begin_call(Opening { index, session, asked, source, peer, began: Instant::now(), reply });
    }

    /// In which session a call is: inside of one in that, and outside in one that is the peer's.
    fn session_of_call(
        &self,
        peer: &Peer,
        door: Door,
        meant: Option<Uuid>,
    ) -> anyhow::Result<(u32, Uuid, Source)> {
        let (index, source) = match door {
            Door::Ask => (self.session_of(peer)?, Source::Session),
            Door::Control if self.point.encloses(peer).context("cannot tell who asks")? => {
                bail!("a process inside a session may not control authz")
            }
            Door::Control => (self.session_meant(peer, meant)?, Source::Gate),
        };
        let id = self.pipeline.sessions.get(index).context("the session is over")?.id;
        if meant.is_some_and(|session| session != id) {
            bail!("a process of session {id} asks for that session only");
        }
        Ok((index, id, source))
    }

    /// A process of a session asks for itself.
    pub(super) fn asked_inside(&mut self, peer: &Peer, request: Request) -> anyhow::Result<Response> {
        let index = self.session_of(peer)?;
        match request {
            Request::WithdrawCall { call } => {
                self.check_inside(index, Some(call))?;
                self.withdraw_call(index, call)
            }
            Request::ElicitedCall { call, action } => {
                self.check_inside(index, Some(call))?;
                self.elicited(index, call, &action)
            }
            Request::CloseCall { call, outcome } => {
                let session = self.pipeline.sessions.get(index);
                self.check_inside(index, session.and_then(|session| session.calls.find(&call)))?;
                self.close_call(index, &call, outcome)
            }
            Request::NameCall { call, name } => self.name_call(&[index], Source::Session, call, &name),
            Request::EndTurn { claimed } => self.end_turn(&[index], Source::Session, &claimed),
            Request::Denials { .. } => Ok(self.denials(&[index])),
            _ => bail!("a process inside a session may not control authz"),
        }
    }

    /// What a gate outside has opened, no process inside may end.
    fn check_inside(&self, index: u32, call: Option<Uuid>) -> anyhow::Result<()> {
        let session = self.pipeline.sessions.get(index);
        let call = session.zip(call).and_then(|(session, id)| session.calls.get(id));
        match call.map(|call| call.source) {
            Some(Source::Gate) => bail!("that call was opened outside the session"),
            _ => Ok(()),
        }
    }

    /// Which session the peer is in.
    fn session_of(&self, peer: &Peer) -> anyhow::Result<u32> {
        let session = self.point.session_of(peer).context("cannot tell who asks")?;
        session.context("this socket is for the processes of a session; ask the control socket instead")
    }

    /// A gate outside asks, for a session that is its user's.
    pub(super) fn asked_by_gate(&mut self, peer: &Peer, request: Request) -> anyhow::Result<Response> {
        match request {
            Request::WithdrawCall { call } => {
                let index = *self.calls.pending.get(&call).context("no call waits under this id")?;
                self.check_owner(peer, index)?;
                self.withdraw_call(index, call)
            }
            Request::ElicitedCall { call, action } => {
                let index = *self.calls.pending.get(&call).context("no call waits under this id")?;
                self.check_owner(peer, index)?;
                self.elicited(index, call, &action)
            }
            Request::CloseCall { call, outcome } => {
                let mine = self.indexes(peer);
                let open = |index: &u32| {
                    self.pipeline
                        .sessions
                        .get(*index)
                        .is_some_and(|session| session.calls.find(&call).is_some())
                };
                let index = mine.into_iter().find(open);
                let index = index.with_context(|| format!("no call {call:?} of yours is open"))?;
                self.close_call(index, &call, outcome)
            }
            Request::NameCall { call, name } => {
                self.name_call(&self.indexes(peer), Source::Gate, call, &name)
            }
            Request::EndTurn { claimed } => self.end_turn(&self.indexes(peer), Source::Gate, &claimed),
            Request::Denials { session: None } => Ok(self.denials(&self.indexes(peer))),
            Request::Denials { session: Some(session) } => Ok(self.denials(&[self.find(peer, session)?])),
            _ => bail!("not a request of a gate"),
        }
    }

    fn indexes(&self, peer: &Peer) -> Vec<u32> {
        let owned: Vec<_> = self.owned(peer).collect();
        self.pipeline.sessions.iter().filter(|s| owned.contains(&s.id)).map(|s| s.index).collect()
    }

    fn check_owner(&self, peer: &Peer, index: u32) -> anyhow::Result<()> {
        if self.indexes(peer).contains(&index) { Ok(()) } else { bail!("that session is not yours") }
    }

    pub(super) fn session_meant(&self, peer: &Peer, session: Option<Uuid>) -> anyhow::Result<u32> {
        if let Some(id) = session {
            return self.find(peer, id);
        }
        match self.indexes(peer)[..] {
            [index] => Ok(index),
            [] => bail!("no session of yours is live"),
            _ => bail!("several sessions are live: name one"),
        }
    }

    pub(super) fn open_call(
        &mut self,
        index: u32,
        asked: &ToolCall,
        implied: Result<Vec<Implied>, String>,
        source: Source,
        peer: &Peer,
    ) -> anyhow::Result<Response> {
        // A call and what happens under it must not be mixed with what came before.
        self.drain();
        let opened = self.pipeline.open_call(index, asked, implied, source, task_of(peer));
        let view = opened.map_err(anyhow::Error::msg)?;
        if view.pending.is_some() {
            self.calls.pending.insert(view.call, index);
        }
        if let Err(error) = self.publish(index) {
            // Not seen by the enforcement point: nothing may happen under it.
            self.pipeline.close_call(index, &view.call.to_string(), Outcome::Lost).ok();
            return Err(error);
        }
        Ok(Response::Call(view))
    }

    fn elicited(&mut self, index: u32, call: Uuid, action: &str) -> anyhow::Result<Response> {
        self.pipeline.elicited(index, call, action).map_err(anyhow::Error::msg)?;
        Ok(Response::Done)
    }

    fn withdraw_call(&mut self, index: u32, call: Uuid) -> anyhow::Result<Response> {
        self.pipeline.withdraw_call(index, call).map_err(anyhow::Error::msg)?;
        Ok(Response::Done)
    }

    fn close_call(&mut self, index: u32, call: &str, outcome: Outcome) -> anyhow::Result<Response> {
        // What was denied until now is in the ring already.
        self.drain();
        let denials = self.pipeline.close_call(index, call, outcome).map_err(anyhow::Error::msg)?;
        self.publish(index)?;
        Ok(Response::Closed { denials })
    }

    fn name_call(
        &mut self,
        indexes: &[u32],
        source: Source,
        call: Uuid,
        name: &str,
    ) -> anyhow::Result<Response> {
        for index in indexes {
            let session = self.pipeline.sessions.get_mut(*index).context("the session is over")?;
            if session.calls.name(call, source, name.to_owned()) {
                return Ok(Response::Done);
            }
        }
        bail!("no call {call} of yours is open")
    }

    fn end_turn(
        &mut self,
        indexes: &[u32],
        source: Source,
        claimed: &serde_json::Map<String, serde_json::Value>,
    ) -> anyhow::Result<Response> {
        self.drain();
        for index in indexes {
            self.pipeline.end_turn(*index, source, claimed).map_err(anyhow::Error::msg)?;
            self.publish(*index)?;
        }
        Ok(Response::Done)
    }

    fn denials(&self, indexes: &[u32]) -> Response {
        let sessions = indexes.iter().filter_map(|index| self.pipeline.sessions.get(*index));
        Response::Denials { denials: sessions.flat_map(|session| session.denials.iter().cloned()).collect() }
    }

    /// Responds when the call is answered; at once, if it is.
    pub(super) fn await_call(
        &mut self,
        peer: &Peer,
        door: Door,
        call: Uuid,
        reply: oneshot::Sender<Response>,
    ) {
        let refuse = |error: String| Response::Error { error };
        let may = match (self.calls.pending.get(&call).copied(), door) {
            (None, _) => Err("no call waits under this id".to_owned()),
            (Some(index), Door::Ask) => match self.session_of(peer) {
                Ok(own) if own == index => Ok(()),
                Ok(_) => Err("that call is another session's".to_owned()),
                Err(error) => Err(format!("{error:#}")),
            },
            (Some(index), Door::Control) => match self.point.encloses(peer) {
                Ok(false) => self.check_owner(peer, index).map_err(|error| format!("{error:#}")),
                _ => Err("a process inside a session may not control authz".to_owned()),
            },
        };
        // A client that has gone needs no response.
        if let Err(error) = may {
            return drop(reply.send(refuse(error)));
        }
        let index = self.calls.pending.get(&call).copied();
        match (index, self.calls.answered.remove(&call)) {
            (Some(index), Some((view, _))) => self.hand_over(index, &view, reply),
            _ => drop(self.calls.waiting.insert(call, reply)),
        }
    }

    /// Passes on what humans, or the deadline, have said about calls.
    pub(super) fn answer_calls(&mut self) {
        for view in self.pipeline.take_answered() {
            let Some(index) = self.calls.pending.get(&view.call).copied() else { continue };
            match self.calls.waiting.remove(&view.call) {
                Some(reply) => self.hand_over(index, &view, reply),
                None => drop(self.calls.answered.insert(view.call, (view, Instant::now()))),
            }
        }
    }

    /// A call that may go on is open, for the enforcement point too, before its gate hears of it.
    fn hand_over(&mut self, index: u32, view: &CallView, reply: oneshot::Sender<Response>) {
        self.pipeline.begin_answered(index, view);
        let published = self.publish(index);
        let failed = published.is_err();
        let response = published.map_or_else(
            |error| Response::Error { error: format!("{error:#}") },
            |_| Response::Call(view.clone()),
        );
        if (reply.send(response).is_err() || failed) && view.effect < Effect::Escalate {
            // Nobody runs it. That the enforcement point is not told so, if it is that which failed, widens what is
            // attributed to the call and allows nothing.
            let name = view.call.to_string();
            let closed = self.pipeline.close_call(index, &name, Outcome::Lost).map_err(anyhow::Error::msg);
            if let Err(error) = closed.and_then(|_| self.publish(index)) {
                tracing::warn!(%error, call = name, "a call that nobody runs could not be closed");
            }
        }
        self.calls.pending.remove(&view.call);
    }

    /// Forgets answers that no gate has fetched.
    pub(super) fn forget_answers(&mut self) {
        let old = |(_, at): &(CallView, Instant)| at.elapsed() >= KEPT;
        let late: Vec<_> = self.calls.answered.extract_if(|_, kept| old(kept)).collect();
        for (call, (view, _)) in late {
            if let Some(index) = self.calls.pending.remove(&call) {
                self.pipeline.forget_answered(index, &view);
            }
        }
    }
}

/// The gate's process: not a thread that could be held.
fn task_of(peer: &Peer) -> Task {
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", peer.pid)).unwrap_or_default();
    let comm = comm.trim_end().to_owned();
    Task { tid: 0, tgid: peer.pid, start_ns: 0, uid: peer.uid, gid: peer.gid, comm }
}
