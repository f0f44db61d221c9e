//! `authz install`: puts the hook into an agent's settings, or takes it out.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use similar::TextDiff;

use super::show::{escape, escape_json};
use crate::adapters::{Agent, settings};
use crate::policy::{Bundle, Engine, Generated, PolicySource};

/// Put the hook into an agent's settings, or take it out.
#[derive(Debug, Args)]
#[command(
    after_help = "The file is replaced at once, with the one before beside it (NAME.authz-backup). What else is in it stays as it is.

Examples:
  authz install claude --dry-run
  authz install codex --policy preset:coding-agent --policy ./mine.rego
  authz install gemini --project
  authz install claude --uninstall"
)]
pub struct Install {
    /// Whose settings
    agent: Agent,
    /// Policy outside of every session of `authz exec`; without one tool calls are denied there. May be repeated
    #[arg(long, value_name = "POLICY", conflicts_with = "uninstall")]
    policy: Vec<String>,
    /// The settings of the project in this folder, not the user's
    #[arg(long)]
    project: bool,
    /// Take the hook out again
    #[arg(long)]
    uninstall: bool,
    /// Print what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Install {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let path = self.path()?;
        // A link of who keeps settings elsewhere stays one.
        let path = path.canonicalize().unwrap_or(path);
        let old = match std::fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let refused = || format!("{} is left as it is", path.display());
        let text = std::str::from_utf8(old.as_deref().unwrap_or_default()).with_context(refused)?;
        let command = if self.uninstall { None } else { Some(self.command()?) };
        let nothing = old.is_none() && command.is_none();
        let new = if nothing {
            String::new()
        } else {
            settings::edit(text, self.agent, command.as_deref()).with_context(refused)?
        };
        let changed = new != text;
        if changed && !self.dry_run {
            replace(&path, old.as_deref(), &new)?;
        }
        self.report(&path, text, &new, old.is_some())?;
        Ok(ExitCode::SUCCESS)
    }

    /// The settings file.
    fn path(&self) -> anyhow::Result<PathBuf> {
        let (folder, file, variable) = match self.agent {
            Agent::Claude => (".claude", "settings.json", Some("CLAUDE_CONFIG_DIR")),
            Agent::Codex => (".codex", "hooks.json", Some("CODEX_HOME")),
            Agent::Gemini => (".gemini", "settings.json", None),
        };
        if self.project {
            return Ok(std::env::current_dir().context("the current folder")?.join(folder).join(file));
        }
        if let Some(named) = variable.and_then(std::env::var_os).filter(|value| !value.is_empty()) {
            return std::path::absolute(PathBuf::from(named).join(file)).context("the settings folder");
        }
        let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        Ok(home.context("HOME is not set")?.join(folder).join(file))
    }

    fn command(&self) -> anyhow::Result<String> {
        let program = std::env::current_exe().context("cannot tell where authz is")?;
        let text = |path: &Path| path.to_str().map(str::to_owned);
        let program = text(&program).with_context(|| format!("{} is not UTF-8", program.display()))?;
        let policy = super::absolute(&self.policy)?;
        if !policy.is_empty() {
            // One that cannot be loaded would block every tool.
            let sources: Vec<PolicySource> =
                policy.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
            Engine::load(&Bundle::load(&sources, &Generated::default())?)?;
        }
        Ok(settings::command(&program, self.agent, &policy)?)
    }

    fn report(&self, path: &Path, old: &str, new: &str, existed: bool) -> anyhow::Result<()> {
        let changed = old != new;
        let diff = TextDiff::from_lines(old, new).unified_diff().header("before", "after").to_string();
        let notes = if self.uninstall { Vec::new() } else { self.notes(new) };
        let mut out = std::io::stdout().lock();
        if self.json {
            let backup = (changed && existed && !self.dry_run).then(|| backup(path));
            let report = serde_json::json!({
                "settings": path, "changed": changed, "dry_run": self.dry_run, "backup": backup,
                "diff": diff, "notes": notes,
            });
            writeln!(out, "{report}")?;
            return Ok(());
        }
        let name = escape(&path.to_string_lossy()).into_owned();
        let what = match (changed, self.dry_run, self.uninstall) {
            (false, _, false) => "has the hook already",
            (false, _, true) => "has no hook of authz",
            (true, true, _) => "would change",
            (true, false, false) => "has the hook now",
            (true, false, true) => "is without the hook now",
        };
        writeln!(out, "{name} {what}")?;
        if self.dry_run {
            diff.lines().try_for_each(|line| writeln!(out, "{}", escape_json(line)))?;
        }
        notes.iter().try_for_each(|note| writeln!(out, "note: {note}"))?;
        Ok(())
    }

    /// What else the user has to know.
    fn notes(&self, new: &str) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(why) = settings::switched_off(new, self.agent) {
            notes.push(format!("{why} in these settings: no hook runs"));
        }
        if self.policy.is_empty() {
            notes.push(
                "outside of a session of authz exec every tool call is denied; name a --policy for it".into(),
            );
        }
        if self.agent == Agent::Codex {
            notes.push("codex runs a hook only once you trust it: start codex and see /hooks".into());
        }
        notes
    }
}

fn backup(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".authz-backup");
    path.with_file_name(name)
}

/// Puts the text in place at once, with the mode and owner that the file had.
fn replace(path: &Path, old: Option<&[u8]>, new: &str) -> anyhow::Result<()> {
    let folder = path.parent().context("the settings file has no folder")?;
    let place = || format!("cannot write {}", path.display());
    std::fs::create_dir_all(folder).with_context(place)?;
    let mut file = tempfile::Builder::new().prefix(".authz-").tempfile_in(folder).with_context(place)?;
    file.write_all(new.as_bytes()).with_context(place)?;
    if old.is_some() {
        std::fs::copy(path, backup(path)).with_context(place)?;
        let found = std::fs::metadata(path).with_context(place)?;
        use std::os::unix::fs::MetadataExt;
        std::os::unix::fs::fchown(file.as_file(), Some(found.uid()), Some(found.gid()))
            .with_context(place)?;
        file.as_file().set_permissions(found.permissions()).with_context(place)?;
    }
    file.as_file().sync_all().with_context(place)?;
    file.persist(path).with_context(place)?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).with_context(place)
}
