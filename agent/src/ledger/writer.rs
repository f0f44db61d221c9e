//! The writer's thread: makes entries durable.

use std::io::{self, Write};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::files::{self, LedgerError};
use super::recover::Tail;
use super::store::{Callback, Options, Queue, Shared};
use super::wal;

pub(super) struct Writer {
    shared: Arc<Shared>,
    options: Options,
    tail: Tail,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, options: Options, tail: Tail) -> Self {
        Self { shared, options, tail }
    }

    pub(super) fn run(mut self) {
        let mut batch = Vec::new();
        while let Some(end) = self.next_batch(&mut batch) {
            let result = self.write(&mut batch, end);
            let written = batch.len() as u64;
            batch.clear();
            let mut queue = self.shared.lock();
            match &result {
                Ok(()) => {
                    queue.durable = end;
                    queue.unsealed += written;
                }
                Err(error) => {
                    tracing::error!(%error, "the ledger stops; nothing is recorded from here on");
                    queue.failed = Some(LedgerError::Failed(error.to_string()));
                }
            }
            let failed = queue.failed.clone();
            let due = take_due(&mut queue, end);
            drop(queue);
            self.shared.done.notify_all();
            self.shared.seal.notify_one();
            for (_, callback) in due {
                callback(failed.clone().map_or(Ok(()), Err));
            }
            if result.is_err() {
                return;
            }
        }
    }

    /// Waits for work; fills `batch` and returns the number after its last entry. None: closed and empty, or the
    /// ledger has failed elsewhere.
    fn next_batch(&self, batch: &mut Vec<u8>) -> Option<u64> {
        let mut queue = self.shared.lock();
        let mut deadline = None;
        loop {
            let now = Instant::now();
            let urgent =
                queue.wanted > queue.durable || queue.closing || queue.bytes.len() >= self.options.queue;
            if queue.failed.is_some() {
                return None;
            }
            if !queue.bytes.is_empty() {
                if urgent || now >= *deadline.get_or_insert(now + self.options.linger) {
                    std::mem::swap(&mut queue.bytes, batch);
                    return Some(queue.next_seq);
                }
            } else if queue.closing {
                return None;
            }
            queue = match deadline {
                None => self.shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let rest = deadline.saturating_duration_since(now);
                    self.shared.work.wait_timeout(queue, rest).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn write(&mut self, batch: &mut [u8], end: u64) -> Result<(), LedgerError> {
        let tail = &mut self.tail;
        if tail.length >= self.options.rotate_at {
            let path = tail.path.with_file_name(wal::segment_name(tail.next_seq));
            tail.file = files::create(&path)?;
            (tail.path, tail.length) = (path, 0);
        }
        // Whatever comes before this batch is on the disk.
        wal::finish(batch, tail.next_seq);
        let written = tail.file.write_all(batch).and_then(|()| tail.file.sync_data());
        written.map_err(|error| self.undo(error))?;
        self.tail.length += batch.len() as u64;
        self.tail.next_seq = end;
        Ok(())
    }

    /// Leaves no half frame behind, if the disk still lets us; else the next start cuts it off.
    fn undo(&self, error: io::Error) -> LedgerError {
        let undone = self.tail.file.set_len(self.tail.length).and_then(|()| self.tail.file.sync_all());
        if let Err(error) = undone {
            tracing::warn!(%error, "the ledger's last entry may be torn");
        }
        LedgerError::io("write", &self.tail.path)(error)
    }
}

/// The callbacks whose entries are done: all of them, if the ledger failed.
fn take_due(queue: &mut Queue, end: u64) -> Vec<(u64, Callback)> {
    let all = queue.failed.is_some();
    let (due, rest) = queue.callbacks.drain(..).partition(|(seq, _)| all || *seq < end);
    queue.callbacks = rest;
    due
}

impl Drop for Writer {
    /// However the thread ends, nobody waits for it in vain.
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.failed.get_or_insert(LedgerError::Closed);
        queue.over = true;
        let end = queue.durable;
        let failed = queue.failed.clone();
        let due = take_due(&mut queue, end);
        drop(queue);
        self.shared.done.notify_all();
        self.shared.seal.notify_all();
        for (_, callback) in due {
            callback(failed.clone().map_or(Ok(()), Err));
        }
    }
}
