# coding-agent, files: reads but for secrets, writes in the workspace (data.authz.workspace, given by
# the daemon: the folder the session started in and the caches of the home folder) and in the temporary
# folders (data.authz.temporary).
#
# The lists are data of the preset (data.authz.coding_agent): a data file that names one replaces it.
# Not treated as secrets: files such as .env and .npmrc, which the builds of a workspace read.
package authz

path := trim_prefix(input.resource.id, "foreign:")

secret if has_name(path, data.authz.coding_agent.secret_names)

secret if is(path, data.authz.coding_agent.secret_files)

secret if glob(path, data.authz.coding_agent.secret_patterns)

touches_a_file if reads

touches_a_file if writes

deny contains {
	"id": "coding-agent-secret",
	"reason": "Agents do not read or change credentials.",
	"advice": "Ask the user to run the step that needs the credential.",
} if {
	touches_a_file
	secret
}

allow contains {"id": "coding-agent-read"} if {
	reads
	strings.any_prefix_match(input.resource.id, ["/", "anon:"])
}

allow contains {"id": "coding-agent-workspace"} if {
	writes
	under(input.resource.id, data.authz.workspace)
}

allow contains {"id": "coding-agent-temporary"} if {
	writes
	under(input.resource.id, data.authz.temporary)
}

allow contains {"id": "coding-agent-device"} if {
	writes
	is(input.resource.id, data.authz.coding_agent.devices)
}

allow contains {"id": "coding-agent-terminal"} if {
	writes
	under(input.resource.id, "/dev/pts")
}

# What holds even when nobody is left to decide: the same folders and devices. Data of these names that a
# data file changes change the floor with them.
floor.write contains folder if some folder in data.authz.workspace

floor.write contains folder if some folder in data.authz.temporary

floor.write contains device if some device in data.authz.coding_agent.devices

floor.write contains "/dev/pts"

# Pipes, sockets, event descriptors and memory files of the agent itself.
allow contains {"id": "coding-agent-anonymous"} if {
	writes
	startswith(input.resource.id, "anon:")
}
