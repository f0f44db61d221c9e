//! Headers: what of them repeats the body and has to agree with it, and what passes.

use data_encoding::BASE64;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::Value;

/// Where the standard has the method, the name and the version of a message.
const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";
const VERSION: &str = "mcp-protocol-version";
const PARAM: &str = "mcp-param-";

/// From this version on the first two have to be there.
const MIRRORED: &str = "2026-07-28";

/// What a connection has for itself, and what the gate or its client library writes.
const OWN: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "host",
    "origin",
    "content-length",
    "content-type",
    // What is compressed cannot be judged.
    "accept-encoding",
    "content-encoding",
];

/// Headers of the client that repeat a part of the body: which, and where it stands there.
#[derive(Debug, Default)]
pub struct Mirrors {
    method: bool,
    name: bool,
    /// Each with the pointers below `params.arguments` at which its value stands.
    params: Vec<(HeaderName, Vec<String>)>,
}

/// Whether the message says that it is of 2026-07-28 or later, by header or body.
pub fn is_modern(headers: &HeaderMap, body: &Value) -> bool {
    let version = headers.get(VERSION).and_then(|version| version.to_str().ok());
    [version, version_of(body)].into_iter().flatten().any(|version| version >= MIRRORED)
}

fn version_of(body: &Value) -> Option<&str> {
    body.pointer("/params/_meta")?.get("io.modelcontextprotocol/protocolVersion")?.as_str()
}

/// Compares headers and body; what they disagree in, if they do.
pub fn agree(headers: &HeaderMap, body: &Value) -> Result<Mirrors, String> {
    let (method, name) = (body["method"].as_str(), name_of(body));
    let required = is_modern(headers, body) && method.is_some();
    let version = one(headers, VERSION)?;
    if let (Some(header), Some(body)) = (&version, version_of(body))
        && header != body
    {
        return Err(format!("MCP-Protocol-Version is {header:?}, and the body has {body:?}"));
    }
    // The extension asks clients to name a task, and the protocol does not.
    let optional = |header| header == NAME && method.is_some_and(|method| method.starts_with("tasks/"));
    let mut mirrors = Mirrors::default();
    for (header, value, found) in [(METHOD, method, &mut mirrors.method), (NAME, name, &mut mirrors.name)] {
        match (one(headers, header)?, value) {
            (Some(said), Some(value)) if said == value => *found = true,
            (None, None) => {}
            (None, Some(_)) if !required || optional(header) => {}
            (said, value) => return Err(format!("{header} is {said:?}, and the body has {value:?}")),
        }
    }
    for header in headers.keys().filter(|header| header.as_str().starts_with(PARAM)) {
        let said = one(headers, header.as_str())?.unwrap_or_default();
        let mut at = Vec::new();
        find(&body["params"]["arguments"], &said, &mut String::new(), &mut at);
        if at.is_empty() || method != Some("tools/call") {
            return Err(format!("{header} is {said:?}, which is none of the arguments"));
        }
        mirrors.params.push((header.clone(), at));
    }
    Ok(mirrors)
}

/// The headers that go on, with what they repeat of the body as it is sent now.
pub fn onward(headers: &HeaderMap, mirrors: &Mirrors, line: &[u8]) -> Result<HeaderMap, String> {
    let body: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let mut onward = pass(headers);
    let mut repeat = |header: HeaderName, value: Option<&str>| {
        let value = value.and_then(|value| HeaderValue::from_str(&encode(value)).ok());
        value.map(|value| onward.insert(header, value)).map(drop)
    };
    if mirrors.method {
        repeat(HeaderName::from_static(METHOD), body["method"].as_str()).ok_or("the method has no header")?;
    }
    if mirrors.name {
        repeat(HeaderName::from_static(NAME), name_of(&body)).ok_or("the name has no header")?;
    }
    for (header, at) in &mirrors.params {
        let values =
            at.iter().map(|pointer| body.pointer(&format!("/params/arguments{pointer}")).and_then(text_of));
        let values: Vec<_> = values.collect();
        let same = values.iter().all(|value| value == &values[0]);
        let value = values[0].as_deref().filter(|_| same);
        repeat(header.clone(), value)
            .ok_or_else(|| format!("{header} cannot follow the rewritten arguments"))?;
    }
    Ok(onward)
}

/// All but what is a connection's own.
pub fn pass(headers: &HeaderMap) -> HeaderMap {
    let listed = headers.get_all("connection").iter().filter_map(|value| value.to_str().ok());
    let listed: Vec<String> =
        listed.flat_map(|names| names.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect();
    let mut passing = HeaderMap::new();
    for (name, value) in headers {
        if !OWN.contains(&name.as_str()) && !listed.iter().any(|other| other == name.as_str()) {
            passing.append(name.clone(), value.clone());
        }
    }
    passing
}

/// The value of a header that stands once.
fn one(headers: &HeaderMap, name: &str) -> Result<Option<String>, String> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let text = value.to_str().map_err(|_| format!("{name} is not plain text"))?;
            decode(text).map(Some).ok_or_else(|| format!("{name} is not well encoded"))
        }
        _ => Err(format!("{name} stands twice")),
    }
}

fn decode(text: &str) -> Option<String> {
    match text.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        Some(encoded) => String::from_utf8(BASE64.decode(encoded.as_bytes()).ok()?).ok(),
        None => Some(text.to_owned()),
    }
}

fn encode(text: &str) -> String {
    let plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && text.trim() == text;
    if plain && !text.starts_with("=?base64?") {
        text.to_owned()
    } else {
        format!("=?base64?{}?=", BASE64.encode(text.as_bytes()))
    }
}

fn name_of(body: &Value) -> Option<&str> {
    match body["method"].as_str()? {
        "tools/call" | "prompts/get" => body["params"]["name"].as_str(),
        "resources/read" => body["params"]["uri"].as_str(),
        "tasks/cancel" | "tasks/get" | "tasks/update" => body["params"]["taskId"].as_str(),
        _ => None,
    }
}

/// A value as a header has it.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        _ => None,
    }
}

/// Where below a value something stands that a header has so.
fn find(value: &Value, said: &str, pointer: &mut String, found: &mut Vec<String>) {
    if let Value::Object(members) = value {
        for (name, member) in members {
            let length = pointer.len();
            *pointer += &format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            find(member, said, pointer, found);
            pointer.truncate(length);
        }
    } else if text_of(value).is_some_and(|text| text == said) {
        found.push(pointer.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn call(region: &str) -> Value {
        json!({"method": "tools/call", "params": {"name": "sql", "arguments": {"where": {"region": region}, "n": 4}}})
    }

    #[test]
    fn headers_that_say_something_else_are_refused() {
        let fine = [
            ("mcp-method", "tools/call"),
            ("mcp-name", "sql"),
            ("mcp-param-region", "us"),
            ("mcp-param-n", "4"),
        ];
        assert!(agree(&headers(&fine), &call("us")).is_ok());
        assert!(agree(&headers(&[]), &call("us")).is_ok(), "older clients send none");
        for (name, value) in [
            ("mcp-method", "tools/list"),
            ("mcp-name", "other"),
            ("mcp-name", "=?base64?c3Fs"),
            ("mcp-param-region", "eu"),
        ] {
            assert!(agree(&headers(&[(name, value)]), &call("us")).is_err(), "{name}: {value}");
        }
        assert!(agree(&headers(&[("mcp-name", "sql"), ("mcp-name", "sql")]), &call("us")).is_err());
        assert!(agree(&headers(&[("mcp-name", "=?base64?c3Fs?=")]), &call("us")).is_ok());
        assert!(agree(&headers(&[("mcp-name", "x")]), &json!({"method": "tools/list"})).is_err());
        let task = json!({"method": "tasks/get", "params": {"taskId": "t"}});
        let modern = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tasks/get")];
        for (name, fine) in [(None, true), (Some("t"), true), (Some("u"), false)] {
            let name = name.map(|name| ("mcp-name", name));
            let given: Vec<_> = modern.into_iter().chain(name).collect();
            assert_eq!(agree(&headers(&given), &task).is_ok(), fine, "{name:?}");
        }
    }

    #[test]
    fn of_the_present_version_they_have_to_be_there() {
        let version = ("mcp-protocol-version", "2026-07-28");
        assert!(agree(&headers(&[version]), &call("us")).is_err());
        assert!(
            agree(&headers(&[version, ("mcp-method", "tools/call"), ("mcp-name", "sql")]), &call("us"))
                .is_ok()
        );
        let mut body = call("us");
        body["params"]["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": "2025-11-25"});
        let other = headers(&[version, ("mcp-method", "tools/call"), ("mcp-name", "sql")]);
        assert!(agree(&other, &body).is_err(), "two versions");
    }

    #[test]
    fn what_is_rewritten_is_repeated_as_it_is_sent() {
        let given = headers(&[
            ("mcp-name", "sql"),
            ("mcp-param-region", "us"),
            ("authorization", "Bearer x"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("accept-encoding", "gzip"),
        ]);
        let mirrors = agree(&given, &call("us")).unwrap();
        let sent = onward(&given, &mirrors, call("Überall").to_string().as_bytes()).unwrap();
        assert_eq!(sent["mcp-param-region"], "=?base64?w5xiZXJhbGw=?=");
        assert_eq!(sent["mcp-name"], "sql");
        assert_eq!(sent["authorization"], "Bearer x");
        assert!(["connection", "x-hop", "accept-encoding"].iter().all(|name| !sent.contains_key(*name)));
        let gone = json!({"method": "tools/call", "params": {"name": "sql", "arguments": {}}});
        assert!(onward(&given, &mirrors, gone.to_string().as_bytes()).is_err());
    }
}
