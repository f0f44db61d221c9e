//! Who: a process tree under one policy.

pub mod calls;
pub mod declared;
pub mod identity;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::{Action, ActionName, Belongs, Mode, Operation};
use crate::ledger::Time;
use crate::ledger::entry::Hex;
use crate::policy::{Decision, Effect, Engine, Floor, Limits};
use calls::{Attributed, Calls, DenialView};
use declared::Findings;

/// A process tree under one policy.
pub struct Session {
    /// UUIDv7.
    pub id: Uuid,
    /// What the kernel label names it by.
    pub index: u32,
    /// The agent's name, `input.subject.id`.
    pub name: String,
    /// Who may answer for it, besides root.
    pub owner: u32,
    /// Whether decisions bind.
    pub mode: Mode,
    /// The policy.
    pub engine: Engine,
    /// Of what it was made.
    pub sources: Sources,
    /// Of what domains mean: grows when policy or tool call change.
    pub generation: u32,
    /// The floor that was laid when it began; none: nothing was.
    pub laid: Option<Floor>,
    /// How long a human has.
    pub hold_timeout: Duration,
    /// W3C trace id.
    pub trace: Hex<16>,
    /// The root span.
    pub span: Hex<8>,
    /// Its tool calls.
    pub calls: Calls,
    /// The latest denials, for whoever asks.
    pub denials: VecDeque<DenialView>,
    /// What contradicted what its calls declare.
    pub findings: Findings,
    /// The first process.
    pub first_pid: i32,
    /// What happened so far.
    pub stats: Stats,
    /// Uses can be counted; not where the session outlives the process that decides.
    pub counts: bool,
    approvals: Vec<Approval>,
    uses: HashMap<String, Uses>,
}

/// Of what a session's policy is made, so that it can be made again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Folders, files, `preset:NAME`; absolute.
    pub policy: Vec<String>,
    /// Folders the agent works in.
    pub workspace: Vec<String>,
    /// Whose session it is.
    pub owner: u32,
}

/// What the summary at the end says.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Operations decided, the kernel's own included.
    pub operations: u64,
    /// Of these, by the kernel from what it remembered.
    pub remembered: u64,
    /// Denied (in observe mode: would have been).
    pub denied: u64,
    /// Held for a human.
    pub held: u64,
    /// Decided by the fail direction.
    pub failed: u64,
    /// Records lost.
    pub lost: u64,
    /// The first denials.
    pub denials: Vec<Denial>,
}

/// How many denials a session keeps for its gates.
const DENIALS_KEPT: usize = 1000;

/// How many denials the summary shows.
const DENIALS_SHOWN: usize = 10;

/// A denial as the summary shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Denial {
    /// The action.
    pub action: String,
    /// The resource.
    pub resource: String,
    /// The rule.
    pub rule: String,
    /// Its reason.
    pub reason: String,
    /// How often.
    pub count: u64,
}

/// For how long a human's yes holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approved {
    /// This one operation.
    Once,
    /// Until the session ends.
    Session,
    /// For a while.
    For(Duration),
}

impl std::fmt::Display for Approved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Once => f.write_str("once"),
            Self::Session => f.write_str("session"),
            Self::For(duration) => write!(f, "{}s", duration.as_secs()),
        }
    }
}

struct Approval {
    action: Action,
    resource: String,
    rules: Vec<String>,
    until: Option<Instant>,
}

#[derive(Default)]
struct Uses {
    total: u64,
    recent: VecDeque<Instant>,
}

impl Session {
    /// A new session. The engine decides for it from now on.
    #[allow(clippy::too_many_arguments, reason = "each is a setting of its own")]
    pub fn new(
        index: u32,
        name: String,
        owner: u32,
        mode: Mode,
        engine: Engine,
        hold_timeout: Duration,
        first_pid: i32,
    ) -> Self {
        let id = Uuid::now_v7();
        let trace = Hex(Uuid::now_v7().into_bytes());
        let mut span = [0; 8];
        // The random half of another UUID.
        span.copy_from_slice(&Uuid::now_v7().into_bytes()[8..]);
        Self {
            id,
            index,
            name,
            owner,
            mode,
            engine,
            sources: Sources::default(),
            laid: None,
            generation: 1,
            hold_timeout,
            trace,
            span: Hex(span),
            calls: Calls::default(),
            denials: VecDeque::new(),
            findings: Findings::default(),
            first_pid,
            stats: Stats::default(),
            counts: true,
            approvals: Vec::new(),
            uses: HashMap::new(),
        }
    }

    /// Another policy decides from now on. What a human approved was asked by the old one; what is used up of a limit
    /// stays used up.
    pub fn replace_policy(&mut self, engine: Engine, sources: Sources) {
        (self.engine, self.sources) = (engine, sources);
        self.approvals.clear();
        self.generation += 1;
    }

    /// Which tool calls are open has changed, and with it what domains mean.
    pub fn calls_changed(&mut self) {
        if self.engine.reads().needs("context.tool") {
            self.generation += 1;
        }
    }

    /// To which tool call an operation belongs.
    pub fn attribute(&self, belongs: Belongs) -> Attributed {
        self.calls.attribute(belongs, self.trace, self.span)
    }

    /// Keeps a denial for who made the call. Only what policy denies, never what the system does.
    pub fn denied(&mut self, id: Uuid, operation: &Operation, decision: &Decision, attributed: &Attributed) {
        let rule = decision.rules.first();
        let rule_id = rule.map_or("", |rule| &rule.id);
        let (action, resource) = (operation.action.as_str(), &operation.resource.id);
        let alike = |known: &&mut DenialView| {
            known.action == action
                && known.resource == *resource
                && known.rule == rule_id
                && known.calls == attributed.calls
        };
        if let Some(known) = self.denials.iter_mut().find(alike) {
            known.count += 1;
            return;
        }
        if self.denials.len() >= DENIALS_KEPT {
            self.denials.pop_front();
        }
        self.denials.push_back(DenialView {
            id,
            time: Time::now().to_string(),
            action: action.into(),
            resource: resource.clone(),
            rule: rule_id.into(),
            reason: rule.map(|rule| rule.reason.clone()).unwrap_or_default(),
            advice: rule.map(|rule| rule.advice.clone()).unwrap_or_default(),
            span_id: Some(attributed.span.to_string()),
            attribution: attributed.attribution,
            count: 1,
            calls: attributed.calls.clone(),
        });
    }

    /// Keeps a human's yes.
    pub fn approve(&mut self, action: Action, resource: &str, decision: &Decision, how: Approved) {
        let until = match how {
            Approved::Once => return,
            Approved::Session => None,
            Approved::For(duration) => Some(Instant::now() + duration),
        };
        let rules = decision.rules.iter().map(|rule| rule.id.clone()).collect();
        self.approvals.push(Approval { action, resource: resource.to_owned(), rules, until });
    }

    /// Whether a human has said yes to just this before: the same action, resource and rules.
    pub fn approved(&mut self, action: Action, resource: &str, decision: &Decision) -> bool {
        let now = Instant::now();
        self.approvals.retain(|approval| approval.until.is_none_or(|until| now < until));
        self.approvals.iter().any(|approval| {
            approval.action == action
                && approval.resource == resource
                && approval.rules.iter().eq(decision.rules.iter().map(|rule| &rule.id))
        })
    }

    /// Counts a use of an allow against its limits; the error says which is used up.
    pub fn count_use(&mut self, decision: &Decision, limits: &Limits) -> Result<(), String> {
        if !limits.count_uses() {
            return Ok(());
        }
        self.has_use(decision, limits)?;
        let now = Instant::now();
        let uses = self.uses.entry(uses_of(decision)).or_default();
        let longest = limits.rate.iter().map(|rate| rate.per).max().unwrap_or_default();
        while uses.recent.front().is_some_and(|at| now.duration_since(*at) >= longest) {
            uses.recent.pop_front();
        }
        uses.total += 1;
        if !limits.rate.is_empty() {
            uses.recent.push_back(now);
        }
        Ok(())
    }

    /// Whether a use of an allow is left; the error says which limit is used up.
    pub fn has_use(&self, decision: &Decision, limits: &Limits) -> Result<(), String> {
        if !limits.count_uses() {
            return Ok(());
        }
        if !self.counts {
            return Err("max_uses and rate need a session of authz exec".into());
        }
        let none = Uses::default();
        let uses = self.uses.get(&uses_of(decision)).unwrap_or(&none);
        if let Some(max) = limits.max_uses
            && uses.total >= max
        {
            return Err(format!("max_uses {max} is used up"));
        }
        let now = Instant::now();
        for rate in &limits.rate {
            let recent = uses.recent.iter().filter(|at| now.duration_since(**at) < rate.per).count();
            if recent as u64 >= rate.count {
                return Err(format!("rate {} in {} s is used up", rate.count, rate.per.as_secs_f64()));
            }
        }
        Ok(())
    }
}

/// By what uses are counted: the rules that allow together.
fn uses_of(decision: &Decision) -> String {
    decision.rules.iter().map(|rule| rule.id.as_str()).collect::<Vec<_>>().join(" ")
}

impl Stats {
    /// Counts one decided operation.
    pub fn count(&mut self, action: impl Into<ActionName>, resource: &str, decision: &Decision) {
        let action = action.into();
        self.operations += 1;
        if decision.effect != Effect::Deny {
            return;
        }
        self.denied += 1;
        let rule = decision.rules.first();
        let id = rule.map(|rule| rule.id.clone()).unwrap_or_default();
        let known = |denial: &&mut Denial| {
            denial.action == action.as_str() && denial.resource == resource && denial.rule == id
        };
        if let Some(denial) = self.denials.iter_mut().find(known) {
            denial.count += 1;
        } else if self.denials.len() < DENIALS_SHOWN {
            self.denials.push(Denial {
                action: action.as_str().into(),
                resource: resource.into(),
                rule: id,
                reason: rule.map(|rule| rule.reason.clone()).unwrap_or_default(),
                count: 1,
            });
        }
    }
}

/// The live sessions by index, and the numbers that stand for domains.
#[derive(Default)]
pub struct Sessions {
    live: BTreeMap<u32, Session>,
    domains: HashMap<(String, u32, Vec<u8>), u32>,
}

impl Sessions {
    /// The smallest free index, from 1.
    pub fn free_index(&self, max: u32) -> Option<u32> {
        (1..max).find(|index| !self.live.contains_key(index))
    }

    /// Adds a session.
    pub fn insert(&mut self, session: Session) {
        self.live.insert(session.index, session);
    }

    /// Takes one out.
    pub fn remove(&mut self, index: u32) -> Option<Session> {
        self.live.remove(&index)
    }

    /// The session of an index.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut Session> {
        self.live.get_mut(&index)
    }

    /// The session of an index.
    pub fn get(&self, index: u32) -> Option<&Session> {
        self.live.get(&index)
    }

    /// By id.
    pub fn by_id(&mut self, id: Uuid) -> Option<&mut Session> {
        self.live.values_mut().find(|session| session.id == id)
    }

    /// The policy of another session if that was made of the same sources and is the same: most of its memory is theirs
    /// together then.
    pub fn shared(&self, engine: Engine, sources: &Sources) -> Engine {
        let same =
            |session: &&Session| session.engine.digest() == engine.digest() && session.sources == *sources;
        let other = self.live.values().find(same).map(|session| session.engine.clone());
        other.unwrap_or(engine)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.live.values()
    }

    /// The number of a domain, if it has one.
    pub fn known_domain(&self, policy: &str, key: &[u8]) -> Option<u32> {
        self.domains.get(&(policy.to_owned(), 0, key.to_vec())).copied()
    }

    /// The number of the domain: policy, its generation in this session, and all that it reads besides
    /// action and resource. Sessions under one policy share it.
    pub fn domain(&mut self, policy: &str, key: Vec<u8>) -> u32 {
        // A domain number is never used again, so that no old verdict can be met under a new meaning.
        let next = self.domains.len() as u32 + 1;
        *self.domains.entry((policy.to_owned(), 0, key)).or_insert(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Bundle, Generated, PolicySource};

    #[test]
    fn to_look_whether_a_use_is_left_uses_none() {
        let preset = PolicySource::Preset("observe-all".into());
        let engine = Engine::load(&Bundle::load(&[preset], &Generated::default()).unwrap()).unwrap();
        let limit = Duration::from_secs(1);
        let mut session = Session::new(1, "a".into(), 0, Mode::Enforce, engine, limit, 0);
        let decision = Decision { effect: Effect::Allow, ..Decision::deny("few", "") };
        let limits = |max_uses| Limits { max_uses: Some(max_uses), ..Limits::default() };
        assert!(session.has_use(&decision, &limits(0)).is_err());
        for _ in 0..3 {
            session.has_use(&decision, &limits(1)).unwrap();
        }
        session.count_use(&decision, &limits(1)).unwrap();
        assert_eq!(session.has_use(&decision, &limits(1)).unwrap_err(), "max_uses 1 is used up");
        assert_eq!(session.count_use(&decision, &limits(1)).unwrap_err(), "max_uses 1 is used up");
        let other = Decision { effect: Effect::Allow, ..Decision::deny("other", "") };
        session.has_use(&other, &limits(1)).unwrap();
    }
}
