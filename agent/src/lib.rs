//! authz binds execution to policy.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod abi;
pub mod sys;
pub mod clock;
pub mod event;
pub mod session;
pub mod policy;
pub mod hold;
pub mod ledger;
pub mod pipeline;
pub mod enforce;
pub mod control;
pub mod daemon;
pub mod cli;
