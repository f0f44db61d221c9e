//! What a terminal may be sent. Names of files, tools and hosts come from agents: printed raw, they could
//! move the cursor, change colours or reverse the text, and so change what a human reads.

use std::borrow::Cow;
use std::io::{self, IsTerminal};

pub use crate::text::{escape, escape_json};

/// `text` cut to `width` characters, the last of them `…` if it was longer, padded if it was shorter.
pub fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return format!("{text:width$}");
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A colour, by what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Green.
    Good,
    /// Yellow.
    Care,
    /// Red.
    Bad,
    /// None.
    Plain,
}

/// Puts text into colours, or not.
#[derive(Debug, Clone, Copy)]
pub struct Painter {
    colours: bool,
}

impl Painter {
    /// Colours if standard output is a terminal and nobody asked for none (`NO_COLOR`, `TERM=dumb`).
    pub fn stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self { colours: io::stdout().is_terminal() && !unwanted }
    }

    /// No colours.
    #[cfg(test)]
    pub fn plain() -> Self {
        Self { colours: false }
    }

    /// `text`, which must have been escaped, in the colour.
    pub fn paint(self, tone: Tone, text: &str) -> Cow<'_, str> {
        let code = match tone {
            Tone::Good => 32,
            Tone::Care => 33,
            Tone::Bad => 31,
            Tone::Plain => return Cow::Borrowed(text),
        };
        if self.colours { Cow::Owned(format!("\u{1b}[{code}m{text}\u{1b}[0m")) } else { Cow::Borrowed(text) }
    }
}

/// Success, or nothing, if whoever read the output (`| head`) had enough; else the error.
pub fn unless_closed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fitting_counts_characters() {
        assert_eq!(fit("abc", 5), "abc  ");
        assert_eq!(fit("äöüß", 4), "äöüß");
        assert_eq!(fit("äöüßx", 4), "äöü…");
        assert_eq!(fit("abc", 0), "…");
    }

    #[test]
    fn colours_only_when_wanted() {
        assert_eq!(Painter::plain().paint(Tone::Bad, "deny"), "deny");
        assert_eq!(Painter { colours: true }.paint(Tone::Bad, "deny"), "\u{1b}[31mdeny\u{1b}[0m");
        assert_eq!(Painter { colours: true }.paint(Tone::Plain, "x"), "x");
    }
}
