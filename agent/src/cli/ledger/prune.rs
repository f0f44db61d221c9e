//! `authz ledger prune`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{Output, escape, instances, since};
use crate::ledger::ledger_of;
use crate::ledger::prune::{self, Before};

/// What to take away.
#[derive(Debug, Clone, clap::Args)]
pub struct PruneArgs {
    /// Entries with a lower number, or that are older: 5000, 90d, 2026-11-21
    #[arg(long, value_name = "NUMBER|WHEN", value_parser = before)]
    pub before: Before,
    /// State folders or folders of one instance [default: --state]
    pub folders: Vec<PathBuf>,
    /// Only say what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// One JSON object a ledger
    #[arg(long)]
    pub json: bool,
}

fn before(text: &str) -> Result<Before, String> {
    if let Ok(number) = text.parse() {
        return Ok(Before::Entry(number));
    }
    since(text).map(Before::Time).map_err(|error| format!("no number of an entry, and {error}"))
}

/// Prunes each ledger, in whole bundles of 256.
pub(super) fn prune<W: Write>(
    args: &PruneArgs,
    state: &Path,
    out: &mut Output<W>,
) -> anyhow::Result<ExitCode> {
    let folders = if args.folders.is_empty() { vec![state.to_owned()] } else { args.folders.clone() };
    let mut total = (0, 0);
    for folder in folders {
        for instance in instances(&folder)? {
            let ledger = ledger_of(&instance);
            let pruned = prune::prune(&ledger, args.before, args.dry_run)?;
            total = (total.0 + pruned.entries, total.1 + pruned.bytes);
            if args.json {
                let line = serde_json::json!({
                    "ledger": ledger, "first": pruned.first, "entries": pruned.entries, "bytes": pruned.bytes,
                });
                out.write(&format!("{line}\n"))?;
            } else if pruned.entries > 0 {
                let path = ledger.to_string_lossy();
                out.write(&format!(
                    "{}: {} entries, {} bytes\n",
                    escape(&path),
                    pruned.entries,
                    pruned.bytes
                ))?;
            }
        }
    }
    if !args.json {
        let word = if args.dry_run { "would be removed" } else { "removed" };
        out.write(&format!("{} entries, {} bytes {word}; their hashes stay\n", total.0, total.1))?;
    }
    super::unless_closed(out.to.flush())?;
    Ok(ExitCode::SUCCESS)
}
