//! `authz policy why`: what would happen, by which rule, and whether the enforcement point knows it already.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use serde_json::json;

use super::named::{Here, Named};
use super::show::{Painter, Tone, escape};
use super::{STATE_HELP, absolute, live, named, state_or_default, workspaces};
use crate::control::{Client, Request, Response};
use crate::daemon::policy::bundle;
use crate::event::{Action, Layer, Mode};
use crate::ledger::entry::DecidedBy;
use crate::paths::Owner;
use crate::pipeline::why::{KnownVerdict, Why as Answer};
use crate::policy::grounds::{Memory, Stop};
use crate::policy::input::{Context, Subject, SubjectProperties};
use crate::policy::{Effect, Engine, Grounds, Input};
use crate::session::Sources;

/// How long a daemon may take to respond.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines that are printed of what stops a decision from being remembered.
const SHOWN: usize = 10;

/// Say what would happen, by which rule, and how far it is or can be remembered.
#[derive(Debug, Args)]
#[command(
    after_help = "With --session the session's daemon is asked: it decides as of the session's first process, under the tool calls
that are open now, and looks into the table of its enforcement point. Nothing is recorded, held or used up by it.
Without, the named policies are asked. Links are followed as you see them; what a Landlock floor adds is not asked.

Exit status: 0 whatever the verdict, 125 if authz itself failed.

Examples:
  authz policy why file.write ~/.ssh/config
  authz policy why net.connect tcp://192.0.2.1:25 preset:coding-agent ./mine.rego
  authz policy why process.exec /usr/bin/sudo --session 0193b1f2
  authz policy why file.read ./src --session 0193b1f2 --json | jq .known.from"
)]
pub struct Why {
    /// What would be done, such as file.write
    #[arg(value_parser = super::policy::parse_action)]
    action: Action,
    /// To what: a path, an address such as tcp://192.0.2.1:443 or unix:/run/x, a name
    resource: String,
    /// Folder, file or preset:NAME; may be repeated [default: preset:coding-agent]
    #[arg(conflicts_with = "session")]
    policy: Vec<String>,
    /// A live session, by its id or the beginning of it
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Folder the agent works in; may be repeated [default: the current one]
    #[arg(long, value_name = "DIR", conflicts_with = "session")]
    workspace: Vec<PathBuf>,
    #[arg(long, value_name = "DIR", help = STATE_HELP, conflicts_with = "session")]
    state: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Why {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let named = named::resource(self.action, &self.resource, &Here::this()?)?;
        let painter = Painter::stdout();
        let (json, text) = match &self.session {
            Some(session) => {
                let answer = in_session(session, &named)?;
                (serde_json::to_value(&answer)?, of_session(&answer, &named, painter))
            }
            None => {
                let (digest, id, grounds) = self.by_policy(&named)?;
                let mut json = serde_json::to_value(&grounds)?;
                (json["policy"], json["action"], json["resource"]) =
                    (json!(digest), json!(self.action), json!(id));
                (json, of_policy(self.action, &id, &grounds, &named, painter))
            }
        };
        if self.json {
            let mut json = json;
            (json["asked"], json["through"], json["note"]) =
                (json!(self.resource), json!(named.through), json!(named.note));
            println!("{}", crate::text::escape_json(&json.to_string()));
        } else {
            print!("{text}");
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What the named policies say of it: digest, resource, grounds.
    fn by_policy(&self, named: &Named) -> anyhow::Result<(String, String, Grounds)> {
        let default = ["preset:coding-agent".to_owned()];
        let policy = if self.policy.is_empty() { &default[..] } else { &self.policy[..] };
        let workspace = workspaces(&self.workspace)?;
        let uid = nix::unistd::Uid::effective();
        let sources = Sources { policy: absolute(policy)?, workspace, owner: uid.as_raw() };
        let state = state_or_default(self.state.clone())?;
        let mut engine = Engine::load(&bundle(&sources, &Owner::this().run(), &state)?)?;
        let event = named.imagined.event(Layer::Kernel, engine.names())?;
        let user = nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.name);
        let subject = SubjectProperties { uid: Some(uid.as_raw()), user, ..SubjectProperties::default() };
        let context = Context {
            layer: Layer::Kernel,
            mode: Mode::Enforce,
            session: None,
            trace_id: None,
            span_id: None,
            tool: None,
            request: None,
        };
        let mut input = Input::new(Subject::agent("agent", subject), &event.operation, context);
        if let Some(hash) =
            named.imagined.sha256.as_ref().filter(|_| engine.reads().needs("resource.properties.sha256"))
        {
            input.resource.properties.insert("sha256".into(), hash.clone().into());
        }
        let evaluation = engine.decide(&input);
        let mut grounds = Grounds::of(&engine, &input, &evaluation);
        if event.key.is_none() && grounds.memory.reach.is_some() {
            grounds.memory = Memory::none("enforcement points look such a resource up in no table");
        }
        Ok((engine.digest().to_owned(), input.resource.id, grounds))
    }
}

/// What a session's daemon says.
fn in_session(session: &str, named: &Named) -> anyhow::Result<Answer> {
    let (session, socket) = live::find(Some(session))?;
    let request = Request::Why { session, imagined: Box::new(named.imagined.clone()) };
    match Client::within(&socket, PATIENCE)?.ask(&request)? {
        Response::Why(answer) => Ok(*answer),
        Response::Error { error } => bail!("{error}"),
        _ => bail!("the daemon gave a response of another kind"),
    }
}

/// A line of a report.
fn line(text: &mut String, what: &str, value: &str) {
    // Writing to a string cannot fail.
    writeln!(text, "  {what:<12}{value}").ok();
}

fn of_policy(action: Action, id: &str, grounds: &Grounds, named: &Named, painter: Painter) -> String {
    let mut text = head(painter, action.as_str(), id, grounds, named, true);
    memory(&mut text, &grounds.memory);
    text
}

fn of_session(answer: &Answer, named: &Named, painter: Painter) -> String {
    let mut text =
        head(painter, &answer.action, &answer.resource, &answer.grounds, named, answer.mode == Mode::Enforce);
    if answer.decided_by == DecidedBy::Human {
        line(&mut text, "approved", "a human has said yes to this before; else it would be held");
    }
    let mode = match answer.mode {
        Mode::Enforce => "enforce",
        Mode::Observe => "observe: it is recorded, and happens whatever is decided",
    };
    line(&mut text, "session", &format!("{}, process {}, {mode}", answer.session, answer.pid));
    if let Some(tool) = &answer.tool {
        line(&mut text, "tool call", &escape(tool));
    }
    match &answer.known {
        Some(known) => known_lines(&mut text, known),
        None => line(&mut text, "known", "no; the daemon would be asked"),
    }
    memory(&mut text, &answer.grounds.memory);
    text
}

/// What is decided, by which rules.
fn head(painter: Painter, action: &str, id: &str, grounds: &Grounds, named: &Named, binds: bool) -> String {
    let tone = match grounds.effect {
        Effect::Allow => Tone::Good,
        Effect::Deny => Tone::Bad,
        Effect::Compute | Effect::Escalate => Tone::Care,
    };
    let effect = grounds.effect.as_str();
    let would = if binds { String::new() } else { " (would be)".to_owned() };
    let mut text = format!("{}{would}  {action} {}\n", painter.paint(tone, effect), escape(id));
    if let Some(through) = &named.through {
        line(&mut text, "through", &escape(through));
    }
    if let Some(note) = &named.note {
        line(&mut text, "note", &escape(note));
    }
    for ground in &grounds.rules {
        line(&mut text, "rule", &escape(&ground.rule.id));
        for (what, said) in [("", &ground.rule.reason), ("advice: ", &ground.rule.advice)] {
            if !said.is_empty() {
                line(&mut text, "", &format!("{what}{}", escape(said)));
            }
        }
        let several = if ground.at.len() > 1 { "one of " } else { "" };
        let places: Vec<_> = ground.at.iter().map(|at| escape(&at.to_string()).into_owned()).collect();
        if !places.is_empty() {
            line(&mut text, "", &format!("at {several}{}", places.join(", ")));
        }
    }
    if let Some(cause) = &grounds.cause {
        line(&mut text, "cause", &escape(cause));
    }
    if !grounds.constraints.is_empty() {
        let constraints = serde_json::Value::Object(grounds.constraints.clone()).to_string();
        line(&mut text, "constraints", &escape(&constraints));
    }
    if let Some(rewrite) = &grounds.rewrite {
        line(&mut text, "rewrite", &escape(&rewrite.to_string()));
    }
    text
}

fn known_lines(text: &mut String, known: &KnownVerdict) {
    let table =
        if known.table == DecidedBy::Kernel { "the kernel's table" } else { "the supervisor's table" };
    let verdict = if known.allow { "allow" } else { "deny" };
    let used = match known.hits {
        0 => "not used yet".to_owned(),
        1 => "used once".to_owned(),
        hits => format!("used {hits} times"),
    };
    line(text, "known", &format!("{verdict}, in {table}, {used}"));
    if let Some(why) = &known.not_used {
        line(text, "", &format!("but the daemon is asked: {why}"));
    }
    if let Some(left) = known.left_ms {
        line(text, "", &format!("for {} s still", left.div_ceil(1000)));
    }
    match &known.from {
        Some(from) => {
            let (id, time) = (from.decision_id, from.time);
            line(text, "from", &format!("decision {id} at {time}, about {}", escape(&from.resource)));
            line(text, "", &format!("by {}", escape(&from.rules.join(", "))));
            line(text, "holds for", &escape(&from.reach.text));
        }
        None => line(text, "from", "an evaluation that is kept no more"),
    }
}

fn memory(text: &mut String, memory: &Memory) {
    let ttl = memory.ttl_ms.map(|ttl| format!(", for {} s", ttl.div_ceil(1000))).unwrap_or_default();
    match &memory.reach {
        Some(reach) => {
            line(text, "remembered", &format!("{}{ttl}", escape(&reach.text)));
            if !reach.names.is_empty() {
                line(text, "", &format!("(it looks for {})", escape(&reach.names.join(", "))));
            }
        }
        None => line(text, "remembered", "never"),
    }
    if let Some(why) = &memory.why {
        line(text, "", &format!("since {}", escape(why)));
    }
    for Stop { at, what, instead } in memory.stopped_by.iter().take(SHOWN) {
        let instead = if instead.is_empty() { String::new() } else { format!("; {instead}") };
        line(text, "", &format!("{} {}{instead}", escape(&at.to_string()), escape(what)));
    }
    if memory.stopped_by.len() > SHOWN {
        line(text, "", &format!("and {} more; see --json", memory.stopped_by.len() - SHOWN));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::imagined::Imagined;
    use crate::policy::{Bundle, Generated, PolicySource};

    fn asked(action: Action, id: &str, policy: &str) -> String {
        let bundle = match policy.strip_prefix("preset:") {
            Some(name) => Bundle::load(&[PolicySource::Preset(name.into())], &Generated::default()).unwrap(),
            None => {
                let folder = tempfile::tempdir().unwrap();
                std::fs::write(folder.path().join("p.rego"), format!("package authz\n\n{policy}\n")).unwrap();
                Bundle::load(&[PolicySource::Path(folder.path().to_owned())], &Generated::default()).unwrap()
            }
        };
        let mut engine = Engine::load(&bundle).unwrap();
        let imagined = Imagined { action, resource: id.into(), file: None, sha256: None };
        let event = imagined.event(Layer::Kernel, engine.names()).unwrap();
        let input: Input = serde_json::from_value(json!({
            "subject": {"type": "agent", "id": "a"}, "action": {"name": action},
            "resource": {"type": action.resource_type(), "id": id,
                         "properties": event.operation.resource.properties},
            "context": {"layer": "kernel", "mode": "enforce"},
        }))
        .unwrap();
        let evaluation = engine.decide(&input);
        let grounds = Grounds::of(&engine, &input, &evaluation);
        let named = Named { imagined, through: Some("/link\n".into()), note: None };
        of_policy(action, id, &grounds, &named, Painter::plain())
    }

    #[test]
    fn a_rule_is_named_with_its_place() {
        let text = asked(Action::FileRead, "/home/dev/.ssh/id", "preset:coding-agent");
        for line in [
            "deny  file.read /home/dev/.ssh/id\n",
            "  through     /link\\n\n",
            "  rule        coding-agent-secret\n",
            "              advice: Ask the user",
            "              at authz:presets/coding-agent/files.rego:",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn what_no_rule_matches_is_by_the_combiners_own() {
        let text = asked(Action::FileWrite, "/x", "allow contains {\"id\": \"a\"} if reads");
        assert!(text.contains("  rule        default\n") && text.contains("at authz:authz.rego:"), "{text}");
        assert!(text.contains("  remembered  every path\n"), "{text}");
    }

    #[test]
    fn of_rules_with_one_id_the_one_that_says_the_same() {
        let rules = "deny contains {\"id\": \"a\", \"reason\": \"one\"} if under(input.resource.id, \"/one\")\n\n\
                     deny contains {\"id\": \"a\", \"reason\": \"two\"} if under(input.resource.id, \"/two\")";
        let text = asked(Action::FileRead, "/two/x", rules);
        assert!(text.contains("p.rego:5:1\n") && !text.contains("p.rego:3:1"), "{text}");
        let text = asked(Action::FileRead, "/two/x", &rules.replace("one\"}", "two\"}"));
        assert!(text.contains("at one of ") && text.contains("p.rego:3:1"), "{text}");
    }

    #[test]
    fn what_stops_a_decision_from_being_remembered_is_named() {
        let text = asked(
            Action::FileRead,
            "/x",
            "allow contains {\"id\": \"a\"} if {\n\treads\n\tendswith(input.resource.id, \"x\")\n}",
        );
        assert!(text.contains("  remembered  this path alone\n"), "{text}");
        assert!(text.contains("p.rego:5:") && text.contains("endswith"), "{text}");
        let text = asked(
            Action::FileRead,
            "/x",
            "allow contains {\"id\": \"a\"} if input.resource.properties.mode == \"0644\"",
        );
        assert!(text.contains("  remembered  never\n"), "{text}");
        assert!(
            text.contains("p.rego:3:") && text.contains("reads input.resource.properties.mode"),
            "{text}"
        );
        let text = asked(
            Action::NetConnect,
            "tcp://10.1.2.3:443",
            "allow contains {\"id\": \"a\"} if in_cidr(input.resource.properties.ip, \"10.0.0.0/8\")",
        );
        assert!(text.contains("  remembered  every address in 10.0.0.0/8, tcp to port 443\n"), "{text}");
    }
}
