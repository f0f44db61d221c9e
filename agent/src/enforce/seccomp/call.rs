//! A call under way: what was asked, by whom, and the verdict about it.

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::sys::stat::umask;

use super::blocked::RESTART;
use super::calls::action_of;
use super::judge::{Judge, Known};
use super::place::{End, Place, is_own, root};
use super::resolve::{Last, Resolver};
use super::target::Target;
use super::worker;
use super::{facts, fail};
use crate::abi::raw::*;
use crate::event::{Action, Event};
use crate::pipeline::Verdict;
use crate::sys::identity;
use crate::sys::seccomp::Notification;

/// What the call comes to.
#[derive(Debug)]
pub enum Outcome {
    /// It returns this.
    Value(i64),
    /// It returns a descriptor for this file, closed on exec or not.
    File(OwnedFd, bool),
    /// The kernel carries it out.
    GoOn,
    /// It is answered already.
    Answered,
}

/// What handlers come to; an error is what the call fails with.
pub type Result<T = Outcome> = std::result::Result<T, Errno>;

/// A call under way.
pub struct Call<'a> {
    /// Who decides.
    pub judge: &'a Judge,
    /// The session.
    pub session: &'a Arc<Known>,
    /// What was asked.
    pub asked: Notification,
    /// By whom.
    pub target: Target,
    /// Files that must stay open until the call is done.
    kept: RefCell<Vec<OwnedFd>>,
    /// A signal of the thread has ended what was done for it.
    interrupted: Cell<bool>,
    /// It is decided, so it may be done already.
    decided: Cell<bool>,
}

impl<'a> Call<'a> {
    /// A call that waits.
    pub fn new(judge: &'a Judge, session: &'a Arc<Known>, asked: Notification, target: Target) -> Self {
        Self {
            judge,
            session,
            asked,
            target,
            kept: RefCell::default(),
            interrupted: Cell::new(false),
            decided: Cell::new(false),
        }
    }

    /// Keeps a file open until the call is done: it is named by its descriptor.
    pub fn keep(&self, file: OwnedFd) {
        self.kept.borrow_mut().push(file);
    }

    /// Does something that may block.
    pub fn blocking<T>(&self, act: impl FnOnce() -> nix::Result<T>) -> nix::Result<T> {
        let result = self.judge.blocked.during(self.session, self.asked.id, self.target.tid, act);
        if matches!(result, Err(Errno::EINTR)) {
            self.interrupted.set(true);
        }
        result
    }

    /// What the call comes to, where a signal may have ended it, or it could not be judged; none: a handler
    /// panicked.
    pub fn finish(&self, result: Option<Result>) -> Result {
        match (result, self.target.unjudged()) {
            (Some(Err(Errno::EINTR)), _) if self.interrupted.get() => Ok(Outcome::Value(RESTART)),
            (Some(Err(Errno::EACCES)), Some(cause)) => self.fail(cause),
            (Some(result), _) => result,
            (None, _) if self.decided.get() => self.fail(fail::FAULT).and(Err(Errno::EACCES)),
            (None, _) => self.fail(fail::FAULT),
        }
    }

    /// The fail direction, where nothing is known of the call but which one it is. If its thread is gone, nothing
    /// was asked.
    fn fail(&self, cause: &'static str) -> Result {
        self.check()?;
        let raw = self.record(action_of(self.asked.number));
        self.judge.fail(self.session, &raw, cause)?;
        Ok(Outcome::GoOn)
    }

    /// An argument.
    pub fn arg(&self, index: usize) -> u64 {
        self.asked.args[index]
    }

    /// An argument that is an `int`.
    pub fn int(&self, index: usize) -> i32 {
        self.asked.args[index] as i32
    }

    /// Copies the path that an argument points to.
    pub fn path(&self, index: usize) -> Result<Vec<u8>> {
        self.target.path(self.arg(index))
    }

    /// Whether the call still waits, so that what was read is that thread's.
    pub fn check(&self) -> Result<()> {
        if self.session.listener.is_waiting(self.asked.id) { Ok(()) } else { Err(Errno::EINTR) }
    }

    /// With the supervisor's own rights again.
    pub fn back(&self) -> Result<()> {
        worker::back().map_err(|_| self.target.cannot(fail::RIGHTS))
    }

    /// Acts with the thread's rights and umask from here on; the worker returns to its own afterwards.
    pub fn act(&self) -> Result<()> {
        self.check()?;
        if nix::unistd::getuid().is_root() {
            self.back()?;
            worker::switched();
            identity::be(&self.target.identity).map_err(|_| self.target.cannot(fail::RIGHTS))?;
        }
        umask(self.target.umask);
        Ok(())
    }

    /// The folder that a path starts from.
    pub fn start(&self, folder: i32, path: &[u8]) -> Result<OwnedFd> {
        self.back()?;
        // Where it starts then is for the resolver.
        if path.starts_with(b"/") { root() } else { self.target.folder(folder) }
    }

    /// A resolver for this thread; before [`Call::act`].
    pub fn resolver(&self) -> Result<Resolver<'_>> {
        self.back()?;
        let moved = self.session.moved.load(Ordering::Acquire);
        let root = if moved { Some(self.target.root()?) } else { None };
        Ok(Resolver::new(&self.target, root))
    }

    /// Resolves a path and acts with the thread's rights from here on.
    pub fn resolve(&self, folder: i32, path: &[u8], last: Last) -> Result<End> {
        let (mut resolver, start) = self.ready(folder, path)?;
        resolver.resolve(&start, path, last)
    }

    /// The same; what is found has its name with it.
    pub fn resolve_by_steps(&self, folder: i32, path: &[u8], last: Last) -> Result<End> {
        let (mut resolver, start) = self.ready(folder, path)?;
        resolver.resolve_by_steps(&start, path, last)
    }

    /// The folder of a path's last component, in which nothing has been looked up yet.
    pub fn parent(&self, folder: i32, path: &[u8]) -> Result<Place> {
        let (mut resolver, start) = self.ready(folder, path)?;
        resolver.parent(&start, path)
    }

    fn ready(&self, folder: i32, path: &[u8]) -> Result<(Resolver<'_>, OwnedFd)> {
        not_empty(path)?;
        let resolver = self.resolver()?;
        let start = self.start(folder, path)?;
        self.act()?;
        Ok((resolver, start))
    }

    /// A record of what is to be decided.
    pub fn record(&self, action: Action) -> Box<authz_event> {
        let mut raw = facts::record(&self.target, self.asked.number, action);
        self.session.put_calls(&mut raw);
        raw
    }

    /// Decides. What aims at the supervisor is refused whatever the policy says.
    pub fn decide(&self, raw: &authz_event) -> Result<Verdict> {
        if u32::from(raw.object) == AUTHZ_OBJ_PATH && is_own(&raw.data[..usize::from(raw.path_len)]) {
            return Err(self.guard(raw));
        }
        self.decide_with(raw, |_| {})
    }

    /// Decides an operation with facts that no record of the kernel has.
    pub fn decide_with(&self, raw: &authz_event, add: impl FnOnce(&mut Event)) -> Result<Verdict> {
        // What could not be had before was not needed.
        self.target.can();
        let verdict = self.judge.decide(self.session, self.asked.id, raw, add)?;
        self.decided.set(true);
        Ok(verdict)
    }

    /// Refuses what aims at the supervisor.
    pub fn guard(&self, raw: &authz_event) -> Errno {
        self.target.can();
        self.judge.guard(self.session, raw)
    }

    /// Decides where nothing else can be done instead.
    pub fn allow(&self, raw: &authz_event) -> Result<()> {
        match self.decide(raw)? {
            Verdict::Allow => Ok(()),
            Verdict::Deny | Verdict::Compute(_) => Err(Errno::EACCES),
        }
    }
}

/// The kernel looks at the path before it looks at the folder.
pub fn not_empty(path: &[u8]) -> Result<()> {
    if path.is_empty() { Err(Errno::ENOENT) } else { Ok(()) }
}
