//! authz binds execution to policy.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod abi;
pub mod clock;
pub mod enforce;
pub mod event;
pub mod ledger;
pub mod policy;
pub mod session;
pub mod sys;
