//! Policies and what to try under them, for real system calls: tests/vm/test_regions.py.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use serde_json::{Value, json};

use crate::conditions::About;
use crate::random::Random;
use crate::{operations, policies};

/// What stands for the folder that a machine gives.
const TOP: &str = "/@TOP@";

const POLICIES: usize = 16;
const NAMES: usize = 140;
const ADDRESSES: usize = 24;

/// Writes `regions.json` to the folder: an array of policies, each with names to try below `/@TOP@` and addresses.
pub fn write(folder: &Path, seed: u64) {
    let mut random = Random::new(seed);
    random.top = TOP;
    let all: Vec<Value> = (0..POLICIES).map(|_| one(&mut random)).collect();
    std::fs::write(folder.join("regions.json"), Value::from(all).to_string()).unwrap();
}

fn one(random: &mut Random) -> Value {
    let policy = policies::policy(random, About::Machine);
    crate::engine(&policy);
    let mut names = std::collections::BTreeSet::new();
    while names.len() < NAMES {
        let name = String::from_utf8(operations::name(random, &policy.near)).unwrap_or_default();
        let clean = !name.contains("//") && !name.ends_with('/');
        if name.starts_with(&format!("{TOP}/")) && clean && name.split('/').all(|name| name.len() < 250) {
            names.insert(name);
        }
    }
    let addresses: Vec<Value> = (0..ADDRESSES).map(|_| address(&operations::address(random))).collect();
    json!({"rego": policy.rego, "team": policy.team, "data": policy.data, "names": names, "addresses": addresses})
}

/// Protocol, address and port of the bytes that the kernel side sends.
fn address(bytes: &[u8]) -> Value {
    let short = |at: usize| [bytes[at], bytes[at + 1]];
    let v4 = i32::from(u16::from_ne_bytes(short(0))) == libc::AF_INET;
    let ip = match v4 {
        true => Ipv4Addr::from(<[u8; 4]>::try_from(&bytes[8..12]).unwrap()).to_string(),
        false => Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[8..24]).unwrap()).to_string(),
    };
    let tcp = i32::from(u16::from_ne_bytes(short(2))) == libc::IPPROTO_TCP;
    json!([if tcp { "tcp" } else { "udp" }, ip, u16::from_be_bytes(short(4))])
}
