//! Who decides for a hook: the daemon of the session it runs in; outside of every session the policy that the hook was
//! installed with, or without one the only live session of that agent.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Hook;
use super::standalone::Standalone;
use crate::adapters::PATIENCE;
use crate::cli::exec::ASK_VARIABLE;
use crate::control::{Client, Request, Response, sockets};
use crate::paths;
use crate::pipeline::calls::CallView;
use crate::session::calls::{DenialView, Outcome, ToolCall};

/// How long a daemon may take to decide.
const DECIDED: Duration = Duration::from_secs(60);

/// How long before the hook's own limit it stops waiting for a human.
const MARGIN: Duration = Duration::from_secs(10);

/// How a daemon's error ends about a call that is not open.
const NOT_OPEN: &str = " is open";

/// Who decides.
pub enum Door {
    /// A daemon.
    Daemon {
        /// Its socket.
        socket: PathBuf,
        /// The connection.
        client: Client,
        /// The session, where the socket is not that of one.
        session: Option<Uuid>,
        /// When the hook started.
        started: Instant,
    },
    /// This process.
    Standalone(Box<Standalone>),
}

impl Door {
    /// The daemon of the session that this process is in, if it is in one.
    pub fn inside(started: Instant) -> anyhow::Result<Option<Self>> {
        let daemon = |socket, client| Some(Self::Daemon { socket, client, session: None, started });
        if let Some(named) = std::env::var_os(ASK_VARIABLE).filter(|value| !value.is_empty()) {
            let socket = PathBuf::from(named);
            let client = connect(&socket)?;
            return Ok(daemon(socket, client));
        }
        // An agent may have taken the variable away: Gemini does, in some places, with whatever has AUTH in its name.
        for socket in sockets() {
            let ask = socket.with_file_name(paths::ASK);
            let Ok(mut client) = Client::within(&ask, DECIDED) else { continue };
            if let Ok(Response::Denials { .. }) = client.ask(&Request::Denials { session: None }) {
                return Ok(daemon(ask, client));
            }
        }
        Ok(None)
    }

    /// Finds it. Inside a session nothing but its daemon decides.
    pub fn find(hook: &Hook, started: Instant) -> anyhow::Result<Self> {
        if let Some(door) = Self::inside(started)? {
            return Ok(door);
        }
        if !hook.policy.is_empty() {
            let state = crate::cli::state_or_default(hook.state.clone())?;
            return Ok(Self::Standalone(Box::new(Standalone::load(hook.agent, &hook.policy, &state)?)));
        }
        let name = hook.agent.as_str();
        let mut found = Vec::new();
        for socket in sockets() {
            let Ok(mut client) = Client::within(&socket, DECIDED) else { continue };
            let Ok(Response::Sessions { sessions }) = client.ask(&Request::Sessions) else { continue };
            let sessions = sessions.into_iter().filter(|view| view.name == name);
            found.extend(sessions.map(|view| (socket.clone(), view.session)));
        }
        match &found[..] {
            [(socket, session)] => Ok(Self::Daemon {
                client: connect(socket)?,
                socket: socket.clone(),
                session: Some(*session),
                started,
            }),
            [] => bail!(
                "no session decides here; start {name} by `authz exec`, or `authz install {name} --policy ...`"
            ),
            _ => bail!("several sessions of {name} are live, and this is in none of them"),
        }
    }

    /// Decides about a call; `claimed`: the agent's name of its session.
    pub fn open(&mut self, claimed: &str, mut call: ToolCall) -> anyhow::Result<CallView> {
        match self {
            Self::Standalone(standalone) => standalone.open(claimed, &call),
            Self::Daemon { client, session, .. } => {
                call.session = *session;
                match ask(client, &Request::OpenCall(Box::new(call)))? {
                    Response::Call(view) => Ok(view),
                    _ => bail!("the daemon gave a response of another kind"),
                }
            }
        }
    }

    /// Waits for a human; none: nobody answered while the agent waits.
    pub fn wait(&mut self, call: Uuid) -> anyhow::Result<Option<CallView>> {
        let (socket, started) = match self {
            Self::Daemon { socket, started, .. } => (socket, started),
            Self::Standalone(standalone) => return standalone.withdraw(call).map(|()| None),
        };
        let left = PATIENCE.saturating_sub(started.elapsed()).saturating_sub(MARGIN);
        let mut waiting = Client::within(socket, left.max(Duration::from_millis(1))).context("the daemon")?;
        match waiting.ask(&Request::AwaitCall { call }) {
            Ok(Response::Call(view)) => Ok(Some(view)),
            Ok(Response::Error { error }) => bail!("{error}"),
            Ok(_) => bail!("the daemon gave a response of another kind"),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                self.withdraw(call).map(|()| None)
            }
            Err(error) => Err(error).context("the daemon"),
        }
    }

    /// Takes back a call that a human would be asked about.
    pub fn withdraw(&mut self, call: Uuid) -> anyhow::Result<()> {
        match self {
            Self::Standalone(standalone) => standalone.withdraw(call),
            Self::Daemon { client, .. } => ask(client, &Request::WithdrawCall { call }).map(drop),
        }
    }

    /// Names a call anew.
    pub fn name(&mut self, call: Uuid, name: String) -> anyhow::Result<()> {
        match self {
            Self::Standalone(_) => Ok(()),
            Self::Daemon { client, .. } => ask(client, &Request::NameCall { call, name }).map(drop),
        }
    }

    /// No tool of the agent's session runs any more.
    pub fn end_turn(&mut self, claimed: Map<String, Value>) -> anyhow::Result<()> {
        match self {
            Self::Standalone(_) => Ok(()),
            Self::Daemon { client, .. } => ask(client, &Request::EndTurn { claimed }).map(drop),
        }
    }

    /// Ends a call; what was denied under it.
    pub fn close(&mut self, claimed: &str, call: &str, outcome: Outcome) -> anyhow::Result<Vec<DenialView>> {
        match self {
            Self::Standalone(standalone) => standalone.close(claimed, call, outcome).map(|()| Vec::new()),
            Self::Daemon { client, .. } => {
                let close = Request::CloseCall { call: call.to_owned(), outcome };
                match client.ask(&close).context("the daemon does not respond")? {
                    Response::Closed { denials } => Ok(denials),
                    // The agent's own user let it run, or it was taken for lost: there is nothing to tell.
                    Response::Error { error } if error.ends_with(NOT_OPEN) => Ok(Vec::new()),
                    Response::Error { error } => bail!("{error}"),
                    _ => bail!("the daemon gave a response of another kind"),
                }
            }
        }
    }
}

fn connect(socket: &Path) -> anyhow::Result<Client> {
    let place = || format!("cannot ask the daemon at {}", socket.display());
    Client::within(socket, DECIDED).with_context(place)
}

fn ask(client: &mut Client, request: &Request) -> anyhow::Result<Response> {
    match client.ask(request).context("the daemon does not respond")? {
        Response::Error { error } => bail!("{error}"),
        response => Ok(response),
    }
}
