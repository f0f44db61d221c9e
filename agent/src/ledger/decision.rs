//! A decision as it stands in the ledger; the same shape as the value of `data.authz.decision`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What becomes of an operation, from the mildest to the strictest.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It happens.
    Allow,
    /// It happens to something else, named by the rewrite.
    Compute,
    /// Somebody is asked.
    Escalate,
    /// It does not happen.
    Deny,
}

impl Effect {
    /// The policy's name of the effect.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Compute => "compute",
            Self::Escalate => "escalate",
            Self::Deny => "deny",
        }
    }
}

/// A rule that led to the decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRef {
    /// The rule's name.
    pub id: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// What to do instead.
    #[serde(default)]
    pub advice: String,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// What becomes of the operation.
    pub effect: Effect,
    /// The rules of that effect that matched.
    pub rules: Vec<RuleRef>,
    /// Under which conditions it holds.
    #[serde(default)]
    pub constraints: Map<String, Value>,
    /// What is done instead, for `compute`.
    #[serde(default)]
    pub rewrite: Option<Value>,
}
