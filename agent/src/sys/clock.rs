//! What the system's clock is set to, as clock_adjtime(2) tells it.
#![allow(unsafe_code, reason = "clock_adjtime(2) has no safe wrapper, and could set the clock")]

use nix::errno::Errno;

/// Bytes of `struct timex`.
pub const TIMEX: usize = size_of::<libc::timex>();

/// ADJ_ADJTIME with ADJ_OFFSET_READONLY: what is left of a slow adjustment (linux/timex.h).
const OFFSET_READ: u32 = 0xa001;

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading(u32);

impl Reading {
    /// By `modes` of `struct timex`; none: it sets something.
    pub fn of(modes: u32) -> Option<Self> {
        [0, OFFSET_READ].contains(&modes).then_some(Self(modes))
    }
}

/// The clock's state and its `struct timex`.
pub fn read(clock: i32, reading: Reading) -> nix::Result<(i32, [u8; TIMEX])> {
    let mut timex = [0; TIMEX];
    timex[..4].copy_from_slice(&reading.0.to_ne_bytes());
    // SAFETY: the kernel fills the buffer, which has the size of its structure.
    let state = unsafe { libc::syscall(libc::SYS_clock_adjtime, clock, timex.as_mut_ptr()) };
    Errno::result(state).map(|state| (state as i32, timex))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_read_and_never_set() {
        let (state, timex) = read(libc::CLOCK_REALTIME, Reading::of(0).unwrap()).unwrap();
        assert!((0..=5).contains(&state), "{state}");
        assert!(timex.iter().any(|byte| *byte != 0));
        assert!(read(libc::CLOCK_REALTIME, Reading::of(OFFSET_READ).unwrap()).is_ok());
        for modes in [1, 2, 0x10, 0x100, 0x4000, 0x8001] {
            assert_eq!(Reading::of(modes), None, "{modes:#x}");
        }
        assert_eq!(read(999, Reading(0)), Err(Errno::EINVAL));
    }
}
