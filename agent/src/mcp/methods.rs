//! The methods of the protocol: those that are judged, those that pass, and everything else, which is refused.
//!
//! Of 2026-07-28 and of every revision before it, back to 2024-11-05; both directions.

/// A request that is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gated {
    /// `tools/call`
    Tool,
    /// `resources/read`
    Resource,
    /// `prompts/get`
    Prompt,
}

impl Gated {
    /// The method of that name.
    pub fn from_name(method: &str) -> Option<Self> {
        [Self::Tool, Self::Resource, Self::Prompt].into_iter().find(|gated| gated.as_str() == method)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tools/call",
            Self::Resource => "resources/read",
            Self::Prompt => "prompts/get",
        }
    }
}

/// Requests of a client that pass.
const CLIENT_REQUESTS: &[&str] = &[
    "completion/complete",
    "initialize",
    "logging/setLevel",
    "ping",
    "prompts/list",
    "resources/list",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "server/discover",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/update",
    "tools/list",
];

/// Notifications of a client that pass.
const CLIENT_NOTIFICATIONS: &[&str] = &[
    "notifications/cancelled",
    "notifications/initialized",
    "notifications/progress",
    "notifications/roots/list_changed",
    "notifications/tasks/status",
];

/// Requests of a server that pass; 2026-07-28 has none.
const SERVER_REQUESTS: &[&str] = &[
    "elicitation/create",
    "ping",
    "roots/list",
    "sampling/createMessage",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
];

/// Notifications of a server that pass.
const SERVER_NOTIFICATIONS: &[&str] = &[
    "notifications/cancelled",
    "notifications/elicitation/complete",
    "notifications/message",
    "notifications/progress",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    "notifications/resources/updated",
    "notifications/subscriptions/acknowledged",
    "notifications/tasks",
    "notifications/tasks/status",
    "notifications/tools/list_changed",
];

/// Who sent a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client, which is the agent.
    Client,
    /// The server.
    Server,
}

/// Whether a request passes without being judged.
pub fn request_passes(from: Side, method: &str) -> bool {
    match from {
        Side::Client => CLIENT_REQUESTS.contains(&method),
        Side::Server => SERVER_REQUESTS.contains(&method),
    }
}

/// Whether a notification passes.
pub fn notification_passes(from: Side, method: &str) -> bool {
    match from {
        Side::Client => CLIENT_NOTIFICATIONS.contains(&method),
        Side::Server => SERVER_NOTIFICATIONS.contains(&method),
    }
}
