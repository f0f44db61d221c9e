//! What a policy decides, and the limits it puts on it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What becomes of an operation, from the mildest to the strictest.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
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
    /// Every effect, from the mildest to the strictest.
    pub const ALL: [Self; 4] = [Self::Allow, Self::Compute, Self::Escalate, Self::Deny];

    /// The policy's name of the effect.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Compute => "compute",
            Self::Escalate => "escalate",
            Self::Deny => "deny",
        }
    }

    /// The effect of a policy name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|effect| effect.as_str() == name)
    }
}

impl std::fmt::Display for Effect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A rule that led to the decision. Reason and advice are for the agent's eyes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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

/// The value of `data.authz.decision`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// What becomes of the operation.
    pub effect: Effect,
    /// The rules of that effect that matched.
    pub rules: Vec<RuleRef>,
    /// Under which conditions it holds; see [`Decision::limits`].
    #[serde(default)]
    pub constraints: Map<String, Value>,
    /// What to do instead, for `compute`.
    #[serde(default)]
    pub rewrite: Option<Value>,
}

/// The constraints every enforcement point of this version understands, the strictest of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// How long the answer may be remembered.
    pub ttl: Option<Duration>,
    /// How often it may be used.
    pub max_uses: Option<u64>,
    /// How often in a time; each holds.
    pub rate: Vec<Rate>,
}

/// At most `count` uses in any `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u64,
    /// In how long.
    pub per: Duration,
}

/// A constraint that is not understood. Who meets one denies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// No constraint of that name is known.
    #[error("constraint {0:?} is not known; use ttl, max_uses or rate")]
    Unknown(String),
    /// The value does not fit the constraint.
    #[error("constraint {name:?} has the value {value}; write {expected}")]
    Malformed {
        /// The constraint.
        name: String,
        /// Its value.
        value: String,
        /// An example.
        expected: &'static str,
    },
}

impl Decision {
    /// A decision that no rule made, for a reason the policy did not give.
    pub fn deny(id: &str, reason: &str) -> Self {
        let rule = RuleRef { id: id.to_owned(), reason: reason.to_owned(), advice: String::new() };
        Self { effect: Effect::Deny, rules: vec![rule], constraints: Map::new(), rewrite: None }
    }

    /// The constraints, understood. An array is the values of several rules: the strictest holds.
    pub fn limits(&self) -> Result<Limits, ConstraintError> {
        let mut limits = Limits::default();
        for (name, value) in &self.constraints {
            let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            for value in values {
                limits.add(name, value)?;
            }
        }
        Ok(limits)
    }
}

impl Limits {
    /// Whether each use has to be counted.
    pub fn count_uses(&self) -> bool {
        self.max_uses.is_some() || !self.rate.is_empty()
    }

    fn add(&mut self, name: &str, value: &Value) -> Result<(), ConstraintError> {
        let malformed = |expected| ConstraintError::Malformed {
            name: name.to_owned(),
            value: value.to_string(),
            expected,
        };
        match name {
            "ttl" => {
                let ttl = value.as_str().and_then(duration).ok_or_else(|| malformed("\"90s\" or \"1h\""))?;
                self.ttl = Some(self.ttl.map_or(ttl, |known| known.min(ttl)));
            }
            "max_uses" => {
                let uses = value.as_u64().ok_or_else(|| malformed("a whole number such as 3"))?;
                self.max_uses = Some(self.max_uses.map_or(uses, |known| known.min(uses)));
            }
            "rate" => {
                let rate = value.as_str().and_then(rate).ok_or_else(|| malformed("\"10/1m\""))?;
                self.rate.push(rate);
            }
            _ => return Err(ConstraintError::Unknown(name.to_owned())),
        }
        Ok(())
    }
}

/// `90s`, `1h30m`, `250ms`: numbers with the units ms, s, m, h, d.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let millis = match &rest[..unit] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(number.checked_mul(millis)?))?;
        rest = &rest[unit..];
    }
    Some(total)
}

/// `10/1m` or `10/m`: how many in how long.
fn rate(text: &str) -> Option<Rate> {
    let (count, per) = text.split_once('/')?;
    let per = per.trim();
    let per = if per.starts_with(|c: char| c.is_ascii_digit()) {
        duration(per)
    } else {
        duration(&format!("1{per}"))
    }?;
    let count = count.trim().parse().ok()?;
    (per > Duration::ZERO).then_some(Rate { count, per })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn limits(constraints: Value) -> Result<Limits, ConstraintError> {
        let Value::Object(constraints) = constraints else { panic!("an object") };
        Decision { constraints, ..Decision::deny("x", "") }.limits()
    }

    #[test]
    fn constraints_are_typed() {
        let known = limits(json!({"ttl": "1h30m", "max_uses": 3, "rate": "10/m"})).unwrap();
        assert_eq!(known.ttl, Some(Duration::from_secs(5400)));
        assert_eq!(known.max_uses, Some(3));
        assert_eq!(known.rate, [Rate { count: 10, per: Duration::from_secs(60) }]);
    }

    #[test]
    fn of_several_values_the_strictest_holds() {
        let known = limits(json!({"ttl": ["1h", "10m"], "max_uses": [5, 2]})).unwrap();
        assert_eq!((known.ttl, known.max_uses), (Some(Duration::from_secs(600)), Some(2)));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        assert_eq!(limits(json!({"tll": "1h"})), Err(ConstraintError::Unknown("tll".into())));
        for bad in [
            json!({"ttl": 5}),
            json!({"ttl": "5"}),
            json!({"ttl": ""}),
            json!({"ttl": "1y"}),
            json!({"max_uses": -1}),
            json!({"rate": "10"}),
            json!({"rate": "10/0s"}),
            json!({"ttl": "99999999999999999999d"}),
        ] {
            assert!(matches!(limits(bad.clone()), Err(ConstraintError::Malformed { .. })), "{bad}");
        }
    }

    #[test]
    fn effects_order_by_strictness() {
        assert!(Effect::Deny > Effect::Escalate && Effect::Escalate > Effect::Compute);
        assert!(Effect::Compute > Effect::Allow);
        assert_eq!(Effect::from_name("alow"), None);
    }
}
