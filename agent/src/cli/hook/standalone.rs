//! A hook outside of every session: this process decides, with the policy that was installed with it, and writes a
//! ledger of its own. Nothing is enforced underneath the tool call then, which the first entry says.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use nix::fcntl::{Flock, FlockArg};
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::adapters::Agent;
use crate::event::{Mode, Task};
use crate::ledger::entry::{Hex, Kind};
use crate::ledger::{Options, Store};
use crate::paths::{self, Owner};
use crate::pipeline::Pipeline;
use crate::pipeline::calls::CallView;
use crate::policy::Engine;
use crate::session::Session;
use crate::session::calls::{Outcome, Source, ToolCall};

/// Name of the ledger below the state folder.
const INSTANCE: &str = "hook";

/// The session's number, which nothing but this process knows.
const INDEX: u32 = 1;

/// A policy and a ledger.
pub struct Standalone {
    agent: Agent,
    engine: Option<Engine>,
    pipeline: Pipeline,
    policy: Vec<String>,
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
        let bundle = crate::daemon::bundle(policy, &workspace, uid, &owner.run(), &state)?;
        let engine = Engine::load(&bundle)?;
        let folder = state.join(INSTANCE);
        let folder = paths::make_state(&folder)?;
        let lock = folder.join("lock");
        let lock = File::options().create(true).append(true).open(&lock).with_context(|| lock.display().to_string())?;
        // The watch over the whole hook ends this, should it take too long.
        let turn = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).context("the ledger's lock")?;
        let store = Store::open(&folder, Options::default())?;
        let policy = policy.to_vec();
        Ok(Self { agent, engine: Some(engine), pipeline: Pipeline::new(store), policy, _turn: turn })
    }

    /// Decides about a call.
    pub fn open(&mut self, call: &ToolCall) -> anyhow::Result<CallView> {
        let claimed = call.claimed.get("session_id").and_then(|id| id.as_str()).unwrap_or_default();
        self.begin(claimed)?;
        let comm = std::fs::read_to_string("/proc/self/comm").unwrap_or_default();
        let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        let tgid = nix::unistd::getppid().as_raw();
        let task = Task { tid: 0, tgid, start_ns: 0, uid, gid, comm: comm.trim_end().to_owned() };
        self.pipeline.open_call(INDEX, call, Source::Session, task).map_err(anyhow::Error::msg)
    }

    /// Records the end of a call.
    pub fn close(&mut self, call: &str, outcome: Outcome) -> anyhow::Result<()> {
        self.begin("")?;
        let detail = json!({ "call_id": call, "outcome": outcome });
        Ok(self.pipeline.note(INDEX, Kind::CallClosed, detail)?)
    }
}
