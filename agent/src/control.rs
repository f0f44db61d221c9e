//! The control socket: how `authz exec`, `pending`, `approve` and `deny` speak with a daemon. One JSON
//! object a line, a request and then its response.
//!
//! No process inside any session may speak here. The eBPF programs refuse its connection, since the
//! socket lies in a protected folder; and a peer that has a label is turned away by the daemon, which
//! holds in observe mode too.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::enforce::imagined::Imagined;
use crate::enforce::landlock::Laid;
use crate::enforce::level::Level;
use crate::event::Mode;
use crate::hold::PendingView;
use crate::paths::{CONTROL, Owner};
use crate::pipeline::calls::CallView;
use crate::pipeline::change::Settled;
use crate::pipeline::questions::Evaluated;
use crate::pipeline::why::Why;
use crate::policy::Question;
use crate::policy::difference::{Difference, FloorChange};
use crate::session::Stats;
use crate::session::calls::{DenialView, Outcome, ToolCall};
use crate::sys::peer::{Peer, peer_of};

/// The longest request, in bytes: a tool call may carry a file.
pub const REQUEST_MAX: u64 = 32 << 20;

/// How many connections a user may have at one socket.
const CONNECTIONS_MAX: usize = 64;

/// How long to wait after a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The longest response, in bytes: many operations may wait.
const RESPONSE_MAX: u64 = 64 << 20;

/// What a session is started with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StartSession {
    /// The agent's name.
    pub name: String,
    /// Whether decisions bind.
    pub mode: Mode,
    /// Folders, files, `preset:NAME`; absolute.
    pub policy: Vec<String>,
    /// Folders the agent works in.
    pub workspace: Vec<String>,
    /// How long a human has, milliseconds.
    pub hold_timeout_ms: u64,
    /// Who may answer, besides root.
    pub owner: u32,
    /// The first process, which waits to be labelled; 0: a session of the policy alone.
    pub pid: i32,
    /// Record each remembered allow.
    pub audit_each: bool,
    /// Refuse if an action is enforced less.
    pub require: Level,
    /// The seccomp listener, as the number of a descriptor of `pid`.
    #[serde(default)]
    pub listener: Option<i32>,
    /// What of the policy's floor was laid under `pid`.
    #[serde(default)]
    pub floor: Option<Laid>,
}

/// A request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// Puts a waiting process into a new session.
    StartSession(StartSession),
    /// The first process has ended: give the summary.
    EndSession {
        /// Which.
        session: Uuid,
    },
    /// What waits for a human?
    Pending,
    /// A human's answer.
    Answer {
        /// The id, or its last digits.
        id: String,
        /// Yes or no.
        approve: bool,
        /// `once`, `session` or a duration.
        #[serde(default)]
        scope: String,
        /// For the record.
        #[serde(default)]
        reason: String,
    },
    /// The live sessions.
    Sessions,
    /// Switches a session between enforce and observe.
    SetMode {
        /// Which.
        session: Uuid,
        /// To what.
        mode: Mode,
    },
    /// Puts a session's policy, loaded anew, or another one, in the place of the one it has.
    Reload {
        /// Which; none: the only one.
        #[serde(default)]
        session: Option<Uuid>,
        /// Folders, files, `preset:NAME`; absolute. None: those it has.
        #[serde(default)]
        policy: Option<Vec<String>>,
    },
    /// May this tool be called? If so, the call is open.
    OpenCall(Box<ToolCall>),
    /// Waits until a call is answered that a human is asked about.
    AwaitCall {
        /// Which.
        call: Uuid,
    },
    /// What the client of a gate said about such a call: no proof of a human, so it is recorded and no more.
    ElicitedCall {
        /// Which.
        call: Uuid,
        /// `accept`, `decline`, `cancel` or what else it said.
        action: String,
    },
    /// Takes such a call back.
    WithdrawCall {
        /// Which.
        call: Uuid,
    },
    /// An open call is over.
    CloseCall {
        /// Its id, or what its caller names it by.
        call: String,
        /// How it ended.
        outcome: Outcome,
    },
    /// The caller names an open call so from now on.
    NameCall {
        /// Which.
        call: Uuid,
        /// How.
        name: String,
    },
    /// An agent's turn is over: what is still open of it is lost.
    EndTurn {
        /// What its calls claimed: the agent and its session.
        claimed: serde_json::Map<String, serde_json::Value>,
    },
    /// What was denied lately.
    Denials {
        /// In which session; none: in all that are yours.
        #[serde(default)]
        session: Option<Uuid>,
    },
    /// What would become of an operation, and why? Nothing follows from it.
    Why {
        /// In which session.
        session: Uuid,
        /// Which operation.
        imagined: Box<Imagined>,
    },
    /// A question of another gate (AuthZEN).
    Evaluate {
        /// To whose policy; none: the only session's.
        session: Option<Uuid>,
        /// The question.
        question: Box<Question>,
        /// The gate does to something else what a rewrite says; else `compute` is a deny.
        rewrites: bool,
    },
}

/// A response.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Response {
    /// Done.
    Done,
    /// Not done, and why.
    Error {
        /// Why.
        error: String,
    },
    /// A session has begun.
    Started(Started),
    /// A session has another policy, or the same one still.
    Reloaded(Box<Reloaded>),
    /// What waits.
    Pending {
        /// Oldest first.
        pending: Vec<PendingView>,
    },
    /// What happened.
    Summary(Stats),
    /// The live sessions.
    Sessions {
        /// In the order of their start.
        sessions: Vec<SessionView>,
    },
    /// What would become of an operation.
    Why(Box<Why>),
    /// What a question came to.
    Evaluated(Evaluated),
    /// What is decided about a tool call.
    Call(CallView),
    /// A tool call is over.
    Closed {
        /// What was denied under it.
        denials: Vec<DenialView>,
    },
    /// What was denied.
    Denials {
        /// The oldest first.
        denials: Vec<DenialView>,
    },
}

/// A session that has begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Started {
    /// Its id.
    pub session: Uuid,
    /// W3C trace id.
    pub trace_id: String,
    /// Digest of the policy.
    pub policy: String,
    /// What is really enforced: `full`, or `partial: ` and what is missing.
    pub enforcement: String,
}

/// What a reload came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reloaded {
    /// The session.
    pub session: Uuid,
    /// Digest of the policy it had.
    pub from: String,
    /// Of the one it has; the same: nothing was changed.
    pub to: String,
    /// Of what that is made.
    pub policy: Vec<String>,
    /// What the two differ in; none: the old one is not kept any more.
    pub difference: Option<Difference>,
    /// What it says of the floor that was laid, which stays; none: none was.
    pub floor: Option<FloorChange>,
    /// What became of what waited for a human.
    pub settled: Settled,
}

/// A live session as it is shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionView {
    /// Its id.
    pub session: Uuid,
    /// The agent.
    pub name: String,
    /// Its mode.
    pub mode: Mode,
    /// The policy's digest.
    pub policy: String,
    /// The first process.
    pub pid: i32,
    /// What happened so far.
    pub stats: Stats,
}

/// The socket a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// [`CONTROL`]: no process of a session.
    Control,
    /// [`crate::paths::ASK`]: only processes of a session, about tool calls.
    Ask,
}

/// A request on its way to the loop.
pub struct Asked {
    /// Who asks.
    pub peer: Peer,
    /// Where.
    pub door: Door,
    /// What.
    pub request: Request,
    /// Where the response goes.
    pub reply: oneshot::Sender<Response>,
}

/// Serves the socket until the process ends. `ask` hands a request to the loop.
pub async fn serve(
    listener: UnixListener,
    door: Door,
    ask: impl Fn(Asked) + Clone + 'static,
) -> io::Result<()> {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async move {
            let places = Places::default();
            loop {
                // Too many open files, or a connection that is gone already, ends nothing.
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                };
                let Some(place) = peer_of(&stream).ok().and_then(|peer| places.take(peer.uid)) else {
                    continue;
                };
                let ask = ask.clone();
                tokio::task::spawn_local(async move {
                    if let Err(error) = connection(stream, door, ask).await {
                        tracing::debug!(%error, "a control connection ended");
                    }
                    drop(place);
                });
            }
        })
        .await
}

/// How many connections each user has: nobody can take those of others, nor all files of the daemon.
#[derive(Default, Clone)]
struct Places(Rc<RefCell<HashMap<u32, usize>>>);

/// A connection's place, given back when it ends.
struct Place {
    places: Places,
    uid: u32,
}

impl Places {
    /// A place; none: the user has as many as there may be.
    fn take(&self, uid: u32) -> Option<Place> {
        let mut taken = self.0.borrow_mut();
        let count = taken.entry(uid).or_default();
        if *count >= CONNECTIONS_MAX {
            return None;
        }
        *count += 1;
        Some(Place { places: self.clone(), uid })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.borrow_mut();
        if let Some(count) = taken.get_mut(&self.uid) {
            *count -= 1;
        }
        taken.retain(|_, count| *count > 0);
    }
}

async fn connection(stream: UnixStream, door: Door, ask: impl Fn(Asked)) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        if (&mut reader).take(REQUEST_MAX).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let whole = line.ends_with(b"\n") || (line.len() as u64) < REQUEST_MAX;
        let response = match serde_json::from_slice(&line) {
            Err(error) => Response::Error { error: format!("not a request: {error}") },
            Ok(request) => {
                let (reply, answer) = oneshot::channel();
                ask(Asked { peer: peer_of(reader.get_ref().as_ref())?, door, request, reply });
                answer.await.unwrap_or_else(|_| Response::Error { error: "the daemon is ending".into() })
            }
        };
        let mut bytes = serde_json::to_vec(&response)?;
        bytes.push(b'\n');
        writer.write_all(&bytes).await?;
        if !whole {
            // What follows is not the beginning of a request.
            return Ok(());
        }
    }
}

/// A client's end: blocking, since its callers have nothing else to do.
pub struct Client {
    stream: std::io::BufReader<std::os::unix::net::UnixStream>,
}

impl Client {
    /// Connects to a daemon's socket.
    pub fn connect(socket: &Path) -> io::Result<Self> {
        let stream = std::os::unix::net::UnixStream::connect(socket)?;
        Ok(Self { stream: std::io::BufReader::new(stream) })
    }

    /// Connects, and waits for a response no longer than that: the socket may be another user's.
    pub fn within(socket: &Path, limit: Duration) -> io::Result<Self> {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, sockopt};
        use nix::sys::time::TimeVal;
        let (stream, kind) = (SockType::Stream, AddressFamily::Unix);
        let fd = nix::sys::socket::socket(kind, stream, SockFlag::SOCK_CLOEXEC, None)?;
        // The limit of sending holds for a connection that nobody accepts too.
        let limit = TimeVal::new(limit.as_secs() as i64, limit.subsec_micros().into());
        setsockopt(&fd, sockopt::SendTimeout, &limit)?;
        setsockopt(&fd, sockopt::ReceiveTimeout, &limit)?;
        connect(fd.as_raw_fd(), &UnixAddr::new(socket)?)?;
        Ok(Self { stream: std::io::BufReader::new(fd.into()) })
    }

    /// Sends a request and waits for its response.
    pub fn ask(&mut self, request: &Request) -> io::Result<Response> {
        use std::io::{BufRead, Read, Write};
        let mut bytes = serde_json::to_vec(request)?;
        bytes.push(b'\n');
        self.stream.get_mut().write_all(&bytes)?;
        let mut line = String::new();
        if (&mut self.stream).take(RESPONSE_MAX).read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the daemon has ended"));
        }
        Ok(serde_json::from_str(&line)?)
    }
}

/// The sockets of all daemons that may be alive and that this user can speak with.
pub fn sockets() -> Vec<PathBuf> {
    let folders = Owner::this().run_roots().into_iter().filter_map(|root| std::fs::read_dir(root).ok());
    let mut found: Vec<_> = folders
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join(CONTROL)))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};

    use super::*;

    #[test]
    fn a_user_has_only_so_many_connections() {
        let places = Places::default();
        let mut taken: Vec<_> = (0..CONNECTIONS_MAX).map(|_| places.take(7).unwrap()).collect();
        assert!(places.take(7).is_none());
        assert!(places.take(8).is_some(), "another user's are not touched");
        taken.pop();
        assert!(places.take(7).is_some());
        drop(taken);
        assert!(places.0.borrow().is_empty());
    }

    #[test]
    fn a_daemon_that_does_not_respond_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        let limit = Duration::from_millis(50);
        let mut client = Client::within(&path, limit).unwrap();
        let kind = |error: io::Error| error.kind();
        assert_eq!(client.ask(&Request::Pending).map_err(kind).err(), Some(io::ErrorKind::WouldBlock));
        let unaccepted = Client::within(&path, limit).map(drop).map_err(kind);
        assert_eq!(unaccepted, Err(io::ErrorKind::WouldBlock), "the queue is full");
    }
}
