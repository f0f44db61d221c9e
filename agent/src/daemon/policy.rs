//! The policy of a session: what was asked for, with the project's own part and what no session may touch; loaded,
//! checked, and kept under its digest before the first decision by it.

use std::path::Path;

use crate::enforce::bpf_lsm::PIN_ROOT;
use crate::paths::{self, Owner};
use crate::policy::{Bundle, Engine, Generated, PolicySource, kept};
use crate::session::Sources;

/// A policy that is ready to decide.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Of what it was made.
    pub sources: Sources,
    /// Its files.
    pub bundle: Bundle,
    /// What decides.
    pub engine: Engine,
}

impl Loaded {
    /// Loads, checks and keeps it. `run`: the folder of this user's daemons, `state`: that of ledgers and bundles.
    pub fn load(sources: Sources, run: &Path, state: &Path) -> anyhow::Result<Self> {
        let bundle = bundle(&sources, run, state)?;
        let mut engine = Engine::load(&bundle)?;
        // The first evaluation compiles what later ones share: not while a thread waits.
        engine.decide_value(&serde_json::json!({}));
        kept::keep(&state.join(KEPT), &bundle)?;
        Ok(Self { sources, bundle, engine })
    }
}

/// The folder of kept bundles in the state folder.
pub const KEPT: &str = "bundles";

/// The files of a policy.
pub fn bundle(sources: &Sources, run: &Path, state: &Path) -> anyhow::Result<Bundle> {
    let named: Vec<PolicySource> =
        sources.policy.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    let files = named.iter().filter_map(|source| match source {
        PolicySource::Path(path) => path.canonicalize().ok(),
        PolicySource::Preset(_) => None,
    });
    let mut protected = Owner::this().protected(sources.owner);
    protected.extend([run.to_owned(), PIN_ROOT.into(), state.to_owned()]);
    // The program, and the policies' own files, too: the next session would take them as they are then.
    protected.extend(std::env::current_exe().into_iter().chain(files));
    protected.sort();
    protected.dedup();
    let protected = protected.iter().map(|folder| folder.to_string_lossy().into_owned()).collect();
    let ask = vec![run.join("*").join(paths::ASK).to_string_lossy().into_owned()];
    Ok(Bundle::load(&named, &Generated { protected, ask, workspace: sources.workspace.clone() })?)
}
