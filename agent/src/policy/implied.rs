//! What a tool call implies: `data.authz.tools` says which operations a tool does with its arguments, so that one
//! rule about a file covers the tool that writes it and the system call underneath.
//!
//! ```json
//! {"authz": {"tools": {
//!     "filesystem/move_file": [{"action": "file.rename", "path": "arguments.source", "role": "source"},
//!                              {"action": "file.rename", "path": "arguments.destination", "role": "target"}],
//!     "fetch/fetch":          [{"action": "net.connect", "url": "arguments.url"}]}}}
//! ```
//!
//! A dotted path leads to a string of the call; an array on the way stands for each of its elements. What is not
//! there implies nothing, unless `default` says what the tool takes instead.
//!
//! What a call implies is told without a look at any file: the paths are as they are named, and become those of the
//! kernel by [`resolved`], which can take as long as a file system that does not answer.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};
use url::{Host, Url};

use super::input::{Tool, address_properties};
use crate::event::{Action, Operation, Resource};
use crate::text;

/// What the tools of `data.authz.tools` imply, by `server/name`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tools(BTreeMap<String, Vec<Template>>);

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Template {
    action: Action,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    url: Option<String>,
    /// `source` or `target`, of a rename or link.
    #[serde(default)]
    role: Option<String>,
    /// What the tool takes where the argument is not given.
    #[serde(default)]
    default: Option<String>,
}

/// What names in arguments are relative to, as the tool takes them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Base<'a> {
    /// Where relative paths begin.
    pub folder: Option<&'a Path>,
    /// What `~/` stands for.
    pub home: Option<&'a Path>,
}

/// An operation that a call implies.
#[derive(Debug, Clone, PartialEq)]
pub struct Implied {
    /// The operation. Of a file the resource is the path as it was named, until it is [`resolved`].
    pub operation: Operation,
    /// The path as it was named, absolute; none: it is no file's, or resolved.
    pub path: Option<PathBuf>,
    /// JSON pointer into the arguments: where its name came from.
    pub origin: Option<String>,
}

/// Why what a call implies cannot be told; the call is denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImpliedError {
    /// `data.authz.tools` itself.
    #[error(
        "authz.tools{0}; write e.g. {{\"fs/write_file\": [{{\"action\": \"file.write\", \"path\": \"arguments.path\"}}]}}"
    )]
    Malformed(String),
    /// An argument is no string.
    #[error("the tool's argument {0} is not a string, so what it does cannot be told")]
    NotText(String),
    /// An argument that the tool could take for one that is judged.
    #[error("the tool's argument {0} could be taken for {1:?}, so what the tool does cannot be told")]
    Variant(String, String),
    /// A relative path, and no folder.
    #[error("the path {0:?} is relative, and it is not known to what")]
    Relative(String),
    /// A URL that is none, or of another kind.
    #[error("the URL {0:?} names no address: {1}")]
    Url(String, String),
}

/// Operations one call may imply; more is no ordinary call.
const OPERATIONS_MAX: usize = 1000;

impl Tools {
    /// From the value of `data.authz.tools`.
    pub(super) fn parse(value: &Value) -> Result<Self, ImpliedError> {
        let tools = match value {
            Value::Null => return Ok(Self::default()),
            Value::Object(tools) => tools,
            other => return Err(ImpliedError::Malformed(format!(" is {other}, not an object"))),
        };
        let template = |name: &String, value: &Value| {
            let template: Template = serde_json::from_value(value.clone())
                .map_err(|error| ImpliedError::Malformed(format!("[{name:?}]: {error}")))?;
            let names = [&template.path, &template.url];
            let named = names.iter().filter(|name| name.is_some()).count();
            let rooted = names.iter().copied().flatten().all(|name| name.starts_with("arguments."));
            let address = matches!(template.action, Action::NetConnect);
            if named != 1
                || !rooted
                || address != template.url.is_some()
                || template.action == Action::ToolCall
            {
                let rule = "net.connect has a url, other actions a path, which begins with arguments.";
                return Err(ImpliedError::Malformed(format!("[{name:?}]: {rule}")));
            }
            Ok(template)
        };
        let templates = |name: &String, value: &Value| {
            let list =
                value.as_array().ok_or_else(|| ImpliedError::Malformed(format!("[{name:?}] is no list")))?;
            list.iter().map(|value| template(name, value)).collect::<Result<Vec<_>, _>>()
        };
        let all = tools.iter().map(|(name, value)| Ok((name.clone(), templates(name, value)?)));
        all.collect::<Result<_, _>>().map(Self)
    }

    /// Whether anything is said of the tool: then what it does beyond that was not declared.
    pub fn declares(&self, resource: &str) -> bool {
        self.0.contains_key(resource)
    }

    /// What a call implies. `resource`: `server/name`.
    pub fn implied(&self, resource: &str, tool: &Tool, base: Base<'_>) -> Result<Vec<Implied>, ImpliedError> {
        let mut all = Vec::new();
        for template in self.0.get(resource).into_iter().flatten() {
            let name = template.path.as_ref().or(template.url.as_ref()).map_or("", String::as_str);
            let mut found = Vec::new();
            let segments: Vec<_> = name.split('.').skip(1).collect();
            collect(&tool.arguments, &segments, String::new(), &mut found)?;
            if found.is_empty()
                && let Some(default) = &template.default
            {
                all.push(operation(template, default, base, None)?);
            }
            for (origin, value) in found {
                let text = value.as_str().ok_or_else(|| ImpliedError::NotText(origin.clone()))?;
                all.push(operation(template, text, base, Some(origin))?);
            }
            if all.len() > OPERATIONS_MAX {
                return Err(ImpliedError::NotText(format!(
                    "list has more than {OPERATIONS_MAX} elements; it"
                )));
            }
        }
        Ok(all)
    }
}

/// Every value under a dotted path, with its JSON pointer. A name of the path in another case is an error.
fn collect<'a>(
    value: &'a Value,
    path: &[&str],
    at: String,
    found: &mut Vec<(String, &'a Value)>,
) -> Result<(), ImpliedError> {
    match (value, path) {
        (Value::Array(items), _) => {
            let mut items = items.iter().enumerate();
            return items.try_for_each(|(index, item)| collect(item, path, format!("{at}/{index}"), found));
        }
        (Value::Null, _) => {}
        (value, []) => found.push((at, value)),
        (Value::Object(fields), [name, rest @ ..]) => {
            let folded = text::fold(name);
            if let Some(variant) = fields.keys().find(|key| key != name && text::fold(key) == folded) {
                return Err(ImpliedError::Variant(format!("{at}/{variant}"), (*name).to_owned()));
            }
            if let Some(value) = fields.get(*name) {
                let name = name.replace('~', "~0").replace('/', "~1");
                return collect(value, rest, format!("{at}/{name}"), found);
            }
        }
        // A string where an object should be: the tool will make something of it, nobody knows what.
        (value, _) => found.push((at, if value.is_string() { &Value::Bool(false) } else { value })),
    }
    Ok(())
}

fn operation(
    template: &Template,
    text: &str,
    base: Base<'_>,
    origin: Option<String>,
) -> Result<Implied, ImpliedError> {
    let mut properties = Map::new();
    if let Some(role) = &template.role {
        properties.insert("role".into(), role.as_str().into());
    }
    let (id, path) = if template.url.is_some() {
        (address(text, &mut properties)?, None)
    } else {
        let path = match (text.strip_prefix("file://"), base.home) {
            (Some(_), _) => file_url(text)?,
            (None, Some(home)) if text == "~" || text.starts_with("~/") => {
                home.join(text[1..].trim_start_matches('/'))
            }
            (None, _) => PathBuf::from(text),
        };
        let path = match base.folder {
            Some(folder) => folder.join(path),
            None if path.is_absolute() => path,
            None => return Err(ImpliedError::Relative(text.to_owned())),
        };
        (path.to_string_lossy().into_owned(), Some(path))
    };
    let resource = Resource { id, properties };
    let operation = Operation { action: template.action, resource, properties: Map::new() };
    Ok(Implied { operation, path, origin })
}

/// The same with each path as the kernel would print it.
pub fn resolved(implied: Vec<Implied>) -> Vec<Implied> {
    let resolve = |mut implied: Implied| {
        if let Some(path) = implied.path.take() {
            implied.operation.resource.id = canonical(&path).to_string_lossy().into_owned();
        }
        implied
    };
    implied.into_iter().map(resolve).collect()
}

fn file_url(text: &str) -> Result<PathBuf, ImpliedError> {
    let refused = |why: &str| ImpliedError::Url(text.to_owned(), why.to_owned());
    let url = Url::parse(text).map_err(|error| refused(&error.to_string()))?;
    url.to_file_path().map_err(|()| refused("no path of this machine"))
}

/// The address a URL leads to; of a host by name, `names` has it and no number is known.
fn address(text: &str, properties: &mut Map<String, Value>) -> Result<String, ImpliedError> {
    let refused = |why: &str| ImpliedError::Url(text.to_owned(), why.to_owned());
    let url = Url::parse(text).map_err(|error| refused(&error.to_string()))?;
    let port = url.port_or_known_default().ok_or_else(|| refused("no port is known for it"))?;
    let id = match url.host().ok_or_else(|| refused("no host"))? {
        Host::Ipv4(ip) => format!("tcp://{ip}:{port}"),
        Host::Ipv6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => format!("tcp://{ip}:{port}"),
            None => format!("tcp://[{ip}]:{port}"),
        },
        Host::Domain(name) => {
            properties.insert("names".into(), vec![Value::from(name.trim_end_matches('.'))].into());
            properties.insert("port".into(), port.into());
            properties.insert("protocol".into(), "tcp".into());
            format!("tcp://{}:{port}", name.trim_end_matches('.'))
        }
    };
    properties.extend(address_properties(&id));
    Ok(id)
}

/// The path as the kernel would print it: links followed as far as there is something, `.` and `..` resolved.
fn canonical(path: &Path) -> PathBuf {
    let mut rest: Vec<Component<'_>> = Vec::new();
    let mut head = path.components();
    loop {
        let existing = head.as_path();
        if let Ok(real) = existing.canonicalize() {
            return rest.iter().rev().fold(real, |path, component| match component {
                Component::Normal(name) => path.join(name),
                Component::ParentDir => path.parent().map(Path::to_owned).unwrap_or(path),
                _ => path,
            });
        }
        match head.next_back() {
            Some(component) => rest.push(component),
            None => return path.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn implied(templates: Value, arguments: Value) -> Result<Vec<(String, Option<String>)>, ImpliedError> {
        let tools = Tools::parse(&json!({"fs/tool": templates}))?;
        let tool = Tool { arguments, ..Tool::default() };
        let base = Base { folder: Some(Path::new("/usr")), home: Some(Path::new("/nowhere/home")) };
        let all = resolved(tools.implied("fs/tool", &tool, base)?);
        Ok(all.into_iter().map(|implied| (implied.operation.resource.id, implied.origin)).collect())
    }

    #[test]
    fn arguments_become_canonical_operations() {
        let write = json!([{"action": "file.write", "path": "arguments.path"}]);
        let one = |path: &str| implied(write.clone(), json!({"path": path})).unwrap()[0].0.clone();
        assert_eq!(one("/nowhere/x/../y"), "/nowhere/y");
        assert_eq!(one("share/./nothing"), "/usr/share/nothing");
        assert_eq!(one("/proc/self/root/nowhere/x"), "/nowhere/x", "links are followed");
        assert_eq!(one("file:///nowhere/a%20b"), "/nowhere/a b");
        assert_eq!(one("~/x/../y"), "/nowhere/home/y", "the home folder of who runs the tool");
        assert_eq!((one("~"), one("~//x")), ("/nowhere/home".into(), "/nowhere/home/x".into()));
        assert_eq!((one("~x/y"), one("./~/x")), ("/usr/~x/y".into(), "/usr/~/x".into()), "names like others");
        assert_eq!(implied(write.clone(), json!({})), Ok(vec![]));
        assert_eq!(implied(write.clone(), json!({"path": null})), Ok(vec![]));
        let many = json!([{"action": "file.read", "path": "arguments.edits.path"}]);
        let arguments = json!({"edits": [{"path": "/nowhere/a"}, {"path": "/nowhere/b"}]});
        let found = implied(many.clone(), arguments).unwrap();
        assert_eq!(found[1], ("/nowhere/b".into(), Some("/edits/1/path".into())));
        let default = json!([{"action": "file.read", "path": "arguments.path", "default": "."}]);
        assert_eq!(implied(default, json!({})), Ok(vec![("/usr".into(), None)]));
        for odd in [json!({"path": 7}), json!({"path": {}}), json!({"path": ["/a", 7]})] {
            assert!(matches!(implied(write.clone(), odd), Err(ImpliedError::NotText(_))));
        }
        assert!(implied(many, json!({"edits": "text"})).is_err(), "a string where an object should be");
    }

    #[test]
    fn a_name_in_another_case_is_refused() {
        let write = json!([{"action": "file.write", "path": "arguments.file_path"}]);
        for name in ["File_Path", "filePath", "FILE_PATH", "file-path", "\u{17f}file_path"] {
            let variant =
                matches!(implied(write.clone(), json!({ name: "/x" })), Err(ImpliedError::Variant(..)));
            assert_eq!(variant, name.is_ascii(), "{name}");
            let both = implied(write.clone(), json!({ name: "/x", "file_path": "/y" }));
            assert_eq!(both.is_err(), name.is_ascii(), "{name}");
        }
        let deep = json!([{"action": "file.read", "path": "arguments.edits.path"}]);
        let arguments = json!({"edits": [{"path": "/a"}, {"Path": "/b"}]});
        assert!(
            matches!(implied(deep, arguments), Err(ImpliedError::Variant(at, _)) if at == "/edits/1/Path")
        );
    }

    #[test]
    fn urls_become_addresses() {
        let fetch = json!([{"action": "net.connect", "url": "arguments.url"}]);
        let one = |url: &str| implied(fetch.clone(), json!({"url": url})).map(|all| all[0].0.clone());
        assert_eq!(one("https://Example.COM./x").unwrap(), "tcp://example.com:443");
        assert_eq!(one("http://a@127.1:8080/").unwrap(), "tcp://127.0.0.1:8080");
        assert_eq!(one("http://0x7f.1/").unwrap(), "tcp://127.0.0.1:80");
        assert_eq!(one("http://[::ffff:1.2.3.4]/").unwrap(), "tcp://1.2.3.4:80");
        for bad in ["mailto:x", "http://", "nothing", "data:,x"] {
            assert!(one(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn malformed_data_is_refused() {
        for bad in [
            json!([]),
            json!({"t": {}}),
            json!({"t": [{"action": "file.write"}]}),
            json!({"t": [{"action": "file.writ", "path": "arguments.p"}]}),
            json!({"t": [{"action": "file.write", "path": "p"}]}),
            json!({"t": [{"action": "file.write", "url": "arguments.p"}]}),
            json!({"t": [{"action": "file.write", "path": "arguments.p", "more": 1}]}),
            json!({"t": [{"action": "tool.call", "path": "arguments.p"}]}),
        ] {
            assert!(matches!(Tools::parse(&bad), Err(ImpliedError::Malformed(_))), "{bad}");
        }
    }
}
