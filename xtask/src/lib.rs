//! Project tasks. Without the feature `cli` this is only what `build.rs` of the `authz` package needs.
pub mod bpf;

#[cfg(feature = "cli")]
mod apt;
#[cfg(feature = "cli")]
pub mod bench;
#[cfg(feature = "cli")]
pub mod codegen;
#[cfg(feature = "cli")]
pub mod demo;
#[cfg(feature = "cli")]
mod disk;
#[cfg(feature = "cli")]
pub mod kernels;
#[cfg(feature = "cli")]
mod program;
#[cfg(feature = "cli")]
pub mod project;
#[cfg(feature = "cli")]
pub mod setup;
#[cfg(feature = "cli")]
pub mod suite;
#[cfg(feature = "cli")]
pub mod test;
#[cfg(feature = "cli")]
pub mod vm;
