//! Which back end a session gets, and why: the strongest that was tried and works.

use serde::Serialize;

use super::level::{Backend, Enforcement, Level};
use super::probe::Probe;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Wanted {
    /// LSM programs where they load, else seccomp
    Auto,
    /// LSM programs; takes root
    BpfLsm,
    /// A seccomp supervisor; takes no root
    Seccomp,
}

/// A back end that works here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// Which.
    pub backend: Backend,
    /// Why not the stronger one; empty if there is none, or if it was asked for by name.
    pub why: String,
}

/// Nothing works, or not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoBackend(String);

impl Probe {
    /// Picks the back end.
    pub fn choose(&self, wanted: Wanted) -> Result<Choice, NoBackend> {
        let chosen = |backend, why| Ok(Choice { backend, why });
        let lsm = self.against_lsm();
        let seccomp = self.against_seccomp();
        match (wanted, lsm, seccomp) {
            (Wanted::Auto | Wanted::BpfLsm, None, _) => chosen(Backend::BpfLsm, String::new()),
            (Wanted::Auto, Some(why), None) => chosen(Backend::Seccomp, why),
            (Wanted::Seccomp, _, None) => chosen(Backend::Seccomp, String::new()),
            (Wanted::BpfLsm, Some(why), None) => {
                Err(NoBackend(format!("--backend bpf-lsm cannot be used here ({why}); seccomp can")))
            }
            (Wanted::BpfLsm, Some(why), Some(_)) => {
                Err(NoBackend(format!("--backend bpf-lsm cannot be used here ({why}); see authz doctor")))
            }
            (Wanted::Seccomp, _, Some(why)) => {
                Err(NoBackend(format!("--backend seccomp cannot be used here ({why}); see authz doctor")))
            }
            (Wanted::Auto, Some(lsm), Some(seccomp)) => Err(NoBackend(format!(
                "nothing can be enforced here: bpf-lsm ({lsm}), seccomp ({seccomp}); see authz doctor"
            ))),
        }
    }

    /// Picks again where one LSM program loads, but not all of them.
    pub fn choose_without_lsm(
        &self,
        wanted: Wanted,
        require: Level,
        failed: &str,
    ) -> Result<Choice, NoBackend> {
        let why = format!("not all LSM programs load: {failed}");
        match (wanted, self.against_seccomp()) {
            (Wanted::Auto, _) if require == Level::Full => {
                Err(NoBackend(format!("--require full cannot be met: {why}")))
            }
            (Wanted::Auto, None) => Ok(Choice { backend: Backend::Seccomp, why }),
            (Wanted::Auto, Some(seccomp)) => {
                Err(NoBackend(format!("nothing can be enforced here: bpf-lsm ({why}), seccomp ({seccomp})")))
            }
            _ => Err(NoBackend(format!("--backend bpf-lsm cannot be used here ({why})"))),
        }
    }

    /// What a back end would enforce here.
    pub fn by(&self, backend: Backend) -> Enforcement {
        match backend {
            Backend::BpfLsm => self.by_lsm(),
            Backend::Seccomp => self.by_seccomp(),
            Backend::None => Enforcement::nothing("no back end works here"),
        }
    }
}

/// `seccomp (no root: LSM programs need it)`
impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.backend)?;
        if self.why.is_empty() { Ok(()) } else { write!(f, " ({})", self.why) }
    }
}
