//! What the record has: each operation once, with how often it was seen.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use uuid::Uuid;

use super::base::Bases;
use super::evidence::Evidence;
use super::{Beyond, LearnError, Options, Session};
use crate::event::Mode;
use crate::ledger::{Effect, Entry, Kind, Readers, Time};

/// An operation, however often it was seen.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    /// Digest of the policy that it was recorded under.
    pub policy: String,
    /// The action's name.
    pub action: String,
    /// The resource's.
    pub id: String,
    /// What it was decided by.
    pub input: Value,
    pub evidence: Evidence,
}

impl Operation {
    /// A fact of the resource that is a text.
    pub(super) fn fact(&self, name: &str) -> Option<&str> {
        self.input.pointer("/resource/properties")?.get(name)?.as_str()
    }

    /// The names that the address was looked up by.
    pub(super) fn hosts(&self) -> Vec<&str> {
        let names = self.input.pointer("/resource/properties/names").and_then(Value::as_array);
        names.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The port of an address.
    pub(super) fn port(&self) -> Option<u64> {
        self.input.pointer("/resource/properties/port")?.as_u64()
    }
}

/// Everything that was read.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub operations: Vec<Operation>,
    pub sessions: BTreeMap<Uuid, Session>,
    /// What sessions were started with.
    pub sources: BTreeMap<Uuid, Vec<String>>,
    pub counted: u64,
    pub unclear: u64,
}

/// Reads what is wanted.
pub(super) fn read(
    reader: &mut Readers,
    options: &Options,
    bases: &mut Bases<'_>,
    mut progress: impl FnMut(u64, Time),
) -> Result<Seen, LearnError> {
    let mut seen = Seen::default();
    let mut known: HashMap<(String, String), usize> = HashMap::new();
    let mut read = 0_u64;
    while let Some(record) = reader.next() {
        let mut entry = record?.entry;
        read += 1;
        if read.is_multiple_of(256) {
            progress(read, entry.time);
        }
        let Some(id) = entry.session.filter(|id| meant(*id, options)) else { continue };
        if entry.kind == Kind::SessionStart {
            start(&mut seen, id, &entry);
        }
        if options.since.is_some_and(|since| entry.time < since) {
            continue;
        }
        let denied = entry.decision.as_ref().is_some_and(|decision| decision.effect == Effect::Deny);
        match entry.kind {
            // What was remembered as allowed needs nothing where that policy is the base.
            Kind::Remembered if !denied && options.beyond != Beyond::Own => {
                seen.counted += entry.count.unwrap_or(1);
            }
            Kind::Decision => {}
            _ => continue,
        }
        if entry.kind != Kind::Decision {
            continue;
        }
        let input = match (entry.input.take(), &entry.input_at) {
            (Some(input), _) => Some(input),
            (None, Some(hash)) => Some(reader.payload(hash)?),
            (None, None) => None,
        };
        let Some((input, policy)) = input.zip(entry.policy.clone()) else {
            seen.unclear += 1;
            continue;
        };
        let text = |pointer| input.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (action, resource) = (text("/action/name"), text("/resource/id"));
        let program = entry.subject.as_ref().and_then(|subject| subject.get("comm")?.as_str());
        let evidence = Evidence::one(&action, &resource, program.unwrap_or_default(), entry.time);
        let session = session(&mut seen, id);
        session.operations += 1;
        session.policies.insert(policy.clone());
        session.modes.extend(entry.mode.map(|mode| match mode {
            Mode::Enforce => "enforce",
            Mode::Observe => "observe",
        }));
        let looked_at = bases.looked_at(&policy, &input)?;
        let key = (policy.clone(), format!("{action} {resource} {looked_at}"));
        match known.get(&key) {
            Some(index) => seen.operations[*index].evidence.again(&evidence),
            None => {
                known.insert(key, seen.operations.len());
                seen.operations.push(Operation { policy, action, id: resource, input, evidence });
            }
        }
    }
    seen.sessions.retain(|_, session| session.operations > 0);
    seen.sources.retain(|id, _| seen.sessions.contains_key(id));
    Ok(seen)
}

fn meant(id: Uuid, options: &Options) -> bool {
    let id = id.to_string();
    options.sessions.is_empty() || options.sessions.iter().any(|begin| id.starts_with(begin.as_str()))
}

fn session(seen: &mut Seen, id: Uuid) -> &mut Session {
    seen.sessions.entry(id).or_insert_with(|| Session {
        agent: None,
        modes: Default::default(),
        policies: Default::default(),
        operations: 0,
    })
}

fn start(seen: &mut Seen, id: Uuid, entry: &Entry) {
    let detail = entry.detail.as_ref();
    let agent = detail.and_then(|detail| detail.get("agent")?.as_str());
    session(seen, id).agent = agent.map(str::to_owned);
    let policy = detail.and_then(|detail| detail.get("policy")?.as_array());
    let policy = policy.into_iter().flatten().filter_map(|source| source.as_str().map(str::to_owned));
    seen.sources.insert(id, policy.collect());
}
