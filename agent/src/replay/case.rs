//! From an entry to what has to be decided again.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use super::ReplayError;
use super::policies::{Pair, Policies};
use super::report::{Class, Report};
use crate::ledger::{DecidedBy, Entry, Kind, Readers};
use crate::policy::Reads;

/// An entry that can be decided again.
pub(super) struct Case {
    pub entry: Entry,
    pub policies: Arc<Pair>,
    /// What the policies look at of the input, as JSON.
    pub looked_at: Arc<str>,
    /// The same for all that the same was looked at of.
    pub number: usize,
    /// The whole input, if it was evaluated for this entry.
    pub input: Option<Value>,
    /// It followed the decision about an earlier input, of which only the resource may differ.
    pub remembered: bool,
}

/// An input that later entries may refer to.
#[derive(Clone)]
struct Origin {
    policies: Arc<Pair>,
    looked_at: Arc<str>,
    number: usize,
}

/// What was read so far.
pub(super) struct Cases {
    policies: Policies,
    origins: HashMap<Uuid, Result<Origin, Class>>,
    /// Many inputs look alike to a policy: the number of each.
    texts: HashMap<Arc<str>, usize>,
    report: Report,
}

impl Cases {
    pub(super) fn new(policies: Policies) -> Self {
        Self { policies, origins: HashMap::new(), texts: HashMap::new(), report: Report::default() }
    }

    /// What was counted here.
    pub(super) fn into_report(self) -> Report {
        self.report
    }

    /// The case of the next entry, which `reader` has just read. An entry that is not wanted is only kept in mind.
    pub(super) fn next(
        &mut self,
        mut entry: Entry,
        reader: &Readers,
        wanted: bool,
    ) -> Result<Option<Case>, ReplayError> {
        let mut input = None;
        let remembered = match entry.kind {
            Kind::Decision if evaluated(&entry) => match self.evaluated(&mut entry, reader)? {
                Ok((origin, whole)) => {
                    input = Some(whole);
                    self.origins.insert(entry.id, Ok(origin.clone()));
                    Ok((origin, false))
                }
                Err(class) => {
                    self.origins.insert(entry.id, Err(class));
                    Err(class)
                }
            },
            Kind::Decision if table(&entry) => {
                let origin = entry.detail.as_ref().and_then(|detail| detail.get("evaluated_as")?.as_str());
                let origin = origin.and_then(|id| self.origins.get(&id.parse().ok()?));
                origin.cloned().unwrap_or(Err(Class::Origin)).map(|origin| (origin, true))
            }
            Kind::Decision => Err(Class::Failsafe),
            Kind::Remembered => {
                let origin = self.origins.get(&entry.id).cloned().unwrap_or(Err(Class::Origin));
                origin.map(|origin| (origin, true))
            }
            Kind::Answer => Err(Class::Human),
            Kind::Gap => Err(Class::Gap),
            Kind::SessionStart
            | Kind::CallClosed
            | Kind::Elicited
            | Kind::PolicyChanged
            | Kind::ModeChanged
            | Kind::SessionEnd
            | Kind::Finding => return Ok(None),
        };
        if !wanted {
            return Ok(None);
        }
        match remembered {
            Ok((origin, remembered)) => {
                let Origin { policies, looked_at, number } = origin;
                Ok(Some(Case { entry, policies, looked_at, number, input, remembered }))
            }
            Err(class) => {
                self.report.class(class, &entry);
                Ok(None)
            }
        }
    }

    /// The input that was evaluated for this entry, and the whole of it.
    fn evaluated(
        &mut self,
        entry: &mut Entry,
        reader: &Readers,
    ) -> Result<Result<(Origin, Value), Class>, ReplayError> {
        let digest = entry.policy.as_deref().unwrap_or_default();
        let Some(policies) = self.policies.get(digest, |why| self.report.missing(why))? else {
            return Ok(Err(Class::Policy));
        };
        let input = match (entry.input.take(), &entry.input_at) {
            (Some(input), _) => input,
            (None, Some(hash)) => match reader.payload(hash) {
                Ok(input) => input,
                Err(error) => {
                    self.report.missing(error.to_string());
                    return Ok(Err(Class::Input));
                }
            },
            (None, None) => return Ok(Err(Class::Input)),
        };
        if entry.erased.iter().any(|pointer| policies.reads.needs_pointer(pointer)) {
            return Ok(Err(Class::Redacted));
        }
        // What canonical JSON cannot carry is an error of the whole input, whatever the policy looks at.
        let raw = entry.input_hash.as_ref().is_some_and(|hash| hash.starts_with("raw:"));
        let looked_at = if raw { input.to_string() } else { looked_at(&policies.reads, &input) };
        let (looked_at, number) = self.intern(looked_at);
        Ok(Ok((Origin { policies, looked_at, number }, input)))
    }

    fn intern(&mut self, text: String) -> (Arc<str>, usize) {
        if let Some((known, number)) = self.texts.get_key_value(text.as_str()) {
            return (known.clone(), *number);
        }
        let (text, number): (Arc<str>, _) = (text.into(), self.texts.len());
        self.texts.insert(text.clone(), number);
        (text, number)
    }
}

/// What a policy looks at of an input, as JSON.
pub(super) fn looked_at(reads: &Reads, input: &Value) -> String {
    reads.project(input).to_string()
}

/// Whether the policy was evaluated for the entry itself.
fn evaluated(entry: &Entry) -> bool {
    matches!(entry.decided_by, Some(DecidedBy::Policy | DecidedBy::Human))
        || entry.input.is_some()
        || entry.input_at.is_some()
}

/// Whether a table of remembered verdicts decided.
fn table(entry: &Entry) -> bool {
    matches!(entry.decided_by, Some(DecidedBy::Kernel | DecidedBy::Supervisor))
}
