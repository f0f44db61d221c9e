//! What /proc says of a thread's signals and tracer: the part of it that parking needs.

/// Signals that do nothing unless a handler is there, and SIGCONT, which every hold sends.
const HARMLESS: u64 = bit(libc::SIGCHLD) | bit(libc::SIGURG) | bit(libc::SIGWINCH);

const fn bit(signal: i32) -> u64 {
    if signal < 1 || signal > 64 { 0 } else { 1 << (signal - 1) }
}

/// Masks of one thread, bit n-1 for signal n.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signals {
    /// The tracer's process, 0 for none.
    pub(crate) tracer: i32,
    /// Zombie or dead.
    pub(crate) dead: bool,
    pending: u64,
    blocked: u64,
    ignored: u64,
    caught: u64,
}

impl Signals {
    /// Reads /proc/TID/status; nothing if the thread is gone.
    pub(crate) fn of(tid: i32) -> Option<Self> {
        std::fs::read_to_string(format!("/proc/{tid}/status")).ok().map(|text| Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            let mask = u64::from_str_radix(value, 16).unwrap_or(0);
            match key {
                "State" => found.dead = value.starts_with(['Z', 'X']),
                "TracerPid" => found.tracer = value.parse().unwrap_or(0),
                "SigPnd" | "ShdPnd" => found.pending |= mask,
                "SigBlk" => found.blocked = mask,
                "SigIgn" => found.ignored = mask,
                "SigCgt" => found.caught = mask,
                _ => {}
            }
        }
        found
    }

    /// Whether a signal waits that would act on the thread, were it running.
    pub(crate) fn waiting(self) -> bool {
        self.pending & !self.blocked & self.acting() != 0
    }

    /// Whether this signal, delivered, does anything.
    pub(crate) fn would_act(self, signal: i32) -> bool {
        self.acting() & bit(signal) != 0
    }

    fn acting(self) -> u64 {
        !self.ignored & (self.caught | !HARMLESS) & !bit(libc::SIGCONT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(pending: &str, blocked: &str, ignored: &str, caught: &str) -> Signals {
        Signals::parse(&format!(
            "Name:\tevil:\nState:\tt (tracing stop)\nTracerPid:\t7\nSigPnd:\t0000000000000000\nShdPnd:\t{pending}\n\
             SigBlk:\t{blocked}\nSigIgn:\t{ignored}\nSigCgt:\t{caught}\n"
        ))
    }

    #[test]
    fn a_signal_waits_only_if_it_would_act() {
        assert!(status("2", "0", "0", "0").waiting(), "SIGINT");
        assert!(!status("2", "2", "0", "0").waiting(), "blocked");
        assert!(!status("2", "0", "2", "0").waiting(), "ignored");
        assert!(!status("10000", "0", "0", "0").waiting(), "SIGCHLD without a handler");
        assert!(status("10000", "0", "0", "10000").waiting(), "SIGCHLD with a handler");
        assert!(!status("20000", "0", "0", "20000").waiting(), "SIGCONT comes from the hold itself");
        assert!(status("8000000000000000", "0", "0", "0").waiting(), "the last real-time signal");
        assert!(!status("", "", "", "").waiting());
        assert_eq!(status("0", "0", "0", "0").tracer, 7);
    }

    #[test]
    fn bad_text_is_nothing_waiting() {
        for text in ["", ":", "SigPnd", "SigPnd:", "SigPnd: zz", "TracerPid: -x", "\0"] {
            assert_eq!(Signals::parse(text), Signals::default(), "{text:?}");
        }
        assert!(!Signals::default().would_act(0));
        assert!(!Signals::default().would_act(1000));
        assert!(Signals::of(i32::MAX).is_none());
    }
}
