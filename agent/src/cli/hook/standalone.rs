//! A hook outside of every session: this process decides, with the policy that was installed with it, and writes a
//! ledger of its own. Nothing is enforced underneath the tool call then, which the first entry says.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use nix::fcntl::{Flock, FlockArg};
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::adapters::Agent;
use crate::daemon::policy::{KEPT, bundle};
use crate::event::{Mode, Task};
use crate::ledger::entry::{Hex, Kind};
use crate::ledger::{Options, Store};
use crate::paths::{self, Owner};
use crate::pipeline::Pipeline;
use crate::pipeline::calls::CallView;
use crate::policy::implied::resolved;
use crate::policy::{Engine, kept};
use crate::session::calls::{Outcome, Source, ToolCall};
use crate::session::{Session, Sources};

/// Name of the ledger below the state folder.
const INSTANCE: &str = "hook";

/// The session's number, which nothing but this process knows.
const INDEX: u32 = 1;

/// A ledger is read from the beginning of its last file when it is opened, here for each call: so files are short.
const ROTATE_AT: u64 = 128 << 10;

/// A policy and a ledger.
pub struct Standalone {
    agent: Agent,
    engine: Option<Engine>,
    pipeline: Pipeline,
    policy: Vec<String>,
    folder: PathBuf,
    /// One hook after the other writes the ledger.
    _turn: Flock<File>,
}

impl Standalone {
    /// Loads the policy and opens the ledger, when it is this process's turn.
    pub fn load(agent: Agent, policy: &[String], state: &Path) -> anyhow::Result<Self> {
        let state = paths::make_state(state)?;
        let owner = Owner::this();
        let uid = nix::unistd::geteuid().as_raw();
        let workspace = std::env::current_dir().context("the current folder")?;
        let workspace = [workspace.to_string_lossy().into_owned()];
        let sources = Sources { policy: policy.to_vec(), workspace: workspace.into(), owner: uid };
        let bundle = bundle(&sources, &owner.run(), &state)?;
        let engine = Engine::load(&bundle)?;
        kept::keep(&state.join(KEPT), &bundle)?;
        let folder = state.join(INSTANCE);
        let folder = paths::make_state(&folder)?;
        let lock = folder.join("lock");
        let lock = File::options()
            .create(true)
            .append(true)
            .open(&lock)
            .with_context(|| lock.display().to_string())?;
        // The watch over the whole hook ends this, should it take too long.
        let turn = Flock::lock(lock, FlockArg::LockExclusive)
            .map_err(|(_, error)| error)
            .context("the ledger's lock")?;
        let store = Store::open(&folder, Options { rotate_at: ROTATE_AT, ..Options::default() })?;
        let policy = policy.to_vec();
        Ok(Self { agent, engine: Some(engine), pipeline: Pipeline::new(store), policy, folder, _turn: turn })
    }

    /// Decides about a call. Nobody can be asked here: an escalation is not waited for.
    pub fn open(&mut self, claimed: &str, call: &ToolCall) -> anyhow::Result<CallView> {
        self.begin(claimed)?;
        let comm = std::fs::read_to_string("/proc/self/comm").unwrap_or_default();
        let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        let tgid = nix::unistd::getppid().as_raw();
        // The agent waits for this. The hook after the tool signs it, or the next one.
        self.pipeline.leave_unsigned();
        let task = Task { tid: 0, tgid, start_ns: 0, uid, gid, comm: comm.trim_end().to_owned() };
        // The watch over the whole hook ends this, should a file system not answer.
        let implied = self.pipeline.implied(INDEX, call).map(resolved);
        self.pipeline.open_call(INDEX, call, implied, Source::Session, task).map_err(anyhow::Error::msg)
    }

    /// Takes back a call that a human would be asked about.
    pub fn withdraw(&mut self, call: Uuid) -> anyhow::Result<()> {
        self.pipeline.withdraw_call(INDEX, call).map_err(anyhow::Error::msg)
    }

    /// Records the end of a call.
    pub fn close(&mut self, claimed: &str, call: &str, outcome: Outcome) -> anyhow::Result<()> {
        self.begin(claimed)?;
        let detail = json!({ "call_id": call, "outcome": outcome });
        Ok(self.pipeline.note(INDEX, Kind::CallClosed, detail)?)
    }

    /// The session that the agent claims to be in: the same one each time.
    fn begin(&mut self, claimed: &str) -> anyhow::Result<()> {
        let Some(engine) = self.engine.take() else { return Ok(()) };
        let name = self.agent.as_str();
        let uid = nix::unistd::geteuid().as_raw();
        let parent = nix::unistd::getppid().as_raw();
        let mut session =
            Session::new(INDEX, name.into(), uid, Mode::Enforce, engine, Duration::ZERO, parent);
        let digest: [u8; 32] = Sha256::digest(format!("authz hook {name} {uid} {claimed}")).into();
        let (id, span) = digest.split_at(16);
        let id = Uuid::from_slice(id)?;
        session.id = uuid::Builder::from_custom_bytes(id.into_bytes()).into_uuid();
        session.trace = Hex(session.id.into_bytes());
        session.span = Hex(<[u8; 8]>::try_from(&span[..8])?);
        session.counts = false;
        let id = session.id;
        self.pipeline.sessions.insert(session);
        self.announce(id)
    }

    /// The first entry of a session says what is enforced. The last session's number is beside the ledger.
    fn announce(&mut self, id: Uuid) -> anyhow::Result<()> {
        let last = self.folder.join("session");
        if std::fs::read_to_string(&last).is_ok_and(|text| text == id.to_string()) {
            return Ok(());
        }
        let detail = json!({
            "agent": self.agent.as_str(), "policy": self.policy,
            "enforcement": "none: tool calls only, as the agent announces them; nothing underneath",
        });
        self.pipeline.note(INDEX, Kind::SessionStart, detail)?;
        std::fs::write(&last, id.to_string()).with_context(|| last.display().to_string())
    }
}
