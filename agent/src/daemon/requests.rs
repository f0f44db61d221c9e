//! What peers may ask of the daemon, and what it does about it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use uuid::Uuid;

use super::Daemon;
use super::policy::Loaded;
use crate::control::{Door, Request, Response, SessionView, StartSession, Started};
use crate::enforce::Admission;
use crate::enforce::imagined::Imagined;
use crate::enforce::level::{Backend, Enforcement};
use crate::event::{Layer, Mode};
use crate::ledger::entry::Kind;
use crate::pipeline::questions::Asker;
use crate::policy::Floor;
use crate::session::{Approved, Session, Sources};
use crate::sys::peer::Peer;

/// How many sessions one daemon has at most.
const SESSIONS_MAX: u32 = crate::abi::raw::AUTHZ_SESSIONS_MAX;

impl Daemon {
    /// What a peer asks. None that is in a session; root, or a session's owner for what is its own.
    pub(super) fn asked(&mut self, peer: &Peer, door: Door, request: Request) -> anyhow::Result<Response> {
        if door == Door::Ask {
            return self.asked_inside(peer, request);
        }
        if self.point.encloses(peer).context("cannot tell who asks")? {
            bail!("a process inside a session may not control authz");
        }
        match request {
            Request::StartSession(start) => {
                if self.options.backend == Backend::BpfLsm {
                    require_root(peer)?;
                }
                // An embedded daemon ends with its session, and if that could not begin.
                let started = self.start(start);
                self.served = true;
                // Compiling a policy took a while: the new session must not meet a daemon that looks dead.
                self.point.heartbeat()?;
                started
            }
            Request::EndSession { session } => self.finish(peer, session),
            Request::Pending => {
                let owned: Vec<_> = self.owned(peer).collect();
                let mut pending = self.pipeline.pending();
                pending.retain(|view| owned.contains(&view.session));
                Ok(Response::Pending { pending })
            }
            Request::Answer { id, approve, scope, reason } => {
                self.answer(peer, &id, approve, &scope, &reason)
            }
            Request::Sessions => Ok(Response::Sessions {
                sessions: self
                    .pipeline
                    .sessions
                    .iter()
                    .filter(|session| may(peer, session))
                    .map(|session| SessionView {
                        session: session.id,
                        name: session.name.clone(),
                        mode: session.mode,
                        policy: session.engine.digest().to_owned(),
                        pid: session.first_pid,
                        stats: session.stats.clone(),
                    })
                    .collect(),
            }),
            Request::SetMode { session, mode } => self.set_mode(peer, session, mode),
            Request::OpenCall(_) | Request::AwaitCall { .. } | Request::Reload { .. } => {
                bail!("not answered at once")
            }
            Request::ElicitedCall { .. }
            | Request::WithdrawCall { .. }
            | Request::CloseCall { .. }
            | Request::NameCall { .. }
            | Request::EndTurn { .. }
            | Request::Denials { .. } => self.asked_by_gate(peer, request),
            Request::Why { session, imagined } => self.why(peer, session, &imagined),
            Request::Evaluate { session, question, rewrites } => {
                let index = self.session_meant(peer, session)?;
                let asker = Asker { pid: peer.pid, uid: peer.uid };
                let evaluated = self.pipeline.question(index, &question, asker, rewrites);
                evaluated.map(Response::Evaluated).context("the session is over")
            }
        }
    }

    /// What would become of an operation of a session. It is no operation: nothing is recorded, counted or held.
    fn why(&mut self, peer: &Peer, session: Uuid, imagined: &Imagined) -> anyhow::Result<Response> {
        let index = self.find(peer, session)?;
        let layer = match self.options.backend {
            Backend::BpfLsm => Layer::Kernel,
            Backend::Seccomp => Layer::Seccomp,
            Backend::None => Layer::Api,
        };
        let session = self.pipeline.sessions.get(index).context("the session is over")?;
        let event = imagined.of_session(session, layer)?;
        let why = self.pipeline.why(&event, imagined.sha256.as_deref(), &*self.point);
        why.map(|why| Response::Why(Box::new(why))).context("the session is over")
    }

    pub(super) fn owned(&self, peer: &Peer) -> impl Iterator<Item = Uuid> {
        let all: Vec<_> =
            self.pipeline.sessions.iter().filter(|session| may(peer, session)).map(|s| s.id).collect();
        all.into_iter()
    }

    pub(super) fn find(&self, peer: &Peer, id: Uuid) -> anyhow::Result<u32> {
        let found = self.pipeline.sessions.iter().find(|session| session.id == id && may(peer, session));
        found.map(|session| session.index).with_context(|| format!("no session {id} of yours is live"))
    }

    /// Tells the programs what the session has become.
    pub(super) fn publish(&mut self, index: u32) -> anyhow::Result<Response> {
        let session = self.pipeline.sessions.get_mut(index).context("the session is over")?;
        if session.first_pid != 0 {
            self.point.publish(session)?;
        }
        Ok(Response::Done)
    }

    /// Begins a session, and puts its first process, if it has one, under the enforcement point.
    pub(super) fn start(&mut self, start: StartSession) -> anyhow::Result<Response> {
        let mut enforcement = match start.pid {
            0 => Enforcement::nothing("the session holds no process"),
            _ => self.point.enforcement().clone(),
        };
        if let Some(floor) = &start.floor {
            enforcement = enforcement.with_floor(floor);
        }
        enforcement.require(start.require)?;
        let sources =
            Sources { policy: start.policy.clone(), workspace: start.workspace.clone(), owner: start.owner };
        let ready = self.options.loaded.take().filter(|loaded| loaded.sources == sources);
        let Loaded { engine, sources, .. } = match ready {
            Some(loaded) => loaded,
            None => Loaded::load(sources, &self.run, &self.options.state)?,
        };
        let policy = engine.digest().to_owned();
        let index = self.pipeline.sessions.free_index(SESSIONS_MAX).context("no more sessions fit")?;
        let mut session = Session::new(
            index,
            start.name.clone(),
            start.owner,
            start.mode,
            self.pipeline.sessions.shared(engine, &sources),
            Duration::from_millis(start.hold_timeout_ms),
            start.pid,
        );
        session.sources = sources;
        session.laid = start.floor.as_ref().map(|_| match start.mode {
            Mode::Enforce => session.engine.floor().clone(),
            Mode::Observe => Floor::default(),
        });
        let (id, trace_id) = (session.id, session.trace.to_string());
        let admission = Admission { audit_each: start.audit_each, listener: start.listener };
        let detail = serde_json::json!({
            "agent": start.name, "pid": start.pid, "policy": start.policy, "enforcement": enforcement,
            "floor": start.floor,
        });
        self.pipeline.sessions.insert(session);
        let noted = self.pipeline.note(index, Kind::SessionStart, detail).map_err(anyhow::Error::from);
        let session = self.pipeline.sessions.get_mut(index).context("the session is over")?;
        let admitted = match start.pid {
            0 => noted,
            _ => noted.and_then(|()| Ok(self.point.admit(session, &admission)?)),
        };
        if let Err(error) = admitted {
            self.pipeline.sessions.remove(index);
            return Err(error);
        }
        self.served = true;
        let enforcement = enforcement.to_string();
        Ok(Response::Started(Started { session: id, trace_id, policy, enforcement }))
    }

    /// The first process has ended: everything it did is in the ring already.
    fn finish(&mut self, peer: &Peer, id: Uuid) -> anyhow::Result<Response> {
        let index = self.find(peer, id)?;
        self.drain();
        self.collect_hits();
        let lost = self.record_gaps();
        let session = self.pipeline.sessions.get_mut(index).context("the session is over")?;
        session.stats.lost += lost;
        let stats = session.stats.clone();
        self.ending.push(index);
        self.end_sessions();
        Ok(Response::Summary(stats))
    }

    fn answer(
        &mut self,
        peer: &Peer,
        id: &str,
        approve: bool,
        scope: &str,
        reason: &str,
    ) -> anyhow::Result<Response> {
        let scope = match scope {
            "" | "once" => Approved::Once,
            "session" => Approved::Session,
            text => Approved::For(
                crate::policy::decision::duration(text)
                    .with_context(|| format!("{text:?} is no time; use once, session or e.g. 10m"))?,
            ),
        };
        let owned: Vec<_> = self.owned(peer).collect();
        let views = self.pipeline.pending();
        let mine = |id: &Uuid| views.iter().any(|view| view.id == *id && owned.contains(&view.session));
        let found: Vec<_> = self.pipeline.find_pending(id).into_iter().filter(mine).collect();
        let [found] = found[..] else {
            bail!(
                "{} operations of yours wait under an id like {id}; see authz pending",
                if found.is_empty() { "no" } else { "several" }
            );
        };
        let by = format!("uid {}", peer.uid);
        let approve = approve.then_some(scope);
        self.pipeline.answer(found, approve, &by, reason, &mut *self.point).map_err(anyhow::Error::msg)?;
        Ok(Response::Done)
    }
}

fn require_root(peer: &Peer) -> anyhow::Result<()> {
    if peer.uid == 0 { Ok(()) } else { bail!("only root may do this") }
}

fn may(peer: &Peer, session: &Session) -> bool {
    peer.uid == 0 || peer.uid == session.owner
}
