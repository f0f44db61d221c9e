//! Clocks.
use nix::time::{ClockId, clock_gettime};

/// CLOCK_MONOTONIC in nanoseconds: the clock of the eBPF programs.
pub fn monotonic_ns() -> u64 {
    // The call cannot fail for this clock on Linux; 0 would read as "stale", the safe direction.
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |t| t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
}
