//! The ledger: what was decided, on disk before it takes effect.
//!
//! Below `<state>/<instance>/ledger` an entry ([`entry`]) is first a frame of the write-ahead log, appended by one
//! writer ([`store`]) with group commit. From there it goes into bundles, and its hash into the tiles of a Merkle
//! tree, as C2SP tlog-tiles has them; a checkpoint over both is signed with a key of the state folder. The bytes of
//! an entry are what a leaf hashes: they are never rewritten once durable.
//!
//! | file | has |
//! |---|---|
//! | `wal/<first>.wal` | entries, durable as soon as they are reported so; cut when they are signed |
//! | `tile/entries/<N>` | 256 entries each |
//! | `tile/<L>/<N>` | 256 hashes each |
//! | `checkpoint` | size and root of the tree, signed |
//! | `key.pub` | the public key, a copy; the one to trust is kept elsewhere |
//! | `sessions` | which sessions there are entries of |
//! | `payload/<SHA-256>` | inputs that are too long for an entry |
//! | `pruned` | how many entries at the beginning were taken away, if any |
//!
//! [`reader`] reads entries, [`mod@verify`] checks what is there against a signature, [`proof`] takes one entry out
//! with all it needs, [`consistency`] shows that nothing changed between two checkpoints.

pub mod consistency;
pub mod entry;
mod files;
pub mod key;
pub mod note;
pub mod proof;
pub mod prune;
pub mod reader;
pub mod readers;
mod recover;
pub mod redact;
mod seal;
mod sessions;
pub mod store;
mod tile;
pub mod time;
pub mod tree;
pub mod verify;
mod wal;
mod writer;

pub use crate::policy::{Decision, Effect, RuleRef};
pub use entry::{Attribution, DecidedBy, Entry, Hex, Kind, ResourceEntry};
pub use files::{LedgerError, MAX_LINE, ledger_of};
pub use reader::{Reader, Record};
pub use readers::{Readers, instances, likely_first};
pub use store::{Observer, Options, Store, Ticket};
pub use time::Time;
