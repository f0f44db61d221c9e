//! No back end: sessions of a policy alone, which hold no process. What is decided there is decided for those who
//! ask, and binds as far as they obey.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::level::Enforcement;
use super::{Admission, EnforcementPoint, Error};
use crate::event::Event;
use crate::pipeline::{Answer, EventSource, Remembered, VerdictSink};
use crate::session::Session;
use crate::sys::peer::Peer;

/// An enforcement point at which nothing ever happens.
pub struct Nothing {
    /// Never readable.
    quiet: EventFd,
    enforcement: Enforcement,
}

impl Nothing {
    /// Ready.
    pub fn new() -> Result<Self, Error> {
        let quiet = EventFd::from_flags(EfdFlags::EFD_CLOEXEC)
            .map_err(|error| Error::Io { what: "eventfd", source: error.into() })?;
        Ok(Self { quiet, enforcement: Enforcement::nothing("the session holds no process") })
    }
}

impl EnforcementPoint for Nothing {
    fn enforcement(&self) -> &Enforcement {
        &self.enforcement
    }

    fn ready(&self) -> BorrowedFd<'_> {
        self.quiet.as_fd()
    }

    fn heartbeat(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn admit(&mut self, _session: &Session, _admission: &Admission) -> Result<(), Error> {
        let source = std::io::Error::other("this daemon decides for those who ask; it can enforce nothing");
        Err(Error::Io { what: "cannot take in a process", source })
    }

    fn publish(&mut self, _session: &Session) -> Result<(), Error> {
        Ok(())
    }

    fn forget(&mut self, _index: u32) -> Result<(), Error> {
        Ok(())
    }

    /// No process is in a session of this daemon; those of others are kept from its folder by theirs.
    fn encloses(&self, _peer: &Peer) -> std::io::Result<bool> {
        Ok(false)
    }

    fn session_of(&self, _peer: &Peer) -> std::io::Result<Option<u32>> {
        Ok(None)
    }

    fn live(&self) -> HashSet<u32> {
        HashSet::new()
    }

    fn take_hits(&mut self) -> Vec<(u64, u64)> {
        Vec::new()
    }

    fn sweep(&mut self) {}

    fn unrecorded(&mut self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

impl EventSource for Nothing {
    fn next(&mut self) -> Option<Result<Event, String>> {
        None
    }
}

impl VerdictSink for Nothing {
    fn answer(&mut self, _ticket: u64, _answer: Answer) -> Result<(), String> {
        Ok(())
    }

    fn remember(&mut self, _verdict: Remembered<'_>) -> Result<(), String> {
        Ok(())
    }

    fn park(&mut self, _tid: i32, _ticket: u64) {}

    fn release(&mut self, _tid: i32) {}
}
