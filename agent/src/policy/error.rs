//! What can be wrong with a policy: one line each, with the place and what to do about it.

use std::path::PathBuf;

use super::floor::FloorError;
use super::implied::ImpliedError;

/// A place in a policy or data file. Lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Location {
    /// The file, as the user named it; built-in files are named `authz:PATH`.
    pub file: String,
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A named folder or file does not exist.
    #[error("{}: no such file or folder; name a folder of .rego files, a file or preset:NAME", .0.display())]
    Missing(PathBuf),
    /// A file or folder cannot be read.
    #[error("{}: cannot be read ({source}); make it readable for the user that runs authz", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// No preset of that name is built in.
    #[error("preset:{name}: no such preset; there are {known}")]
    UnknownPreset {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A source holds no policy.
    #[error("{}: no .rego or data .json file; put a policy there or name another folder", .0.display())]
    Empty(PathBuf),
    /// A file is not something the bundle can hold.
    #[error("{}: {reason}", path.display())]
    Unsuitable {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// Rego that does not parse or compile.
    #[error("{at}: {message}; correct the rule")]
    Syntax {
        /// Where.
        at: Location,
        /// What the parser says.
        message: String,
    },
    /// A data file that is not a JSON object, or clashes with another.
    #[error("{at}: {message}")]
    Data {
        /// Where.
        at: Location,
        /// What is wrong, and what to do.
        message: String,
    },
    /// Rego that parses and does not mean what its author meant.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Lint(Vec<Finding>),
    /// What the policy states as its floor cannot be one.
    #[error(transparent)]
    Floor(#[from] FloorError),
    /// What tools do is not described as it must be.
    #[error(transparent)]
    Tools(#[from] ImpliedError),
    /// The engine refuses the policy without naming a place.
    #[error("the policy cannot be loaded: {0}")]
    Engine(String),
}

/// One thing the lint found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Finding {
    /// Where.
    pub at: Location,
    /// What is wrong, and what to do.
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

impl PolicyError {
    /// A parser's or compiler's error, its place taken out of the message.
    pub(super) fn from_engine(error: &anyhow::Error) -> Self {
        let text = error.to_string();
        match split_engine_message(&text) {
            Some((at, message)) => Self::Syntax { at, message },
            None => Self::Engine(one_line(&text)),
        }
    }
}

/// The engine prints `--> FILE:LINE:COLUMN`, the line itself with a caret, and `error: MESSAGE`.
pub(super) fn split_engine_message(text: &str) -> Option<(Location, String)> {
    let place = text.lines().find_map(|line| line.trim().strip_prefix("--> "))?;
    let mut parts = place.rsplitn(3, ':');
    let column = parts.next()?.trim().parse().ok()?;
    let line = parts.next()?.parse().ok()?;
    let file = parts.next()?.to_owned();
    let (_, message) = text.split_once("error: ")?;
    Some((Location { file, line, column }, one_line(message)))
}

/// The text on one line.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
