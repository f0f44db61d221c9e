//! What `build.rs` of the `authz` package and the `xtask` command share: building the eBPF object.
pub mod bpf;
