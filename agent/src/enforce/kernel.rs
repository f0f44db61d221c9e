//! The kernel back end as the pipeline sees it: the eBPF programs and the tracer that parks.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::abi::raw::*;
use crate::clock::monotonic_ns;
use crate::enforce::bpf_lsm::BpfLsm;
use crate::enforce::park::Tracer;
use crate::enforce::wire;
use crate::event::Event;
use crate::pipeline::{EventSource, Remembered, VerdictSink};

/// An answer that no thread has taken after this long will never be taken.
const ANSWER_KEPT: Duration = Duration::from_secs(10);

/// Programs and tracer.
pub struct Kernel {
    /// The programs and their maps.
    pub lsm: BpfLsm,
    tracer: Tracer,
    given: VecDeque<(Instant, u64)>,
    unrecorded: [u64; UNRECORDED.len()],
}

/// Causes that leave no event, and so reach the record as counts.
const UNRECORDED: [u32; 2] = [AUTHZ_CAUSE_RING, AUTHZ_CAUSE_INHERIT];

impl Kernel {
    /// Around loaded programs and a running tracer.
    pub fn new(lsm: BpfLsm, tracer: Tracer) -> Self {
        Self { lsm, tracer, given: VecDeque::new(), unrecorded: [0; UNRECORDED.len()] }
    }

    /// Removes answers that nobody took: their threads were killed.
    pub fn sweep(&mut self) {
        while self.given.front().is_some_and(|(at, _)| at.elapsed() > ANSWER_KEPT) {
            if let Some((_, ticket)) = self.given.pop_front() {
                self.lsm.forget_answer(ticket);
            }
        }
    }

    /// What happened without an event since the last call: causes in words, with counts.
    pub fn unrecorded(&mut self) -> Vec<(&'static str, u64)> {
        let Ok(counters) = self.lsm.counters() else { return Vec::new() };
        let mut new = Vec::new();
        for (seen, cause) in self.unrecorded.iter_mut().zip(UNRECORDED) {
            let total = counters[cause as usize];
            if total > *seen {
                new.push((wire::CAUSES[cause as usize], total - *seen));
                *seen = total;
            }
        }
        new
    }
}

impl EventSource for Kernel {
    fn next(&mut self) -> Option<Result<Event, String>> {
        Some(match self.lsm.next_event()? {
            Ok(raw) => wire::event(&raw).map_err(|error| error.to_string()),
            Err(length) => Err(format!("the kernel sent a record of {length} bytes, which is malformed")),
        })
    }
}

impl VerdictSink for Kernel {
    fn answer(&mut self, ticket: u64, allow: bool, domain: u32, generation: u32) -> Result<(), String> {
        let effect = if allow { AUTHZ_EFFECT_ALLOW } else { AUTHZ_EFFECT_DENY };
        self.given.push_back((Instant::now(), ticket));
        self.lsm
            .answer(ticket, authz_answer { effect, domain, generation, pad: 0 })
            .map_err(|error| error.to_string())
    }

    fn remember(&mut self, verdict: Remembered<'_>) -> Result<(), String> {
        let (bits, key) = wire::verdict_key(verdict.domain, verdict.key);
        let expires_ns = verdict.ttl.map_or(0, |ttl| monotonic_ns() + ttl.as_nanos() as u64);
        let effect = if verdict.allow { AUTHZ_EFFECT_ALLOW } else { AUTHZ_EFFECT_DENY };
        let value = authz_verdict { effect, pad: 0, evaluation: verdict.evaluation, expires_ns, hits: 0 };
        // The thread that waits will hit it once: that use is recorded already.
        self.lsm.remember(bits, key, value, u64::from(verdict.awaited)).map_err(|error| error.to_string())
    }

    fn park(&mut self, tid: i32) {
        self.tracer.park(tid);
    }

    fn release(&mut self, tid: i32) {
        self.tracer.release(tid);
    }
}
