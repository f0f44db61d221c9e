//! What is remembered agrees with what a fresh evaluation says: by chance, over policies as people write them.
//!
//! `REGIONS_CASES` cases are tried, `REGIONS_SEED` says which ones. A check that cannot fail proves nothing, so
//! the regions are made wrong on purpose as well, in each way they might be, and every one has to be found.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod operations;
mod policies;
mod random;

use std::collections::HashMap;
use std::time::Duration;

use authz::enforce::regions::{Regions, point};
use authz::enforce::wire;
use authz::policy::recorder::Region;
use authz::policy::region::{Remember, domain_key, remember};
use authz::policy::{Bundle, Effect, Engine, Generated, PolicySource};

use random::Random;

/// Operations under one policy.
const ROUND: usize = 400;

/// How the memory is made wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// A region is a bit too large.
    OneBitLess,
    /// What no prefix settles is held to be settled by one.
    NeverExact,
    /// Names in the path are not told apart.
    NoNames,
    /// What the policy reads besides the resource is not told apart.
    NoDomain,
    /// The blocks of addresses do not count.
    NoBlocks,
}

/// What a run came to.
#[derive(Debug, Default)]
struct Found {
    cases: usize,
    /// Cases decided from what was remembered,
    remembered: usize,
    /// and of these by a verdict about another resource.
    by_another: usize,
    differences: Vec<String>,
}

fn engine(policy: &policies::Policy) -> Engine {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.rego"), &policy.rego).unwrap();
    std::fs::write(folder.path().join("data.json"), policy.data.to_string()).unwrap();
    let bundle = Bundle::load(&[PolicySource::Path(folder.path().into())], &Generated::default()).unwrap();
    let engine = Engine::load(&bundle).unwrap_or_else(|error| panic!("{error}\n{}", policy.rego));
    // A busy machine is no difference.
    engine.with_time_limit(Duration::from_secs(600))
}

fn round(random: &mut Random, fault: Fault, found: &mut Found) {
    let policy = policies::policy(random);
    let mut engine = engine(&policy);
    let mut table = Regions::default();
    let mut domains = HashMap::new();
    for _ in 0..ROUND {
        let event = operations::operation(random, &policy.near);
        let input = operations::input(random, &event);
        let next = domains.len() as u32 + 1;
        let domain = match fault {
            Fault::NoDomain => 1,
            _ => *domains.entry(domain_key(engine.reads(), &input).unwrap()).or_insert(next),
        };
        let evaluation = engine.decide(&input);
        let fresh = evaluation.decision.effect;
        found.cases += 1;
        let Some(mut key) = event.key else { continue };
        if key.object == authz::abi::raw::AUTHZ_OBJ_PATH as u8 && fault != Fault::NoNames {
            key.names = engine.names().mask(&key.name);
        }
        let point = point(domain, &key);
        if let Some((known, id)) = table.peek(&point).cloned() {
            found.remembered += 1;
            found.by_another += usize::from(id != input.resource.id);
            if known != fresh {
                found.differences.push(format!(
                    "{} {}: remembered {known:?} of {id}, now {fresh:?}\n{}{}",
                    input.action.name.as_str(),
                    input.resource.id,
                    policy.rego,
                    policy.data
                ));
                return;
            }
            continue;
        }
        let Remember::Within { mut region, .. } = remember(&engine, &input, &evaluation) else { continue };
        assert!(matches!(fresh, Effect::Allow | Effect::Deny), "only these are remembered");
        match fault {
            Fault::OneBitLess => region.id_bits = region.id_bits.saturating_sub(1),
            Fault::NeverExact => region.exact = false,
            Fault::NoBlocks => region.ip_bits = 0,
            Fault::None | Fault::NoNames | Fault::NoDomain => {}
        }
        let region: Region = region;
        if let Some(bits) = wire::significant_bits(&key, region) {
            table.insert(1, &point, 64 + bits, (fresh, input.resource.id.clone()));
        }
    }
}

fn run(seed: u64, cases: usize, fault: Fault) -> Found {
    let mut random = Random(seed);
    let mut found = Found::default();
    while found.cases < cases && found.differences.is_empty() {
        round(&mut random, fault, &mut found);
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
        .map(|part| std::thread::spawn(move || run(seed.wrapping_mul(1000) + part, cases / 2, Fault::None)))
        .collect();
    for thread in threads {
        let found = thread.join().unwrap();
        println!(
            "{} cases, {} remembered, {} by another resource",
            found.cases, found.remembered, found.by_another
        );
        assert!(found.differences.is_empty(), "{}", found.differences[0]);
        assert!(found.by_another * 10 > found.cases, "too little was remembered to prove anything");
    }
}

#[test]
fn memory_that_is_made_wrong_is_found_out() {
    for fault in [Fault::OneBitLess, Fault::NeverExact, Fault::NoNames, Fault::NoDomain, Fault::NoBlocks] {
        let found = run(7, 400_000, fault);
        println!("{fault:?}: found after {} cases", found.cases);
        assert!(!found.differences.is_empty(), "{fault:?} was not found in {} cases", found.cases);
    }
}
