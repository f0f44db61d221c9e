//! Conversations: a gate each, and the answers that somebody waits for.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;
use uuid::Uuid;

use crate::mcp::daemon::Daemon;
use crate::mcp::gate::{Gate, Options, Out};
use crate::mcp::judge::{CallView, Judge};
use crate::mcp::shared::Shared;
use crate::mcp::wire::{Id, Key};
use crate::text::escape;

/// How many conversations are kept; then the one that was silent longest is over.
const KEPT: usize = 1024;

/// A gate, and where what it says is sent.
pub(super) struct Conversation {
    gate: Mutex<Gate<Box<dyn Judge + Send>>>,
    /// By request of the client: who answers it.
    waiting: Mutex<HashMap<Key, UnboundedSender<Out>>>,
}

impl Conversation {
    fn new(options: &Options, shared: Arc<Shared>, socket: &std::path::Path) -> Arc<Self> {
        Arc::new_cyclic(|this: &std::sync::Weak<Self>| {
            let this = this.clone();
            let answered = move |call: Uuid, view: Result<CallView, String>| {
                if let Some(this) = this.upgrade() {
                    let out = lock(&this.gate).answered(call, view);
                    drop(this.hand_out(out));
                }
            };
            let judge: Box<dyn Judge + Send> = Box::new(Daemon::new(socket, answered));
            Self { gate: Mutex::new(Gate::new(options.clone(), shared, judge)), waiting: Mutex::default() }
        })
    }

    /// Begins to wait for the answer to a request; false if somebody does already.
    pub fn wait_for(&self, id: &Id, sender: UnboundedSender<Out>) -> bool {
        let mut waiting = lock(&self.waiting);
        let free = !waiting.contains_key(id.key());
        if free {
            waiting.insert(id.key().clone(), sender);
        }
        free
    }

    /// Nobody waits any more.
    pub fn forget(&self, id: &Id) {
        lock(&self.waiting).remove(id.key());
    }

    /// A message of the client; what belongs to no request that is waited for. The daemon is asked, so this takes
    /// a thread of its own.
    pub async fn client(self: &Arc<Self>, line: Vec<u8>) -> Vec<Out> {
        self.ask(move |gate| gate.client(&line)).await
    }

    /// A message of the server; likewise.
    pub async fn server(self: &Arc<Self>, line: Vec<u8>) -> Vec<Out> {
        self.ask(move |gate| gate.server(&line)).await
    }

    async fn ask(
        self: &Arc<Self>,
        with: impl FnOnce(&mut Gate<Box<dyn Judge + Send>>) -> Vec<Out> + Send + 'static,
    ) -> Vec<Out> {
        let this = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let out = with(&mut lock(&this.gate));
            this.hand_out(out)
        });
        asked.await.unwrap_or_default()
    }

    fn hand_out(&self, out: Vec<Out>) -> Vec<Out> {
        let mut rest = Vec::new();
        for out in out {
            let about = match &out {
                Out::Client { about, .. } | Out::Server { about, .. } => about.as_ref(),
                Out::Note(note) => {
                    eprintln!("authz: {}", escape(note));
                    continue;
                }
            };
            let sender = about.and_then(|id| lock(&self.waiting).get(id.key()).cloned());
            match sender {
                // Who has stopped waiting is gone.
                Some(sender) => drop(sender.send(out)),
                None => rest.push(out),
            }
        }
        rest
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // What is open is lost, and what is held is taken back.
        let gate = self.gate.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(gate.client_gone());
        drop(gate.server_gone());
    }
}

/// The conversations of a listener.
pub(super) struct Conversations {
    options: Options,
    socket: PathBuf,
    shared: Arc<Shared>,
    known: Mutex<HashMap<String, (Arc<Conversation>, Instant)>>,
}

impl Conversations {
    pub fn new(options: Options, socket: PathBuf) -> Self {
        Self { options, socket, shared: Arc::default(), known: Mutex::default() }
    }

    /// The conversation of that name; without one, a new one that nobody else finds.
    pub fn find(&self, name: Option<&str>) -> Arc<Conversation> {
        let Some(name) = name else { return self.fresh() };
        let found = lock(&self.known).get_mut(name).map(|(known, seen)| {
            *seen = Instant::now();
            known.clone()
        });
        found.unwrap_or_else(|| {
            let fresh = self.fresh();
            self.keep(name, fresh.clone());
            fresh
        })
    }

    fn fresh(&self) -> Arc<Conversation> {
        Conversation::new(&self.options, self.shared.clone(), &self.socket)
    }

    /// The server has given a conversation its name.
    pub fn keep(&self, name: &str, conversation: Arc<Conversation>) {
        let mut known = lock(&self.known);
        let silent = known.iter().min_by_key(|(_, (_, seen))| *seen).map(|(name, _)| name.clone());
        let over = silent.filter(|_| known.len() >= KEPT).and_then(|name| known.remove(&name));
        known.insert(name.to_owned(), (conversation, Instant::now()));
        drop(known);
        // Its end asks the daemon, which must hold nobody else.
        std::thread::spawn(move || drop(over));
    }

    /// It is over.
    pub fn end(&self, name: &str) {
        let over = lock(&self.known).remove(name);
        std::thread::spawn(move || drop(over));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
