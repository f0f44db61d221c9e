//! What changes of a session that runs: its policy and its mode. The record says so first.

use anyhow::{Context as _, bail};
use serde_json::json;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::policy::{KEPT, Loaded};
use super::{Daemon, Message};
use crate::control::{Door, Reloaded, Response};
use crate::event::Mode;
use crate::ledger::entry::Kind;
use crate::policy::difference::{Difference, FloorChange};
use crate::policy::kept;
use crate::session::Sources;
use crate::sys::peer::Peer;

/// A policy that was loaded beside the loop, for a session.
pub(super) struct Reload {
    session: Uuid,
    /// The digest of the policy it shall take the place of.
    from: String,
    by: String,
    loaded: anyhow::Result<(Loaded, Option<Difference>)>,
    /// Nobody waits for the answer to a signal.
    reply: Option<oneshot::Sender<Response>>,
}

impl Daemon {
    /// Switches a session between enforce and observe.
    pub(super) fn set_mode(&mut self, peer: &Peer, id: Uuid, mode: Mode) -> anyhow::Result<Response> {
        require_master(peer)?;
        let index = self.find(peer, id)?;
        let session = self.pipeline.sessions.get(index).context("the session is over")?;
        let from = session.mode;
        if from == mode {
            return Ok(Response::Done);
        }
        let by = format!("uid {}", peer.uid);
        self.pipeline.note(index, Kind::ModeChanged, json!({ "from": from, "to": mode, "by": by }))?;
        let session = self.pipeline.sessions.get_mut(index).context("the session is over")?;
        session.mode = mode;
        session.generation += 1;
        self.publish(index)?;
        if mode == Mode::Observe {
            self.pipeline.let_go(index, &by, &mut *self.point);
        }
        Ok(Response::Done)
    }

    /// Begins to load a session's policy anew, or another one. Whatever is wrong with it leaves the session as it is.
    pub(super) fn reload(
        &mut self,
        peer: &Peer,
        door: Door,
        session: Option<Uuid>,
        policy: Option<Vec<String>>,
        reply: oneshot::Sender<Response>,
    ) {
        let by = format!("uid {}", peer.uid);
        match self.reloadable(peer, door, session) {
            Ok(index) => self.load_for(index, policy, by, Some(reply)),
            Err(error) => drop(reply.send(Response::Error { error: format!("{error:#}") })),
        }
    }

    fn reloadable(&self, peer: &Peer, door: Door, session: Option<Uuid>) -> anyhow::Result<u32> {
        if door == Door::Ask || self.point.encloses(peer).context("cannot tell who asks")? {
            bail!("a process inside a session may not control authz");
        }
        require_master(peer)?;
        self.session_meant(peer, session)
    }

    /// A signal asks to load the policies anew of all sessions that have no process.
    pub(super) fn reload_by_signal(&mut self) {
        let alone = self.pipeline.sessions.iter().filter(|session| session.first_pid == 0);
        for index in alone.map(|session| session.index).collect::<Vec<_>>() {
            self.load_for(index, None, "SIGHUP".into(), None);
        }
    }

    /// In a thread of its own: compiling takes longer than an operation should wait.
    fn load_for(
        &mut self,
        index: u32,
        policy: Option<Vec<String>>,
        by: String,
        reply: Option<oneshot::Sender<Response>>,
    ) {
        let Some(session) = self.pipeline.sessions.get(index) else { return };
        let policy = policy.unwrap_or_else(|| session.sources.policy.clone());
        let sources = Sources { policy, ..session.sources.clone() };
        let (session, from) = (session.id, session.engine.digest().to_owned());
        let (run, state, mailbox) = (self.run.clone(), self.options.state.clone(), self.mailbox.clone());
        let load = move || {
            let loaded = Loaded::load(sources, &run, &state).map(|loaded| {
                let old = kept::read(&state.join(KEPT), &from).map_err(anyhow::Error::from);
                let difference = old.and_then(|old| Ok(Difference::between(&old, &loaded.bundle)?));
                let difference = difference
                    .inspect_err(|error| tracing::warn!("what a reload changed cannot be told: {error:#}"));
                (loaded, difference.ok())
            });
            mailbox.send(Message::Reload(Box::new(Reload { session, from, by, loaded, reply })));
        };
        if let Err(error) = std::thread::Builder::new().name("authz-reload".into()).spawn(load) {
            tracing::error!(%error, "a policy could not be loaded: no thread");
        }
    }

    /// The policy was loaded, or not.
    pub(super) fn reloaded(&mut self, reload: Reload) {
        let Reload { session, from, by, loaded, reply } = reload;
        let kept = format!("the policy stays as it was ({})", from.get(..12).unwrap_or(&from));
        let done =
            loaded.and_then(|(loaded, difference)| self.replace(session, from, &by, loaded, difference));
        match (done.context(kept), reply) {
            // A client that has gone needs no response.
            (Ok(done), Some(reply)) => drop(reply.send(Response::Reloaded(Box::new(done)))),
            (Err(error), Some(reply)) => drop(reply.send(Response::Error { error: format!("{error:#}") })),
            (Ok(done), None) => tracing::info!(from = done.from, to = done.to, "the policy was reloaded"),
            (Err(error), None) => tracing::error!("{error:#}"),
        }
    }

    fn replace(
        &mut self,
        id: Uuid,
        from: String,
        by: &str,
        loaded: Loaded,
        difference: Option<Difference>,
    ) -> anyhow::Result<Reloaded> {
        let Loaded { sources, engine, .. } = loaded;
        let session = self.pipeline.sessions.by_id(id).context("the session is over")?;
        if session.engine.digest() != from {
            bail!("another reload came in between; try again");
        }
        let (index, to) = (session.index, engine.digest().to_owned());
        let floor = session.laid.as_ref().map(|laid| FloorChange::between(laid, engine.floor()));
        let policy = sources.policy.clone();
        let mut done =
            Reloaded { session: id, from, to, policy, difference, floor, settled: Default::default() };
        if done.from == done.to {
            session.sources = sources;
            return Ok(done);
        }
        // From here on nothing is found any more that was remembered, whatever fails below.
        session.generation += 1;
        self.publish(index)?;
        let detail = json!({
            "from": done.from, "to": done.to, "by": by, "policy": done.policy,
            "rules": done.difference.as_ref().map(|difference| &difference.rules), "decided_again": self.pipeline.held(index),
        });
        self.pipeline.note(index, Kind::PolicyChanged, detail)?;
        let engine = self.pipeline.sessions.shared(engine, &sources);
        let session = self.pipeline.sessions.get_mut(index).context("the session is over")?;
        session.replace_policy(engine, sources);
        self.publish(index)?;
        done.settled = self.pipeline.decide_again(index, by, &mut *self.point);
        self.point.heartbeat()?;
        Ok(done)
    }
}

/// Who could end the daemon may change what it does: root, and whoever runs it.
fn require_master(peer: &Peer) -> anyhow::Result<()> {
    match peer.uid {
        0 => Ok(()),
        uid if uid == nix::unistd::geteuid().as_raw() => Ok(()),
        _ => bail!("only root may do this"),
    }
}
