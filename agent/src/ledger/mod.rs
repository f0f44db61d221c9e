//! The ledger: what was decided, on disk before it takes effect.
//!
//! `<state>/ledger/<NNNN>.jsonl` holds one entry a line ([`entry`]), appended by one writer
//! ([`store`]), read by [`reader`]. The bytes of a line, without its newline, are what a Merkle leaf
//! hashes: they are never rewritten once durable.

pub mod entry;
mod files;
pub mod reader;
pub mod readers;
mod recover;
pub mod redact;
pub mod store;
pub mod time;
mod writer;

pub use crate::policy::{Decision, Effect, RuleRef};
pub use entry::{Attribution, DecidedBy, Entry, Hex, Kind, ResourceEntry};
pub use files::{LedgerError, MAX_LINE};
pub use reader::{Reader, Record};
pub use readers::Readers;
pub use store::{Options, Store, Ticket};
pub use time::Time;
