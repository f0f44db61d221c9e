//! `authz reload`: another policy for a session that runs, and what it changes.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use uuid::Uuid;

use super::show::escape;
use super::{absolute, live};
use crate::control::{Client, Reloaded, Request, Response};
use crate::policy::difference::{Changes, FloorChange};

/// How long a policy may take to load.
const PATIENCE: Duration = Duration::from_secs(60);

/// Names that are printed of each kind of change.
const SHOWN: usize = 20;

/// Load a live session's policy anew, or another one.
#[derive(Debug, Args)]
#[command(
    after_help = "The session's processes run on. What is wrong with the new policy leaves the old one in force. Operations that wait
for a human are decided again. The Landlock floor stays as it was laid when the session began.

Examples:
  authz reload
  authz reload --session 0193b1f2-6a54-7cc1-8d2e-1f6b0c0e4a11
  authz reload --policy preset:coding-agent --policy ./stricter.rego
  authz reload --json | jq .difference.rules"
)]
pub struct Reload {
    /// The session [default: the only one that is live]
    #[arg(long, value_name = "ID")]
    session: Option<Uuid>,
    /// Folder, file or preset:NAME instead of what it has; may be repeated
    #[arg(long, value_name = "POLICY")]
    policy: Vec<String>,
    /// Print what changed as JSON
    #[arg(long)]
    json: bool,
}

impl Reload {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let wanted = self.session.map(|session| session.to_string());
        let (session, socket) = live::find(wanted.as_deref())?;
        let policy = (!self.policy.is_empty()).then(|| absolute(&self.policy)).transpose()?;
        let request = Request::Reload { session: Some(session), policy };
        match Client::within(&socket, PATIENCE)?.ask(&request)? {
            Response::Reloaded(done) if self.json => println!("{}", serde_json::to_string(&done)?),
            Response::Reloaded(done) => print!("{}", report(&done)),
            Response::Error { error } => bail!("{error}"),
            _ => bail!("the daemon gave a response of another kind"),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What changed, in lines.
fn report(done: &Reloaded) -> String {
    let short = |digest: &str| digest.get(..12).unwrap_or(digest).to_owned();
    if done.from == done.to {
        return format!("authz: the policy is as it was ({}), session {}\n", short(&done.from), done.session);
    }
    let sources = escape(&done.policy.join(" ")).into_owned();
    let (from, to) = (short(&done.from), short(&done.to));
    let mut text = format!("authz: policy {from} -> {to} ({sources}), session {}\n", done.session);
    match &done.difference {
        Some(difference) => {
            text += &lines("rules", &difference.rules);
            text += &lines("files", &difference.files);
            text += &lines("data", &difference.data);
        }
        None => text += "  what changed cannot be told: the old policy is not kept any more\n",
    }
    if let Some(floor) = &done.floor {
        text += &floor_lines(floor);
    }
    if done.settled.again > 0 {
        text += &format!("  {} operations that waited for a human were decided again\n", done.settled.again);
    }
    if done.settled.denied > 0 {
        text +=
            &format!("  {} questions of gates that waited for a human were denied\n", done.settled.denied);
    }
    text
}

fn lines(what: &str, changes: &Changes) -> String {
    let kinds = [("+", &changes.added), ("-", &changes.removed), ("~", &changes.changed)];
    let mut text = String::new();
    for (sign, names) in kinds {
        for name in names.iter().take(SHOWN) {
            text += &format!("  {what:<5} {sign} {}\n", escape(name));
        }
        if names.len() > SHOWN {
            text += &format!("  {what:<5} {sign} and {} more; see --json\n", names.len() - SHOWN);
        }
    }
    text
}

fn floor_lines(floor: &FloorChange) -> String {
    let line = |members: &[String], what: &str| match members {
        [] => String::new(),
        members => format!("  floor ~ {}: {what}\n", members.join(", ")),
    };
    let wider = "allows more than was laid, which stays in force until the session is started anew";
    let narrower = "allows less than was laid; until the session is started anew only rules forbid it";
    line(&floor.wider, wider) + &line(&floor.narrower, narrower)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::difference::Difference;

    #[test]
    fn a_report_names_what_changed_and_escapes_it() {
        let names = |count: usize| (0..count).map(|n| format!("deny r\u{1b}{n:02}")).collect();
        let rules = Changes { added: names(22), removed: Vec::new(), changed: names(1) };
        let floor = FloorChange { wider: vec!["write".into()], narrower: vec!["read".into()] };
        let mut done = Reloaded {
            session: Uuid::nil(),
            from: "a".repeat(64),
            to: "b".repeat(64),
            policy: vec!["/p\n".into()],
            difference: Some(Difference { rules, ..Difference::default() }),
            floor: Some(floor),
            settled: Default::default(),
        };
        let text = report(&done);
        assert!(
            text.starts_with("authz: policy aaaaaaaaaaaa -> bbbbbbbbbbbb (/p\\n), session 0000"),
            "{text}"
        );
        assert!(
            text.contains("  rules + deny r\\u{1b}19\n  rules + and 2 more; see --json\n  rules ~ deny"),
            "{text}"
        );
        assert!(
            text.contains("floor ~ write: allows more") && text.contains("floor ~ read: allows less"),
            "{text}"
        );
        assert!(!text.contains("waited"), "{text}");
        done.difference = None;
        assert!(report(&done).contains("cannot be told"));
        done.to = done.from.clone();
        assert_eq!(report(&done).lines().count(), 1);
    }
}
