//! The raw system calls; with `abi/` the only `unsafe` of the project.

pub mod bpf;
pub mod bpf_map;
pub mod clock;
pub mod features;
pub mod file;
pub mod identity;
pub mod interrupt;
pub mod landlock;
pub mod ptrace;
pub mod sigchld;
pub mod peer;
pub mod seccomp;
pub mod socket;
pub mod spawn;
pub mod trial;
