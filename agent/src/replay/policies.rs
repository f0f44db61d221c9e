//! The policies that a ledger's decisions were made by, and what the other one is for each of them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Options, ReplayError};
use crate::policy::{Bundle, Engine, Generated, PolicyError, PolicySource, Reads, kept};

/// A replay need not hurry: what took too long when it was decided shall be told from what takes too long now.
const LIMIT: Duration = Duration::from_secs(30);

/// A recorded policy and the other one, if any.
pub(super) struct Pair {
    pub number: usize,
    own: Bundle,
    other: Option<Bundle>,
    /// What the two look at.
    pub reads: Reads,
}

impl Pair {
    /// Engines for one thread: clones would share the counts of what both use, and wait for each other.
    pub(super) fn engines(&self) -> Result<(Engine, Option<Engine>), PolicyError> {
        Ok((load(&self.own)?, self.other.as_ref().map(load).transpose()?))
    }
}

/// Loads each policy once.
pub(super) struct Policies {
    bundles: Vec<PathBuf>,
    other: Vec<PolicySource>,
    /// None: it was not kept, or changed.
    known: HashMap<String, Option<Arc<Pair>>>,
}

impl Policies {
    pub(super) fn new(options: &Options) -> Self {
        Self { bundles: options.bundles.clone(), other: options.policy.clone(), known: HashMap::new() }
    }

    /// The policy of a digest; `missing` is told once why there is none.
    pub(super) fn get(
        &mut self,
        digest: &str,
        missing: impl FnOnce(String),
    ) -> Result<Option<Arc<Pair>>, ReplayError> {
        if let Some(known) = self.known.get(digest) {
            return Ok(known.clone());
        }
        let found = match self.read(digest) {
            Ok((bundle, own)) => Some(Arc::new(self.pair(bundle, &own)?)),
            Err(why) => {
                missing(why);
                None
            }
        };
        self.known.insert(digest.to_owned(), found.clone());
        Ok(found)
    }

    fn read(&self, digest: &str) -> Result<(Bundle, Engine), String> {
        let mut why = format!("policy {digest}: no folder of policies beside the ledger");
        for folder in &self.bundles {
            match kept::read(folder, digest) {
                Ok(bundle) => {
                    let engine =
                        Engine::load(&bundle).map_err(|error| format!("policy {digest}: {error}"))?;
                    return Ok((bundle, engine));
                }
                Err(error) => why = error.to_string(),
            }
        }
        Err(why)
    }

    fn pair(&self, bundle: Bundle, own: &Engine) -> Result<Pair, ReplayError> {
        let number = self.known.len();
        if self.other.is_empty() {
            return Ok(Pair { number, reads: own.reads().clone(), own: bundle, other: None });
        }
        // Where the agent worked, and what was authz's own, stays as it was.
        let generated = Generated::of(&bundle);
        let other = Bundle::load(&self.other, &generated)?;
        let reads = own.reads().union(Engine::load(&other)?.reads());
        Ok(Pair { number, reads, own: bundle, other: Some(other) })
    }
}

/// To decide by the whole policy: what a shorter one decided is checked by it.
fn load(bundle: &Bundle) -> Result<Engine, PolicyError> {
    Ok(Engine::load(bundle)?.without_shortcuts().with_time_limit(LIMIT))
}
