//! The decision API: any other gate asks the policy that authz enforces, by the AuthZEN Authorization API 1.0.
//!
//! | path | answers |
//! |---|---|
//! | `POST /access/v1/evaluation` | one question |
//! | `POST /access/v1/evaluations` | several, under one of the three semantics |
//! | `GET /.well-known/authzen-configuration` | where the two are |
//!
//! A question becomes the policy's input as [`crate::policy::question`] says, under `context.layer` `api`; the gate's
//! own `context` is `input.context.request`. Two members of it are for authz: `session`, whose policy is asked (none:
//! that of the only session), and `understands`, which lists `rewrite` if the gate does what a rewrite says.
//!
//! | decided | answered |
//! |---|---|
//! | allow | `true`; `context.constraints` where there are any |
//! | deny | `false`, with `reason_admin`, `reason_user` and the rules |
//! | compute | `true` with `context.obligations`, if the gate understands `rewrite`; else `false` |
//! | escalate | `false` with `context.access_request`; the same question is allowed once a human has approved it |
//!
//! Every question is an entry of the ledger, `context.id` its id. It is served on a Unix socket, and on loopback if
//! that is asked for; who may ask is said in [`serve`].

mod answer;
pub mod serve;
mod token;
mod wire;

pub use serve::{Listeners, serve};
pub use token::{Token, TokenError};
