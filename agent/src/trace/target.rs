//! What an id names: a session, a trace, a span, a call or any decision; whole, or the beginning of it.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::event::Action;
use crate::ledger::{Attribution, Entry, Hex, Kind, LedgerError};

/// How many that begin alike are named.
const ALIKE: usize = 8;

/// What to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A whole session.
    Session(Uuid),
    /// What is in this trace.
    Trace(Hex<16>),
    /// The call of this span.
    Call(Hex<8>),
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Nothing has that id.
    #[error("nothing in the ledger has the id {0:?}; `authz ledger list` prints ids")]
    Unknown(String),
    /// Several have.
    #[error("{0:?} begins several ids ({1}); write more of it")]
    Several(String, String),
}

/// Everything that begins like the text.
#[derive(Default)]
struct Alike {
    sessions: BTreeSet<Uuid>,
    traces: BTreeSet<Hex<16>>,
    /// Calls, by their span.
    calls: BTreeSet<Hex<8>>,
    /// Of decisions that are no calls, where they are.
    places: BTreeSet<Target>,
}

/// Finds what an id names among all entries.
pub fn find(
    entries: impl Iterator<Item = Result<Entry, LedgerError>>,
    text: &str,
) -> Result<Target, TraceError> {
    let wanted = text.to_ascii_lowercase();
    let (mut exact, mut alike) = (Alike::default(), Alike::default());
    for entry in entries {
        let entry = entry?;
        exact.look(&entry, |id| id == wanted || id == text);
        if !wanted.is_empty() {
            alike.look(&entry, |id| id.starts_with(&wanted) || id.starts_with(text));
        }
    }
    match exact.only(text) {
        Ok(None) => alike.only(text)?.ok_or_else(|| TraceError::Unknown(text.to_owned())),
        found => Ok(found?.ok_or_else(|| TraceError::Unknown(text.to_owned()))?),
    }
}

impl Alike {
    fn look(&mut self, entry: &Entry, fits: impl Fn(&str) -> bool) {
        let is = |id: Uuid| fits(&id.to_string()) || fits(&id.simple().to_string());
        let root = entry.kind == Kind::SessionStart;
        if let Some(session) = entry.session.filter(|session| {
            is(*session) || (root && entry.span_id.is_some_and(|span| fits(&span.to_string())))
        }) {
            add(&mut self.sessions, session);
        }
        if let Some(trace) = entry.trace_id.filter(|trace| fits(&trace.to_string())) {
            add(&mut self.traces, trace);
        }
        let Some(span) = entry.span_id else { return };
        let exact = entry.attribution == Some(Attribution::Exact);
        if entry.action == Some(Action::ToolCall.into()) {
            let call_id = entry.detail.as_ref().and_then(|detail| detail.get("call_id")?.as_str());
            if is(entry.id) || call_id.is_some_and(&fits) || fits(&span.to_string()) {
                add(&mut self.calls, span);
            }
        } else if matches!(entry.kind, Kind::Decision | Kind::Finding) && is(entry.id) {
            let session = entry.session.map(Target::Session);
            let place = if exact { Some(Target::Call(span)) } else { session };
            place.into_iter().for_each(|place| add(&mut self.places, place));
        }
    }

    /// The one thing of the highest kind that has any.
    fn only(self, text: &str) -> Result<Option<Target>, TraceError> {
        let kinds: [Vec<(Target, String)>; 4] = [
            self.sessions.iter().map(|id| (Target::Session(*id), id.to_string())).collect(),
            self.traces.iter().map(|id| (Target::Trace(*id), id.to_string())).collect(),
            self.calls.iter().map(|id| (Target::Call(*id), id.to_string())).collect(),
            self.places.iter().map(|place| (*place, format!("{place:?}"))).collect(),
        ];
        match kinds.into_iter().find(|kind| !kind.is_empty()).as_deref() {
            None => Ok(None),
            Some([(target, _)]) => Ok(Some(*target)),
            Some(several) => {
                let ids: Vec<_> = several.iter().map(|(_, id)| id.as_str()).collect();
                Err(TraceError::Several(text.to_owned(), ids.join(", ")))
            }
        }
    }
}

/// Bounded: an id of no digits fits everything.
fn add<T: Ord>(set: &mut BTreeSet<T>, item: T) {
    if set.len() < ALIKE {
        set.insert(item);
    }
}
