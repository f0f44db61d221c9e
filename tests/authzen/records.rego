# The policy that the certification scenario of the AuthZEN Authorization API 1.0 asks for: eight decisions about users
# and records.
package authz

allow contains {"id": "records-read"} if {
	input.action.name == "read"
	input.subject.id in {"alice", "bob"}
}

allow contains {"id": "records-write"} if {
	input.action.name == "write"
	input.subject.id == "alice"
}

allow contains {"id": "records-admin"} if {
	input.action.name == "write"
	admin
}

allow contains {"id": "records-remove"} if {
	input.action.name == "delete"
	input.action.properties.soft == true
}

deny contains {
	"id": "records-archived",
	"reason": "Archived records do not change.",
	"advice": "Ask an administrator.",
} if {
	input.action.name == "write"
	input.resource.properties.status == "archived"
	not admin
}

# What only this policy's own test asks about.
compute contains {"id": "records-copy", "rewrite": {"id": "record-1-copy"}} if input.action.name == "copy"

escalate contains {"id": "records-publish", "reason": "A human must agree."} if input.action.name == "publish"

allow contains {"id": "records-export", "constraints": {"max_uses": 2}} if input.action.name == "export"

deny contains {"id": "records-night", "reason": "Not at night."} if input.context.request.time == "night"

admin if input.subject.properties.role == "admin"
