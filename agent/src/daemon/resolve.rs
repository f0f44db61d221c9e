//! The paths in a tool call's arguments are resolved beside the loop, in a thread of their own: on a file system that
//! does not answer that takes for ever, and no other decision waits for it. When its time is over the call is denied.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use uuid::Uuid;

use super::{Daemon, Message};
use crate::control::Response;
use crate::policy::implied::{Implied, resolved};
use crate::session::calls::{Source, ToolCall};
use crate::sys::peer::Peer;

/// How long the paths of a call may take; its gate waits longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Threads that resolve paths of one session; one that hangs counts until its file system answers.
const THREADS_MAX: usize = 16;

/// Calls whose paths are being resolved.
#[derive(Default)]
pub(super) struct Resolving {
    last: u64,
    calls: HashMap<u64, Opening>,
    /// By session.
    threads: HashMap<Uuid, usize>,
}

/// A call that a gate wants to open.
pub(super) struct Opening {
    /// In which session.
    pub index: u32,
    /// A session that comes later may have the same index.
    pub session: Uuid,
    pub asked: Box<ToolCall>,
    pub source: Source,
    pub peer: Peer,
    pub began: Instant,
    pub reply: oneshot::Sender<Response>,
}

/// What a thread has found.
pub(super) struct Resolved {
    number: u64,
    session: Uuid,
    /// The policy that said what the call implies.
    policy: String,
    implied: Vec<Implied>,
}

impl Resolving {
    /// How long until the time of the next call is over.
    pub fn until_next(&self) -> Option<Duration> {
        self.calls.values().map(|call| PATIENCE.saturating_sub(call.began.elapsed())).min()
    }
}

impl Daemon {
    /// Decides a call, at once if it names no file.
    pub(super) fn begin_call(&mut self, opening: Opening) {
        match self.pipeline.implied(opening.index, &opening.asked) {
            Ok(implied) if implied.iter().any(|one| one.path.is_some()) => self.resolve(opening, implied),
            implied => self.open(opening, implied),
        }
    }

    fn resolve(&mut self, opening: Opening, implied: Vec<Implied>) {
        let session = opening.session;
        if self.resolving.threads.get(&session).is_some_and(|threads| *threads >= THREADS_MAX) {
            let why = format!("the paths of {THREADS_MAX} calls before it are not resolved yet");
            return self.open(opening, Err(why));
        }
        self.resolving.last += 1;
        let (number, mailbox) = (self.resolving.last, self.mailbox.clone());
        let engine = self.pipeline.sessions.get(opening.index).map(|session| &session.engine);
        let policy = engine.map_or_else(String::new, |engine| engine.digest().to_owned());
        let resolve = move || {
            let implied = resolved(implied);
            mailbox.send(Message::Resolved(Resolved { number, session, policy, implied }));
        };
        match std::thread::Builder::new().name("authz-resolve".into()).spawn(resolve) {
            Ok(_) => {
                *self.resolving.threads.entry(session).or_default() += 1;
                self.resolving.calls.insert(number, opening);
            }
            Err(error) => self.open(opening, Err(format!("its paths cannot be resolved: {error}"))),
        }
    }

    /// A thread has come back; perhaps too late.
    pub(super) fn resolved(&mut self, done: Resolved) {
        if let Some(threads) = self.resolving.threads.get_mut(&done.session) {
            *threads -= 1;
        }
        self.resolving.threads.retain(|_, threads| *threads > 0);
        let Some(opening) = self.resolving.calls.remove(&done.number) else { return };
        let session = self.pipeline.sessions.get(opening.index).filter(|live| live.id == done.session);
        match session {
            // By another policy it may imply something else.
            Some(session) if session.engine.digest() != done.policy => self.begin_call(opening),
            _ => self.open(opening, Ok(done.implied)),
        }
    }

    /// Denies calls whose paths are not resolved in time.
    pub(super) fn expire_paths(&mut self) {
        let late = |call: &Opening| call.began.elapsed() >= PATIENCE;
        let late: Vec<_> = self.resolving.calls.extract_if(|_, call| late(call)).collect();
        for (_, opening) in late {
            let why = format!(
                "its paths could not be resolved within {} s: a file system does not answer",
                PATIENCE.as_secs()
            );
            self.open(opening, Err(why));
        }
    }

    fn open(&mut self, opening: Opening, implied: Result<Vec<Implied>, String>) {
        let Opening { index, session, asked, source, peer, reply, .. } = opening;
        let live = self.pipeline.sessions.get(index).is_some_and(|live| live.id == session);
        let opened = if live {
            self.open_call(index, &asked, implied, source, &peer)
        } else {
            Err(anyhow::anyhow!("the session is over"))
        };
        let response = opened.unwrap_or_else(|error| Response::Error { error: format!("{error:#}") });
        // A client that has gone needs no response.
        reply.send(response).ok();
    }
}
