//! A case is decided again and held against its entry.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use serde_json::Value;

use super::case::{Case, looked_at};
use super::policies::Pair;
use super::report::{Class, Report, What};
use crate::event::ActionName;
use crate::ledger::{DecidedBy, Decision, Effect, Entry, Kind};
use crate::policy::engine::TOO_LONG;
use crate::policy::hash_of;
use crate::policy::{Drawn, Engine, Evaluation, PolicyError};

/// What evaluating came to. None: time or chance would have been needed that nobody gives.
#[derive(Clone)]
struct Outcome {
    own: Option<Arc<Evaluation>>,
    other: Option<Option<Arc<Evaluation>>>,
}

/// One thread's engines, and what they came to before.
#[derive(Default)]
pub(super) struct Judge {
    engines: HashMap<usize, (Engine, Option<Engine>)>,
    known: HashMap<(usize, Arc<str>), Outcome>,
    report: Report,
}

impl Judge {
    pub(super) fn into_report(self) -> Report {
        self.report
    }

    pub(super) fn judge(&mut self, mut case: Case) -> Result<(), PolicyError> {
        if let Some(moved) = moved(&case) {
            case.looked_at = moved;
        }
        let outcome = self.outcome(&case.policies, &case.looked_at, &case.entry)?;
        let report = &mut self.report;
        let Some(own) = &outcome.own else {
            report.class(Class::Chance, &case.entry);
            return Ok(());
        };
        let entry = &case.entry;
        match compare(&case, own) {
            Ok(None) => report.same.add(entry),
            Ok(Some(class)) => report.class(class, entry),
            Err(what) => report.differs(what, entry, &own.decision),
        }
        match &outcome.other {
            None => {}
            Some(None) => report.undecided(entry),
            Some(Some(other)) if other.output_hash == own.output_hash => report.unchanged(entry),
            Some(Some(other)) => report.changes(&own.decision, &other.decision, entry),
        }
        Ok(())
    }

    fn outcome(
        &mut self,
        policies: &Pair,
        looked_at: &Arc<str>,
        entry: &Entry,
    ) -> Result<Outcome, PolicyError> {
        let key = (policies.number, looked_at.clone());
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let input: Value = serde_json::from_str(looked_at).unwrap_or_default();
        let (own, other) = match self.engines.entry(policies.number) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(slot) => slot.insert(policies.engines()?),
        };
        let given = entry.nd_builtin_cache.clone().unwrap_or_default();
        let mut alone = true;
        let mut decide = |engine: &mut Engine, given: &Drawn| {
            self.report.evaluations += 1;
            let evaluation = engine.decide_again(&input, given);
            alone &= evaluation.as_ref().is_some_and(|evaluation| evaluation.drawn.is_empty());
            evaluation.map(Arc::new)
        };
        let own = decide(own, &given);
        // To a policy that did not decide then, it is the time of the record.
        let other = other.as_mut().map(|other| decide(other, &given.or_at(entry.time.0)));
        let outcome = Outcome { own, other };
        if alone {
            self.known.insert(key, outcome.clone());
        }
        Ok(outcome)
    }
}

/// What the policies look at of a remembered operation: its own resource, and the rest as it was evaluated.
fn moved(case: &Case) -> Option<Arc<str>> {
    let resource = case.entry.resource.as_ref().filter(|_| case.remembered)?;
    let mut input: Value = serde_json::from_str(&case.looked_at).ok()?;
    let old = input.get_mut("resource")?.as_object_mut()?;
    old.insert("id".into(), resource.id.clone().into());
    old.insert("properties".into(), resource.properties.clone().into());
    Some(looked_at(&case.policies.reads, &input).into())
}

/// Whether an entry says what the policy says; a class: as far as the policy goes.
fn compare(case: &Case, own: &Evaluation) -> Result<Option<Class>, What> {
    let entry = &case.entry;
    if let Some(input) = &case.input {
        // A redacted one hashes to something else.
        if entry.erased.is_empty() && entry.input_hash.as_deref() != Some(&hash_of(input)) {
            return Err(What::Input);
        }
        if !same_operation(entry, input) {
            return Err(What::Operation);
        }
    }
    // What is counted only has no hash.
    if entry.kind != Kind::Remembered && entry.output_hash.as_deref() != Some(&own.output_hash) {
        let late = entry.causes.iter().any(|cause| cause.starts_with(TOO_LONG));
        return if late { Ok(Some(Class::TimeLimit)) } else { Err(What::Output) };
    }
    let recorded = entry.decision.as_ref().ok_or(What::Decision)?;
    if *recorded == own.decision {
        return Ok(None);
    }
    if entry.decided_by == Some(DecidedBy::Human) && answered(recorded, &own.decision) {
        return Ok(Some(Class::Human));
    }
    if recorded.effect == Effect::Deny && !entry.causes.is_empty() {
        let limited = own.decision.effect == Effect::Allow
            && own.decision.limits().is_ok_and(|limits| limits.max_uses.is_some() || !limits.rate.is_empty());
        return Ok(Some(if limited { Class::Limit } else { Class::Failsafe }));
    }
    Err(What::Decision)
}

/// The question that the policy asked, with a human's answer in the place of the effect.
fn answered(recorded: &Decision, asked: &Decision) -> bool {
    asked.effect == Effect::Escalate && *recorded == Decision { effect: recorded.effect, ..asked.clone() }
}

fn same_operation(entry: &Entry, input: &Value) -> bool {
    let text = |pointer| input.pointer(pointer).and_then(Value::as_str);
    text("/action/name") == entry.action.as_ref().map(ActionName::as_str)
        && text("/resource/id") == entry.resource.as_ref().map(|resource| resource.id.as_str())
}
