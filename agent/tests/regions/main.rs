//! What is remembered agrees with what a fresh evaluation says: by chance, over policies as people write them.
//!
//! `REGIONS_CASES` cases are tried, `REGIONS_SEED` says which ones. A check that cannot fail proves nothing, so
//! the memory is made wrong on purpose as well, in each way it might be, and every one has to be found.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod conditions;
mod machine;
mod operations;
mod policies;
mod random;

use std::time::Duration;

use authz::abi::raw::{AUTHZ_OBJ_ADDRESS, AUTHZ_OBJ_PATH};
use authz::enforce::regions::{Regions, point};
use authz::enforce::wire;
use authz::event::Key;
use authz::policy::recorder::Region;
use authz::policy::region::{Remember, domain_key, remember};
use authz::policy::{Bundle, Decision, Effect, Engine, Evaluation, Generated, PolicySource};
use authz::session::Sessions;

use conditions::About;
use random::Random;

/// Operations under one policy, before it is reloaded as another one.
const ROUND: usize = 400;

/// Of these so many are decided by the whole policy as well.
const TWICE: usize = 100;

/// How the memory is made wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// A region is a bit too large.
    OneBitLess,
    /// What no prefix settles is held to be settled by one.
    NeverExact,
    /// The end of a name does not count.
    NoEnd,
    /// Names in the path are not told apart.
    NoNames,
    /// What the policy reads besides the resource is not told apart.
    NoDomain,
    /// Nor one policy from the next.
    NoGeneration,
    /// Nor actions.
    NoAction,
    /// A block of addresses is a bit too large.
    BlockOneBitLess,
    /// The blocks of addresses do not count.
    NoBlocks,
    /// Ports and protocols are not told apart.
    NoPort,
    /// Decisions that look at what no key holds are remembered too.
    NoFacts,
}

/// What is tried.
#[derive(Debug, Clone, Copy)]
struct Trial {
    about: About,
    fault: Fault,
    /// Whether shorter policies are taken, and their decisions compared with those of the whole one.
    shorter: bool,
}

/// Each way in which memory may be wrong, with what a policy has to be about for it to matter.
const FAULTS: &[(Fault, About)] = &[
    (Fault::OneBitLess, About::Anything),
    (Fault::OneBitLess, About::Prefixes),
    (Fault::OneBitLess, About::Exceptions),
    (Fault::OneBitLess, About::Globs),
    (Fault::OneBitLess, About::Exact),
    (Fault::OneBitLess, About::Cuts),
    (Fault::NeverExact, About::Unrecorded),
    (Fault::NeverExact, About::Globs),
    (Fault::NeverExact, About::Names),
    (Fault::NoEnd, About::Exact),
    (Fault::NoNames, About::Names),
    (Fault::NoNames, About::Globs),
    (Fault::NoDomain, About::Domain),
    (Fault::NoGeneration, About::Anything),
    (Fault::NoAction, About::Anything),
    (Fault::BlockOneBitLess, About::Blocks),
    (Fault::NoBlocks, About::Blocks),
    (Fault::NoPort, About::Ports),
    (Fault::NoFacts, About::Domain),
];

/// What a run came to.
#[derive(Debug, Default)]
struct Found {
    cases: usize,
    /// Cases decided from what was remembered,
    remembered: usize,
    /// and of these by a verdict about another resource.
    by_another: usize,
    /// Cases decided by the whole policy too,
    twice: usize,
    /// and of these by a shorter one at first.
    shorter: usize,
    differences: Vec<String>,
}

fn engine(policy: &policies::Policy) -> Engine {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.rego"), &policy.rego).unwrap();
    if let Some(team) = policy.team {
        std::fs::write(folder.path().join("team.rego"), team).unwrap();
    }
    std::fs::write(folder.path().join("data.json"), policy.data.to_string()).unwrap();
    let bundle = Bundle::load(&[PolicySource::Path(folder.path().into())], &Generated::default()).unwrap();
    let engine = Engine::load(&bundle).unwrap_or_else(|error| panic!("{error}\n{}", policy.rego));
    // A busy machine is no difference.
    engine.with_time_limit(Duration::from_secs(600))
}

/// What is remembered of one daemon's life.
#[derive(Default)]
struct Memory {
    table: Regions<(Decision, String)>,
    sessions: Sessions,
}

fn round(random: &mut Random, trial: Trial, memory: &mut Memory, found: &mut Found) {
    let Trial { about, fault, shorter } = trial;
    let policy = policies::policy(random, about);
    let engine = engine(&policy);
    let mut whole = engine.clone().without_shortcuts();
    let mut engine = if shorter { engine } else { engine.without_shortcuts() };
    let digest = if fault == Fault::NoGeneration { String::new() } else { engine.digest().to_owned() };
    for number in 0..ROUND {
        let event = operations::operation(random, about, &policy.near);
        let input = operations::input(random, &event);
        let domain = domain_key(engine.reads(), &input).unwrap();
        let domain = if fault == Fault::NoDomain { Vec::new() } else { domain.as_bytes().to_vec() };
        let domain = memory.sessions.domain(&digest, domain);
        let evaluation = engine.decide(&input);
        let fresh = &evaluation.decision;
        found.cases += 1;
        if shorter && number < TWICE {
            found.twice += 1;
            found.shorter += usize::from(engine.has_shortcut(event.operation.action));
            let other = whole.decide_again(&input.to_value(), &evaluation.drawn);
            let same = |other: &Evaluation| {
                (&other.decision, &other.cause, &other.drawn, other.region, &other.output_hash)
                    == (
                        fresh,
                        &evaluation.cause,
                        &evaluation.drawn,
                        evaluation.region,
                        &evaluation.output_hash,
                    )
            };
            if !other.as_ref().is_some_and(same) {
                found.differences.push(format!(
                    "{} {}: {evaluation:?}, by the whole policy {other:?}\n{}{}",
                    input.action.name.as_str(),
                    input.resource.id,
                    policy.rego,
                    policy.data
                ));
                return;
            }
        }
        let Some(mut key) = event.key else { continue };
        if key.object == AUTHZ_OBJ_PATH as u8 && fault != Fault::NoNames {
            key.names = engine.names().mask(&key.name);
        }
        let point = point(domain, &looked_up(&key, fault));
        if let Some((known, id)) = memory.table.peek(&point) {
            found.remembered += 1;
            found.by_another += usize::from(*id != input.resource.id);
            if known != fresh {
                found.differences.push(format!(
                    "{} {}: remembered {known:?} of {id}, now {fresh:?} {:?}\n{}{}",
                    input.action.name.as_str(),
                    input.resource.id,
                    evaluation.cause,
                    policy.rego,
                    policy.data
                ));
                return;
            }
            continue;
        }
        let region = match remember(&engine, &input, &evaluation) {
            Remember::Within { region, .. } => region,
            Remember::Never { why } if fault == Fault::NoFacts && why.contains("not part of the key") => {
                evaluation.region
            }
            Remember::Never { .. } => continue,
        };
        assert!(matches!(fresh.effect, Effect::Allow | Effect::Deny), "only these are remembered");
        if let Some(bits) = wire::significant_bits(&key, too_large(region, fault)) {
            let end = usize::from(fault == Fault::NoEnd && bits == (key.name.len() + 1) * 8) * 8;
            memory.table.insert(1, &point, 64 + bits - end, (fresh.clone(), input.resource.id.clone()));
        }
    }
}

/// The key that an operation is looked up by.
fn looked_up(key: &Key, fault: Fault) -> Key {
    let mut key = key.clone();
    match fault {
        Fault::NoAction => key.action = authz::event::Action::FileRead,
        // Family, protocol and port are two bytes each.
        Fault::NoPort if key.object == AUTHZ_OBJ_ADDRESS as u8 => key.name[2..6].fill(0),
        _ => {}
    }
    key
}

fn too_large(mut region: Region, fault: Fault) -> Region {
    match fault {
        Fault::OneBitLess => region.id_bits = region.id_bits.saturating_sub(1),
        Fault::NeverExact => region.exact = false,
        Fault::BlockOneBitLess => region.ip_bits = region.ip_bits.saturating_sub(1),
        Fault::NoBlocks => region.ip_bits = 0,
        _ => {}
    }
    region
}

fn run(seed: u64, cases: usize, trial: Trial) -> Found {
    let mut random = Random::new(seed);
    let mut found = Found::default();
    while found.cases < cases && found.differences.is_empty() {
        let mut memory = Memory::default();
        for _ in 0..2 {
            if found.differences.is_empty() {
                round(&mut random, trial, &mut memory, &mut found);
            }
        }
    }
    found
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
fn what_is_remembered_is_what_would_be_decided() {
    let (cases, seed) = (number("REGIONS_CASES", 20_000) as usize, number("REGIONS_SEED", 1));
    let threads: Vec<_> = (0..2)
        .map(|part| {
            let seed = seed.wrapping_mul(1000) + part;
            let trial = Trial { about: About::Anything, fault: Fault::None, shorter: true };
            std::thread::spawn(move || run(seed, cases / 2, trial))
        })
        .collect();
    for thread in threads {
        let found = thread.join().unwrap();
        println!(
            "{} cases, {} remembered, {} by another resource; {} decided twice, {} by a shorter policy at first",
            found.cases, found.remembered, found.by_another, found.twice, found.shorter
        );
        assert!(found.differences.is_empty(), "{}", found.differences[0]);
        assert!(found.by_another * 10 > found.cases, "too little was remembered to prove anything");
        assert!(found.shorter * 2 > found.twice, "too little was shorter to prove anything");
    }
}

#[test]
fn memory_that_is_made_wrong_is_found_out() {
    for (fault, about) in FAULTS {
        let trial = Trial { about: *about, fault: *fault, shorter: false };
        let found = run(7, 400_000, trial);
        println!("{fault:?} {about:?}: found after {} cases", found.cases);
        assert!(
            !found.differences.is_empty(),
            "{fault:?} of {about:?} was not found in {} cases",
            found.cases
        );
        // It is the fault that was found: without it the same cases agree.
        let right = run(7, found.cases, Trial { fault: Fault::None, ..trial });
        assert!(right.differences.is_empty(), "{about:?}: {}", right.differences[0]);
        assert!(right.remembered > 0, "{about:?}: nothing was remembered");
    }
}

/// And are written down for tests/vm/test_regions.py.
#[test]
fn policies_for_a_machine_can_be_evaluated() {
    machine::write(std::path::Path::new(env!("CARGO_TARGET_TMPDIR")), number("REGIONS_SEED", 1));
}
