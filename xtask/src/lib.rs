//! Project tasks. Without the feature `cli` this is only what `build.rs` of the `authz` package needs.
pub mod bpf;

#[cfg(feature = "cli")]
pub mod apt;
#[cfg(feature = "cli")]
pub mod kernels;
#[cfg(feature = "cli")]
pub mod project;
#[cfg(feature = "cli")]
pub mod vm;
