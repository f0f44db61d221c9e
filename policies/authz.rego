# The combiner: what the rules of a policy amount to. `data.authz.decision` is the entry point of
# every enforcement point; a policy adds to the sets deny, escalate, compute and allow and never
# defines `decision` itself.
#
# The strictest effect that matched wins: deny over escalate over compute over allow. Nothing matched
# is data.authz["default"], a data file's value, and without one a deny.
package authz

# The sets exist without a policy too. Each member is {"id", "reason", "advice", "constraints",
# "rewrite"}, all but the id optional.
deny contains protected_rule if protected_violated

escalate contains {} if false

compute contains {} if false

allow contains {} if false

decision := decided("deny", deny) if {
	count(deny) > 0
} else := decided("escalate", escalate) if {
	count(escalate) > 0
} else := combined_compute if {
	count(compute) > 0
} else := decided("allow", allow) if {
	count(allow) > 0
} else := decided("deny", {never_by_default_rule}) if {
	never_by_default
} else := decided(data.authz["default"], {default_rule}) if {
	data.authz["default"]
} else := decided("deny", {default_rule})

# What the members of one effect amount to: every rule named, every constraint kept.
decided(effect, members) := {
	"effect": effect,
	"rules": [brief(member) | some member in members],
	"constraints": constraints_of(members),
	"rewrite": null,
}

# A rewrite must be one and the same: several would leave open which of them holds.
combined_compute := object.union(decided("compute", compute), {"rewrite": rewrite}) if {
	count(rewrites) == 1
	some rewrite in rewrites
} else := decided("deny", compute | {compute_conflict_rule})

rewrites contains member.rewrite if some member in compute

brief(member) := {
	"id": object.get(member, "id", "unnamed"),
	"reason": object.get(member, "reason", ""),
	"advice": object.get(member, "advice", ""),
} if {
	is_object(member)
} else := {"id": member, "reason": "", "advice": ""} if {
	is_string(member)
} else := {"id": "unnamed", "reason": "", "advice": ""}

# Every constraint of every rule that matched holds. Rules that name one constraint with different
# values yield the array of the values; the enforcement point takes the strictest.
constraints_of(members) := {name: value |
	pairs := constraint_pairs(members)
	some pair in pairs
	name := pair[0]
	value := constraint(pairs, name)
}

# A set, so that equal values count once, and their order is the same everywhere.
constraint_pairs(members) := {pair |
	some member in members
	is_object(member)
	some name in object.keys(object.get(member, "constraints", {}))
	pair := [name, member.constraints[name]]
}

constraint(pairs, name) := values[0] if {
	values := constraint_values(pairs, name)
	count(values) == 1
} else := constraint_values(pairs, name)

constraint_values(pairs, name) := [pair[1] |
	some pair in pairs
	pair[0] == name
]

# What can undo the enforcement itself is never allowed by the default, only by a rule.
never_by_default if startswith(input.action.name, "system.")

never_by_default if input.action.name == "process.ptrace"

default_rule := {"id": "default", "reason": "No rule of the policy matched."}

never_by_default_rule := {
	"id": "default",
	"reason": "No rule of the policy matched, and this action is never allowed by default.",
}

compute_conflict_rule := {
	"id": "compute-conflict",
	"reason": "The compute rules that matched do not agree on one rewrite.",
}

# The directories of authz itself (data.authz.protected, given by the daemon). A deny wins over every
# other rule, so no policy can give them away.
protected_rule := {
	"id": "authz-protected",
	"reason": "This belongs to authz, which decides what the agent may do.",
	"advice": "Leave it alone; it cannot be allowed by policy.",
}

protected_violated if {
	writes
	under(trim_prefix(input.resource.id, "foreign:"), data.authz.protected)
}

# Moving a directory moves everything below it.
protected_violated if {
	input.action.name == "file.rename"
	some directory in data.authz.protected
	under(directory, trim_prefix(input.resource.id, "foreign:"))
}

# The key that signs the ledger is not read either.
protected_violated if {
	reads
	some directory in data.authz.protected
	is(trim_prefix(input.resource.id, "foreign:"), concat("/", [directory, "key"]))
}

protected_violated if {
	startswith(input.action.name, "net.")
	startswith(input.resource.id, "unix:/")
	under(substring(input.resource.id, 5, -1), data.authz.protected)
	not asks
}

# A session's own gates may ask (data.authz.ask); what they may ask there, the daemon knows.
asks if {
	input.action.name == "net.connect"
	glob(substring(input.resource.id, 5, -1), data.authz.ask)
}

allow contains {"id": "authz-ask"} if asks
