//! What contradicts what was declared is recorded when it is seen.

use serde_json::json;
use uuid::Uuid;

use super::Pipeline;
use super::record::of_session;
use crate::event::Event;
use crate::ledger::entry::{Entry, Kind, ResourceEntry};
use crate::session::calls::Attributed;
use crate::session::declared::{FINDINGS_MAX, Seen};

impl Pipeline {
    /// Records how an operation, decided as `id`, contradicts what was declared, if it does.
    pub(super) fn find(&mut self, event: &Event, id: Uuid, attributed: &Attributed) {
        let Some(session) = self.sessions.get_mut(event.session) else { return };
        let seen = Seen::of(&event.operation, attributed.attribution, attributed.after_end);
        let call = attributed.calls.first().filter(|_| attributed.calls.len() == 1).copied();
        let declared = call.and_then(|call| session.calls.get(call)).map_or(&[][..], |call| &call.declared);
        let Some(found) = seen.contradicts(declared, session.calls.any()) else { return };
        let Some(last) = session.findings.add(call, seen.action, seen.id) else { return };
        let mut entry = Entry::new(Kind::Finding);
        of_session(session, attributed, &mut entry);
        entry.layer = Some(event.layer);
        entry.action = Some(event.operation.action.into());
        entry.resource = Some(ResourceEntry {
            kind: event.operation.action.resource_type().into(),
            id: event.operation.resource.id.clone(),
            properties: Default::default(),
            raw: None,
        });
        entry.causes.push(found.describe().into());
        if last {
            entry.causes.push(format!("more than {FINDINGS_MAX} findings of a session are not recorded"));
        }
        entry.detail = Some(json!({ "finding": found, "operation": id, "call": call }));
        self.append_or_log(entry);
    }
}
