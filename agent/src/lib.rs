//! authz binds execution to policy: what an AI agent does is decided before it takes effect, at the
//! tool call and again at the system call, by one policy written in Rego, and every decision leaves a record.
//!
//! # Principles
//!
//! 1. **Never silently unenforced.** A session says at its start what is enforced; it is its first ledger entry,
//!    and `--require` refuses to start below a level.
//! 2. **The kernel is the authority.** Decided is the object the kernel is about to touch, never a string that a
//!    process can still change.
//! 3. **Fail closed in enforce, fail open in observe**, in one place on each side: a function of
//!    `ebpf/lib/decide.h` and one of [`pipeline`].
//! 4. **No lock-up.** The daemon is not held by its own rules, every hold has a deadline, and a process outside
//!    every session pays one lookup.
//! 5. **One policy, one input, one decision** for every layer; no layer has rules of its own.
//! 6. **Evidence before effect.** A denial, a question and its answer are on disk before they take effect. A gap
//!    in the record is a record.
//! 7. **Honest words.** Nothing is promised that no test checks.
//!
//! # The flow
//!
//! ```text
//! install : policy bundle -> engine -> enforcement point            (before the agent starts)
//! event   : hook | tool call -> Event -> session -> Input -> Decision -> ledger -> verdict
//! answer  : human -> control -> the same flow
//! replay  : ledger -> Input -> the same engine, or another -> difference
//! ```
//!
//! Most verdicts are found in the kernel's own table and only counted here. A miss is held in the kernel with a
//! ticket, runs through the flow, and its verdict is remembered as far as the policy's own tests allow.
//!
//! A tool call is decided together with the operations that `data.authz.tools` says it implies. While it is open,
//! enforcement points carry the number of the set of open calls, and a program keeps the set under which it was
//! started; from these two numbers follows to which call a system call belongs ([`session::calls`]).
//!
//! # Modules
//!
//! In flow order; a module uses earlier ones only, which `tests/layout.rs` checks.
//!
//! | module | has |
//! |---|---|
//! | [`abi`] | what kernel and user space share, generated from `ebpf/include/authz_abi.h` |
//! | [`sys`] | the raw system calls; with [`abi`] the only unsafe code |
//! | [`text`] | what may be shown to a human or a model |
//! | [`clock`] | the clock that the kernel side uses |
//! | [`paths`] | where state and sockets are kept, for root and for an ordinary user |
//! | [`event`] | an operation as the kernel reported it, owned and validated: parsing one is the trust boundary |
//! | [`policy`] | input, engine, decision, bundle and its digest, and what the kernel may remember of a decision |
//! | [`hold`] | operations that wait for a human, and their deadlines |
//! | [`ledger`] | the record |
//! | [`session`] | a process tree under one policy: identity, mode, what was approved, its tool calls |
//! | [`pipeline`] | the loop from event to verdict; it names no back end |
//! | [`enforce`] | what makes verdicts bind: the probe of the kernel, LSM programs, tasks parked while they wait |
//! | [`replay`] | what was decided, decided again by the same policy or another |
//! | [`learn`] | a policy made from what was recorded, for a person to edit |
//! | [`trace`] | a session as a tree of tool calls and what was seen under them |
//! | [`control`] | the protocol between the daemon and those who ask it |
//! | [`web`] | what the listeners on loopback have in common, and the way to a server elsewhere |
//! | [`authzen`] | the decision API: questions of other gates |
//! | [`adapters`] | agents' own hooks: their events as tool calls, decisions as their answers |
//! | [`otlp`] | the record, sent to an OpenTelemetry collector too |
//! | [`daemon`] | the process that owns all of it |
//! | [`mcp`] | the gate between an agent and an MCP server |
//! | [`cli`] | the command line |
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod abi;
pub mod sys;
pub mod text;
pub mod clock;
pub mod paths;
pub mod event;
pub mod policy;
pub mod hold;
pub mod ledger;
pub mod session;
pub mod pipeline;
pub mod enforce;
pub mod replay;
pub mod learn;
pub mod trace;
pub mod control;
pub mod web;
pub mod authzen;
pub mod adapters;
pub mod otlp;
pub mod daemon;
pub mod mcp;
pub mod cli;
