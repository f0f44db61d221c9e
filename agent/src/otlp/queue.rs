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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ledger::{Kind, ResourceEntry};

    #[test]
    fn what_does_not_fit_is_counted_and_nobody_waits() {
        let (tap, mut queue) = Tap::new();
        (0..QUEUE + 5).for_each(|_| tap.appended(Entry::new(Kind::Gap)));
        tap.signed("note");
        assert_eq!((tap.counts.dropped(), tap.counts.sent()), (6, 0));
        queue.try_recv().unwrap();
        tap.signed("note");
        assert_eq!(tap.counts.dropped(), 6);
        drop(queue);
        tap.signed("note");
        assert_eq!(tap.counts.dropped(), 7);
    }

    #[test]
    fn inputs_and_arguments_stay() {
        let (tap, mut queue) = Tap::new();
        let mut entry = Entry::new(Kind::Decision);
        let tool = json!({ "server": "s", "name": "n", "call_id": "c", "arguments": { "path": "hidden" } });
        entry.input = Some(json!({ "context": { "tool": tool } }));
        let properties = json!({ "arguments": { "path": "hidden" } });
        let properties = properties.as_object().cloned().unwrap();
        entry.resource = Some(ResourceEntry { kind: "tool".into(), id: "s/n".into(), properties, raw: None });
        tap.appended(entry);
        let Ok(Item::Entry(entry, Some(names))) = queue.try_recv() else { panic!("no entry with a tool") };
        assert!(!serde_json::to_string(&entry).unwrap().contains("hidden"));
        assert_eq!(
            (names.server.as_deref(), names.name.as_str(), names.call_id.as_deref()),
            (Some("s"), "n", Some("c"))
        );
    }
}
