//! Under which tool calls a process was started: what the label of the LSM programs carries. Fork is not mediated,
//! so a process that is seen for the first time has what its nearest known ancestor has.

use std::collections::HashMap;
use std::sync::Mutex;

/// Processes known at the most before those that have ended are dropped.
const KNOWN_MAX: usize = 4096;

/// How far up parents are followed.
const DEPTH_MAX: usize = 1 << 12;

/// Numbers of sets of calls by process; 0 for none.
#[derive(Debug, Default)]
pub struct Lineage {
    /// By number and start, which is no other process's.
    known: Mutex<HashMap<(i32, u64), u32>>,
}

/// Parent and start of a process.
fn origin(pid: i32) -> Option<(i32, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    Some((fields.nth(1)?.parse().ok()?, fields.nth(17)?.parse().ok()?))
}

impl Lineage {
    /// The set under which the program of a process was started.
    pub fn of(&self, pid: i32) -> u32 {
        let Ok(mut known) = self.known.lock() else { return 0 };
        let own = std::process::id() as i32;
        let (mut at, mut seen, mut set) = (pid, Vec::new(), 0);
        while at > 1 && at != own && seen.len() < DEPTH_MAX {
            let Some((parent, start)) = origin(at) else { break };
            if let Some(found) = known.get(&(at, start)) {
                set = *found;
                break;
            }
            seen.push((at, start));
            at = parent;
        }
        known.extend(seen.into_iter().map(|process| (process, set)));
        if known.len() > KNOWN_MAX {
            known.retain(|(pid, start), _| origin(*pid).is_some_and(|(_, now)| now == *start));
        }
        set
    }

    /// A process has executed a program while this set was open.
    pub fn executed(&self, pid: i32, open: u32) {
        if self.of(pid) == 0
            && let Some((_, start)) = origin(pid)
            && let Ok(mut known) = self.known.lock()
        {
            known.insert((pid, start), open);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_keeps_the_calls_it_was_started_under_and_hands_them_down() {
        let lineage = Lineage::default();
        let mut parent = std::process::Command::new("sh").args(["-c", "sleep 20 & wait"]).spawn().unwrap();
        let pid = parent.id() as i32;
        let children =
            || std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let child = loop {
            if let Some(child) = children().split_ascii_whitespace().next() {
                break child.parse().unwrap();
            }
            std::thread::yield_now();
        };
        assert_eq!(lineage.of(pid), 0);
        lineage.executed(pid, 7);
        lineage.executed(pid, 8);
        assert_eq!((lineage.of(pid), lineage.of(child)), (7, 7));
        assert_eq!(lineage.of(std::process::id() as i32), 0);
        assert_eq!(lineage.of(i32::MAX), 0);
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), nix::sys::signal::Signal::SIGKILL).unwrap();
        parent.wait().unwrap();
    }
}
