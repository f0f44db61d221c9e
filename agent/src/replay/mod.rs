//! Deciding again what was decided: each recorded input under the policy it was decided by, which must come to the same
//! hash; and, if asked for, under another one, to see what that would change.
//!
//! One thread reads ([`case`]), the others judge ([`judge`]). Entries that agree in all that the policies look at are
//! evaluated once. Each entry ends in one place of the [`report`]: the same, different, or a class of what cannot be
//! compared.

mod case;
mod judge;
mod policies;
pub mod report;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use uuid::Uuid;

use crate::ledger::{Entry, LedgerError, Readers, Time};
use crate::policy::{PolicyError, PolicySource};

use case::{Case, Cases};
use judge::Judge;
use policies::Policies;
pub use report::{ByOther, Change, Class, Difference, Report, What};

/// How many cases are handed over at once, and how many such lots may wait.
const LOT: usize = 256;
const LOTS: usize = 16;

/// What to replay.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only this session.
    pub session: Option<Uuid>,
    /// Only from this time on.
    pub since: Option<Time>,
    /// What to decide by besides; nothing: by the recorded policies only.
    pub policy: Vec<PolicySource>,
    /// Where the recorded policies are kept; the first that has one serves.
    pub bundles: Vec<PathBuf>,
    /// Threads that evaluate; 0: one for each processor.
    pub threads: usize,
}

/// Why nothing can be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The other policy cannot be loaded.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A thread ended before its work.
    #[error("a thread of the replay failed; report this as an error of authz")]
    Thread,
}

impl Options {
    fn wants(&self, entry: &Entry) -> bool {
        self.session.is_none_or(|session| entry.session == Some(session))
            && self.since.is_none_or(|since| entry.time >= since)
    }
}

/// Replays what the reader has left. `progress` is told now and then how many entries were read, and of when the last
/// one is.
pub fn run(
    reader: &mut Readers,
    options: &Options,
    mut progress: impl FnMut(u64, Time),
) -> Result<Report, ReplayError> {
    let threads = match options.threads {
        0 => thread::available_parallelism().map_or(2, usize::from),
        threads => threads,
    };
    let (lots, waiting) = sync_channel::<Vec<Case>>(LOTS);
    let waiting = Mutex::new(waiting);
    let mut cases = Cases::new(Policies::new(options));
    thread::scope(|scope| {
        let judges: Vec<_> = (0..threads).map(|_| scope.spawn(|| judge_all(&waiting))).collect();
        let mut lot = Vec::with_capacity(LOT);
        let mut read = 0;
        while let Some(record) = reader.next() {
            let entry = record?.entry;
            read += 1;
            let (time, wanted) = (entry.time, options.wants(&entry));
            lot.extend(cases.next(entry, reader, wanted)?);
            if lot.len() == LOT {
                lots.send(std::mem::replace(&mut lot, Vec::with_capacity(LOT)))
                    .map_err(|_| ReplayError::Thread)?;
                progress(read, time);
            }
        }
        lots.send(lot).map_err(|_| ReplayError::Thread)?;
        drop(lots);
        let mut report = cases.into_report();
        for judge in judges {
            report.add(judge.join().map_err(|_| ReplayError::Thread)??);
        }
        Ok(report.finish(!options.policy.is_empty()))
    })
}

fn judge_all(lots: &Mutex<Receiver<Vec<Case>>>) -> Result<Report, PolicyError> {
    let mut judge = Judge::default();
    loop {
        let lot = lots.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match lot {
            Ok(lot) => lot.into_iter().try_for_each(|case| judge.judge(case))?,
            Err(_) => return Ok(judge.into_report()),
        }
    }
}

#[cfg(test)]
mod tests;
