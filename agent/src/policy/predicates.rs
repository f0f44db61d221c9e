//! The library's predicates as functions of the host: the same outcomes as policies/lib in plain Rego, faster, and
//! the [`recorder`] hears of what they tested. Built-in functions that policies use on names are here for the
//! latter reason.

use anyhow::{Context, Result, bail};
use regorus::Value;

use super::{glob, recorder, shortcut};

/// A function by its name and number of arguments.
pub(super) type Function = (&'static str, u8, fn(&[Value]) -> Result<Value>);

/// What the host gives.
pub(super) const FUNCTIONS: &[Function] = &[
    ("authz_native.under", 2, |arguments| each(arguments, under)),
    ("authz_native.is", 2, |arguments| each(arguments, is)),
    ("authz_native.glob", 2, |arguments| each(arguments, matches)),
    ("authz_native.has_name", 2, has_name),
    ("authz_native.named", 2, named),
    ("startswith", 2, startswith),
    ("strings.any_prefix_match", 2, any_prefix_match),
    ("trim_prefix", 2, trim_prefix),
    ("substring", 3, substring),
];

/// Functions of the combiner and the library under their own names: an engine finds them where a policy has no
/// rule of that name.
pub(super) const LIBRARY: &[Function] = &[
    ("under", 2, |arguments| each(arguments, under).map(rule)),
    ("is", 2, |arguments| each(arguments, is).map(rule)),
    ("glob", 2, |arguments| each(arguments, matches).map(rule)),
    ("has_name", 2, |arguments| has_name(arguments).map(rule)),
    ("named", 2, |arguments| named(arguments).map(rule)),
    ("decided", 2, shortcut::decided),
];

/// A rule that does not hold is undefined, not false.
fn rule(holds: Value) -> Value {
    if holds == Value::from(true) { holds } else { Value::Undefined }
}

/// The library's files whose functions are given here, and what stands in their place.
pub(super) fn in_place_of(path: &str) -> Option<&'static str> {
    (path == "lib/paths.rego").then_some(
        "package authz\n\
        under(path, directories) if authz_native.under(path, directories)\n\
        is(path, exact) if authz_native.is(path, exact)\n\
        glob(path, patterns) if authz_native.glob(path, patterns)\n\
        has_name(path, names) if authz_native.has_name(path, names)\n\
        named(path, names) if authz_native.named(path, names)\n",
    )
}

/// Whether a test holds for a text, or for one of an array or a set of texts. All are tried: which one is first
/// must not matter.
fn each(arguments: &[Value], test: fn(&str, &str) -> Result<bool>) -> Result<Value> {
    let (text, others) = two(arguments)?;
    let text = text.as_string().context("the first argument is a text")?;
    let mut holds = false;
    for other in texts(others)? {
        holds |= test(text, other)?;
    }
    Ok(Value::from(holds))
}

fn under(path: &str, directory: &str) -> Result<bool> {
    match (recorder::is_name(path), recorder::is_name(directory)) {
        (true, true) => recorder::whole(path),
        (false, true) => recorder::ancestor(directory, path),
        _ => {}
    }
    if directory.is_empty() {
        return Ok(false);
    }
    let directory = directory.strip_suffix('/').unwrap_or(directory);
    let below = path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
    recorder::directory(path, directory);
    Ok(below || (!path.is_empty() && path == directory))
}

fn is(path: &str, exact: &str) -> Result<bool> {
    recorder::exact(path, exact);
    Ok(path == exact)
}

fn matches(path: &str, pattern: &str) -> Result<bool> {
    let holds = glob::matches(pattern, &['/'], path)?;
    glob_tested(path, pattern);
    Ok(holds)
}

/// Says what a match of a glob, with `/` as its delimiter, depends on.
pub(super) fn glob_tested(path: &str, pattern: &str) {
    let (literal, rest) = glob::literal_prefix(pattern);
    match rest {
        "" => recorder::exact(path, &literal),
        _ if !path.starts_with(&literal) => recorder::prefix(path, &literal),
        "**" => recorder::prefix(path, &literal),
        _ => {
            let name = glob::required_name(pattern);
            if !name.is_some_and(|name| recorder::absent(path, [name.as_str()])) {
                recorder::whole(path);
            }
        }
    }
}

fn has_name(arguments: &[Value]) -> Result<Value> {
    names(arguments, |path, names| path.split('/').any(|name| names.contains(&name)))
}

fn named(arguments: &[Value]) -> Result<Value> {
    names(arguments, |path, names| path.rsplit('/').next().is_some_and(|name| names.contains(&name)))
}

fn names(arguments: &[Value], test: fn(&str, &[&str]) -> bool) -> Result<Value> {
    let (path, names) = two(arguments)?;
    let path = path.as_string().context("the first argument is a path")?;
    let names = texts(names)?;
    let holds = test(path, &names);
    if !recorder::absent(path, names.iter().copied()) {
        recorder::whole(path);
    }
    Ok(Value::from(holds))
}

fn startswith(arguments: &[Value]) -> Result<Value> {
    let (text, prefix) = two(arguments)?;
    let (text, prefix) = (string(text)?, string(prefix)?);
    recorder::prefix(text, prefix);
    Ok(Value::from(text.starts_with(prefix)))
}

fn any_prefix_match(arguments: &[Value]) -> Result<Value> {
    let (searched, prefixes) = two(arguments)?;
    let (searched, prefixes) = (texts(searched)?, texts(prefixes)?);
    let mut holds = false;
    for (text, prefix) in searched.iter().flat_map(|text| prefixes.iter().map(move |prefix| (text, prefix))) {
        recorder::prefix(text, prefix);
        holds |= text.starts_with(prefix);
    }
    Ok(Value::from(holds))
}

fn trim_prefix(arguments: &[Value]) -> Result<Value> {
    let (text, prefix) = two(arguments)?;
    let (text, prefix) = (string(text)?, string(prefix)?);
    recorder::prefix(text, prefix);
    Ok(match text.strip_prefix(prefix) {
        Some(rest) if !prefix.is_empty() => {
            recorder::cut(text, rest);
            Value::from(rest)
        }
        _ => arguments[0].clone(),
    })
}

fn substring(arguments: &[Value]) -> Result<Value> {
    let [text, offset, length] = arguments else {
        bail!("substring(text, offset, length) has three arguments")
    };
    let text = string(text)?;
    let whole_number =
        |value: &Value| value.as_i64().context("offset and length of substring are whole numbers");
    let (offset, length) = (whole_number(offset)?, whole_number(length)?);
    let offset = usize::try_from(offset).context("the offset of substring is negative")?;
    let start = text.char_indices().map(|(index, _)| index).chain([text.len()]).nth(offset);
    if start.is_none() {
        // A longer text has something there.
        recorder::whole(text);
    }
    let rest = &text[start.unwrap_or(text.len())..];
    match usize::try_from(length) {
        Ok(length) => {
            recorder::whole(text);
            Ok(Value::from(rest.chars().take(length).collect::<String>()))
        }
        Err(_) => {
            recorder::cut(text, rest);
            Ok(Value::from(rest))
        }
    }
}

fn two(arguments: &[Value]) -> Result<(&Value, &Value)> {
    match arguments {
        [one, other] => Ok((one, other)),
        _ => bail!("this function has two arguments"),
    }
}

fn string(value: &Value) -> Result<&str> {
    value.as_string().map(AsRef::as_ref).context("this argument is a text")
}

/// A text, or the members of an array or a set of texts.
fn texts(value: &Value) -> Result<Vec<&str>> {
    match value {
        Value::String(text) => Ok(vec![text]),
        Value::Array(items) => items.iter().map(string).collect(),
        Value::Set(items) => items.iter().map(string).collect(),
        _ => bail!("this argument is a text, or an array or a set of texts"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::policy::names::Names;

    /// What a test says of a name, and whether what settled it settles the other name too.
    fn tested(name: &str, other: &str, names: &Arc<Names>, test: impl Fn(&str) -> bool) -> (bool, bool) {
        recorder::begin(Some(name), None, names);
        let outcome = test(name);
        let region = recorder::region();
        let bytes = |name: &str| [name.as_bytes(), b"\0"].concat();
        let (one, two) = (bytes(name), bytes(other));
        let same = one.iter().zip(&two).take_while(|(a, b)| a == b).count();
        let bit = one.get(same).zip(two.get(same)).map_or(0, |(a, b)| (a ^ b).leading_zeros() as usize);
        let alike = names.mask(name.as_bytes()) == names.mask(other.as_bytes());
        let settled = if region.exact { name == other } else { same * 8 + bit >= region.id_bits };
        (outcome, settled && alike)
    }

    const PATH: &str = "(/(a|ab|b|é|\u{1}|0|mem|x)){0,3}/?";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn below_the_name_is_settled_by_the_region(directory in PATH, name in PATH, other in PATH) {
            let names = Arc::default();
            let test = |name: &str| under(&directory, name).unwrap();
            let (outcome, settled) = tested(&name, &other, &names, test);
            prop_assert!(!settled || test(&other) == outcome);
        }

        #[test]
        fn a_glob_is_settled_by_the_region(pattern in "(/(a|ab|b|\\*|\\*\\*|a\\*|mem|x)){1,4}", name in PATH, other in PATH) {
            let group: BTreeSet<String> = glob::required_name(&pattern).into_iter().collect();
            let names = Arc::new(Names::new([group]));
            let test = |name: &str| matches(name, &pattern).unwrap();
            let (outcome, settled) = tested(&name, &other, &names, test);
            prop_assert!(!settled || test(&other) == outcome, "{pattern}");
        }
    }

    #[test]
    fn a_name_tested_as_a_directory_stands_for_its_neighbours() {
        let region = |name: &str| {
            recorder::begin(Some(name), None, &Arc::default());
            under("/run/authz", name).unwrap();
            recorder::region().id_bits
        };
        assert_eq!(region("/home/dev/x"), 8 + 4, "h and r part at the fourth bit");
        assert_eq!(region("/run"), 40, "with the NUL behind it");
    }
}
