//! What a terminal may be sent. Names of files, tools and hosts come from agents: printed raw, they could
//! move the cursor, change colours or reverse the text, and so change what a human reads.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal};

/// Whether a character could do more on a terminal than stand there: controls (C0, DEL, C1), marks that
/// change the direction of text, separators of lines, and what is invisible.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Text of one line that shows what it holds: what acts becomes `\n`, `\t`, `\r`, `\u{1b}`, and a backslash
/// is doubled, so no two texts look the same.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c == '\\' || acts(c)) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().fold(String::with_capacity(text.len() + 16), |mut out, c| {
        match c {
            '\\' | '\n' | '\t' | '\r' => out.extend(c.escape_default()),
            c if acts(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
        out
    });
    Cow::Owned(escaped)
}

/// JSON of one line as the same JSON without characters that act. (Inside JSON they can only stand in strings.)
pub fn escape_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(acts) {
        return Cow::Borrowed(json);
    }
    let escaped = json.chars().fold(String::with_capacity(json.len() + 16), |mut out, c| {
        if acts(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                write!(out, "\\u{unit:04x}").ok();
            }
        } else {
            out.push(c);
        }
        out
    });
    Cow::Owned(escaped)
}

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
    use proptest::prelude::*;

    #[test]
    fn what_acts_is_shown() {
        for (text, shown) in [
            ("/home/dev/ä b.txt", "/home/dev/ä b.txt"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("x\u{202e}gnp.exe", "x\\u{202e}gnp.exe"),
            ("a\u{2066}b\u{200b}c\u{feff}", "a\\u{2066}b\\u{200b}c\\u{feff}"),
            ("\u{e0041}", "\\u{e0041}"),
            ("\0\u{7f}", "\\u{0}\\u{7f}"),
            ("\\u{1b}", "\\\\u{1b}"),
        ] {
            assert_eq!(escape(text), shown);
        }
    }

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

    proptest! {
        #[test]
        fn nothing_that_acts_gets_through(text: String) {
            prop_assert!(!escape(&text).chars().any(acts));
        }

        #[test]
        fn json_stays_the_same_value(text: String) {
            let json = serde_json::to_string(&text).unwrap();
            let escaped = escape_json(&json);
            prop_assert!(!escaped.chars().any(acts));
            prop_assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
        }

        #[test]
        fn no_two_texts_look_the_same(a in "[\\\\u{}1b\u{1b}n\n]{0,8}", b in "[\\\\u{}1b\u{1b}n\n]{0,8}") {
            prop_assert_eq!(escape(&a) == escape(&b), a == b);
        }
    }
}
