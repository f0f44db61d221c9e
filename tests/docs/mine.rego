package authz

deny contains {
	"id": "applied-migrations",
	"reason": "A migration that was applied does not change.",
	"advice": "Add a new migration.",
} if {
	writes
	glob(input.resource.id, "/**/migrations/applied/**")
}

escalate contains {"id": "deploy", "reason": "A deployment needs a human."} if {
	executes
	is(input.resource.id, "/usr/local/bin/deploy")
}
