//! Policies as people write them: nested prefixes, exceptions, globs, lists in the data, helper functions, rules
//! for tools, sessions, ports and address blocks; and uses of the name that no predicate records.

use serde_json::{Map, Value, json};

use crate::conditions::{About, condition};
use crate::random::Random;

/// Names that are like each other, so that prefixes of one are found in others.
pub const NAMES: &[&str] =
    &["a", "ab", "abc", "b", "ba", "c", ".ssh", ".sshx", "x.pem", "prod", "production", "tmp", "é", "A", "0"];

/// A path of the folder tree that policies and operations share.
pub fn path(random: &mut Random) -> String {
    let top = random.top;
    format!("{top}{}", end(random))
}

/// The same without what all of them begin with.
pub fn end(random: &mut Random) -> String {
    (0..=random.below(4)).map(|_| format!("/{}", random.of(NAMES))).collect()
}

/// Rules that conditions use, by what they use them by.
const HELPERS: &[(&str, &str)] = &[
    ("(path", "path := trim_prefix(input.resource.id, \"foreign:\")"),
    ("(socket", "socket := substring(input.resource.id, 5, -1) if startswith(input.resource.id, \"unix:\")"),
    ("inside(", "inside(p) if under(p, data.lists.few)"),
    ("whole", "whole := input.resource.id"),
    ("(ip", "ip := input.resource.properties.ip"),
    (", ip)", "ip := input.resource.properties.ip"),
    ("\tip ", "ip := input.resource.properties.ip"),
    ("not ip ", "ip := input.resource.properties.ip"),
    (
        "level(",
        "level(p) := \"high\" if under(p, data.lists.few)\n\nelse := \"low\" if startswith(p, \"/a\")\n\nelse := \"none\"",
    ),
    ("known(", "known(p) if p == \"/a/b\"\n\nknown(p) if p in data.lists.files"),
    ("strip(", "strip(p) := trim_prefix(p, \"/a\")"),
    ("(owner", "owner := input.context.tool.name if reads\n\nelse := input.subject.id"),
    ("shadow ", "shadow if under(input.resource.id, data.lists.few)"),
    (
        "readable ",
        "readable if {\n\treads\n\tinput.resource.properties.nlink == 1\n}\n\nreadable if {\n\treads\n\tinput.context.tool.name == \"read_file\"\n}",
    ),
];

/// Another package, for references to one of many rules.
const TEAM: &str = "package team

flags.prod if data.authz.under(input.resource.id, data.lists.few)

flags.low if startswith(input.resource.id, \"/a\")

flags.tool if input.context.tool.name == \"write_file\"
";

/// A policy's text, its data, and the names in it that operations should come near.
pub struct Policy {
    pub rego: String,
    pub team: Option<&'static str>,
    pub data: Value,
    pub near: Vec<String>,
}

/// One of them.
pub fn policy(random: &mut Random, about: About) -> Policy {
    let mut near = Vec::new();
    let lists = lists(random, &mut near);
    let mut rules = String::new();
    let count = if random.one_in(10) { 15 } else { 1 + random.below(6) };
    for number in 0..count {
        let effects = ["deny", "deny", "allow", "allow", "allow", "escalate"];
        let machine = about == About::Machine;
        let effect = effects[random.below(effects.len() - usize::from(machine))];
        let limit = match random.below(30) {
            _ if machine => "",
            0 => ", \"constraints\": {\"ttl\": \"1h\"}",
            1 => ", \"constraints\": {\"max_uses\": 3}",
            _ => "",
        };
        rules.push_str(&format!("{effect} contains {{\"id\": \"r{number}\"{limit}}} if {{\n"));
        if !random.one_in(4) {
            rules.push_str(&format!("\t{}\n", guard(random)));
        }
        for _ in 0..1 + random.below(3) {
            let condition = condition(random, about, &mut near);
            let not = if random.one_in(4) && !condition.contains([';', '{']) { "not " } else { "" };
            rules.push_str(&format!("\t{not}{condition}\n"));
        }
        rules.push_str(if machine { "\ttried\n}\n\n" } else { "}\n\n" });
    }
    if about == About::Machine {
        rules.push_str(&format!(
            "allow contains {{\"id\": \"machine\"}} if not tried\n\n\
             tried if startswith(trim_prefix(input.resource.id, \"unix:\"), \"{}\")\n\n\
             tried if {{ connects; not startswith(input.resource.id, \"unix:\") }}\n\n",
            random.top
        ));
    }
    for (name, definition) in HELPERS {
        if rules.contains(name) && !rules.contains(definition) {
            rules.push_str(&format!("{definition}\n\n"));
        }
    }
    let import = if rules.contains("thing.id") { "import input.resource as thing\n\n" } else { "" };
    let team = rules.contains("data.team").then_some(TEAM);
    let default = *random.of(&["allow", "deny"]);
    Policy {
        rego: format!("package authz\n\n{import}{rules}"),
        team,
        data: json!({"authz": {"default": default}, "lists": lists}),
        near,
    }
}

fn lists(random: &mut Random, near: &mut Vec<String>) -> Map<String, Value> {
    let mut lists = Map::new();
    for name in ["few", "many", "files"] {
        let count = if name == "many" && random.one_in(8) { 1000 } else { 1 + random.below(6) };
        let list: Vec<String> = (0..count)
            .map(|number| if count > 100 { format!("{}/n{number}", path(random)) } else { path(random) })
            .collect();
        near.extend(list.iter().take(20).cloned());
        lists.insert(name.into(), json!(list));
    }
    let mut some = |count: usize, one: &mut dyn FnMut(&mut Random) -> Value| -> Value {
        (0..count).map(|_| one(random)).collect()
    };
    let v4 = |random: &mut Random| {
        json!(format!("10.{}.{}.0/{}", random.below(6), random.below(4) * 64, 8 + random.below(17)))
    };
    let v6 = |random: &mut Random| {
        json!(format!("f{:x}0{}::/{}", 12 + random.below(4), random.below(4), 1 + random.below(40)))
    };
    let mut blocks = some(4, &mut |random| if random.one_in(3) { v6(random) } else { v4(random) });
    if let Some(blocks) = blocks.as_array_mut() {
        blocks.push(json!("::1"));
    }
    lists.insert("blocks".into(), blocks);
    lists.insert("names".into(), some(2, &mut |random| json!(random.of(NAMES))));
    lists.insert(
        "globs".into(),
        some(3, &mut |random| {
            let (path, end) = (path(random), *random.of(&["/**", "/*", "*", ""]));
            json!(format!("{path}{end}"))
        }),
    );
    lists.insert("ports".into(), json!([1, 443]));
    lists.insert("by_name".into(), json!({(path(random)): true, (path(random)): true}));
    lists.insert(
        "by_tool".into(),
        json!({"write_file": [path(random), path(random)], "read_file": path(random)}),
    );
    lists
}

fn guard(random: &mut Random) -> &'static str {
    const GUARDS: &[&str] = &[
        "reads",
        "reads",
        "writes",
        "writes",
        "executes",
        "connects",
        "connects",
        "input.action.name == \"file.write\"",
        "input.action.name in {\"file.read\", \"process.exec\"}",
        "startswith(input.action.name, \"file.\")",
        "startswith(input.action.name, \"net.\")",
        "input.action.name != \"net.connect\"",
        "\"file.delete\" != input.action.name",
        "not reads",
        "not connects",
    ];
    GUARDS[random.below(GUARDS.len())]
}
