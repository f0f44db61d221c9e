//! Policies as people write them: nested prefixes, exceptions, globs, lists in the data, helper functions, rules
//! for tools, ports and address blocks; and uses of the name that no predicate records.

use serde_json::{Value, json};

use crate::random::Random;

/// Names that are like each other, so that prefixes of one are found in others.
const NAMES: &[&str] =
    &["a", "ab", "abc", "b", "ba", "c", ".ssh", ".sshx", "x.pem", "prod", "production", "tmp", "é", "A", "0"];

/// A path of the folder tree that policies and operations share.
pub fn path(random: &mut Random) -> String {
    (0..=random.below(4)).map(|_| format!("/{}", random.of(NAMES))).collect()
}

/// Rules that conditions use, by what they use them by.
const HELPERS: &[(&str, &str)] = &[
    ("(path", "path := trim_prefix(input.resource.id, \"foreign:\")\n\n"),
    (
        "(socket",
        "socket := substring(input.resource.id, 5, -1) if startswith(input.resource.id, \"unix:\")\n\n",
    ),
    ("inside(", "inside(p) if under(p, data.lists.few)\n\n"),
    ("whole ", "whole := input.resource.id\n\n"),
    ("(whole", "whole := input.resource.id\n\n"),
];

/// A policy's text, its data, and the names in it that operations should come near.
pub struct Policy {
    pub rego: String,
    pub data: Value,
    pub near: Vec<String>,
}

/// One of them.
pub fn policy(random: &mut Random) -> Policy {
    let mut lists = serde_json::Map::new();
    let mut near = Vec::new();
    for name in ["few", "many", "files"] {
        let count = if name == "many" && random.one_in(8) { 1000 } else { 1 + random.below(6) };
        let list: Vec<String> = (0..count)
            .map(|number| if count > 100 { format!("{}/n{number}", path(random)) } else { path(random) })
            .collect();
        near.extend(list.iter().take(20).cloned());
        lists.insert(name.into(), json!(list));
    }
    let mut rego = String::from("package authz\n\n");
    for number in 0..1 + random.below(6) {
        let effect = *random.of(&["deny", "deny", "allow", "allow", "allow", "escalate"]);
        rego.push_str(&format!("{effect} contains {{\"id\": \"r{number}\"}} if {{\n"));
        if !random.one_in(4) {
            rego.push_str(&format!("\t{}\n", guard(random)));
        }
        for _ in 0..1 + random.below(3) {
            let condition = condition(random, &mut near);
            let not = if random.one_in(4) && !condition.contains([';', '{']) { "not " } else { "" };
            rego.push_str(&format!("\t{not}{condition}\n"));
        }
        rego.push_str("}\n\n");
    }
    for (name, definition) in HELPERS {
        if rego.contains(name) && !rego.contains(definition) {
            rego.push_str(definition);
        }
    }
    let default = *random.of(&["allow", "deny"]);
    Policy { rego, data: json!({"authz": {"default": default}, "lists": lists}), near }
}

fn guard(random: &mut Random) -> &'static str {
    const GUARDS: &[&str] = &[
        "reads",
        "writes",
        "executes",
        "connects",
        "input.action.name == \"file.write\"",
        "input.action.name in {\"file.read\", \"process.exec\"}",
        "startswith(input.action.name, \"file.\")",
        "input.action.name != \"net.connect\"",
        "not reads",
    ];
    GUARDS[random.below(GUARDS.len())]
}

fn condition(random: &mut Random, near: &mut Vec<String>) -> String {
    let one = path(random);
    let other = path(random);
    near.extend([one.clone(), other.clone()]);
    let name = *random.of(NAMES);
    let subject = *random.of(&["input.resource.id", "path", "whole"]);
    let plain = *random.of(&["input.resource.id", "whole"]);
    let var = format!("v{}", random.below(1_000_000));
    match random.below(32) {
        0..=3 => format!("under({subject}, {one:?})"),
        4 => format!("under({subject}, [{one:?}, \"{other}/\"])"),
        5 => format!("under({subject}, data.lists.{})", random.of(&["few", "many"])),
        6 => format!("inside({subject})"),
        7 => format!("is({subject}, {{{one:?}, {other:?}}})"),
        8 => format!("{plain} == {one:?}"),
        9 => format!("{plain} in {{{one:?}, {other:?}}}"),
        10 => format!("{plain} in data.lists.files"),
        11 => format!("is({subject}, data.lists.files)"),
        12 => format!("startswith({subject}, {one:?})"),
        13 => format!("strings.any_prefix_match({subject}, [{one:?}, \"anon:\", \"unix:@\"])"),
        14 => format!("glob({subject}, \"{one}/**\")"),
        15 => format!("glob({subject}, [\"{one}/*/{name}\", \"/**/{name}/**\", \"{other}*\"])"),
        16 => format!("glob({subject}, \"**/{name}\")"),
        17 => format!("has_name({subject}, [\".ssh\", {name:?}])"),
        18 => format!("named({subject}, {{\"x.pem\", {name:?}}})"),
        19 => format!("some {var} in data.lists.few; startswith({subject}, {var})"),
        20 => format!("count({{p | some p in data.lists.few; under({subject}, p)}}) > {}", random.below(2)),
        21 => format!("every p in data.lists.few {{ not under({subject}, p) }}"),
        22 => format!("under(socket, {one:?})"),
        23 | 30 | 31 => format!(
            "in_cidr(input.resource.properties.ip, [\"10.{}.0.0/{}\", \"fd00::/{}\"])",
            random.below(4),
            8 + random.below(10),
            4 + random.below(20)
        ),
        24 => format!("port_is({})", random.of(&["443", "[53, 80]"])),
        25 => format!("input.context.tool.name == {:?}", random.of(&["write_file", "read_file"])),
        26 => format!("{var} := trim_prefix({subject}, {one:?}); startswith({var}, \"/{name}\")"),
        27 => format!("endswith({subject}, {name:?})"),
        28 => format!("some {var} in split({subject}, \"/\"); {var} == {name:?}"),
        _ => format!("startswith(object.get(input.resource, \"id\", \"\"), {one:?})"),
    }
}
