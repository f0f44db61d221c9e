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
    let mut cases = Cases::new(Policies::new(options));
    thread::scope(|scope| {
        let (mut lots, mut judges) = (Vec::new(), Vec::new());
        for _ in 0..threads {
            let (lot, waiting) = sync_channel::<Vec<Case>>(LOTS);
            lots.push((lot, Vec::with_capacity(LOT)));
            judges.push(scope.spawn(|| judge_all(waiting)));
        }
        let mut read = 0_u64;
        while let Some(record) = reader.next() {
            let entry = record?.entry;
            read += 1;
            let (time, wanted) = (entry.time, options.wants(&entry));
            if read.is_multiple_of(LOT as u64) {
                progress(read, time);
            }
            let Some(case) = cases.next(entry, reader, wanted)? else { continue };
            // What looks alike goes to the same thread, which evaluates it once.
            let (to, lot) = &mut lots[case.number % threads];
            lot.push(case);
            if lot.len() == LOT {
                let lot = std::mem::replace(lot, Vec::with_capacity(LOT));
                to.send(lot).map_err(|_| ReplayError::Thread)?;
            }
        }
        for (to, lot) in lots {
            to.send(lot).map_err(|_| ReplayError::Thread)?;
        }
        let mut report = cases.into_report();
        for judge in judges {
            report.add(judge.join().map_err(|_| ReplayError::Thread)??);
        }
        Ok(report.finish(!options.policy.is_empty()))
    })
}

fn judge_all(lots: Receiver<Vec<Case>>) -> Result<Report, PolicyError> {
    let mut judge = Judge::default();
    for lot in lots {
        lot.into_iter().try_for_each(|case| judge.judge(case))?;
    }
    Ok(judge.into_report())
}

#[cfg(test)]
mod tests;
