//! A policy learned from what was recorded: the narrowest that is still read with ease, for a person to edit and keep.
//!
//! Each recorded input is evaluated again by a base ([`base`]): the policy it was recorded under, or another one. What
//! that denies, and no rule of it forbids, is grouped ([`group`]) and written ([`write`]) as rules to put beside the
//! base. Then everything is evaluated once more by both together, so that what is printed is known to allow it.

mod base;
mod evidence;
mod group;
mod propose;
mod seen;
mod write;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;
use uuid::Uuid;

use crate::ledger::{LedgerError, Readers, Time};
use crate::policy::{PolicyError, PolicySource};
use base::Bases;
use evidence::Evidence;

/// What to learn from, and beyond what.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Beginnings of the ids of sessions; none: all.
    pub sessions: Vec<String>,
    /// Only from this time on.
    pub since: Option<Time>,
    /// What is allowed already.
    pub beyond: Beyond,
    /// Where the recorded policies are kept; the first that has one serves.
    pub bundles: Vec<PathBuf>,
}

/// The policy that need not be learned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Beyond {
    /// The one that each session was recorded under.
    #[default]
    Own,
    /// None: what is learned stands alone.
    Nothing,
    /// This one.
    Named(Vec<PolicySource>),
}

/// Why nothing can be learned.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The base cannot be loaded.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// What was written is no policy.
    #[error("what was learned does not load: {0}; report this as an error of authz")]
    Learned(PolicyError),
    /// Nothing was recorded that is meant.
    #[error("no operation is on record {0}")]
    Nothing(String),
    /// A policy that sessions ran under is gone.
    #[error("{0}; name the policy to go beyond with --beyond")]
    Unkept(String),
}

/// A session that was learned from.
#[derive(Debug, Clone, Serialize)]
pub struct Session {
    /// The agent's name, if the session's start is on record.
    pub agent: Option<String>,
    /// How it was enforced: `enforce`, `observe` or both.
    pub modes: BTreeSet<&'static str>,
    /// Digest of the policy it ran under; several after a reload.
    pub policies: BTreeSet<String>,
    /// Operations that are on record with their names.
    pub operations: u64,
}

/// What was learned.
#[derive(Debug, Clone, Serialize)]
pub struct Learned {
    /// The policy, a file of Rego.
    pub policy: String,
    /// From which sessions.
    pub sessions: BTreeMap<Uuid, Session>,
    /// Operations that are on record with their names.
    pub operations: u64,
    /// Of these, allowed by the base already.
    pub covered: u64,
    /// Of the rest, allowed by the base with what was learned.
    pub allowed: u64,
    /// Of the rest, denied or held all the same, by why.
    pub denied: Vec<Denied>,
    /// Operations that the record only counts: nothing could be learned from them.
    pub counted: u64,
    /// Decisions without an input that could be evaluated again.
    pub unclear: u64,
    /// Rules that were written, those left out by a comment not among them.
    pub rules: usize,
}

/// Operations that what was learned does not allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Denied {
    /// By which rules.
    pub rules: Vec<String>,
    /// Why they are not proposed.
    pub why: String,
    /// How many.
    pub operations: u64,
    /// One of them.
    pub example: String,
}

/// Learns from what the reader has left. `progress` is told now and then how many entries were read, and of when the
/// last one is.
pub fn run(
    reader: &mut Readers,
    options: &Options,
    progress: impl FnMut(u64, Time),
) -> Result<Learned, LearnError> {
    let mut bases = Bases::new(options);
    let seen = seen::read(reader, options, &mut bases, progress)?;
    if seen.operations.is_empty() {
        let of = if options.sessions.is_empty() { "" } else { "of these sessions" };
        let since = options.since.map(|since| format!("since {since}"));
        let words = [of.to_owned(), since.unwrap_or_default()].join(" ");
        return Err(LearnError::Nothing(words.trim().to_owned()));
    }
    let proposal = propose::propose(&seen.operations, &mut bases)?;
    let text = write::policy(&proposal, &seen, options);
    bases.learned(&text)?;
    let mut learned = Learned {
        rules: proposal.rules.len(),
        policy: text,
        operations: seen.operations.iter().map(|operation| operation.evidence.count).sum(),
        covered: proposal.covered.count,
        allowed: 0,
        denied: Vec::new(),
        counted: seen.counted,
        unclear: seen.unclear,
        sessions: seen.sessions,
    };
    let mut denied: BTreeMap<(Vec<String>, String), Evidence> = BTreeMap::new();
    for needed in &proposal.needed {
        let operation = &seen.operations[needed.operation];
        match bases.judge_learned(operation)? {
            None => learned.allowed += operation.evidence.count,
            Some(rules) => {
                let why = needed.refused.clone().unwrap_or_else(|| "no rule was written for it".into());
                denied.entry((rules, why)).or_default().add(&operation.evidence);
            }
        }
    }
    learned.denied = denied
        .into_iter()
        .map(|((rules, why), evidence)| Denied {
            rules,
            why,
            operations: evidence.count,
            example: evidence.example.clone(),
        })
        .collect();
    Ok(learned)
}
