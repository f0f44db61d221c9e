//! How far a decision may be remembered.
//!
//! A decision holds for every operation that agrees with this one in all that the policy looks at. The
//! key under which enforcement points remember is (domain, action, resource): the domain stands for everything
//! the policy looks at besides action and resource, and of the resource's name only those leading bits count
//! that settled the tests made on it ([`super::recorder`]).

use std::time::Duration;

use serde_json::Value;

use super::decision::Effect;
use super::engine::{Engine, Evaluation};
use super::input::Input;
use super::reads::{Field, Reads, dotted};
use super::recorder::Region;
use crate::event::{ActionName, Layer};

/// How far a decision may be remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remember {
    /// It holds for this operation only.
    Never {
        /// What it depends on that no key holds.
        why: String,
    },
    /// It holds for the same domain and action, and every resource of the region.
    Within {
        /// How much of the resource's name counts.
        region: Region,
        /// For how long; without one as long as the policy is loaded.
        ttl: Option<Duration>,
    },
}

/// What the policy looks at besides the action and the resource, canonical. Two operations with the same
/// key share a domain; the daemon numbers the keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DomainKey(Vec<u8>);

impl DomainKey {
    /// The canonical bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// How a field of the input relates to the key.
enum Part {
    /// It is the action or the resource of the key, or follows from them.
    Key,
    /// It is the same for all operations of a domain.
    Domain,
    /// It may differ from one operation to the next under the same key.
    Event,
}

/// What of the subject and the context may stand in a domain. Everything else under the two is either
/// different at every operation or in the agent's hand.
const DOMAIN: &[&str] = &[
    "subject.type",
    "subject.id",
    "subject.properties.uid",
    "subject.properties.user",
    "subject.properties.pid",
    "subject.properties.exe",
    "subject.properties.parents",
    "context.layer",
    "context.mode",
    "context.session",
    "context.tool",
];

fn part(field: &Field) -> Part {
    match field.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["action", "name"] | ["resource", "id" | "type"] => return Part::Key,
        // An address names these: tcp://[::1]:53.
        ["resource", "properties", "ip" | "port" | "protocol" | "family"] => return Part::Key,
        _ => {}
    }
    let within = |known: &&str| {
        let mut names = field.iter().map(String::as_str);
        known.split('.').all(|part| names.next() == Some(part))
    };
    if DOMAIN.iter().any(within) { Part::Domain } else { Part::Event }
}

/// The domain of an operation. What no domain can stand for is not in it: see [`remember`].
pub fn domain_key(reads: &Reads, input: &Input) -> Option<DomainKey> {
    let mut values = Vec::new();
    let fields: Vec<&Field> = reads.widest().filter(|field| matches!(part(field), Part::Domain)).collect();
    let input = if fields.is_empty() { Value::Null } else { input.to_value() };
    for field in fields {
        let value = field.iter().try_fold(&input, |value, name| value.get(name));
        // A missing value and null are different things to a policy.
        values.push((dotted(field), value.is_some(), value.cloned().unwrap_or_default()));
    }
    serde_json_canonicalizer::to_vec(&values).ok().map(DomainKey)
}

/// Facts that only some actions have. For every other action they are absent, whatever happens.
const FACTS: &[(&str, &[&str])] = &[
    ("role", &["file.rename", "file.link", "process.exec"]),
    ("target", &["file.rename", "file.link"]),
    ("sha256", &["process.exec"]),
    ("argv", &["process.exec"]),
    ("interpreter", &["process.exec"]),
    ("names", &["net.connect", "net.bind"]),
    ("arguments", &["tool.call"]),
    ("annotations", &["tool.call"]),
];

/// Whether operations of this action never have the field.
fn constant(field: &Field, input: &Input) -> bool {
    match field.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["context", "request", ..] => input.context.layer != Layer::Api,
        ["resource", "properties", fact, ..] => {
            let action = input.action.name.as_str();
            FACTS.iter().any(|(known, actions)| *known == fact && !actions.contains(&action))
        }
        _ => false,
    }
}

/// How far the decision about this input may be remembered.
pub fn remember(engine: &Engine, input: &Input, evaluation: &Evaluation) -> Remember {
    let never = |why: &str| Remember::Never { why: why.to_owned() };
    if let Some(cause) = &evaluation.cause {
        return never(&format!("the policy gave no decision: {cause}"));
    }
    if !evaluation.drawn.is_empty() {
        return never("the decision depends on time or chance");
    }
    if matches!(evaluation.decision.effect, Effect::Escalate | Effect::Compute) {
        return never("every operation is asked or rewritten for itself");
    }
    let ttl = match evaluation.decision.limits() {
        Ok(limits) if limits.max_uses.is_some() => return never("each use is counted (max_uses)"),
        Ok(limits) if !limits.rate.is_empty() => return never("each use is counted (rate)"),
        Ok(limits) => limits.ttl,
        Err(error) => return never(&error.to_string()),
    };
    if ttl == Some(Duration::ZERO) {
        return never("the ttl is zero");
    }
    let id = &input.resource.id;
    if id.starts_with("foreign:") || id.starts_with("unknown:") || id.contains('\0') {
        return never("the resource has no name that identifies it");
    }
    let ActionName::Own(action) = input.action.name else {
        return never("no enforcement point sees this action");
    };
    match blocking(engine.reads_about(action), input) {
        Some(field) => never(&format!("the policy reads input.{field}, which is not part of the key")),
        None => Remember::Within { region: evaluation.region, ttl },
    }
}

/// The fields that keep every decision, or those about operations that have them, from being remembered.
pub fn obstacles(reads: &Reads) -> Vec<String> {
    reads.widest().filter(|field| matches!(part(field), Part::Event)).map(|field| dotted(field)).collect()
}

/// The fields that a domain stands for: decisions are remembered for each combination of their values.
pub fn domain_fields(reads: &Reads) -> Vec<String> {
    reads.widest().filter(|field| matches!(part(field), Part::Domain)).map(|field| dotted(field)).collect()
}

/// The field that keeps decisions about inputs like this one from being remembered.
pub(super) fn blocking(reads: &Reads, input: &Input) -> Option<String> {
    reads
        .widest()
        .find(|field| matches!(part(field), Part::Event) && !constant(field, input))
        .map(|field| dotted(field))
}

#[cfg(test)]
mod tests;
