//! The library's predicates as functions of the host: the same outcomes as policies/lib in plain Rego, faster, and
//! the [`recorder`] hears of what they tested. Built-in functions that policies use on names are here for the
//! latter reason.

use anyhow::{Context, Result, bail};
use regorus::Value;

use super::{glob, recorder};

/// A function by its name and number of arguments.
type Function = (&'static str, u8, fn(&[Value]) -> Result<Value>);

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
    let start = text.char_indices().nth(offset).map_or(text.len(), |(index, _)| index);
    let rest = &text[start..];
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
