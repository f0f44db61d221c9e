//! What the engine says as a decision with its hash. Most evaluations come to one of a few decisions.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::decision::Decision;
use super::hash::hash_of;

/// So many are kept.
const KEPT: usize = 256;

/// Decisions with their hashes, by what the engine said.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcomes(BTreeMap<regorus::Value, (Decision, String)>);

impl Outcomes {
    /// The decision and its hash. The error says why it is none.
    pub(super) fn of(&mut self, value: regorus::Value) -> Result<(Decision, String), String> {
        if let Some(known) = self.0.get(&value) {
            return Ok(known.clone());
        }
        let json = serde_json::to_value(&value).map_err(|error| format!("is not JSON: {error}"))?;
        let decision = Decision::deserialize(json).map_err(|error| format!("is malformed: {error}"))?;
        let hash = hash_of(&serde_json::to_value(&decision).unwrap_or_default());
        // Of numbers that are equal to the engine one may be written otherwise; texts are what they are.
        if decision.constraints.is_empty() && decision.rewrite.is_none() {
            if self.0.len() >= KEPT {
                self.0.clear();
            }
            self.0.insert(value, (decision.clone(), hash.clone()));
        }
        Ok((decision, hash))
    }
}
