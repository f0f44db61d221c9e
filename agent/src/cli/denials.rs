//! `authz denials`: what policy denied, and why.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use uuid::Uuid;

use super::answer::ask_all;
use super::show::{escape, unless_closed};
use crate::control::{Client, Request, Response};
use crate::ledger::{Attribution, DecidedBy, Effect, Entry, Kind, Readers};
use crate::session::calls::DenialView;

/// How long a daemon may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Print what was denied by policy, with rule, reason and advice
#[derive(Debug, Args)]
#[command(
    long_about = "Print what was denied by policy, with rule, reason and advice: of the live sessions, or of one. What a \
                  live session denied lately its daemon tells; of one that has ended the ledger does. Without --session, \
                  and with none live, the last one that ended is meant. Inside a session it is that session.",
    after_help = "Examples:
  authz denials
  authz denials --session 0193b1f2-6a54-7cc1-8d2e-1f6b0c0e4a11 --json"
)]
pub struct Denials {
    /// Only this session
    #[arg(long, value_name = "ID")]
    session: Option<Uuid>,
    #[arg(long, value_name = "DIR", help = super::STATE_HELP)]
    state: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Denials {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let denials = match self.live()? {
            Some(denials) => denials,
            None => {
                let state = super::state_or_default(self.state)?;
                recorded(&state, self.session)?
            }
        };
        let mut out = io::BufWriter::new(io::stdout().lock());
        let printed = if self.json {
            serde_json::to_writer_pretty(&mut out, &denials)
                .map_err(io::Error::from)
                .and_then(|()| writeln!(out))
        } else {
            denials.iter().try_for_each(|denial| writeln!(out, "{}", line(denial)))
        };
        unless_closed(printed.and_then(|()| out.flush()))?;
        Ok(ExitCode::SUCCESS)
    }

    /// None: no live session is meant.
    fn live(&self) -> anyhow::Result<Option<Vec<DenialView>>> {
        let request = Request::Denials { session: self.session };
        if let Some(socket) = std::env::var_os("AUTHZ_SOCKET") {
            let asked =
                Client::within(Path::new(&socket), PATIENCE).and_then(|mut client| client.ask(&request));
            return match asked.context("the session's daemon does not answer")? {
                Response::Denials { denials } => Ok(Some(denials)),
                Response::Error { error } => bail!("{}", escape(&error)),
                _ => bail!("the session's daemon does not understand"),
            };
        }
        let sessions = ask_all(&Request::Sessions).into_iter().any(|response| match response {
            Response::Sessions { sessions } => {
                sessions.iter().any(|view| self.session.is_none_or(|session| session == view.session))
            }
            _ => false,
        });
        if !sessions {
            return Ok(None);
        }
        let told = ask_all(&request).into_iter().filter_map(|response| match response {
            Response::Denials { denials } => Some(denials),
            _ => None,
        });
        Ok(Some(told.flatten().collect()))
    }
}

/// What the ledger has of a session, or of the last one.
fn recorded(state: &Path, session: Option<Uuid>) -> anyhow::Result<Vec<DenialView>> {
    let readers = Readers::open(state)
        .with_context(|| format!("no ledger in {}; name the folder with --state", state.display()))?;
    let mut meant = session;
    let mut found: Vec<DenialView> = Vec::new();
    let mut known: HashMap<(String, String, String, Option<String>), usize> = HashMap::new();
    let mut met = false;
    for record in readers {
        let entry = record?.entry;
        if session.is_none() && entry.kind == Kind::SessionStart && entry.session != meant {
            meant = entry.session;
            found.clear();
            known.clear();
        }
        if entry.session.is_none() || entry.session != meant {
            continue;
        }
        met = true;
        let Some(denial) = denial(&entry) else { continue };
        let key =
            (denial.action.clone(), denial.resource.clone(), denial.rule.clone(), denial.span_id.clone());
        match known.get(&key) {
            Some(place) => found[*place].count += denial.count,
            None => {
                known.insert(key, found.len());
                found.push(denial);
            }
        }
    }
    if !met {
        bail!("no session is live, and none like it is in the ledger of {}", state.display());
    }
    Ok(found)
}

/// A denial that was enforced and that a rule made: not the fail direction, nor the system.
fn denial(entry: &Entry) -> Option<DenialView> {
    let decision = entry.decision.as_ref().filter(|decision| decision.effect == Effect::Deny)?;
    let by_policy = entry.decided_by != Some(DecidedBy::Failsafe) && entry.causes.is_empty();
    let decided = matches!(entry.kind, Kind::Decision | Kind::Answer);
    if !decided || !by_policy || entry.enforced != Some(true) {
        return None;
    }
    let rule = decision.rules.first();
    Some(DenialView {
        id: entry.id,
        time: entry.time.to_string(),
        action: entry.action.as_ref()?.as_str().to_owned(),
        resource: entry.resource.as_ref()?.id.clone(),
        rule: rule.map(|rule| rule.id.clone()).unwrap_or_default(),
        reason: rule.map(|rule| rule.reason.clone()).unwrap_or_default(),
        advice: rule.map(|rule| rule.advice.clone()).unwrap_or_default(),
        span_id: entry.span_id.map(|span| span.to_string()),
        attribution: entry.attribution.unwrap_or(Attribution::None),
        count: entry.count.unwrap_or(1),
        calls: Vec::new(),
    })
}

fn line(denial: &DenialView) -> String {
    let mut text = format!(
        "{} {}: {} [{}]",
        escape(&denial.action),
        escape(&denial.resource),
        escape(&denial.reason),
        escape(&denial.rule)
    );
    if !denial.advice.is_empty() {
        text += &format!(" {}", escape(&denial.advice));
    }
    if denial.count > 1 {
        text += &format!(" ({} times)", denial.count);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Action;
    use crate::ledger::{Decision, Options, ResourceEntry, Store};

    fn entry(session: u128, resource: &str) -> Entry {
        let mut entry = Entry::new(Kind::Decision);
        entry.session = Some(Uuid::from_u128(session));
        entry.action = Some(Action::FileWrite.into());
        entry.resource = Some(ResourceEntry {
            kind: "file".into(),
            id: resource.into(),
            properties: Default::default(),
            raw: None,
        });
        entry.decision = Some(Decision::deny("rule", "why\u{1b}"));
        entry.decided_by = Some(DecidedBy::Policy);
        entry.enforced = Some(true);
        entry
    }

    #[test]
    fn only_what_policy_denied_in_the_session_meant() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("one"), Options::default()).unwrap();
        let start = |session: u128| Entry {
            session: Some(Uuid::from_u128(session)),
            ..Entry::new(Kind::SessionStart)
        };
        let mut allowed = entry(2, "/allowed");
        allowed.decision.as_mut().unwrap().effect = Effect::Allow;
        let failed = Entry { causes: vec!["late".into()], ..entry(2, "/failed") };
        let observed = Entry { enforced: Some(false), ..entry(2, "/observed") };
        let entries =
            [start(1), entry(1, "/a"), start(2), entry(2, "/b"), entry(2, "/b"), allowed, failed, observed];
        entries.into_iter().for_each(|entry| assert!(store.append(entry).is_ok()));
        store.flush().unwrap();
        let named = |session| -> Vec<_> {
            let found = recorded(folder.path(), session).unwrap();
            found.into_iter().map(|denial| (denial.resource, denial.count)).collect()
        };
        assert_eq!(named(None), [("/b".to_owned(), 2)], "the last session");
        assert_eq!(named(Some(Uuid::from_u128(1))), [("/a".to_owned(), 1)]);
        assert!(recorded(folder.path(), Some(Uuid::from_u128(3))).is_err());
        let text = line(&recorded(folder.path(), None).unwrap()[0]);
        assert_eq!(text, "file.write /b: why\\u{1b} [rule] (2 times)");
    }
}
