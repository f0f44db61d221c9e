//! The policy files built into the binary: the combiner, the library and the presets.

/// A built-in file: its path in a bundle and its text.
pub(super) type Shipped = (&'static str, &'static str);

macro_rules! shipped {
    ($($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../../../policies/", $path)))),+]
    };
}

/// Part of every bundle.
pub(super) const LIBRARY: &[Shipped] =
    shipped!["authz.rego", "lib/actions.rego", "lib/addresses.rego", "lib/builtin.rego", "lib/paths.rego"];

/// What known tools do with their arguments: data of every bundle.
pub(super) const TOOLS: &[Shipped] = shipped![
    "tools/claude.json",
    "tools/codex.json",
    "tools/everything.json",
    "tools/fetch.json",
    "tools/filesystem.json",
    "tools/gemini.json",
    "tools/git.json",
    "tools/time.json",
];

/// The presets by name: policy, data and tests.
pub(super) const PRESETS: &[(&str, &[Shipped])] = &[
    (
        "coding-agent",
        shipped![
            "presets/coding-agent/data.json",
            "presets/coding-agent/files.rego",
            "presets/coding-agent/network.rego",
            "presets/coding-agent/programs.rego",
            "presets/coding-agent/coding_agent_test.rego",
        ],
    ),
    (
        "prod-readonly",
        shipped![
            "presets/prod-readonly/data.json",
            "presets/prod-readonly/prod_readonly.rego",
            "presets/prod-readonly/prod_readonly_test.rego",
        ],
    ),
    (
        "observe-all",
        shipped!["presets/observe-all/observe_all.rego", "presets/observe-all/observe_all_test.rego"],
    ),
];
