//! The tracing thread: its states and its loop.

use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::signals::Signals;
use super::{Command, ParkError, Report};
use crate::sys::ptrace::{self, Stop};
use crate::sys::sigchld::{Wake, only_sigchld_here};

/// How often parked threads are looked at; longer when there are many, to stay cheap.
const TICK_MIN: Duration = Duration::from_millis(50);
const TICK_EACH: Duration = Duration::from_millis(1);
const TICK_MAX: Duration = Duration::from_secs(1);

pub(super) fn lock(set: &Mutex<HashSet<i32>>) -> MutexGuard<'_, HashSet<i32>> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Seized and interrupted, no stop seen yet.
    Stopping,
    /// In PTRACE_EVENT_STOP.
    Stopped,
    /// In PTRACE_LISTEN: stopped as well, but it has to be interrupted before it can be detached.
    Listening,
    /// To be detached at its next stop, with this report.
    Leaving(Why),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Released,
    Signalled,
}

pub(super) struct Tracing {
    inbox: Receiver<Command>,
    wake: Arc<Wake>,
    parked: Arc<Mutex<HashSet<i32>>>,
    report: Box<dyn FnMut(Report) + Send>,
    tracees: HashMap<i32, State>,
    next_tick: Instant,
}

impl Tracing {
    /// A thread's worth of state, with nothing traced yet.
    pub(super) fn new(
        inbox: Receiver<Command>,
        wake: Arc<Wake>,
        parked: Arc<Mutex<HashSet<i32>>>,
        report: Box<dyn FnMut(Report) + Send>,
    ) -> Self {
        Self { inbox, wake, parked, report, tracees: HashMap::new(), next_tick: Instant::now() }
    }

    /// Serves commands until told to end. Whatever is still parked then runs on when the thread ends.
    pub(super) fn run(mut self) {
        if let Err(errno) = only_sigchld_here() {
            tracing::warn!(%errno, "the tracing thread could not set its signal mask");
        }
        loop {
            self.sleep();
            self.wake.clear();
            while let Ok(command) = self.inbox.try_recv() {
                match command {
                    Command::Park(tid) => self.park(tid),
                    Command::Release(tid) => self.leave(tid, Why::Released),
                    Command::End => return,
                }
            }
            self.collect();
            if !self.tracees.is_empty() && Instant::now() >= self.next_tick {
                self.tick();
            }
        }
    }

    /// Sleeps until something happens or the next tick. The tick is also the safety net: should another
    /// part of the process have taken SIGCHLD away, events are seen late, never not at all.
    fn sleep(&self) {
        let timeout = if self.tracees.is_empty() {
            PollTimeout::NONE
        } else {
            let rest = self.next_tick.saturating_duration_since(Instant::now());
            PollTimeout::try_from(rest + Duration::from_millis(1)).unwrap_or(PollTimeout::ZERO)
        };
        // EINTR is a wake-up like any other.
        poll(&mut [PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)], timeout).ok();
    }

    fn park(&mut self, tid: i32) {
        match self.tracees.get_mut(&tid) {
            Some(State::Stopped | State::Listening) => return (self.report)(Report::Parked { tid }),
            Some(state) => return *state = State::Stopping,
            None => {}
        }
        if self.tracees.is_empty() {
            self.next_tick = Instant::now() + TICK_MIN;
        }
        let seized = ptrace::seize(tid).map_err(|errno| why_not(tid, errno));
        if let Err(why) = seized {
            return (self.report)(Report::Failed { tid, why });
        }
        self.tracees.insert(tid, State::Stopping);
        // ESRCH: it is dying, which waitpid will tell.
        ptrace::interrupt(tid).ok();
    }

    fn leave(&mut self, tid: i32, why: Why) {
        let Some(state) = self.tracees.get_mut(&tid) else { return };
        let was = std::mem::replace(state, State::Leaving(why));
        lock(&self.parked).remove(&tid);
        match was {
            State::Stopped => self.detach(tid, 0),
            State::Listening => {
                ptrace::interrupt(tid).ok();
            }
            State::Stopping | State::Leaving(_) => {}
        }
    }

    fn collect(&mut self) {
        let tids: Vec<i32> = self.tracees.keys().copied().collect();
        for tid in tids {
            match ptrace::poll(tid) {
                Ok(None) => {}
                Ok(Some(Stop::Exited)) | Err(_) => self.gone(tid),
                Ok(Some(stop)) => self.stopped(tid, stop),
            }
        }
    }

    fn stopped(&mut self, tid: i32, stop: Stop) {
        let Some(&state) = self.tracees.get(&tid) else { return };
        match (state, stop) {
            (State::Leaving(_), Stop::Signal(signal)) => self.detach(tid, signal),
            (State::Leaving(_), _) => self.detach(tid, 0),
            (_, Stop::Event { signal }) => {
                let ends_listening = state == State::Listening && signal == libc::SIGTRAP;
                let listens = !ends_listening && ptrace::listen(tid).is_ok();
                self.tracees.insert(tid, if listens { State::Listening } else { State::Stopped });
                if lock(&self.parked).insert(tid) {
                    (self.report)(Report::Parked { tid });
                }
            }
            (_, Stop::Signal(signal)) if Signals::of(tid).is_some_and(|s| s.would_act(signal)) => {
                self.tracees.insert(tid, State::Leaving(Why::Signalled));
                self.detach(tid, signal);
            }
            (_, stop) => {
                // Nothing to be let go for: pass it on and ask for the stop again.
                let signal = if let Stop::Signal(signal) = stop { signal } else { 0 };
                ptrace::cont(tid, signal).ok();
                ptrace::interrupt(tid).ok();
            }
        }
    }

    fn detach(&mut self, tid: i32, signal: i32) {
        if ptrace::detach(tid, signal).is_err() {
            return; // killed in between: waitpid will tell
        }
        let why = self.tracees.remove(&tid);
        lock(&self.parked).remove(&tid);
        let signalled = why == Some(State::Leaving(Why::Signalled));
        (self.report)(if signalled { Report::Signalled { tid } } else { Report::Released { tid } });
    }

    fn gone(&mut self, tid: i32) {
        self.tracees.remove(&tid);
        lock(&self.parked).remove(&tid);
        (self.report)(Report::Gone { tid });
    }

    /// Lets go what has a signal waiting, and takes up listening again.
    fn tick(&mut self) {
        let tids: Vec<(i32, State)> = self.tracees.iter().map(|(tid, state)| (*tid, *state)).collect();
        for (tid, state) in tids {
            match state {
                State::Stopped | State::Listening if Signals::of(tid).is_some_and(|s| s.waiting()) => {
                    self.leave(tid, Why::Signalled);
                }
                State::Stopped if ptrace::listen(tid).is_ok() => {
                    self.tracees.insert(tid, State::Listening);
                }
                _ => {}
            }
        }
        let tick = TICK_EACH * u32::try_from(self.tracees.len()).unwrap_or(u32::MAX);
        self.next_tick = Instant::now() + tick.clamp(TICK_MIN, TICK_MAX);
    }
}

fn why_not(tid: i32, errno: Errno) -> ParkError {
    match errno {
        Errno::ESRCH => ParkError::Exited,
        Errno::EPERM => match Signals::of(tid) {
            Some(status) if status.tracer != 0 => ParkError::Traced(status.tracer),
            Some(status) if status.dead => ParkError::Exited,
            Some(_) => ParkError::Denied,
            None => ParkError::Exited,
        },
        errno => ParkError::Call { call: "PTRACE_SEIZE", errno },
    }
}
