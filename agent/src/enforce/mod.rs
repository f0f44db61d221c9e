//! Back ends: what makes decisions bind. One file each.

pub mod bpf_lsm;
pub mod park;
mod syscalls;
pub mod wire;
