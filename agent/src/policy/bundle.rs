//! A bundle: every file a decision depends on, and the digest that names them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::decision::Effect;
use super::error::{Location, PolicyError};
use super::shipped::{LIBRARY, PRESETS, TOOLS};
use crate::event::ActionName;

/// The data of a bundle is one file of this name, as in an OPA bundle.
const DATA: &str = "data.json";

/// Keys of `data.authz` that only the daemon gives.
const RESERVED: &[&str] = &["protected", "ask"];

/// The key of `data.authz` that lists other gates' actions: each name with a word about it.
const ACTIONS: &str = "actions";

/// What data must not pretend to be.
const RULES: &[&str] = &["decision", "deny", "escalate", "compute", "allow"];

/// Where policy comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicySource {
    /// A folder, read with everything below it, or a file.
    Path(PathBuf),
    /// A built-in policy.
    Preset(String),
}

impl FromStr for PolicySource {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.strip_prefix("preset:") {
            Some(name) => Self::Preset(name.to_owned()),
            None => Self::Path(text.into()),
        })
    }
}

/// What the daemon adds to `data.authz`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Generated {
    /// Directories of authz itself, which no policy can open for change.
    pub protected: Vec<String>,
    /// Patterns of the sockets by which a session's own gates ask, which it may reach nevertheless.
    pub ask: Vec<String>,
    /// Directories the agent works in, unless a data file of the policy names others.
    pub workspace: Vec<String>,
}

impl Generated {
    /// What was added to a bundle.
    pub fn of(bundle: &Bundle) -> Self {
        let folders = |key: &str| -> Vec<String> {
            let list = bundle.data().get("authz").and_then(|authz| authz.get(key)).and_then(Value::as_array);
            list.into_iter().flatten().filter_map(|folder| folder.as_str().map(str::to_owned)).collect()
        };
        Self { protected: folders("protected"), ask: folders("ask"), workspace: folders("workspace") }
    }
}

/// A Rego file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// Its path in the bundle.
    pub path: String,
    /// Its name in messages: the path the user gave, or `authz:PATH`.
    pub origin: String,
    /// Its text.
    pub text: String,
    /// Whether it belongs to the combiner or the library.
    pub library: bool,
}

/// Every file a decision depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    pub(super) policies: Vec<PolicyFile>,
    pub(super) tests: Vec<PolicyFile>,
    pub(super) data: Map<String, Value>,
}

impl Bundle {
    /// Reads the sources and adds the combiner, the library and the generated data. Nothing is checked
    /// yet but that the files can be read and the data is one tree.
    pub fn load(sources: &[PolicySource], generated: &Generated) -> Result<Self, PolicyError> {
        let mut builder = Builder::default();
        for (path, text) in LIBRARY {
            builder.policies.push(PolicyFile {
                path: (*path).to_owned(),
                origin: format!("authz:{path}"),
                text: (*text).to_owned(),
                library: true,
            });
        }
        for (path, text) in TOOLS {
            let origin = format!("authz:{path}");
            merge(&mut builder.presets, parse_data(&origin, text)?, &origin, "data")?;
        }
        for source in sources {
            match source {
                PolicySource::Path(path) => builder.add_path(path)?,
                PolicySource::Preset(name) => builder.add_preset(name)?,
            }
        }
        builder.finish(generated)
    }

    /// The bundle that was stored under a digest: the files that [`Bundle::files`] gave.
    pub fn from_files(files: impl IntoIterator<Item = (String, String)>) -> Result<Self, PolicyError> {
        let mut bundle = Self { policies: Vec::new(), tests: Vec::new(), data: Map::new() };
        for (path, text) in files {
            if path == DATA {
                bundle.data = parse_data(&path, &text)?;
            } else {
                let library = path == "authz.rego" || path.starts_with("lib/");
                bundle.policies.push(PolicyFile { origin: path.clone(), path, text, library });
            }
        }
        bundle.policies.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(bundle)
    }

    /// Every file by its path in the bundle: what the digest covers and OPA can load.
    pub fn files(&self) -> BTreeMap<String, String> {
        let mut files: BTreeMap<_, _> =
            self.policies.iter().map(|file| (file.path.clone(), file.text.clone())).collect();
        files.insert(DATA.to_owned(), self.data_text());
        files
    }

    /// The data of the bundle, which a policy reads as `data`.
    pub fn data(&self) -> &Map<String, Value> {
        &self.data
    }

    /// The actions of other gates that the policy knows: the names in `data.authz.actions`.
    pub fn actions(&self) -> BTreeSet<String> {
        let actions = self.data.get("authz").and_then(|authz| authz.get(ACTIONS)?.as_object());
        actions.into_iter().flat_map(Map::keys).cloned().collect()
    }

    /// The policy digest: SHA-256, in hexadecimal, over the lines `SHA-256 two spaces PATH` of all
    /// files in the order of their paths. `sha256sum` over the sorted files prints these lines.
    pub fn digest(&self) -> String {
        let lines: String =
            self.digests().iter().map(|(path, sha256)| format!("{sha256}  {path}\n")).collect();
        sha256(lines.as_bytes())
    }

    /// The SHA-256 of every file by its path, in hexadecimal.
    pub fn digests(&self) -> BTreeMap<String, String> {
        self.files().into_iter().map(|(path, text)| (path, sha256(text.as_bytes()))).collect()
    }

    fn data_text(&self) -> String {
        // Canonical, so that the digest does not depend on how the data was put together. What does
        // not fit canonical JSON still gets a text of its own.
        let bytes = serde_json_canonicalizer::to_vec(&self.data)
            .or_else(|_| serde_json::to_vec(&self.data))
            .unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// SHA-256 in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|half| char::from(DIGITS[usize::from(half)]));
    Sha256::digest(bytes).iter().flat_map(digits).collect()
}

#[derive(Default)]
struct Builder {
    policies: Vec<PolicyFile>,
    tests: Vec<PolicyFile>,
    presets: Map<String, Value>,
    data: Map<String, Value>,
}

impl Builder {
    fn add_preset(&mut self, name: &str) -> Result<(), PolicyError> {
        let Some((_, files)) = PRESETS.iter().find(|(known, _)| *known == name) else {
            let known = PRESETS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            return Err(PolicyError::UnknownPreset { name: name.to_owned(), known });
        };
        for (path, text) in *files {
            let origin = format!("authz:{path}");
            if path.ends_with(".json") {
                let data = parse_data(&origin, text)?;
                merge(&mut self.presets, data, &origin, "data")?;
            } else {
                self.add_rego((*path).to_owned(), origin, (*text).to_owned());
            }
        }
        Ok(())
    }

    fn add_path(&mut self, path: &Path) -> Result<(), PolicyError> {
        let kind = std::fs::metadata(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => PolicyError::Missing(path.to_owned()),
            _ => PolicyError::Unreadable { path: path.to_owned(), source },
        })?;
        let mut files = Vec::new();
        let root = if kind.is_dir() {
            collect(path, &mut files)?;
            path
        } else {
            files.push(path.to_owned());
            path.parent().unwrap_or(path)
        };
        if files.is_empty() {
            return Err(PolicyError::Empty(path.to_owned()));
        }
        files.sort();
        for file in files {
            self.add_file(root, &file)?;
        }
        Ok(())
    }

    fn add_file(&mut self, root: &Path, file: &Path) -> Result<(), PolicyError> {
        let origin = file.display().to_string();
        let bytes = std::fs::read(file)
            .map_err(|source| PolicyError::Unreadable { path: file.to_owned(), source })?;
        let unsuitable =
            |reason: &str| PolicyError::Unsuitable { path: file.to_owned(), reason: reason.into() };
        let text = String::from_utf8(bytes).map_err(|_| unsuitable("not UTF-8; save it as UTF-8 text"))?;
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("rego") => {
                let name = file.strip_prefix(root).unwrap_or(file).to_string_lossy();
                self.add_rego(format!("policy/{name}"), origin, text);
                Ok(())
            }
            Some("json") => {
                let data = parse_data(&origin, &text)?;
                check_keys(&origin, &data)?;
                merge(&mut self.data, data, &origin, "data")
            }
            _ => Err(unsuitable("neither .rego nor .json; name a policy or a data file")),
        }
    }

    fn add_rego(&mut self, path: String, origin: String, text: String) {
        let files = if path.ends_with("_test.rego") { &mut self.tests } else { &mut self.policies };
        // The same file named twice counts once.
        if files.iter().any(|known| known.origin == origin) {
            return;
        }
        let mut unique = path.clone();
        for number in 2.. {
            if files.iter().all(|known| known.path != unique) {
                break;
            }
            unique = path.replacen("policy/", &format!("policy-{number}/"), 1);
        }
        files.push(PolicyFile { path: unique, origin, text, library: false });
    }

    fn finish(mut self, generated: &Generated) -> Result<Bundle, PolicyError> {
        // A preset's data are defaults, the daemon's workspace too; the user's files win.
        let mut data = self.presets;
        overlay(&mut data, authz_data("workspace", &generated.workspace));
        overlay(&mut data, self.data);
        overlay(&mut data, authz_data("protected", &generated.protected));
        overlay(&mut data, authz_data("ask", &generated.ask));
        check_default(&data)?;
        self.policies.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Bundle { policies: self.policies, tests: self.tests, data })
    }
}

fn authz_data(key: &str, values: &[String]) -> Map<String, Value> {
    let mut inner = Map::new();
    if !values.is_empty() {
        inner.insert(key.to_owned(), values.into());
    }
    Map::from_iter([("authz".to_owned(), Value::Object(inner))])
}

/// Every policy and data file below a folder. Links are followed; hidden files are not policy.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), PolicyError> {
    let unreadable = |source| PolicyError::Unreadable { path: folder.to_owned(), source };
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() {
            collect(&path, files)?;
        } else if matches!(extension, Some("rego" | "json")) {
            files.push(path);
        }
    }
    Ok(())
}

fn parse_data(origin: &str, text: &str) -> Result<Map<String, Value>, PolicyError> {
    let at = |line, column| Location { file: origin.to_owned(), line, column };
    let data: Value = serde_json::from_str(text).map_err(|error| PolicyError::Data {
        at: at(line_number(error.line()), line_number(error.column())),
        message: format!("{error}; correct the JSON"),
    })?;
    let Value::Object(data) = data else {
        let message = "a data file holds one JSON object; put the value under a key".to_owned();
        return Err(PolicyError::Data { at: at(1, 1), message });
    };
    Ok(data)
}

/// Refuses data that a policy must not give: what the daemon gives, and what would change the rules.
fn check_keys(origin: &str, data: &Map<String, Value>) -> Result<(), PolicyError> {
    let authz = data.get("authz").and_then(Value::as_object);
    for key in authz.into_iter().flat_map(Map::keys) {
        let message = if RULES.contains(&key.as_str()) {
            format!("authz.{key} is a rule of authz; give the data another name")
        } else if RESERVED.contains(&key.as_str()) {
            format!("authz.{key} is given by the daemon; remove it, and write deny rules instead")
        } else if let Some(message) =
            authz.filter(|_| key == ACTIONS).and_then(|authz| wrong_actions(&authz[key]))
        {
            message
        } else {
            continue;
        };
        let at = Location { file: origin.to_owned(), line: 1, column: 1 };
        return Err(PolicyError::Data { at, message });
    }
    Ok(())
}

/// What is wrong with the list of other gates' actions.
fn wrong_actions(actions: &Value) -> Option<String> {
    let listed = actions.as_object().filter(|actions| actions.values().all(Value::is_string));
    let Some(listed) = listed else {
        let message = r#"authz.actions has names and a word about each; write {"can_read": "read a record"}"#;
        return Some(message.to_owned());
    };
    let reserved = listed.keys().find(|name| name.is_empty() || ActionName::is_reserved(name))?;
    Some(format!(
        "authz.actions cannot have {reserved:?}, a name that authz keeps for itself; choose another"
    ))
}

fn line_number(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Adds `new` to `data`; two files that give one key different values are an error.
fn merge(
    data: &mut Map<String, Value>,
    new: Map<String, Value>,
    origin: &str,
    prefix: &str,
) -> Result<(), PolicyError> {
    for (key, value) in new {
        let name = format!("{prefix}.{key}");
        match (data.get_mut(&key), value) {
            (None, value) => {
                data.insert(key, value);
            }
            (Some(Value::Object(known)), Value::Object(value)) => merge(known, value, origin, &name)?,
            (Some(known), value) if *known == value => {}
            _ => {
                let at = Location { file: origin.to_owned(), line: 1, column: 1 };
                let message = format!("{name} has another value in another data file; keep one of them");
                return Err(PolicyError::Data { at, message });
            }
        }
    }
    Ok(())
}

/// Puts `new` over `data`; where both have a value, the new one holds.
fn overlay(data: &mut Map<String, Value>, new: Map<String, Value>) {
    for (key, value) in new {
        match (data.get_mut(&key), value) {
            (Some(Value::Object(known)), Value::Object(value)) => overlay(known, value),
            (_, value) => {
                data.insert(key, value);
            }
        }
    }
}

fn check_default(data: &Map<String, Value>) -> Result<(), PolicyError> {
    let Some(default) = data.get("authz").and_then(|authz| authz.get("default")) else { return Ok(()) };
    match default.as_str().and_then(Effect::from_name) {
        Some(Effect::Allow | Effect::Deny | Effect::Escalate) => Ok(()),
        _ => Err(PolicyError::Data {
            at: Location { file: DATA.to_owned(), line: 1, column: 1 },
            message: format!(
                "authz.default is {default}, no effect; write \"deny\", \"escalate\" or \"allow\""
            ),
        }),
    }
}

#[cfg(test)]
mod tests;
