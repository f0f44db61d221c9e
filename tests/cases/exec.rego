# The policy of exec-path.toml.
package authz

allow contains {"id": "rest"} if true

deny contains {"id": "program", "reason": "This program is closed to agents."} if {
	executes
	under(input.resource.id, "/vol/exec/denied")
}

deny contains {"id": "unnamed", "reason": "This code has no file."} if {
	executes
	startswith(input.resource.id, "anon:memfd:")
}
