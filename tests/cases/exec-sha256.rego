# The policy of exec-sha256.toml: data.authz.denied_programs are hashes.
package authz

allow contains {"id": "rest"} if true

deny contains {"id": "content", "reason": "This program is closed to agents, whatever its name."} if {
	executes
	input.resource.properties.sha256 in data.authz.denied_programs
}
