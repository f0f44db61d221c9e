//! The daemon: one loop that owns the back end, the sessions and the ledger. Everything else (control
//! connections, the tracer) sends it messages.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use uuid::Uuid;

use crate::abi::raw::*;
use crate::clock::monotonic_ns;
use crate::control::{self, Asked, Request, Response, SessionView, StartSession, Started};
use crate::enforce::bpf_lsm::{BpfLsm, PIN_ROOT};
use crate::enforce::kernel::Kernel;
use crate::enforce::level::Enforcement;
use crate::enforce::park::{Report, Tracer};
use crate::event::Mode;
use crate::ledger::entry::Kind;
use crate::ledger::{Options as LedgerOptions, Store};
use crate::pipeline::Pipeline;
use crate::policy::{Bundle, Engine, Generated, PolicySource};
use crate::session::{Approved, Session};
use crate::sys::peer::{Peer, pidfd_open};

/// How often the programs are told that the daemon lives, at the least.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// How many events are decided between two looks at the messages.
const TURN: usize = 64;

/// The kernel gives up on an answer so much later than the daemon: the daemon's deny comes first.
const GRACE: Duration = Duration::from_secs(5);

/// How often hits are collected and dead sessions looked for.
const CHORES: Duration = Duration::from_secs(1);

/// How a daemon is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of ledgers and policy bundles.
    pub state: PathBuf,
    /// Its name: folder of its socket, pins and ledger.
    pub instance: String,
    /// Ends with its last session.
    pub embedded: bool,
}

enum Message {
    Asked(Asked),
    Tracer(Report),
}

/// Sends messages and wakes the loop.
#[derive(Clone)]
struct Mailbox {
    messages: Sender<Message>,
    wake: Arc<EventFd>,
}

impl Mailbox {
    fn send(&self, message: Message) {
        // The receiver lives as long as the process.
        self.messages.send(message).ok();
        if let Err(error) = self.wake.write(1) {
            tracing::error!(%error, "cannot wake the loop");
        }
    }
}

struct Daemon {
    options: Options,
    pipeline: Pipeline,
    kernel: Kernel,
    inbox: Receiver<Message>,
    wake: Arc<EventFd>,
    enforcement: Enforcement,
    /// Indexes of sessions whose first process has ended.
    ending: Vec<u32>,
    served: bool,
    _lock: Flock<std::fs::File>,
}

/// Runs until the last session ends (embedded) or for ever. `ready` is called with the socket once the
/// programs are loaded.
pub fn run(options: Options, ready: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let folder = Path::new(control::RUN_ROOT).join(&options.instance);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let lock = lock_folder(&folder)?.with_context(|| format!("{} is in use", folder.display()))?;
    clean_up_dead(&options.instance);
    let state = options.state.join(&options.instance);
    let store = Store::open(&state, LedgerOptions::default())?;
    let wake = Arc::new(EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
    let (messages, inbox) = channel();
    let mailbox = Mailbox { messages, wake: wake.clone() };
    let tracer = Tracer::spawn({
        let mailbox = mailbox.clone();
        move |report| mailbox.send(Message::Tracer(report))
    })?;
    let seed = Uuid::new_v4().as_u64_pair();
    let lsm = BpfLsm::load(&options.instance, [seed.0, seed.1])?;
    let enforcement = lsm.enforcement()?;
    let mut daemon = Daemon {
        enforcement,
        options,
        pipeline: Pipeline::new(store),
        kernel: Kernel::new(lsm, tracer),
        inbox,
        wake,
        ending: Vec::new(),
        served: false,
        _lock: lock,
    };
    let socket = folder.join("control.sock");
    serve_control(&socket, mailbox)?;
    ready(&socket)?;
    let result = daemon.serve();
    // Whatever ended the loop: no folder is left that looks alive, from now on nobody can ask.
    let remove = |path: &Path| {
        if let Err(error) = std::fs::remove_file(path) {
            tracing::debug!(%error, path = %path.display(), "cannot remove");
        }
    };
    remove(&socket);
    if result.is_ok() {
        daemon.detach();
    }
    remove(&folder.join("lock"));
    std::fs::remove_dir(&folder).ok();
    result
}

/// The lock of a daemon's folder; `None`: a live daemon has it.
fn lock_folder(folder: &Path) -> anyhow::Result<Option<Flock<std::fs::File>>> {
    let path = folder.join("lock");
    let file = std::fs::File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(Flock::lock(file, FlockArg::LockExclusiveNonblock).ok())
}

/// The socket has a thread and a runtime of its own: a slow client cannot delay a decision.
fn serve_control(socket: &Path, mailbox: Mailbox) -> anyhow::Result<()> {
    let listener = std::os::unix::net::UnixListener::bind(socket)
        .with_context(|| format!("cannot listen on {}", socket.display()))?;
    listener.set_nonblocking(true)?;
    // Anyone may connect; who may ask what is decided by peer, in `Daemon::asked`.
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    std::thread::Builder::new().name("authz-control".into()).spawn(move || {
        let served = runtime.block_on(async {
            let listener = tokio::net::UnixListener::from_std(listener)?;
            control::serve(listener, move |asked| mailbox.send(Message::Asked(asked))).await
        });
        if let Err(error) = served {
            tracing::error!(%error, "the control socket failed: nothing can be approved any more");
        }
    })?;
    Ok(())
}

impl Daemon {
    fn serve(&mut self) -> anyhow::Result<()> {
        let mut chores = Instant::now();
        loop {
            self.kernel.lsm.heartbeat(monotonic_ns())?;
            let more = self.pipeline.turn(&mut self.kernel, TURN);
            while let Ok(message) = self.inbox.try_recv() {
                self.message(message);
            }
            self.pipeline.expire(&mut self.kernel);
            if chores.elapsed() >= CHORES {
                chores = Instant::now();
                self.chores();
            }
            if self.options.embedded && self.served && self.pipeline.sessions.iter().next().is_none() {
                return Ok(());
            }
            if !more {
                self.sleep()?;
            }
        }
    }

    /// Detaches the programs, which takes the kernel some 100 ms each. Who reads the command's standard error to
    /// its end does not wait for that; what cannot be removed, the next start removes.
    fn detach(&self) {
        if let Ok(null) = std::fs::File::options().write(true).open("/dev/null") {
            nix::unistd::dup2_stderr(null).ok();
        }
        if let Err(error) = self.kernel.lsm.unpin() {
            tracing::warn!(%error, "cannot remove the pins");
        }
    }

    fn sleep(&self) -> anyhow::Result<()> {
        let until = self.pipeline.holds.until_next(Instant::now()).unwrap_or(HEARTBEAT).min(HEARTBEAT);
        let mut fds = [
            PollFd::new(self.kernel.lsm.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::from(until.as_millis() as u8 + 1)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => bail!("poll: {error}"),
        }
        if fds[1].any().unwrap_or(false) {
            // Only the wake-up counts, not how many.
            self.wake.read().ok();
        }
        Ok(())
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Asked(Asked { peer, request, reply }) => {
                let response = self
                    .asked(&peer, request)
                    .unwrap_or_else(|error| Response::Error { error: format!("{error:#}") });
                // A client that has gone needs no response.
                reply.send(response).ok();
            }
            Message::Tracer(Report::Gone { tid }) => {
                self.pipeline.abandon(tid, "the thread has ended", &mut self.kernel);
            }
            Message::Tracer(Report::Failed { tid, why }) => {
                self.pipeline.abandon(tid, &format!("the thread cannot wait: {why}"), &mut self.kernel);
            }
            Message::Tracer(Report::Signalled { tid }) => {
                if self.pipeline.holds.waits(tid) {
                    crate::pipeline::VerdictSink::park(&mut self.kernel, tid);
                }
            }
            Message::Tracer(Report::Parked { .. } | Report::Released { .. }) => {}
        }
    }

    fn chores(&mut self) {
        self.kernel.sweep();
        self.collect_hits();
        let lost = self.kernel.lost();
        if lost > 0 {
            self.pipeline.lost(lost);
        }
        if !self.ending.is_empty() {
            self.end_sessions();
        }
    }

    fn collect_hits(&mut self) {
        let hits = self.kernel.lsm.take_hits();
        self.pipeline.count_hits(hits.into_iter());
    }

    /// Ends the sessions whose first process is gone and that have no task left.
    fn end_sessions(&mut self) {
        let live = live_sessions(&self.kernel.lsm);
        let ended: Vec<u32> = self.ending.iter().copied().filter(|index| !live.contains(index)).collect();
        for index in ended {
            self.ending.retain(|other| *other != index);
            while let Some(pending) = self.pipeline.holds.take_of_session(index) {
                crate::pipeline::VerdictSink::release(&mut self.kernel, pending.event.task.tid);
            }
            let stats = self.pipeline.sessions.get_mut(index).map(|session| session.stats.clone());
            let detail = serde_json::to_value(stats).unwrap_or_default();
            if let Err(error) = self.pipeline.note(index, Kind::SessionEnd, detail) {
                tracing::error!(%error, "the end of a session could not be recorded");
            }
            self.pipeline.sessions.remove(index);
            if let Err(error) = self.kernel.lsm.set_session(index, authz_session::default()) {
                tracing::error!(%error, "a session's slot could not be cleared");
            }
        }
    }

    /// What a peer asks. None that is in a session; root, or a session's owner for what is its own.
    fn asked(&mut self, peer: &Peer, request: Request) -> anyhow::Result<Response> {
        let label = self.kernel.lsm.label_of(peer.pidfd.as_fd()).context("cannot tell who asks")?;
        if label.is_some() {
            bail!("a process inside a session may not control authz");
        }
        match request {
            Request::StartSession(start) => {
                require_root(peer)?;
                // An embedded daemon ends with its session, and if that could not begin.
                let started = self.start(start);
                self.served = true;
                // Compiling a policy took a while: the new session must not meet a daemon that looks dead.
                self.kernel.lsm.heartbeat(monotonic_ns())?;
                started
            }
            Request::EndSession { session } => self.finish(peer, session),
            Request::Pending => {
                let owned: Vec<_> = self.owned(peer).collect();
                let mut pending = self.pipeline.pending();
                pending.retain(|view| owned.contains(&view.session));
                Ok(Response::Pending { pending })
            }
            Request::Answer { id, approve, scope, reason } => {
                self.answer(peer, &id, approve, &scope, &reason)
            }
            Request::Sessions => Ok(Response::Sessions {
                sessions: self
                    .pipeline
                    .sessions
                    .iter()
                    .filter(|session| may(peer, session))
                    .map(|session| SessionView {
                        session: session.id,
                        name: session.name.clone(),
                        mode: session.mode,
                        policy: session.engine.digest().to_owned(),
                        pid: session.first_pid,
                        stats: session.stats.clone(),
                    })
                    .collect(),
            }),
            Request::SetMode { session, mode } => {
                require_root(peer)?;
                let index = self.find(peer, session)?;
                if let Some(session) = self.pipeline.sessions.get_mut(index) {
                    session.mode = mode;
                    session.generation += 1;
                }
                self.publish(index)
            }
            Request::SetCall { session, call } => {
                require_root(peer)?;
                let index = self.find(peer, session)?;
                if let Some(session) = self.pipeline.sessions.get_mut(index) {
                    session.set_call(call);
                }
                self.publish(index)
            }
        }
    }

    fn owned(&self, peer: &Peer) -> impl Iterator<Item = Uuid> {
        let all: Vec<_> =
            self.pipeline.sessions.iter().filter(|session| may(peer, session)).map(|s| s.id).collect();
        all.into_iter()
    }

    fn find(&self, peer: &Peer, id: Uuid) -> anyhow::Result<u32> {
        let found = self.pipeline.sessions.iter().find(|session| session.id == id && may(peer, session));
        found.map(|session| session.index).with_context(|| format!("no session {id} of yours is live"))
    }

    /// Tells the programs what the session has become.
    fn publish(&mut self, index: u32) -> anyhow::Result<Response> {
        let session = self.pipeline.sessions.get_mut(index).context("the session is over")?;
        let value = kernel_session(session, 0);
        let flags = self.kernel.lsm.session_flags(index)?;
        self.kernel.lsm.set_session(index, authz_session { flags, ..value })?;
        Ok(Response::Done)
    }

    fn start(&mut self, start: StartSession) -> anyhow::Result<Response> {
        if self.enforcement.below(start.require).next().is_some() {
            bail!("{} was required, but enforcement is {}", start.require, self.enforcement);
        }
        let sources: Vec<PolicySource> =
            start.policy.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        let generated = Generated {
            protected: vec![
                control::RUN_ROOT.into(),
                PIN_ROOT.into(),
                self.options.state.to_string_lossy().into_owned(),
            ],
            workspace: start.workspace.clone(),
        };
        let bundle = Bundle::load(&sources, &generated)?;
        let mut engine = Engine::load(&bundle)?;
        // The first evaluation compiles what later ones share: not while a thread waits.
        engine.decide_value(&serde_json::json!({}));
        let policy = engine.digest().to_owned();
        store_bundle(&self.options.state, &policy, &bundle)?;
        let index = self.pipeline.sessions.free_index(AUTHZ_SESSIONS_MAX).context("no more sessions fit")?;
        let session = Session::new(
            index,
            start.name.clone(),
            start.owner,
            start.mode,
            engine,
            Duration::from_millis(start.hold_timeout_ms),
            start.pid,
        );
        let (id, trace_id) = (session.id, session.trace.to_string());
        let flags = if start.audit_each { AUTHZ_SESSION_AUDIT_EACH } else { 0 };
        self.kernel.lsm.set_session(index, kernel_session(&session, flags))?;
        self.pipeline.sessions.insert(session);
        let pidfd: OwnedFd = pidfd_open(start.pid).context("the first process has ended")?;
        let detail = serde_json::json!({
            "agent": start.name, "pid": start.pid, "policy": start.policy, "enforcement": self.enforcement,
        });
        let labelled = self.pipeline.note(index, Kind::SessionStart, detail).map_err(anyhow::Error::from);
        let labelled = labelled.and_then(|()| {
            self.kernel.lsm.label(pidfd.as_fd(), index).context("cannot label the first process")
        });
        if let Err(error) = labelled {
            self.pipeline.sessions.remove(index);
            return Err(error);
        }
        self.served = true;
        let enforcement = self.enforcement.to_string();
        Ok(Response::Started(Started { session: id, trace_id, policy, enforcement }))
    }

    /// The first process has ended: everything it did is in the ring already.
    fn finish(&mut self, peer: &Peer, id: Uuid) -> anyhow::Result<Response> {
        let index = self.find(peer, id)?;
        while self.pipeline.turn(&mut self.kernel, TURN) {}
        self.collect_hits();
        let lost = self.kernel.lost();
        let session = self.pipeline.sessions.get_mut(index).context("the session is over")?;
        session.stats.lost += lost;
        let stats = session.stats.clone();
        if lost > 0 {
            self.pipeline.lost(lost);
        }
        self.ending.push(index);
        self.end_sessions();
        Ok(Response::Summary(stats))
    }

    fn answer(
        &mut self,
        peer: &Peer,
        id: &str,
        approve: bool,
        scope: &str,
        reason: &str,
    ) -> anyhow::Result<Response> {
        let scope = match scope {
            "" | "once" => Approved::Once,
            "session" => Approved::Session,
            text => Approved::For(
                crate::policy::decision::duration(text)
                    .with_context(|| format!("{text:?} is no time; use once, session or e.g. 10m"))?,
            ),
        };
        let owned: Vec<_> = self.owned(peer).collect();
        let views = self.pipeline.pending();
        let mine = |id: &Uuid| views.iter().any(|view| view.id == *id && owned.contains(&view.session));
        let found: Vec<_> = self.pipeline.holds.find(id).into_iter().filter(mine).collect();
        let [found] = found[..] else {
            bail!(
                "{} operations of yours wait under an id like {id}; see authz pending",
                if found.is_empty() { "no" } else { "several" }
            );
        };
        let by = format!("uid {}", peer.uid);
        let approve = approve.then_some(scope);
        self.pipeline.answer(found, approve, &by, reason, &mut self.kernel).map_err(anyhow::Error::msg)?;
        Ok(Response::Done)
    }
}

fn require_root(peer: &Peer) -> anyhow::Result<()> {
    if peer.uid == 0 { Ok(()) } else { bail!("only root may do this") }
}

fn may(peer: &Peer, session: &Session) -> bool {
    peer.uid == 0 || peer.uid == session.owner
}

fn kernel_session(session: &Session, flags: u32) -> authz_session {
    let reads = session.engine.reads();
    let subject = |field: &str| reads.needs(&format!("subject.properties.{field}"));
    let mut flags = flags;
    if subject("exe") || subject("parents") {
        flags |= AUTHZ_SESSION_DOMAIN_PER_EXEC;
    }
    if subject("pid") || subject("parents") {
        flags |= AUTHZ_SESSION_DOMAIN_PER_FORK;
    }
    if subject("uid") || subject("user") {
        flags |= AUTHZ_SESSION_DOMAIN_PER_CRED;
    }
    authz_session {
        mode: if session.mode == Mode::Enforce { AUTHZ_MODE_ENFORCE } else { AUTHZ_MODE_OBSERVE },
        generation: session.generation,
        flags,
        pad: 0,
        hold_ns: (session.hold_timeout + GRACE).as_nanos() as u64,
    }
}

/// Keeps the bundle under its digest, so that its decisions can be made again.
fn store_bundle(state: &Path, digest: &str, bundle: &Bundle) -> anyhow::Result<()> {
    let folder = state.join("bundles");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(format!("{digest}.json"));
    if path.exists() {
        return Ok(());
    }
    let temporary = folder.join(format!("{digest}.{}.tmp", std::process::id()));
    std::fs::write(&temporary, serde_json::to_vec(&bundle.files())?)
        .and_then(|()| std::fs::rename(&temporary, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Indexes of the sessions that have a task. A thread has the label of its process.
fn live_sessions(lsm: &BpfLsm) -> std::collections::HashSet<u32> {
    processes().filter_map(|pid| lsm.label_of(pidfd_open(pid).ok()?.as_fd()).ok().flatten()).collect()
}

/// Every process that still runs: a zombie without other threads does nothing any more.
fn processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter(|pid| {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let zombie =
            state.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']));
        let threads = || std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        !zombie || threads() > 1
    })
}

/// Detaches what daemons left behind that were killed, once none of their tasks is left.
fn clean_up_dead(own: &str) {
    let Ok(instances) = std::fs::read_dir(PIN_ROOT) else { return };
    for instance in instances.flatten() {
        let name = instance.file_name();
        if name == *own {
            continue;
        }
        let folder = Path::new(control::RUN_ROOT).join(&name);
        let dead = !folder.exists() || matches!(lock_folder(&folder), Ok(Some(_)));
        if !dead {
            continue;
        }
        match BpfLsm::tasks_of_pins(&instance.path(), processes()) {
            Ok(0) => {
                let removed = crate::enforce::bpf_lsm::remove_pins(&instance.path());
                std::fs::remove_dir_all(&folder).ok();
                tracing::info!(instance = ?name, ok = removed.is_ok(), "cleaned up after a daemon that was killed");
            }
            Ok(tasks) => tracing::warn!(
                instance = ?name, tasks,
                "a daemon was killed; its tasks stay enforced, and what was not decided before is denied"
            ),
            Err(error) => {
                tracing::warn!(instance = ?name, %error, "cannot look into the pins of a dead daemon")
            }
        }
    }
}
