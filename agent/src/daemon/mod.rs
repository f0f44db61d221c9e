//! The daemon: one loop that owns the back end, the sessions and the ledger. Everything else (control
//! connections, the tracer) sends it messages.

mod api;
mod calls;
mod change;
pub mod policy;
mod requests;
mod resolve;

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::control::{self, Asked, Door, Request, Response, StartSession};
use crate::enforce::kernel::{Kernel, clean_up_dead};
use crate::enforce::level::Backend;
use crate::enforce::nothing::Nothing;
use crate::enforce::park::Report;
use crate::enforce::probe::Probe;
use crate::enforce::seccomp::Supervisor;
use crate::enforce::{self, EnforcementPoint};
use crate::hold::Waiter;
use crate::ledger::entry::Kind;
use crate::ledger::{Options as LedgerOptions, Store};
use crate::otlp::Exporter;
use crate::paths::{self, Owner};
use crate::pipeline::Pipeline;
use crate::session::Session;
use policy::Loaded;

/// How many events are decided between two looks at the messages.
const TURN: usize = 64;

/// Turns that come to the end of a full ring, which holds 4 MiB of some 160 bytes each.
const DRAINED: usize = 4 * 1024 * 1024 / 160 / TURN + 1;

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
    /// What makes its decisions bind.
    pub backend: Backend,
    /// A session that begins with the daemon, of a policy alone. The daemon ends by SIGTERM or SIGINT, and it with it.
    pub session: Option<StartSession>,
    /// Where the decision API is served besides its socket, with the file of the secret.
    pub http: Option<(SocketAddr, PathBuf)>,
    /// The collector that gets the records too.
    pub otlp: Option<String>,
    /// The policy of its first session, if who runs the daemon has loaded it already.
    pub loaded: Option<Loaded>,
}

/// Where a daemon is found.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Ready {
    /// The control socket.
    pub socket: PathBuf,
    /// The decision API's.
    pub authzen: PathBuf,
    /// The decision API on loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<SocketAddr>,
}

enum Message {
    Asked(Asked),
    Tracer(Report),
    Reload(Box<change::Reload>),
    Resolved(resolve::Resolved),
    Hangup,
    Stop,
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
    /// The folder of this user's daemons.
    run: PathBuf,
    pipeline: Pipeline,
    point: Box<dyn EnforcementPoint>,
    inbox: Receiver<Message>,
    mailbox: Mailbox,
    wake: Arc<EventFd>,
    /// Indexes of sessions whose first process has ended.
    ending: Vec<u32>,
    calls: calls::Waiting,
    resolving: resolve::Resolving,
    exporter: Option<Exporter>,
    served: bool,
    /// Somebody has asked it to end.
    stop: bool,
    _lock: Flock<std::fs::File>,
}

/// Runs until the last session ends (embedded) or for ever. `ready` is called once the programs are loaded.
pub fn run(options: Options, ready: impl FnOnce(&Ready) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let signals = options.session.is_some().then(api::block_signals).transpose()?;
    let run = Owner::this().make_run()?;
    let options = Options { state: paths::make_state(&options.state)?, ..options };
    let folder = run.join(&options.instance);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let lock = lock_folder(&folder)?.with_context(|| format!("{} is in use", folder.display()))?;
    clean_up_dead(
        &options.instance,
        |instance| {
            let folder = run.join(instance);
            !folder.exists() || matches!(lock_folder(&folder), Ok(Some(_)))
        },
        |instance| drop(std::fs::remove_dir_all(run.join(instance))),
    );
    let wake = Arc::new(EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
    let (messages, inbox) = channel();
    let mailbox = Mailbox { messages, wake: wake.clone() };
    let point = enforcement_point(&options, &run, &mailbox).inspect_err(|_| {
        // Nobody was told where it is.
        std::fs::remove_dir_all(&folder).ok();
    })?;
    let exporter = options.otlp.as_ref().map(|url| Exporter::start(url, &options.instance)).transpose()?;
    let ledger = LedgerOptions {
        keys: Some(options.state.clone()),
        observer: exporter.as_ref().map(Exporter::observer),
        ..LedgerOptions::default()
    };
    let store = Store::open(&options.state.join(&options.instance), ledger)?;
    let mut daemon = Daemon {
        run,
        options,
        pipeline: Pipeline::new(store),
        point,
        inbox,
        mailbox: mailbox.clone(),
        wake,
        ending: Vec::new(),
        calls: calls::Waiting::default(),
        resolving: resolve::Resolving::default(),
        exporter,
        served: false,
        stop: false,
        _lock: lock,
    };
    let (socket, ask) = (folder.join(paths::CONTROL), folder.join(paths::ASK));
    let authzen = folder.join(paths::AUTHZEN);
    serve_sockets(&socket, &ask, mailbox.clone())?;
    let http = api::authzen(&authzen, daemon.options.http.as_ref(), mailbox.clone())?;
    if let Some(start) = daemon.options.session.take() {
        daemon.start(start)?;
    }
    if let Some(signals) = signals {
        api::signals(signals, mailbox)?;
    }
    ready(&Ready { socket: socket.clone(), authzen: authzen.clone(), http })?;
    let result = daemon.serve();
    // Whatever ended the loop: no folder is left that looks alive, and from now on nobody can ask.
    let remove = |path: &Path| {
        if let Err(error) = std::fs::remove_file(path) {
            tracing::debug!(%error, path = %path.display(), "cannot remove");
        }
    };
    remove(&socket);
    remove(&authzen);
    remove(&ask);
    let Daemon { pipeline, mut point, exporter, options, _lock, .. } = daemon;
    // Closed, the ledger has its last checkpoint, which goes to the collector too.
    drop(pipeline);
    exporter.into_iter().for_each(Exporter::finish);
    if result.is_ok() {
        detach(&mut *point, options.backend);
    }
    remove(&folder.join("lock"));
    std::fs::remove_dir(&folder).ok();
    result
}

fn enforcement_point(
    options: &Options,
    run: &Path,
    mailbox: &Mailbox,
) -> Result<Box<dyn EnforcementPoint>, enforce::Error> {
    Ok(match options.backend {
        Backend::BpfLsm => {
            let mailbox = mailbox.clone();
            Box::new(Kernel::load(&options.instance, move |report| mailbox.send(Message::Tracer(report)))?)
        }
        // Whoever asked for it has tried it.
        Backend::Seccomp => Box::new(Supervisor::new(run, Probe::where_seccomp_works())?),
        Backend::None => Box::new(Nothing::new()?),
    })
}

/// The lock of a daemon's folder; `None`: a live daemon has it.
fn lock_folder(folder: &Path) -> anyhow::Result<Option<Flock<std::fs::File>>> {
    let path = folder.join("lock");
    let file = std::fs::File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(Flock::lock(file, FlockArg::LockExclusiveNonblock).ok())
}

/// The sockets have a thread and a runtime of their own: a slow client cannot delay a decision.
fn serve_sockets(control: &Path, ask: &Path, mailbox: Mailbox) -> anyhow::Result<()> {
    let doors = [(listen(control)?, Door::Control), (listen(ask)?, Door::Ask)];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    std::thread::Builder::new().name("authz-control".into()).spawn(move || {
        let served = runtime.block_on(async {
            let [control, ask] = doors.map(|(listener, door)| {
                let mailbox = mailbox.clone();
                async move {
                    let listener = tokio::net::UnixListener::from_std(listener)?;
                    control::serve(listener, door, move |asked| mailbox.send(Message::Asked(asked))).await
                }
            });
            tokio::try_join!(control, ask)
        });
        if let Err(error) = served {
            tracing::error!(%error, "the control socket failed: nothing can be approved any more");
        }
    })?;
    Ok(())
}

/// Anyone may connect; who may ask what is decided by peer, in `Daemon::asked`.
fn listen(socket: &Path) -> anyhow::Result<std::os::unix::net::UnixListener> {
    let listener = std::os::unix::net::UnixListener::bind(socket)
        .with_context(|| format!("cannot listen on {}", socket.display()))?;
    listener.set_nonblocking(true)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// Takes the enforcement point down, which for LSM programs takes the kernel some 100 ms each. Who reads the
/// command's standard error to its end does not wait for that; what cannot be removed, the next start removes.
fn detach(point: &mut dyn EnforcementPoint, backend: Backend) {
    // As a thread of the supervisor it shares standard error with what still has to be said.
    let alone = backend == Backend::BpfLsm;
    if alone && let Ok(null) = std::fs::File::options().write(true).open("/dev/null") {
        nix::unistd::dup2_stderr(null).ok();
    }
    if let Err(error) = point.close() {
        tracing::warn!(%error, "the enforcement point could not be taken down");
    }
}

impl Daemon {
    /// Nothing can be recorded any more: no verdict from before holds, so that all is asked, and denied.
    fn revoke_unrecorded(&mut self) {
        if !self.pipeline.stopped_recording() {
            return;
        }
        let sessions: Vec<u32> = self.pipeline.sessions.iter().map(|session| session.index).collect();
        for index in sessions {
            if let Some(session) = self.pipeline.sessions.get_mut(index) {
                session.generation += 1;
            }
            if let Err(error) = self.publish(index) {
                tracing::error!(index, %error, "what is remembered could not be revoked");
            }
        }
    }

    fn serve(&mut self) -> anyhow::Result<()> {
        let mut chores = Instant::now();
        loop {
            self.point.heartbeat()?;
            let more = self.pipeline.turn(&mut *self.point, TURN);
            self.revoke_unrecorded();
            while let Ok(message) = self.inbox.try_recv() {
                self.message(message);
            }
            self.pipeline.expire(&mut *self.point);
            self.expire_paths();
            self.answer_calls();
            if chores.elapsed() >= CHORES {
                chores = Instant::now();
                self.chores();
            }
            if self.stop {
                self.drain();
                self.collect_hits();
                self.record_gaps();
                self.end_all();
                return Ok(());
            }
            if self.options.embedded && self.served && self.pipeline.sessions.iter().next().is_none() {
                return Ok(());
            }
            if !more {
                self.sleep()?;
            }
        }
    }

    /// Looks at what has happened until now. Not for ever: what goes on may be quicker.
    fn drain(&mut self) {
        for _ in 0..DRAINED {
            if let Err(error) = self.point.heartbeat() {
                tracing::warn!(%error, "the programs cannot be told that the daemon lives");
            }
            if !self.pipeline.turn(&mut *self.point, TURN) {
                return;
            }
        }
    }

    fn sleep(&self) -> anyhow::Result<()> {
        let rest = self.point.rest();
        let held = self.pipeline.holds.until_next(Instant::now());
        let until = held.into_iter().chain(self.resolving.until_next()).fold(rest, Duration::min);
        let mut fds = [
            PollFd::new(self.point.ready(), PollFlags::POLLIN),
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
        ];
        let until = PollTimeout::try_from(until + Duration::from_millis(1)).unwrap_or(PollTimeout::ZERO);
        match poll(&mut fds, until) {
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
            Message::Asked(Asked { peer, door, request: Request::AwaitCall { call }, reply }) => {
                self.await_call(&peer, door, call, reply);
            }
            Message::Asked(Asked { peer, door, request: Request::OpenCall(asked), reply }) => {
                self.call_asked(peer, door, asked, reply);
            }
            Message::Asked(Asked { peer, door, request: Request::Reload { session, policy }, reply }) => {
                self.reload(&peer, door, session, policy, reply);
            }
            Message::Asked(Asked { peer, door, request, reply }) => {
                let response = self
                    .asked(&peer, door, request)
                    .unwrap_or_else(|error| Response::Error { error: format!("{error:#}") });
                // A client that has gone needs no response.
                reply.send(response).ok();
            }
            Message::Tracer(Report::Gone { tid }) => {
                self.pipeline.abandon(tid, "the thread has ended", &mut *self.point);
            }
            Message::Tracer(Report::Failed { tid, why }) => {
                self.pipeline.abandon(tid, &format!("the thread cannot wait: {why}"), &mut *self.point);
            }
            Message::Tracer(Report::Signalled { tid }) => {
                if self.pipeline.holds.waits(tid) {
                    self.point.park(tid, 0);
                }
            }
            Message::Reload(reload) => self.reloaded(*reload),
            Message::Resolved(done) => self.resolved(done),
            Message::Hangup => self.reload_by_signal(),
            Message::Stop => self.stop = true,
            Message::Tracer(Report::Parked { .. } | Report::Released { .. }) => {}
        }
    }

    fn chores(&mut self) {
        self.point.sweep();
        self.collect_hits();
        self.record_gaps();
        self.forget_answers();
        if !self.ending.is_empty() {
            self.end_sessions();
        }
    }

    /// Records what left no event; how many operations that were.
    fn record_gaps(&mut self) -> u64 {
        let gaps = self.point.unrecorded();
        gaps.iter().for_each(|(cause, count)| self.pipeline.unrecorded(cause, *count));
        gaps.iter().map(|(_, count)| count).sum()
    }

    fn collect_hits(&mut self) {
        let hits = self.point.take_hits();
        self.pipeline.count_hits(hits.into_iter());
    }

    /// Ends every session of a policy alone; the others live as long as their processes.
    fn end_all(&mut self) {
        let alone = |session: &&Session| session.first_pid == 0;
        self.ending.extend(self.pipeline.sessions.iter().filter(alone).map(|session| session.index));
        self.end_sessions();
    }

    /// Ends the sessions whose first process is gone and that have no task left.
    fn end_sessions(&mut self) {
        let live = self.point.live();
        let ended: Vec<u32> = self.ending.iter().copied().filter(|index| !live.contains(index)).collect();
        if !ended.is_empty() {
            // The last of what they did may not have been looked at.
            self.drain();
            self.collect_hits();
        }
        for index in ended {
            self.ending.retain(|other| *other != index);
            while let Some(pending) = self.pipeline.holds.take_of_session(index) {
                if matches!(pending.waiter, Waiter::Thread(_)) {
                    self.point.release(pending.event.task.tid);
                }
            }
            let stats = self.pipeline.sessions.get_mut(index).map(|session| session.stats.clone());
            let mut detail = serde_json::to_value(stats).unwrap_or_default();
            if let Some(exporter) = &self.exporter {
                let counts = exporter.counts();
                detail["otlp"] = serde_json::json!({ "sent": counts.sent(), "dropped": counts.dropped() });
            }
            if let Err(error) = self.pipeline.note(index, Kind::SessionEnd, detail) {
                tracing::error!(%error, "the end of a session could not be recorded");
            }
            let held = self.pipeline.sessions.remove(index).is_some_and(|session| session.first_pid != 0);
            self.calls.forget(index);
            self.pipeline.forget_questions(index);
            if held && let Err(error) = self.point.forget(index) {
                tracing::error!(%error, "a session's slot could not be cleared");
            }
        }
    }
}
