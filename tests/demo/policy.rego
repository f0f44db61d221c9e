# The demonstration's policy: what a careful team would give a coding agent on a build server.
package authz

deny contains {
	"id": "prod-readonly",
	"reason": "Agents do not change production files.",
	"advice": "Write to the workspace and open a change request.",
} if {
	writes
	under(input.resource.id, "/prod")
}

deny contains {
	"id": "no-mount",
	"reason": "Agents do not run mount(8).",
} if {
	executes
	is(input.resource.id, ["/usr/bin/mount", "/bin/mount"])
}

deny contains {
	"id": "test-server-only",
	"reason": "Agents reach the test server on this host and nothing else.",
} if {
	connects
	not reaches_test_server
}

escalate contains {
	"id": "release",
	"reason": "A release needs a human.",
} if {
	writes
	under(input.resource.id, "/srv/release")
}

reaches_test_server if {
	in_cidr(input.resource.properties.ip, "127.0.0.0/8")
	port_is(8080)
}

allow contains {"id": "test-server"} if {
	connects
	reaches_test_server
}

allow contains {"id": "read"} if reads

allow contains {"id": "run"} if executes

allow contains {"id": "workspace"} if {
	writes
	under(input.resource.id, data.authz.workspace)
}

allow contains {"id": "own-descriptors"} if {
	writes
	is(input.resource.id, ["/dev/null", "/dev/tty"])
}
