//! Back ends: what makes decisions bind. One file each.

pub mod bpf_lsm;
pub mod kernel;
pub mod btf;
pub mod choice;
pub mod landlock;
pub mod level;
pub mod park;
pub mod probe;
pub mod seccomp_calls;
mod syscalls;
pub mod wire;
