//! Between the ledger and the exporter: bounded, and never waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::ledger::{Entry, Observer};

/// Entries that wait for the exporter; more are dropped.
const QUEUE: usize = 8192;

/// What became of log records and spans.
#[derive(Debug, Default)]
pub struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    /// The collector took them.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// They are lost to it.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn add_sent(&self, count: usize) {
        self.sent.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn add_dropped(&self, count: usize) {
        self.dropped.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// What is to be exported.
#[derive(Debug)]
pub(super) enum Item {
    /// An entry, without its input.
    Entry(Box<Entry>, Option<ToolNames>),
    /// A signed checkpoint.
    Checkpoint(String),
}

/// How a tool is named by its call's entry.
#[derive(Debug, Clone, Default)]
pub(super) struct ToolNames {
    pub server: Option<String>,
    pub name: String,
    pub call_id: Option<String>,
}

/// The ledger's side of the queue.
#[derive(Debug)]
pub(super) struct Tap {
    queue: Sender<Item>,
    pub counts: Arc<Counts>,
}

impl Tap {
    pub(super) fn new() -> (Self, Receiver<Item>) {
        let (queue, receiver) = channel(QUEUE);
        (Self { queue, counts: Arc::default() }, receiver)
    }

    fn put(&self, item: Item) {
        if self.queue.try_send(item).is_err() {
            self.counts.add_dropped(1);
        }
    }
}

impl Observer for Tap {
    fn appended(&self, mut entry: Entry) {
        // Inputs and arguments stay on this machine, and what waits here stays small.
        let tool = entry.input.take().and_then(|input| tool_names(&input));
        if let Some(resource) = &mut entry.resource {
            resource.properties.clear();
        }
        entry.nd_builtin_cache = None;
        self.put(Item::Entry(Box::new(entry), tool));
    }

    fn signed(&self, checkpoint: &str) {
        self.put(Item::Checkpoint(checkpoint.to_owned()));
    }
}

fn tool_names(input: &Value) -> Option<ToolNames> {
    let tool = input.pointer("/context/tool")?;
    let text = |name: &str| tool[name].as_str().map(str::to_owned);
    Some(ToolNames { server: text("server"), name: text("name")?, call_id: text("call_id") })
}
