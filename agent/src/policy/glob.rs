//! `glob.match` as OPA defines it, compiled once per pattern: `*` and `?` do not cross a delimiter, `**`
//! does, `[a-c]` and `[!a-c]` are one character, `{a,b}` is either, `\x` is x.

use std::cell::RefCell;
use std::collections::HashMap;

use anyhow::{Result, bail};

/// More alternatives than this are a mistake or an attack.
const ALTERNATIVES: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    One(char),
    Class { not: bool, ranges: Vec<(char, char)> },
    Any,
    Many,
    ManyAcross,
}

/// A compiled pattern: it matches what one of its alternatives matches.
#[derive(Debug, Clone)]
struct Glob {
    alternatives: Vec<Alternative>,
}

#[derive(Debug, Clone)]
struct Alternative {
    literal: String,
    rest: Vec<Token>,
}

/// Whether a text matches a pattern. No delimiters mean that none is special.
pub(super) fn matches(pattern: &str, delimiters: &[char], text: &str) -> Result<bool> {
    thread_local! {
        static GLOBS: RefCell<HashMap<String, Glob>> = RefCell::default();
    }
    GLOBS.with_borrow_mut(|globs| {
        if let Some(glob) = globs.get(pattern) {
            return Ok(glob.matches(delimiters, text));
        }
        let glob = Glob::parse(pattern)?;
        let result = glob.matches(delimiters, text);
        if globs.len() < 4096 {
            globs.insert(pattern.to_owned(), glob);
        }
        Ok(result)
    })
}

/// What every match begins with, and the rest of the pattern.
pub(super) fn literal_prefix(pattern: &str) -> (String, &str) {
    let end = pattern.find(['*', '?', '[', '{', '\\']).unwrap_or(pattern.len());
    (pattern[..end].to_owned(), &pattern[end..])
}

/// A whole name that is in every path that the pattern matches, behind its literal beginning, where `/` is its
/// delimiter.
pub(super) fn required_name(pattern: &str) -> Option<String> {
    let special = |text: &str| text.contains(['*', '?', '[', ']', '{', '}', ',', '\\']);
    if pattern.contains(['[', '{', '\\']) {
        return None;
    }
    literal_prefix(pattern)
        .1
        .split('/')
        .filter(|name| !name.is_empty() && !special(name))
        .max_by_key(|name| name.len())
        .map(str::to_owned)
}

impl Glob {
    fn parse(pattern: &str) -> Result<Self> {
        let mut alternatives = Vec::new();
        let characters: Vec<char> = pattern.chars().collect();
        for tokens in expand(&characters)? {
            let literal: String = tokens
                .iter()
                .map_while(|token| if let Token::One(c) = token { Some(*c) } else { None })
                .collect();
            let rest = tokens.into_iter().skip(literal.chars().count()).collect();
            alternatives.push(Alternative { literal, rest });
        }
        Ok(Self { alternatives })
    }

    fn matches(&self, delimiters: &[char], text: &str) -> bool {
        self.alternatives.iter().any(|alternative| {
            text.strip_prefix(&alternative.literal)
                .is_some_and(|text| run(&alternative.rest, delimiters, text))
        })
    }
}

/// Follows all ways through the tokens at once, so that no pattern takes exponential time.
fn run(tokens: &[Token], delimiters: &[char], text: &str) -> bool {
    if tokens.is_empty() {
        return text.is_empty();
    }
    let mut at = vec![false; tokens.len() + 1];
    at[0] = true;
    skip(tokens, &mut at);
    for character in text.chars() {
        let mut next = vec![false; tokens.len() + 1];
        for (index, token) in tokens.iter().enumerate().filter(|(index, _)| at[*index]) {
            let special = delimiters.contains(&character);
            match token {
                Token::One(one) if *one == character => next[index + 1] = true,
                Token::Any if !special => next[index + 1] = true,
                Token::Class { not, ranges } => {
                    let within = ranges.iter().any(|(low, high)| (*low..=*high).contains(&character));
                    next[index + 1] |= within != *not;
                }
                Token::Many if !special => next[index] = true,
                Token::ManyAcross => next[index] = true,
                _ => {}
            }
        }
        skip(tokens, &mut next);
        if !next.contains(&true) {
            return false;
        }
        at = next;
    }
    at[tokens.len()]
}

/// A star may match nothing.
fn skip(tokens: &[Token], at: &mut [bool]) {
    for (index, token) in tokens.iter().enumerate() {
        if at[index] && matches!(token, Token::Many | Token::ManyAcross) {
            at[index + 1] = true;
        }
    }
}

/// The pattern once for each choice its braces give.
fn expand(pattern: &[char]) -> Result<Vec<Vec<Token>>> {
    let mut all: Vec<Vec<Token>> = vec![Vec::new()];
    let mut index = 0;
    while let Some(character) = pattern.get(index) {
        index += 1;
        let token = match character {
            '\\' => match pattern.get(index) {
                Some(escaped) => {
                    index += 1;
                    Token::One(*escaped)
                }
                None => bail!("the glob ends in a backslash; write two for one"),
            },
            '*' if pattern.get(index) == Some(&'*') => {
                while pattern.get(index) == Some(&'*') {
                    index += 1;
                }
                Token::ManyAcross
            }
            '*' => Token::Many,
            '?' => Token::Any,
            '[' => class(pattern, &mut index)?,
            '{' => {
                let choices = choices(pattern, &mut index)?;
                let mut longer = Vec::new();
                for start in &all {
                    for choice in &choices {
                        longer.push([start.as_slice(), choice].concat());
                    }
                }
                if longer.len() > ALTERNATIVES {
                    bail!(
                        "the braces of the glob give more than {ALTERNATIVES} patterns; write several globs"
                    );
                }
                all = longer;
                continue;
            }
            other => Token::One(*other),
        };
        all.iter_mut().for_each(|tokens| tokens.push(token.clone()));
    }
    Ok(all)
}

fn class(pattern: &[char], index: &mut usize) -> Result<Token> {
    let not = pattern.get(*index) == Some(&'!');
    *index += usize::from(not);
    let Some(length) = pattern[*index..].iter().position(|c| *c == ']').filter(|length| *length > 0) else {
        bail!("the glob has a [ without members or ]; write \\[ for the character");
    };
    let inner = &pattern[*index..*index + length];
    *index += length + 1;
    let ranges = match inner {
        [low, '-', high] => vec![(*low, *high)],
        members => members.iter().map(|member| (*member, *member)).collect(),
    };
    Ok(Token::Class { not, ranges })
}

fn choices(pattern: &[char], index: &mut usize) -> Result<Vec<Vec<Token>>> {
    let mut choices = Vec::new();
    let mut start = *index;
    let mut depth = 0;
    while let Some(character) = pattern.get(*index) {
        *index += 1;
        match character {
            '\\' => *index += 1,
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                choices.extend(expand(&pattern[start..*index - 1])?);
                start = *index;
                if *character == '}' {
                    return Ok(choices);
                }
            }
            _ => {}
        }
    }
    bail!("the glob has a {{ without }}; write \\{{ for the character")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is(pattern: &str, text: &str) -> bool {
        matches(pattern, &['/'], text).unwrap()
    }

    #[test]
    fn stars_classes_and_braces() {
        for (pattern, text, expected) in [
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/b/c", false),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/a", false),
            ("/a/**/d", "/a/b/c/d", true),
            ("/a/b**", "/a/bc/d", true),
            ("/?", "/a", true),
            ("/?", "//", false),
            ("/[a-c]x", "/bx", true),
            ("/[!a-c]x", "/bx", false),
            ("/[ab]", "/b", true),
            ("/{a,b/*}/c", "/b/x/c", true),
            ("/{a,{b,c}}", "/c", true),
            ("/\\*", "/*", true),
            ("/\\*", "/a", false),
            ("", "", true),
        ] {
            assert_eq!(is(pattern, text), expected, "{pattern} {text}");
        }
        assert!(matches("**", &[], "/a/b").unwrap());
        for bad in ["[", "[]", "{a", "a\\"] {
            assert!(matches(bad, &['/'], "x").is_err(), "{bad}");
        }
    }

    #[test]
    fn no_pattern_takes_long() {
        assert!(!is(&"*a".repeat(40), &"a".repeat(2000).replace("aa", "ab")));
        assert!(matches(&"{a,b}".repeat(30), &['/'], "x").is_err());
    }

    /// Straight from the definition, by trying everything.
    fn oracle(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', b'*', rest @ ..] => (0..=text.len()).any(|n| oracle(rest, &text[n..])),
            [b'*', rest @ ..] => {
                let end = text.iter().position(|c| *c == b'/').unwrap_or(text.len());
                (0..=end).any(|n| oracle(rest, &text[n..]))
            }
            [b'?', rest @ ..] => text.split_first().is_some_and(|(c, text)| *c != b'/' && oracle(rest, text)),
            [one, rest @ ..] => text.split_first().is_some_and(|(c, text)| c == one && oracle(rest, text)),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn agrees_with_the_definition(pattern in "[ab/*?]{0,8}", text in "[ab/]{0,8}") {
            prop_assert_eq!(is(&pattern, &text), oracle(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn never_panics(pattern in ".{0,12}", text in ".{0,12}") {
            let _outcome = matches(&pattern, &['/'], &text);
        }
    }
}
