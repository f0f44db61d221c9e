//! Policy: what may happen, decided by Rego.
//!
//! A [`bundle`] is loaded from folders, files and presets, checked ([`lint`]) and made into an
//! [`engine`], which turns an [`input`] into a [`decision`]. [`reads`] says which fields of the input
//! the policy looks at, and [`region`] how far a decision may be remembered because of it: as far as the
//! [`recorder`] heard of tests, where [`flow`] finds no other use of the name. The [`floor`] is what a policy states once for all, to hold without decisions; [`implied`] is what it knows of tools. What two
//! policies differ in is told by [`difference`], and why one decides as it does by [`grounds`].

pub mod archive;
mod ast;
mod builtins;
pub mod bundle;
pub mod decision;
pub mod difference;
pub mod engine;
pub mod error;
pub mod floor;
pub mod flow;
mod glob;
pub mod grounds;
mod guard;
mod hash;
pub mod implied;
pub mod input;
pub mod kept;
mod lint;
pub mod names;
mod outcome;
mod predicates;
pub mod question;
pub mod reach;
pub mod reads;
pub mod recorder;
pub mod region;
mod shipped;
mod shortcut;
pub mod testing;

pub use builtins::Drawn;
pub use bundle::{Bundle, Generated, PolicySource};
pub use decision::{Decision, Effect, Limits, Rate, RuleRef};
pub use engine::{Engine, Evaluation};
pub use error::{Location, PolicyError};
pub use floor::Floor;
pub use grounds::Grounds;
pub use hash::hash_of;
pub use implied::Tools;
pub use input::Input;
pub use question::Question;
pub use reads::Reads;
pub use region::{DomainKey, Remember};
