//! Who judges a call.

use uuid::Uuid;

pub use crate::pipeline::calls::CallView;
pub use crate::policy::RuleRef as Rule;
pub use crate::session::calls::{DenialView, Outcome, ToolCall};

/// The daemon, as the gate sees it. An error is a text of one line; the gate then fails closed, or open in
/// observe mode.
pub trait Judge {
    /// Decides a call; if it may go on, its span is open.
    fn open(&mut self, call: ToolCall) -> Result<CallView, String>;

    /// Begins to wait for the answer to a call that is held. It comes by [`super::Gate::answered`].
    fn wait(&mut self, call: Uuid);

    /// A call that is held was taken back, or somebody at the client declined it.
    fn withdraw(&mut self, call: Uuid);

    /// The client answered a question about a call that is held. No proof of a human, so it only is recorded.
    fn elicited(&mut self, call: Uuid, action: &str);

    /// A call is over; the system calls denied under it.
    fn close(&mut self, call: Uuid, outcome: Outcome) -> Vec<DenialView>;
}

impl<J: Judge + ?Sized> Judge for Box<J> {
    fn open(&mut self, call: ToolCall) -> Result<CallView, String> {
        (**self).open(call)
    }

    fn wait(&mut self, call: Uuid) {
        (**self).wait(call);
    }

    fn withdraw(&mut self, call: Uuid) {
        (**self).withdraw(call);
    }

    fn elicited(&mut self, call: Uuid, action: &str) {
        (**self).elicited(call, action);
    }

    fn close(&mut self, call: Uuid, outcome: Outcome) -> Vec<DenialView> {
        (**self).close(call, outcome)
    }
}
