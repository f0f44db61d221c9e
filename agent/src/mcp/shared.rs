//! What the gates of one listener have in common.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use super::judge::{CallView, DenialView};
use super::request::Request;
use super::wire::{self, Members};

/// Questions that wait for a retry, at most; the oldest is forgotten.
const OFFERS_MAX: usize = 256;

/// Tools that are known, at most.
const TOOLS_MAX: usize = 4096;

/// Tasks that are known, at most; one that is over is forgotten, or the oldest given up.
const TASKS_MAX: usize = 64;

/// How long nothing may be heard of a task before it is given up.
const SILENCE_MAX: Duration = Duration::from_secs(3600);

/// What begins a state of ours, among those of servers.
const STATE: &str = "dev.authz:";

/// A question that was answered with `input_required`: the call it is about, as it was judged.
#[derive(Debug, Clone)]
pub struct Offer {
    /// How it was decided.
    pub view: CallView,
    /// The first try.
    pub request: Request,
}

/// What a server says of a tool.
#[derive(Debug, Clone, Default)]
struct Tool {
    annotations: Value,
    /// Names of its arguments.
    arguments: Vec<String>,
}

/// What a call has become whose answer was a task of the server's.
#[derive(Debug)]
struct Task {
    id: String,
    call: Uuid,
    /// When the server last said something of it.
    heard: Instant,
    /// What was denied under it; none: it is not over.
    denied: Option<Vec<DenialView>>,
}

/// What the gates of one listener have in common.
#[derive(Debug, Default)]
pub struct Shared {
    offers: Mutex<VecDeque<(String, Offer)>>,
    tools: Mutex<HashMap<String, Tool>>,
    tasks: Mutex<VecDeque<Task>>,
}

impl Shared {
    /// Keeps a question; the state by which its retry is known, and the call of a question that gave way.
    ///
    /// The state is random and says nothing: what it stands for never leaves the gate, so nobody can forge or
    /// change it, and it serves once.
    pub(super) fn offer(&self, offer: Offer) -> (String, Option<Uuid>) {
        let state = format!("{STATE}{}", Uuid::new_v4().simple());
        let mut offers = self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        offers.push_back((state.clone(), offer));
        let oldest = if offers.len() > OFFERS_MAX { offers.pop_front() } else { None };
        (state, oldest.map(|(_, offer)| offer.view.call))
    }

    /// Whether a state is one of ours.
    pub(super) fn is_ours(state: &str) -> bool {
        state.starts_with(STATE)
    }

    /// Takes the question that a state stands for.
    pub(super) fn take(&self, state: &str) -> Option<Offer> {
        let mut offers = self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        let index = offers.iter().position(|(known, _)| known == state)?;
        offers.remove(index).map(|(_, offer)| offer)
    }

    fn tasks(&self) -> MutexGuard<'_, VecDeque<Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call has become a task; the open call of one that gave way to it.
    pub(super) fn begin_task(&self, id: &str, call: Uuid) -> Option<Uuid> {
        let mut tasks = self.tasks();
        let same = tasks.iter().position(|task| task.id == id);
        let over = || tasks.iter().position(|task| task.denied.is_some()).unwrap_or(0);
        let gone = same.or_else(|| (tasks.len() >= TASKS_MAX).then(over));
        let gone = gone.and_then(|index| tasks.remove(index));
        tasks.push_back(Task { id: id.to_owned(), call, heard: Instant::now(), denied: None });
        gone.filter(|task| task.denied.is_none()).map(|task| task.call)
    }

    /// The server has said something of a task.
    pub(super) fn heard_of(&self, id: &str) {
        let mut tasks = self.tasks();
        let task = tasks.iter_mut().find(|task| task.id == id);
        task.into_iter().for_each(|task| task.heard = Instant::now());
    }

    /// A task is over; its call, if that is to be closed still.
    pub(super) fn end_task(&self, id: &str) -> Option<Uuid> {
        let mut tasks = self.tasks();
        let task = tasks.iter_mut().find(|task| task.id == id && task.denied.is_none())?;
        task.denied = Some(Vec::new());
        Some(task.call)
    }

    /// Keeps what was denied under a task that is over, for who fetches its result.
    pub(super) fn keep_denials(&self, id: &str, denials: Vec<DenialView>) {
        let mut tasks = self.tasks();
        let task = tasks.iter_mut().find(|task| task.id == id);
        task.into_iter().for_each(|task| task.denied = Some(denials.clone()));
    }

    /// What was denied under a task.
    pub(super) fn denials(&self, id: &str) -> Vec<DenialView> {
        let tasks = self.tasks();
        let task = tasks.iter().find(|task| task.id == id);
        task.and_then(|task| task.denied.clone()).unwrap_or_default()
    }

    /// Some task that is not over.
    pub(super) fn open_task(&self) -> Option<String> {
        self.tasks().iter().find(|task| task.denied.is_none()).map(|task| task.id.clone())
    }

    /// Gives up tasks of which nothing was heard for too long, or all; their calls that are open.
    pub(super) fn give_up_tasks(&self, now: Instant, all: bool) -> Vec<Uuid> {
        let mut tasks = self.tasks();
        let silent = |task: &Task| all || now.saturating_duration_since(task.heard) >= SILENCE_MAX;
        let open = tasks.iter().filter(|task| silent(task) && task.denied.is_none());
        let open = open.map(|task| task.call).collect();
        tasks.retain(|task| !silent(task));
        open
    }

    /// Takes note of what a list of tools says. A list that cannot be read teaches nothing.
    pub(super) fn learn(&self, result: &RawValue) {
        let listed = Members::of(result).ok().and_then(|members| members.get("tools"));
        let Some(Value::Array(listed)) = listed.and_then(|tools| wire::value(tools).ok()) else { return };
        let mut tools = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        for tool in &listed {
            let Some(name) = tool["name"].as_str() else { continue };
            if tools.len() >= TOOLS_MAX && !tools.contains_key(name) {
                return;
            }
            let properties = tool["inputSchema"]["properties"].as_object();
            let arguments = properties.into_iter().flat_map(|map| map.keys().cloned()).collect();
            let annotations = tool.get("annotations").filter(|hints| hints.is_object());
            let annotations = annotations.cloned().unwrap_or_else(|| json!({}));
            tools.insert(name.to_owned(), Tool { annotations, arguments });
        }
    }

    /// What the server says of a tool, and the names of its arguments.
    pub(super) fn tool(&self, name: &str) -> (Value, Vec<String>) {
        let tools = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        tools
            .get(name)
            .map_or((Value::Null, Vec::new()), |tool| (tool.annotations.clone(), tool.arguments.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_bounded_by_number_and_silence() {
        let shared = Shared::default();
        let calls: Vec<_> = (0..TASKS_MAX).map(|_| Uuid::now_v7()).collect();
        for (number, call) in calls.iter().enumerate() {
            assert_eq!(shared.begin_task(&number.to_string(), *call), None);
        }
        assert_eq!(shared.begin_task("more", Uuid::now_v7()), Some(calls[0]), "the oldest gives way");
        assert_eq!((shared.end_task("7"), shared.end_task("7")), (Some(calls[7]), None), "it is closed once");
        assert_eq!(shared.begin_task("yet more", Uuid::now_v7()), None, "what is over gives way first");
        let again = Uuid::now_v7();
        assert_eq!(shared.begin_task("9", again), Some(calls[9]), "an id that comes again is another task");
        assert!(shared.give_up_tasks(Instant::now(), false).is_empty());
        let late = shared.give_up_tasks(Instant::now() + SILENCE_MAX, false);
        assert_eq!((late.len(), shared.open_task()), (TASKS_MAX, None));
    }
}
