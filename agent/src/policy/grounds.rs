//! The grounds of a decision, for a human: which rules made it and where they stand, and how far the decision may be
//! remembered or what keeps it from that.

use std::collections::BTreeSet;
use std::time::Duration;

use regorus::unstable::{Expr, Rule, RuleHead};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ast::{self, PACKAGE, Program};
use super::decision::{Effect, RuleRef};
use super::engine::{Engine, Evaluation};
use super::error::Location;
use super::input::Input;
use super::reach::Reach;
use super::region::{self, Remember};
use crate::event::ActionName;

/// A decision and its grounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grounds {
    /// What was decided.
    pub effect: Effect,
    /// The rules of that effect that matched.
    pub rules: Vec<Ground>,
    /// Why the policy itself gave no decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Under which conditions it holds.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub constraints: Map<String, Value>,
    /// What happens instead, for `compute`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Value>,
    /// How far it may be remembered.
    pub memory: Memory,
}

/// A rule that made a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ground {
    /// The rule, as it is recorded.
    #[serde(flatten)]
    pub rule: RuleRef,
    /// Where a rule of that effect and id stands; several where they share the id, none where it is computed.
    pub at: BTreeSet<Location>,
}

/// How far a decision may be remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// For which resources; none: for none, not even this one.
    pub reach: Option<Reach>,
    /// For how long at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Why it is not remembered, or not beyond this resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Which places in the policy stop it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stopped_by: Vec<Stop>,
}

/// A place in a policy that keeps decisions from being remembered further.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stop {
    /// Where.
    pub at: Location,
    /// What stands there.
    pub what: String,
    /// What to write instead; empty: nothing does the same.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instead: String,
}

impl Grounds {
    /// Of what an engine has just decided about an input.
    pub fn of(engine: &Engine, input: &Input, evaluation: &Evaluation) -> Self {
        let decision = evaluation.decision.clone();
        let ground = |rule: RuleRef| Ground { at: engine.places(decision.effect, &rule), rule };
        Self {
            effect: decision.effect,
            rules: decision.rules.into_iter().map(ground).collect(),
            cause: evaluation.cause.clone(),
            constraints: decision.constraints,
            rewrite: decision.rewrite,
            memory: Memory::of(engine, input, evaluation),
        }
    }
}

impl Memory {
    /// The enforcement point remembers nothing of it, whatever the policy allows.
    pub fn none(why: &str) -> Self {
        Self { reach: None, ttl_ms: None, why: Some(why.to_owned()), stopped_by: Vec::new() }
    }

    fn of(engine: &Engine, input: &Input, evaluation: &Evaluation) -> Self {
        match region::remember(engine, input, evaluation) {
            Remember::Never { why } => Self {
                stopped_by: never(engine, input, evaluation).into_iter().collect(),
                ..Self::none(&why)
            },
            Remember::Within { region, ttl } => {
                let reach = Reach::of(&input.resource.id, region, engine.names());
                let stopped_by = if reach.exact { exact(engine, input) } else { BTreeSet::new() };
                let why = (reach.exact && stopped_by.is_empty()).then(|| {
                    "a test of the whole name, or of a name or glob found in it, settles this resource alone"
                        .to_owned()
                });
                Self {
                    reach: Some(reach),
                    ttl_ms: ttl.map(|ttl: Duration| ttl.as_millis() as u64),
                    why,
                    stopped_by: stopped_by.into_iter().collect(),
                }
            }
        }
    }
}

/// Why nothing is remembered, place by place.
fn never(engine: &Engine, input: &Input, evaluation: &Evaluation) -> BTreeSet<Stop> {
    let ActionName::Own(action) = input.action.name else { return BTreeSet::new() };
    let reads = engine.reads_about(action);
    let stop = |at: &Location, what: String| Stop { at: at.clone(), what, instead: String::new() };
    if !evaluation.drawn.is_empty() {
        return reads.time_or_chance().map(|at| stop(at, "reads time or chance".into())).collect();
    }
    let Some(field) = region::blocking(reads, input) else { return BTreeSet::new() };
    reads.places(&field).into_iter().map(|at| stop(at, format!("reads input.{field}"))).collect()
}

/// Why a decision is remembered for one resource only, place by place.
fn exact(engine: &Engine, input: &Input) -> BTreeSet<Stop> {
    let ActionName::Own(action) = input.action.name else { return BTreeSet::new() };
    let stop = |obstacle: &super::flow::Obstacle| Stop {
        at: obstacle.at.clone(),
        what: format!("uses the resource's name in {}", obstacle.used_in),
        instead: obstacle.instead.to_owned(),
    };
    engine.obstacles(action).map(stop).collect()
}

/// Where rules of an effect and id stand. Of several, those that say the same; and where an id stands in no member of
/// the set itself, the rule whose value has it.
pub(super) fn places(program: &Program, effect: Effect, rule: &RuleRef) -> BTreeSet<Location> {
    let says = |object: &Expr| {
        let text = |name, said: &str| ast::field(object, name).is_none_or(|text| text == said);
        ast::field(object, "id").as_ref() == Some(&rule.id)
            && text("reason", &rule.reason)
            && text("advice", &rule.advice)
    };
    let rules = || program.rules().filter(|((package, _), _)| package == PACKAGE);
    let members =
        rules().filter(|((_, name), other)| name == effect.as_str() && ast::member(other).is_some_and(says));
    let members: BTreeSet<_> = members.map(|(_, rule)| ast::location(rule.span())).collect();
    if !members.is_empty() {
        return members;
    }
    rules()
        .filter(|(_, rule)| value(rule).is_some_and(says))
        .map(|(_, rule)| ast::location(rule.span()))
        .collect()
}

/// The value that a rule such as `protected_rule := {...}` has.
fn value(rule: &Rule) -> Option<&Expr> {
    let Rule::Spec { head: RuleHead::Compr { assign: Some(assign), .. }, .. } = rule else { return None };
    Some(&assign.value)
}
