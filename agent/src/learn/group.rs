//! Paths that were seen become few tests that a person can read: folders of which several things were seen, names
//! that differ only where a program puts a random or running number, and else the paths themselves.

use std::collections::BTreeMap;

/// So many distinct things in a folder stand for all of it.
const SIBLINGS: usize = 3;

/// So many names that differ in a number only stand for all of them.
const ALIKE: usize = 2;

/// What a line tests, and which of the paths it stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub test: Test,
    /// Indexes of paths.
    pub members: Vec<usize>,
}

/// How.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Test {
    /// The folder and all below it.
    Under(String),
    /// By a pattern.
    Glob(String),
    /// This one.
    Is(String),
}

/// Groups absolute paths; others stand for themselves. `folders`: what was seen of a folder may stand for it.
pub(super) fn places(paths: &[&str], folders: bool) -> Vec<Place> {
    let mut root = Node::default();
    let mut places = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        // A backslash may stand for a byte that is no text: such names are left as they are.
        if !folders || !path.starts_with('/') || path.contains('\\') {
            places.push(Place { test: Test::Is((*path).to_owned()), members: vec![index] });
            continue;
        }
        let names = path.split('/').filter(|name| !name.is_empty());
        let node = names.fold(&mut root, |node, name| node.children.entry(Name::plain(name)).or_default());
        node.members.push(index);
    }
    root.join(&Path::default());
    root.walk(&Path::default(), &mut places);
    places.sort();
    places
}

#[derive(Default)]
struct Node {
    children: BTreeMap<Name, Node>,
    /// The paths that end here.
    members: Vec<usize>,
}

/// A name in a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    text: String,
    /// It is a pattern and stands for several.
    pattern: bool,
}

impl Name {
    fn plain(text: &str) -> Self {
        Self { text: text.to_owned(), pattern: false }
    }
}

/// A path as far as the walk has come.
#[derive(Debug, Clone, Default)]
struct Path {
    text: String,
    /// The same as a glob.
    glob: String,
    pattern: bool,
}

impl Path {
    fn below(&self, name: &Name) -> Self {
        let glob = if name.pattern { name.text.clone() } else { quoted(&name.text) };
        Self {
            text: format!("{}/{}", self.text, name.text),
            glob: format!("{}/{glob}", self.glob),
            pattern: self.pattern || name.pattern,
        }
    }

    fn exact(&self) -> Test {
        if self.pattern {
            Test::Glob(self.glob.clone())
        } else {
            Test::Is(if self.text.is_empty() { "/".into() } else { self.text.clone() })
        }
    }
}

/// A name of which a glob matches nothing else.
fn quoted(name: &str) -> String {
    let special = |c| matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | ',' | '!' | '\\');
    name.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

impl Node {
    /// Children whose names differ in a number only become one.
    fn join(&mut self, path: &Path) {
        let mut alike: BTreeMap<String, Vec<Name>> = BTreeMap::new();
        for name in self.children.keys() {
            if let Some(pattern) = pattern(&path.text, &name.text) {
                alike.entry(pattern).or_default().push(name.clone());
            }
        }
        let process = path.text == "/proc";
        for (text, names) in alike.into_iter().filter(|(_, names)| process || names.len() >= ALIKE) {
            let mut joined = Self::default();
            names.iter().filter_map(|name| self.children.remove(name)).for_each(|child| joined.take(child));
            self.children.insert(Name { text, pattern: true }, joined);
        }
        for (name, child) in &mut self.children {
            child.join(&path.below(name));
        }
    }

    fn take(&mut self, other: Self) {
        self.members.extend(other.members);
        for (name, child) in other.children {
            self.children.entry(name).or_default().take(child);
        }
    }

    /// Adds the places of what is at and below this node; whether it is one place.
    fn walk(&self, path: &Path, places: &mut Vec<Place>) -> bool {
        let mut below = Vec::new();
        let mut seen = 0;
        for (name, child) in &self.children {
            let one = child.walk(&path.below(name), &mut below);
            seen += usize::from(one || child.children.is_empty());
        }
        if seen >= SIBLINGS && !is_floor(&path.text) {
            let mut members = Vec::new();
            if path.pattern {
                self.children.values().for_each(|child| child.all(&mut members));
                places.push(Place { test: Test::Glob(format!("{}/**", path.glob)), members });
                self.own(path, places);
            } else {
                self.all(&mut members);
                places.push(Place { test: Test::Under(path.text.clone()), members });
            }
            return true;
        }
        self.own(path, places);
        places.extend(below);
        false
    }

    fn own(&self, path: &Path, places: &mut Vec<Place>) {
        if !self.members.is_empty() {
            places.push(Place { test: path.exact(), members: self.members.clone() });
        }
    }

    fn all(&self, members: &mut Vec<usize>) {
        members.extend(&self.members);
        self.children.values().for_each(|child| child.all(members));
    }
}

/// Folders that are too much to be proposed whole, whatever was seen in them.
fn is_floor(path: &str) -> bool {
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    matches!(
        names[..],
        [] | [_]
            | ["home" | "usr" | "var" | "run" | "proc" | "sys" | "dev" | "mnt" | "media" | "boot", _]
            | ["usr", "local", _]
            | ["run", "user", _]
            | ["proc", _, "task"]
            | ["root", ".config" | ".cache" | ".local"]
            | ["root", ".local", _]
            | ["home", _, ".config" | ".cache" | ".local"]
            | ["home", _, ".local", _]
    )
}

/// What a name has in common with others that a program makes alike; none: it says what it is.
fn pattern(folder: &str, name: &str) -> Option<String> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if folder == "/proc" {
        return digits(name).then(|| "*".to_owned());
    }
    if is_hash(name) {
        return Some("*".into());
    }
    // As tempfile of Python and mktemp name theirs.
    if let Some(rest) = name.strip_prefix("tmp") {
        let random = rest.strip_prefix('.').unwrap_or(rest);
        let letters = random.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if letters && (6..=12).contains(&random.len()) {
            return Some(if random.len() < rest.len() { "tmp.*".into() } else { "tmp*".into() });
        }
    }
    let at = name.rfind(['-', '_', '.'])?;
    let dash = name.rfind('-');
    let (stem, last) = (&name[..at], &name[at + 1..]);
    if stem.len() >= 2 && (is_hash(last) || is_random(last)) {
        return Some(format!("{}*", quoted(&name[..=at])));
    }
    // A version behind a dash: `left-pad-1.3.0`.
    let (stem, version) = dash.map(|dash| (&name[..=dash], &name[dash + 1..]))?;
    let is_version = version.contains('.') && version.split('.').all(digits);
    (stem.len() >= 2 && is_version).then(|| format!("{}*", quoted(stem)))
}

/// Eight hexadecimal digits or more, numerals and letters, or the form of a UUID.
fn is_hash(text: &str) -> bool {
    let plain: String = text.chars().filter(|c| *c != '-').collect();
    let dashes = text.len() - plain.len();
    let hex = plain.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mixed = plain.bytes().any(|byte| byte.is_ascii_digit())
        && plain.bytes().any(|byte| byte.is_ascii_alphabetic());
    hex && mixed && ((dashes == 0 && plain.len() >= 8) || (dashes == 4 && plain.len() == 32))
}

/// Letters of both cases and numerals, as a generator mixes them.
fn is_random(text: &str) -> bool {
    let any = |is: fn(&u8) -> bool| text.bytes().any(|byte| is(&byte));
    text.len() >= 6
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && any(u8::is_ascii_digit)
        && any(u8::is_ascii_lowercase)
        && any(u8::is_ascii_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grouped(paths: &[&str]) -> Vec<String> {
        let show = |place: Place| match place.test {
            Test::Under(path) => format!("under {path} {}", place.members.len()),
            Test::Glob(path) => format!("glob {path} {}", place.members.len()),
            Test::Is(path) => format!("is {path} {}", place.members.len()),
        };
        places(paths, true).into_iter().map(show).collect()
    }

    #[test]
    fn several_things_of_a_folder_stand_for_it() {
        assert_eq!(grouped(&["/w/p/a", "/w/p/b"]), ["is /w/p/a 1", "is /w/p/b 1"]);
        assert_eq!(grouped(&["/w/p/a", "/w/p/b", "/w/p/c", "/w/p", "/w/p/d/e"]), ["under /w/p 5"]);
        assert_eq!(
            grouped(&["/w/p/a", "/w/p/b", "/w/p/d/e"]),
            ["is /w/p/a 1", "is /w/p/b 1", "is /w/p/d/e 1"]
        );
    }

    #[test]
    fn folders_of_folders_too_if_several_of_these_were_seen_so() {
        let mut paths: Vec<String> = Vec::new();
        for folder in ["x", "y"] {
            paths.extend(["a", "b", "c"].map(|file| format!("/w/p/{folder}/{file}")));
        }
        let seen = |paths: &[String]| grouped(&paths.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(seen(&paths), ["under /w/p/x 3", "under /w/p/y 3"]);
        paths.extend(["a", "b", "c"].map(|file| format!("/w/p/z/{file}")));
        assert_eq!(seen(&paths), ["under /w/p 9"]);
    }

    #[test]
    fn what_many_things_lie_in_is_never_whole() {
        for folder in [
            "",
            "/etc",
            "/usr",
            "/usr/lib",
            "/home",
            "/home/dev",
            "/home/dev/.config",
            "/tmp",
            "/var/log",
            "/dev",
        ] {
            let paths: Vec<String> = ["a", "b", "c", "d"].map(|file| format!("{folder}/{file}")).into();
            let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
            assert!(grouped(&paths).iter().all(|place| place.starts_with("is ")), "{folder}");
        }
    }

    #[test]
    fn names_by_chance_become_patterns_where_there_are_several() {
        assert_eq!(grouped(&["/tmp/tmpab12cd_x/f"]), ["is /tmp/tmpab12cd_x/f 1"]);
        assert_eq!(grouped(&["/tmp/tmpab12cd_x/f", "/tmp/tmp0123abcd/f"]), ["glob /tmp/tmp*/f 2"]);
        assert_eq!(
            grouped(&["/c/p/0a1b2c3d4e", "/c/p/ffee0011aa", "/c/p/name"]),
            ["glob /c/p/* 2", "is /c/p/name 1"]
        );
        assert_eq!(grouped(&["/p/m-1.2.3/x", "/p/m-1.4.0/x"]), ["glob /p/m-*/x 2"]);
        assert_eq!(grouped(&["/proc/12/status"]), ["glob /proc/*/status 1"]);
        assert_eq!(grouped(&["/w/node1/x", "/w/node2/x"]), ["is /w/node1/x 1", "is /w/node2/x 1"]);
        assert_eq!(grouped(&["/w/deadbeef/x", "/w/facade/x"]).len(), 2, "words");
    }

    #[test]
    fn below_a_pattern_folders_are_patterns_too() {
        let paths = ["/tmp/tmpab12cd_x/a", "/tmp/tmpab12cd_x/b", "/tmp/tmp0123abcd/c", "/tmp/tmp0123abcd"];
        assert_eq!(grouped(&paths), ["glob /tmp/tmp* 1", "glob /tmp/tmp*/** 3"]);
        assert_eq!(grouped(&["/t/*[x]-1.2/f", "/t/*[x]-1.3/f"]), ["glob /t/\\*\\[x\\]-*/f 2"]);
    }

    #[test]
    fn what_is_no_plain_path_is_left_as_it_is() {
        assert_eq!(grouped(&["anon:pipe", "/a/\\xff"]), ["is /a/\\xff 1", "is anon:pipe 1"]);
        assert_eq!(places(&["/a/b/1", "/a/b/2", "/a/b/3"], false).len(), 3);
    }
}
