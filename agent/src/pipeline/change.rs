//! What waits for a human when its session gets another policy or mode.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Pipeline, VerdictSink};
use crate::hold::{Pending, Waiter};
use crate::ledger::entry::DecidedBy;

/// What a gate is told whose question the old policy asked; it can ask the new one.
const REPLACED: &str = "the policy was replaced while it waited; ask again";

/// Why what waited is let go.
const OBSERVED: &str = "the session was switched to observe mode";

/// What became of what waited for a human.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Operations that the new policy has decided again: allowed, denied, or waiting as before.
    pub again: usize,
    /// Tool calls and questions of gates that were denied.
    pub denied: usize,
}

impl Pipeline {
    /// Ids of the operations that [`Pipeline::decide_again`] decides again.
    pub fn held(&self, index: u32) -> Vec<Uuid> {
        let held = |pending: &&Pending| {
            pending.event.session == index && matches!(pending.waiter, Waiter::Thread(_))
        };
        self.holds.iter().filter(held).map(|pending| pending.id).collect()
    }

    /// The session has another policy. It decides about the operations that wait, which keep their deadline; tool
    /// calls and questions are denied, since their gates can ask again.
    pub fn decide_again<B: VerdictSink + ?Sized>(
        &mut self,
        index: u32,
        by: &str,
        back_end: &mut B,
    ) -> Settled {
        let mut settled = Settled::default();
        let mut threads = Vec::new();
        for pending in self.take_waiting(index) {
            let Waiter::Thread(ticket) = pending.waiter else {
                self.settle(pending, None, DecidedBy::Failsafe, by, REPLACED, back_end);
                settled.denied += 1;
                continue;
            };
            let Pending { event, since, deadline, .. } = pending;
            let tid = event.task.tid;
            self.ask(event, Some(ticket), back_end);
            // The enforcement point counts from the first question.
            let waits = self.holds.resume(tid, since, deadline);
            if let Some(session) = self.sessions.get_mut(index) {
                session.stats.operations -= 1;
                session.stats.held -= u64::from(waits);
            }
            threads.push(tid);
        }
        self.deliver(back_end);
        settled.again = threads.len();
        for tid in threads.into_iter().filter(|tid| !self.holds.waits(*tid)) {
            back_end.release(tid);
        }
        settled.denied += self.end_questions(index, by, REPLACED);
        settled
    }

    /// The session only observes from now on: nothing waits there.
    pub fn let_go<B: VerdictSink + ?Sized>(&mut self, index: u32, by: &str, back_end: &mut B) {
        for pending in self.take_waiting(index) {
            self.settle(pending, None, DecidedBy::Failsafe, by, OBSERVED, back_end);
        }
        self.end_questions(index, by, OBSERVED);
    }

    fn take_waiting(&mut self, index: u32) -> Vec<Pending> {
        std::iter::from_fn(|| self.holds.take_of_session(index)).collect()
    }
}
