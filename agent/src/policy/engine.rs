//! Evaluation: an input becomes a decision, whatever happens on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use regorus::unstable::{Module, Ref};
use regorus::utils::limits::ExecutionTimerConfig;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::ast::Program;
use super::builtins::Drawn;
use super::bundle::{Bundle, PolicyFile};
use super::decision::{Decision, Effect, RuleRef};
use super::error::{Location, PolicyError, one_line, split_engine_message};
use super::floor::Floor;
use super::flow::{Flow, Obstacle};
use super::hash::{hash, hash_of};
use super::implied::Tools;
use super::input::Input;
use super::names::Names;
use super::outcome::Outcomes;
use super::reads::Reads;
use super::recorder::{self, Region};
use super::{builtins, grounds, lint, predicates, shortcut};
use crate::event::{ACTIONS, Action};

/// The rule that is the decision.
const ENTRY: &str = "data.authz.decision";

/// What holds without decisions.
const FLOOR: &str = "data.authz.floor";

/// What tools do.
const TOOLS: &str = "data.authz.tools";

/// How long one evaluation may take unless told otherwise.
const LIMIT: Duration = Duration::from_millis(500);

/// How the cause of a decision begins that took longer.
pub const TOO_LONG: &str = "the policy takes too long";

/// A policy, loaded. A clone shares what is not changed by evaluating and may go to another thread.
#[derive(Debug, Clone)]
pub struct Engine {
    engine: regorus::Engine,
    /// By action, of those that were asked about: a shorter policy, if there is one.
    shortcuts: BTreeMap<Action, Option<regorus::Engine>>,
    takes_shortcuts: bool,
    outcomes: Outcomes,
    policy: Arc<Policy>,
    limit: Duration,
}

struct Policy {
    digest: String,
    program: Program,
    modules: Vec<Ref<Module>>,
    data: Map<String, Value>,
    reads: Reads,
    /// By action, made when first asked for.
    aspects: [OnceLock<Aspect>; ACTIONS.len()],
    names: Arc<Names>,
    floor: Floor,
    actions: BTreeSet<String>,
    tools: Tools,
    /// As loaded, to start anew from after a panic.
    pristine: regorus::Engine,
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// What the policy has to do with one action.
struct Aspect {
    reads: Reads,
    flow: Flow,
    /// A shorter policy for it, if there is one, made when it is first decided about.
    shortcut: OnceLock<Option<regorus::Engine>>,
}

/// What one evaluation came to.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Evaluation {
    /// The decision; a deny where there is a cause.
    pub decision: Decision,
    /// Why the policy itself gave no decision.
    pub cause: Option<String>,
    /// SHA-256 of the canonical input in hexadecimal; with `raw:` before it, of the input as it is,
    /// where canonical JSON cannot carry it.
    pub input_hash: String,
    /// SHA-256 of the canonical decision in hexadecimal.
    pub output_hash: String,
    /// How long it took.
    #[serde(serialize_with = "microseconds", rename = "cost_us")]
    pub cost: Duration,
    /// What it looked at of time and chance.
    #[serde(rename = "nd_builtin_cache", skip_serializing_if = "Drawn::is_empty")]
    pub drawn: Drawn,
    /// How much of the resource's name settles the decision.
    #[serde(skip)]
    pub region: Region,
}

fn microseconds<S: serde::Serializer>(cost: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(cost.as_nanos() as f64 / 1000.0)
}

impl Engine {
    /// Compiles and checks a bundle.
    pub fn load(bundle: &Bundle) -> Result<Self, PolicyError> {
        let mut engine = compile(bundle, &[])?;
        let program = Program::new(engine.get_modules());
        let findings = lint::check(&program, engine.get_modules(), bundle);
        if !findings.is_empty() {
            return Err(PolicyError::Lint(findings));
        }
        // The rest of what can be wrong, such as a variable that nothing binds.
        engine
            .compile_with_entrypoint(&ENTRY.into())
            .map_err(|error| lint::unbound(&program, PolicyError::from_engine(&error)))?;
        let floor = Floor::parse(&fixed(engine.clone(), FLOOR)?)?;
        let tools = Tools::parse(&fixed(engine.clone(), TOOLS)?)?;
        let (digest, reads) = (bundle.digest(), Reads::of(&program));
        let actions = bundle.actions();
        let names = Arc::new(Names::new(Flow::of(&program, &bundle.data).groups));
        let (data, aspects) = (bundle.data.clone(), Default::default());
        let modules = engine.get_modules().clone();
        let pristine = engine.clone();
        let policy =
            Policy { digest, program, modules, data, reads, aspects, names, floor, tools, actions, pristine };
        let (shortcuts, outcomes) = Default::default();
        let policy = Arc::new(policy);
        Ok(Self { engine, shortcuts, takes_shortcuts: true, outcomes, policy, limit: LIMIT })
    }

    /// The same, but that the whole policy is evaluated each time: to check that nothing else comes of it.
    pub fn without_shortcuts(mut self) -> Self {
        self.takes_shortcuts = false;
        self
    }

    /// Whether there is a shorter policy for decisions about an action.
    pub fn has_shortcut(&mut self, action: Action) -> bool {
        self.shortcut(action).is_some()
    }

    /// With another bound on the time of one evaluation.
    pub fn with_time_limit(mut self, limit: Duration) -> Self {
        self.engine.set_execution_timer_config(timer(limit));
        self.shortcuts.clear();
        self.limit = limit;
        self
    }

    /// The digest of the bundle.
    pub fn digest(&self) -> &str {
        &self.policy.digest
    }

    /// What the policy looks at.
    pub fn reads(&self) -> &Reads {
        &self.policy.reads
    }

    /// What the policy looks at to decide about an action.
    pub fn reads_about(&self, action: Action) -> &Reads {
        &self.aspect(action).reads
    }

    /// What keeps verdicts about an action to the exact resource.
    pub fn obstacles(&self, action: Action) -> impl Iterator<Item = &Obstacle> {
        self.aspect(action).flow.obstacles.iter()
    }

    /// The same of all actions, each with those that it is about.
    pub fn all_obstacles(&self) -> BTreeMap<&Obstacle, Vec<Action>> {
        let mut all = BTreeMap::<_, Vec<Action>>::new();
        for (action, _) in ACTIONS {
            self.obstacles(*action).for_each(|obstacle| all.entry(obstacle).or_default().push(*action));
        }
        all
    }

    /// Where the rules stand that may have put this one into a decision of that effect.
    pub fn places(&self, effect: Effect, rule: &RuleRef) -> BTreeSet<Location> {
        grounds::places(&self.policy.program, effect, rule)
    }

    /// The names that the policy looks for anywhere in a path.
    pub fn names(&self) -> &Arc<Names> {
        &self.policy.names
    }

    fn aspect(&self, action: Action) -> &Aspect {
        let policy = &self.policy;
        policy.aspects[action as usize - 1].get_or_init(|| {
            let program = policy.program.about(action);
            Aspect {
                reads: Reads::of(&program),
                flow: Flow::of(&program, &policy.data),
                shortcut: OnceLock::new(),
            }
        })
    }

    fn shortcut(&mut self, action: Action) -> Option<&mut regorus::Engine> {
        if !self.shortcuts.contains_key(&action) {
            let policy = &self.policy;
            let made = self.aspect(action).shortcut.get_or_init(|| {
                let modules = shortcut::modules(&policy.program, action, &policy.modules)?;
                let mut engine = compile_modules(modules, &policy.data, predicates::LIBRARY).ok()?;
                engine.compile_with_entrypoint(&ENTRY.into()).ok().map(|_| engine)
            });
            let mut made = made.clone();
            made.iter_mut().for_each(|engine| engine.set_execution_timer_config(timer(self.limit)));
            self.shortcuts.insert(action, made);
        }
        self.shortcuts.get_mut(&action)?.as_mut()
    }

    /// What holds even if nobody decides.
    pub fn floor(&self) -> &Floor {
        &self.policy.floor
    }

    /// The actions of other gates that the policy lists in `data.authz.actions`.
    pub fn actions(&self) -> &BTreeSet<String> {
        &self.policy.actions
    }

    /// What tools do with their arguments.
    pub fn tools(&self) -> &Tools {
        &self.policy.tools
    }

    /// Decides. An error, an undefined or malformed decision and a time-out are a deny with a cause.
    pub fn decide(&mut self, input: &Input) -> Evaluation {
        self.decide_value(&input.to_value())
    }

    /// Decides about an input given as JSON.
    pub fn decide_value(&mut self, input: &Value) -> Evaluation {
        self.decide_drawing(input, None)
    }

    /// Decides again, with what was drawn of time and chance then; none: the policy wants more than that.
    pub fn decide_again(&mut self, input: &Value, given: &Drawn) -> Option<Evaluation> {
        let evaluation = self.decide_drawing(input, Some(given));
        (!builtins::lacking()).then_some(evaluation)
    }

    fn decide_drawing(&mut self, input: &Value, given: Option<&Drawn>) -> Evaluation {
        let start = Instant::now();
        let (input_hash, exact) = hash(input);
        let mut outcome = self.attempt(input, given, &exact);
        // The limit goes by the clock on the wall: a machine that stood still meanwhile passes it with any policy.
        if outcome.as_ref().is_err_and(|cause| cause.starts_with(TOO_LONG)) {
            outcome = self.attempt(input, given, &exact);
        }
        let (drawn, region) = (builtins::drawn(), recorder::region());
        let (decision, output_hash, cause) = match outcome {
            Ok((decision, hash)) => (decision, hash, None),
            Err(cause) => {
                let decision = Decision::deny("policy-error", "The policy could not be evaluated.");
                let hash = hash_of(&serde_json::to_value(&decision).unwrap_or_default());
                (decision, hash, Some(cause))
            }
        };
        Evaluation { decision, cause, input_hash, output_hash, cost: start.elapsed(), drawn, region }
    }

    fn attempt(
        &mut self,
        input: &Value,
        given: Option<&Drawn>,
        exact: &Result<(), String>,
    ) -> Result<(Decision, String), String> {
        self.begin(input, given);
        exact.clone()?;
        let document = regorus::Value::deserialize(input).unwrap_or(regorus::Value::Undefined);
        if let Some(outcome) = self.take_shortcut(input, &document) {
            return outcome;
        }
        self.begin(input, given);
        self.evaluate(document)
    }

    fn begin(&self, input: &Value, given: Option<&Drawn>) {
        builtins::begin(given);
        self.record(input);
    }

    /// The decision of the shorter policy for the action. What that does not decide, the whole one is asked.
    fn take_shortcut(
        &mut self,
        input: &Value,
        document: &regorus::Value,
    ) -> Option<Result<(Decision, String), String>> {
        let action = input.pointer("/action/name").and_then(Value::as_str).and_then(Action::from_name);
        let action = action.filter(|_| self.takes_shortcuts)?;
        let engine = self.shortcut(action)?;
        let evaluation = catch_unwind(AssertUnwindSafe(|| ask(engine, document.clone())));
        match evaluation {
            Ok(Ok(value)) if value != regorus::Value::Undefined => self.outcomes.of(value).ok().map(Ok),
            Ok(Err(error)) if error.is::<regorus::LimitError>() => Some(Err(describe(&error))),
            Ok(_) => None,
            Err(_) => {
                self.shortcuts.insert(action, None);
                None
            }
        }
    }

    /// Lets the recorder listen, and tells it what it does not hear.
    fn record(&self, input: &Value) {
        let text = |pointer| input.pointer(pointer).and_then(Value::as_str);
        let id = text("/resource/id");
        recorder::begin(id, text("/resource/properties/ip"), &self.policy.names);
        let action = text("/action/name").and_then(Action::from_name);
        let Some((id, flow)) = id.zip(action.map(|action| &self.aspect(action).flow)) else { return };
        flow.literals.iter().for_each(|literal| recorder::exact(id, literal));
        if !flow.obstacles.is_empty() {
            recorder::whole(id);
        }
    }

    fn evaluate(&mut self, document: regorus::Value) -> Result<(Decision, String), String> {
        let evaluation = catch_unwind(AssertUnwindSafe(|| ask(&mut self.engine, document)));
        let Ok(result) = evaluation else {
            self.engine = self.policy.pristine.clone();
            self.engine.set_execution_timer_config(timer(self.limit));
            return Err("the policy engine failed; report this policy and input as an error of authz".into());
        };
        let value = result.map_err(|error| describe(&error))?;
        if value == regorus::Value::Undefined {
            return Err(format!("{ENTRY} is undefined for this input"));
        }
        self.outcomes.of(value).map_err(|error| format!("{ENTRY} {error}"))
    }
}

/// The decision about this input. What the policy prints is kept by the engine, for nobody: it goes.
fn ask(engine: &mut regorus::Engine, document: regorus::Value) -> anyhow::Result<regorus::Value> {
    engine.set_input(document);
    let value = engine.eval_rule(ENTRY.to_owned());
    engine.take_prints()?;
    value
}

/// What rules or data state without an input; null if they do not.
fn fixed(mut engine: regorus::Engine, name: &str) -> Result<Value, PolicyError> {
    let results =
        engine.eval_query(name.to_owned(), false).map_err(|error| PolicyError::from_engine(&error))?;
    let value = results.result.first().and_then(|result| result.expressions.first());
    let value = value.map(|expression| serde_json::to_value(&expression.value)).transpose();
    let value = value.map_err(|error| PolicyError::Engine(format!("{name} is not JSON: {error}")))?;
    Ok(value.unwrap_or_default())
}

/// Parses and compiles the files of a bundle and of its tests.
pub(super) fn compile(bundle: &Bundle, tests: &[PolicyFile]) -> Result<regorus::Engine, PolicyError> {
    let modules = bundle.policies.iter().chain(tests).map(|file| {
        let native = predicates::in_place_of(&file.path).filter(|_| file.library);
        (file.origin.clone(), native.map_or_else(|| file.text.clone(), str::to_owned))
    });
    compile_modules(modules, &bundle.data, &[])
}

fn compile_modules(
    modules: impl IntoIterator<Item = (String, String)>,
    data: &Map<String, Value>,
    functions: &'static [predicates::Function],
) -> Result<regorus::Engine, PolicyError> {
    let mut engine = regorus::Engine::new();
    engine.set_strict_builtin_errors(true);
    // What a policy prints must not reach the output of the program it judges.
    engine.set_gather_prints(true);
    engine.set_execution_timer_config(timer(LIMIT));
    let refused = |error: anyhow::Error| PolicyError::from_engine(&error);
    builtins::register(&mut engine, functions).map_err(refused)?;
    for (file, text) in modules {
        engine.add_policy(file, text).map_err(refused)?;
    }
    engine.add_data(regorus::Value::from(Value::Object(data.clone()))).map_err(refused)?;
    Ok(engine)
}

pub(super) fn timer(limit: Duration) -> ExecutionTimerConfig {
    ExecutionTimerConfig { limit, check_interval: NonZeroU32::new(64).unwrap_or(NonZeroU32::MIN) }
}

/// An error of an evaluation on one line.
fn describe(error: &anyhow::Error) -> String {
    if let Some(limit) = error.downcast_ref::<regorus::LimitError>() {
        return format!("{TOO_LONG}: {limit}");
    }
    let text = error.to_string();
    match split_engine_message(&text) {
        Some((at, message)) => format!("{at}: {message}"),
        None => one_line(&text),
    }
}

#[cfg(test)]
mod tests;
