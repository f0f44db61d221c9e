//! Calls that wait for a human. The answer that counts comes from outside (`authz approve`); what the client says
//! about it is no proof of a human, since hooks and headless clients answer by themselves. Its yes is recorded, its
//! no is taken, and if it turns the question away the call still waits.

use uuid::Uuid;

use super::{Gate, OWN, State, Waiting};
use crate::mcp::judge::{CallView, Judge, Outcome};
use crate::mcp::reply::{self, Refusal};
use crate::mcp::request::Request;
use crate::mcp::shared::Offer;
use crate::mcp::wire::{Answer, Id, Key, Members};
use crate::policy::Effect;

impl<J: Judge> Gate<J> {
    pub(super) fn hold(&mut self, request: Request, view: CallView) {
        if request.modern() && request.can_elicit() && self.options.elicit {
            let id = request.id.clone();
            let offer = Offer { view: view.clone(), request: request.clone() };
            let (state, forgotten) = self.shared.offer(offer);
            if let Some(call) = forgotten {
                self.judge.withdraw(call);
            }
            let line = reply::input_required(&request, &self.options.server, &view, &state);
            return self.for_client(line, Some(id));
        }
        let mut question = None;
        if !request.modern() && self.elicits && self.options.elicit {
            let id = Id::text(&format!("{OWN}{}", Uuid::new_v4().simple()));
            self.questions.insert(id.key().clone(), request.id.key().clone());
            let line = reply::elicitation(&id, &request, &self.options.server, &view);
            self.for_client(line, Some(request.id.clone()));
            question = Some(id);
        }
        self.wait_held(request, view, question);
    }

    fn wait_held(&mut self, request: Request, view: CallView, question: Option<Id>) {
        self.judge.wait(view.call);
        let id = request.id.clone();
        self.wait_for(&id, State::Held { request: Box::new(request), view: Box::new(view), question });
    }

    /// 2026-07-28: the client comes again with the state it was given.
    pub(super) fn retried(&mut self, mut request: Request, offer: Offer) {
        let answer = request.answer().map(str::to_owned);
        if let Some(action) = &answer {
            self.judge.elicited(offer.view.call, action);
        }
        request.restore(&offer.request);
        if answer.as_deref() == Some("decline") {
            return self.declined(&request, &offer.view);
        }
        self.wait_held(request, offer.view, None);
    }

    /// The older kind: the client answers the gate's own request.
    pub(super) fn question_answered(&mut self, about: &Key, answer: Answer<'_>) {
        let Some(Waiting { state: State::Held { view, question, .. }, .. }) = self.waiting.get_mut(about)
        else {
            return;
        };
        *question = None;
        let action = match answer {
            Answer::Result(result) => Members::of(result).ok().and_then(|members| members.get("action")),
            Answer::Error(_) => None,
        };
        let action = action.and_then(|action| serde_json::from_str::<String>(action.get()).ok());
        let call = view.call;
        self.judge.elicited(call, action.as_deref().unwrap_or("error"));
        if action.as_deref() == Some("decline")
            && let Some(Waiting { state: State::Held { request, view, .. }, .. }) = self.waiting.remove(about)
        {
            self.declined(&request, &view);
        }
    }

    fn declined(&mut self, request: &Request, view: &CallView) {
        self.judge.withdraw(view.call);
        let pending = view.pending.as_deref().unwrap_or_default();
        self.refuse(request, Refusal::NotApproved(view, pending));
    }

    pub(super) fn held_is_answered(&mut self, call: Uuid, answer: Result<CallView, String>) {
        let held =
            |waiting: &Waiting| matches!(&waiting.state, State::Held { view, .. } if view.call == call);
        let key = self.waiting.iter().find(|(_, waiting)| held(waiting)).map(|(key, _)| key.clone());
        let waiting = key.and_then(|key| self.waiting.remove(&key));
        let Some(Waiting { state: State::Held { request, view: asked, question }, .. }) = waiting else {
            // It was taken back while the answer was on its way.
            if matches!(&answer, Ok(view) if view.effect < Effect::Escalate) {
                self.judge.close(call, Outcome::Cancelled);
            }
            return;
        };
        self.take_back(question);
        match answer {
            Ok(view) if view.effect < Effect::Escalate => self.decided(*request, view),
            Ok(view) => {
                let pending = asked.pending.as_deref().unwrap_or_default();
                self.refuse(&request, Refusal::NotApproved(&view, pending));
            }
            Err(why) => self.undecided(*request, &why),
        }
    }

    /// Takes a question at the client back.
    pub(super) fn take_back(&mut self, question: Option<Id>) {
        let Some(id) = question else { return };
        if self.questions.remove(id.key()).is_some() {
            self.for_client(reply::cancelled(&id, "the call is no longer held"), None);
        }
    }
}
