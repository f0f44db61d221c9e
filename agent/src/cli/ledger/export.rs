//! `authz ledger export`: for other programs, and for other machines.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Output, instances, open, since};
use crate::ledger::{Entry, Record, Time, ledger_of};

/// What to export.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ExportArgs {
    /// Only since a time (2026-11-21T10:00:00Z, 2026-11-21) or for so long (90s, 30m, 2h, 7d)
    #[arg(long, value_name = "WHEN", value_parser = since)]
    pub since: Option<Time>,
    /// Only of this session
    #[arg(long, value_name = "ID")]
    pub session: Option<Uuid>,
    /// Instead, the signed checkpoint of each ledger: keep them where root of this machine cannot change them
    #[arg(long, conflicts_with_all = ["since", "session"])]
    pub checkpoint: bool,
}

/// Prints events, one JSON object a line, or checkpoints.
pub(super) fn export<W: Write>(
    args: &ExportArgs,
    state: &Path,
    out: &mut Output<W>,
) -> anyhow::Result<ExitCode> {
    if args.checkpoint {
        for instance in instances(state)? {
            let path = ledger_of(&instance).join("checkpoint");
            match std::fs::read_to_string(&path) {
                Ok(note) => drop(out.write(&format!("{note}\n"))?),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
            }
        }
        super::unless_closed(out.to.flush())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut readers = open(state, args.session)?;
    while let Some(record) = readers.next() {
        let record = record?;
        let wanted = args.session.is_none_or(|session| record.entry.session == Some(session))
            && args.since.is_none_or(|since| record.entry.time >= since);
        if !wanted {
            continue;
        }
        let input = record.entry.input_at.map(|hash| readers.payload(&hash)).transpose()?;
        let event = event(&record, readers.instance().unwrap_or(state), input)?;
        if !out.write(&format!("{event}\n"))? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    out.finish(&readers)
}

/// An entry as OPA's decision log has it: with labels, bundles, metrics, and its input from wherever it is.
fn event(record: &Record, instance: &Path, input: Option<Value>) -> anyhow::Result<Value> {
    let mut event: Map<String, Value> = serde_json::from_slice(&record.bytes)?;
    let Entry { policy, cost_us, session, .. } = &record.entry;
    let name = instance.file_name().unwrap_or_default().to_string_lossy();
    let mut labels = json!({"app": "authz", "id": name, "version": env!("CARGO_PKG_VERSION")});
    if let Some(session) = session {
        labels["session"] = json!(session);
    }
    event.insert("labels".into(), labels);
    if let Some(policy) = policy {
        event.insert("bundles".into(), json!({"authz": {"revision": policy}}));
    }
    if let Some(cost) = cost_us {
        event.insert("metrics".into(), json!({"timer_rego_query_eval_ns": cost.saturating_mul(1000)}));
    }
    if let Some(input) = input {
        event.insert("input".into(), input);
    }
    Ok(Value::Object(event))
}
