//! What is allowed already: the base of each recorded policy, what it is with everything allowed that it does not
//! forbid, and with what was learned.

use std::collections::HashMap;

use serde_json::Value;

use super::seen::Operation;
use super::{Beyond, LearnError, Options};
use crate::policy::{Bundle, Effect, Engine, Generated, PolicyError, PolicySource, RuleRef, kept};

/// Whose denials are reasons to ask a person, whatever the base says.
const CAUTION: &str = "coding-agent";

/// Allows whatever nothing forbids.
const PROBE: &str = "package authz\n\nallow contains {\"id\": \"learn-probe\"} if true\n";

/// What a base says of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judged {
    /// It allows it.
    Covered,
    /// It denies it since no rule allows it: one more rule would.
    Open,
    /// A rule denies or holds it, which no rule that allows changes.
    Refused {
        /// `deny` or `escalate`.
        effect: Effect,
        /// Which rules.
        rules: Vec<RuleRef>,
    },
}

/// The bases, each loaded once.
pub(super) struct Bases<'a> {
    options: &'a Options,
    /// By the digest of the recorded policy.
    known: HashMap<String, Base>,
    caution: Option<Engine>,
}

struct Base {
    bundle: Bundle,
    own: Engine,
    open: Engine,
    learned: Option<Engine>,
}

impl<'a> Bases<'a> {
    pub(super) fn new(options: &'a Options) -> Self {
        Self { options, known: HashMap::new(), caution: None }
    }

    /// What the base of a recorded policy looks at of an input.
    pub(super) fn looked_at(&mut self, digest: &str, input: &Value) -> Result<Value, LearnError> {
        Ok(self.base(digest)?.own.reads().project(input))
    }

    /// What a base says.
    pub(super) fn judge(&mut self, operation: &Operation) -> Result<Judged, LearnError> {
        let base = self.base(&operation.policy)?;
        let effect = base.own.decide_value(&operation.input).decision.effect;
        if happens(effect) {
            return Ok(Judged::Covered);
        }
        let decision = base.open.decide_value(&operation.input).decision;
        if happens(decision.effect) {
            return Ok(Judged::Open);
        }
        Ok(Judged::Refused { effect: decision.effect, rules: decision.rules })
    }

    /// The rule for which a person should look at an operation before it is allowed.
    pub(super) fn caution(&mut self, operation: &Operation) -> Result<Option<RuleRef>, LearnError> {
        let engine = match &mut self.caution {
            Some(engine) => engine,
            slot => {
                let preset = PolicySource::Preset(CAUTION.into());
                let bundle = Bundle::load(&[preset], &Generated::default())?;
                slot.insert(Engine::load(&with(&bundle, PROBE)?)?)
            }
        };
        let decision = engine.decide_value(&operation.input).decision;
        Ok(decision.rules.into_iter().next().filter(|_| !happens(decision.effect)))
    }

    /// Puts what was learned beside each base.
    pub(super) fn learned(&mut self, text: &str) -> Result<(), LearnError> {
        for base in self.known.values_mut() {
            let both = with(&base.bundle, text).and_then(|bundle| Engine::load(&bundle));
            base.learned = Some(both.map_err(LearnError::Learned)?);
        }
        Ok(())
    }

    /// By which rules an operation is denied or held with what was learned; none: it is allowed.
    pub(super) fn judge_learned(&mut self, operation: &Operation) -> Result<Option<Vec<String>>, LearnError> {
        let base = self.base(&operation.policy)?;
        let engine = base.learned.as_mut().unwrap_or(&mut base.own);
        let decision = engine.decide_value(&operation.input).decision;
        let rules = decision.rules.into_iter().map(|rule| rule.id).collect();
        Ok((!happens(decision.effect)).then_some(rules))
    }

    fn base(&mut self, digest: &str) -> Result<&mut Base, LearnError> {
        if !self.known.contains_key(digest) {
            let base = self.load(digest)?;
            self.known.insert(digest.to_owned(), base);
        }
        self.known.get_mut(digest).ok_or_else(|| LearnError::Unkept(format!("policy {digest}")))
    }

    fn load(&self, digest: &str) -> Result<Base, LearnError> {
        let mut recorded = Err(LearnError::Unkept(format!("policy {digest} was not kept")));
        for folder in &self.options.bundles {
            match kept::read(folder, digest) {
                Ok(bundle) => {
                    recorded = Ok(bundle);
                    break;
                }
                Err(error) => recorded = Err(LearnError::Unkept(error.to_string())),
            }
        }
        // Where the agent worked, and what was authz's own, stays as it was.
        let generated = || recorded.as_ref().map(Generated::of).unwrap_or_default();
        let bundle = match &self.options.beyond {
            Beyond::Own => recorded?,
            Beyond::Nothing => Bundle::load(&[], &generated())?,
            Beyond::Named(sources) => Bundle::load(sources, &generated())?,
        };
        let (own, open) = (Engine::load(&bundle)?, Engine::load(&with(&bundle, PROBE)?)?);
        Ok(Base { bundle, own, open, learned: None })
    }
}

fn happens(effect: Effect) -> bool {
    matches!(effect, Effect::Allow | Effect::Compute)
}

/// A bundle with one file more.
fn with(bundle: &Bundle, text: &str) -> Result<Bundle, PolicyError> {
    let mut files = bundle.files();
    let name = |number: u32| format!("policy/learned-{number}.rego");
    let free = (0..).map(name).find(|name| !files.contains_key(name));
    files.insert(free.unwrap_or_default(), text.to_owned());
    Bundle::from_files(files)
}
