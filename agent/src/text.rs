//! What may be shown to a human or a model. Names of files, tools and hosts come from agents: raw, they could move
//! the cursor, change colours or reverse the text, and so change what is read.

use std::borrow::Cow;
use std::fmt::Write as _;

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

/// The letters and digits of a name without their case: two names with the same could be taken for each other. (`ſ` and
/// the Kelvin sign are letters of ours for some parsers.)
pub fn fold(name: &str) -> String {
    let upper = name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_uppercase);
    upper.flat_map(char::to_lowercase).collect()
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
