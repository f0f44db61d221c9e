//! What the gates of one listener have in common.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use super::judge::CallView;
use super::request::Request;
use super::wire::{self, Members};

/// Questions that wait for a retry, at most; the oldest is forgotten.
const OFFERS_MAX: usize = 256;

/// Tools that are known, at most.
const TOOLS_MAX: usize = 4096;

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

/// What the gates of one listener have in common.
#[derive(Debug, Default)]
pub struct Shared {
    offers: Mutex<VecDeque<(String, Offer)>>,
    tools: Mutex<HashMap<String, Tool>>,
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
