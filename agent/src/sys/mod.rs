//! Raw system calls.
pub mod ptrace;
pub mod sigchld;
