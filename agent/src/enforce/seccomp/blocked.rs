//! Calls that block here in the place of a thread: opening a pipe, connecting, sending. What would end them there,
//! its death or a signal, ends them here.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::judge::Known;
use crate::sys::interrupt;

/// How often blocked calls are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What the kernel answers by starting the call anew, or by EINTR, as the handler of the signal has it
/// (include/linux/errno.h).
pub const RESTART: i64 = -512;

struct Entry {
    session: Arc<Known>,
    id: u64,
    /// The thread it is done for.
    target: i32,
}

/// The workers that block, by their number.
#[derive(Default)]
pub struct Blocked {
    entries: Mutex<HashMap<i32, Entry>>,
    came: Condvar,
}

impl Blocked {
    /// Starts to look after them.
    pub fn start() -> std::io::Result<Arc<Self>> {
        interrupt::prepare();
        let blocked = Arc::new(Self::default());
        let watched = blocked.clone();
        std::thread::Builder::new().name("authz-blocked".into()).spawn(move || watched.watch())?;
        Ok(blocked)
    }

    fn watch(&self) {
        loop {
            let Ok(mut entries) = self.entries.lock() else { return };
            while entries.is_empty() {
                let Ok(more) = self.came.wait(entries) else { return };
                entries = more;
            }
            for (worker, entry) in entries.iter() {
                if !entry.session.listener.is_waiting(entry.id) || is_signalled(entry.target) {
                    // If it has just ended, it has ended.
                    interrupt::interrupt(*worker).ok();
                }
            }
            drop(entries);
            std::thread::sleep(LOOK);
        }
    }

    /// Does something that may block for the thread `target`, whose call is `id`. `Err(EINTR)`: it has a signal to
    /// see to, or is gone.
    pub fn during<T>(
        &self,
        session: &Arc<Known>,
        id: u64,
        target: i32,
        act: impl FnOnce() -> nix::Result<T>,
    ) -> nix::Result<T> {
        let worker = nix::unistd::gettid().as_raw();
        if let Ok(mut entries) = self.entries.lock() {
            entries.insert(worker, Entry { session: session.clone(), id, target });
            self.came.notify_one();
        }
        let result = act();
        if let Ok(mut entries) = self.entries.lock() {
            entries.remove(&worker);
        }
        result
    }
}

/// Whether a signal waits for the thread that it neither blocks nor ignores.
fn is_signalled(tid: i32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{tid}/status")) else { return true };
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| u64::from_str_radix(value.trim(), 16).ok()).unwrap_or(0)
    };
    (mask("SigPnd:") | mask("ShdPnd:")) & !mask("SigBlk:") & !mask("SigIgn:") & mask("SigCgt:") != 0
}
