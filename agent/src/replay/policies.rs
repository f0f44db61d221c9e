//! The policies that a ledger's decisions were made by, and what the other one is for each of them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Options, ReplayError};
use crate::policy::{Bundle, Engine, Generated, PolicySource, Reads, kept};

/// A replay need not hurry: what took too long when it was decided shall be told from what takes too long now.
const LIMIT: Duration = Duration::from_secs(30);

/// A recorded policy and the other one, if any.
pub(super) struct Pair {
    pub number: usize,
    pub own: Engine,
    pub other: Option<Engine>,
    /// What the two look at.
    pub reads: Reads,
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
            Ok((bundle, own)) => Some(Arc::new(self.pair(&bundle, own)?)),
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
                    let engine = load(&bundle).map_err(|error| format!("policy {digest}: {error}"))?;
                    return Ok((bundle, engine));
                }
                Err(error) => why = error.to_string(),
            }
        }
        Err(why)
    }

    fn pair(&self, bundle: &Bundle, own: Engine) -> Result<Pair, ReplayError> {
        let number = self.known.len();
        if self.other.is_empty() {
            return Ok(Pair { number, reads: own.reads().clone(), own, other: None });
        }
        // Where the agent worked, and what was authz's own, stays as it was.
        let folders = |key: &str| -> Vec<String> {
            let list = bundle.data().get("authz").and_then(|authz| authz.get(key)).and_then(Value::as_array);
            list.into_iter().flatten().filter_map(|folder| folder.as_str().map(str::to_owned)).collect()
        };
        let generated = Generated {
            protected: folders("protected"),
            workspace: folders("workspace"),
            ask: folders("ask"),
        };
        let other = load(&Bundle::load(&self.other, &generated)?)?;
        Ok(Pair { number, reads: own.reads().union(other.reads()), own, other: Some(other) })
    }
}

fn load(bundle: &Bundle) -> Result<Engine, crate::policy::PolicyError> {
    let mut engine = Engine::load(bundle)?.with_time_limit(LIMIT);
    // The first evaluation compiles what its clones share.
    engine.decide_value(&json!({}));
    Ok(engine)
}
