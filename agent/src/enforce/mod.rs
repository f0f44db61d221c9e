//! Back ends: what makes decisions bind. One file each.
pub mod bpf_lsm;
mod syscalls;
pub mod wire;
