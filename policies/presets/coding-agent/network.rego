# coding-agent, network: package registries, code hosts and the model's host. Their addresses change
# and their names are known only where name lookups are followed, so the ports decide
# (data.authz.ports: 22, 80, 443), anywhere but on the link-local networks, where clouds serve
# credentials. To narrow it, set data.authz.ports to [] and allow by `input.resource.properties.names`
# or by address blocks.
package authz

unix_path := trim_prefix(input.resource.id, "unix:") if startswith(input.resource.id, "unix:")

ip := input.resource.properties.ip

deny contains {
	"id": "coding-agent-link-local",
	"reason": "Link-local addresses serve the credentials of the machine.",
	"advice": "Use credentials that the user gave to this session.",
} if {
	connects
	in_cidr(ip, data.authz.coding_agent.link_local)
}

allow contains {"id": "coding-agent-services"} if {
	connects
	port_is(data.authz.ports)
}

allow contains {"id": "coding-agent-dns"} if {
	connects
	port_is(53)
}

allow contains {"id": "coding-agent-loopback"} if {
	connects
	in_cidr(ip, data.authz.coding_agent.loopback)
}

# A server of the agent's own, on a port that needs no privilege.
allow contains {"id": "coding-agent-listen"} if {
	input.action.name == "net.bind"
	port := input.resource.properties.port
	unprivileged(port)
}

unprivileged(port) if port == 0

unprivileged(port) if port >= 1024

control if {
	under(unix_path, data.authz.coding_agent.control_sockets)
	not under(unix_path, data.authz.coding_agent.harmless_sockets)
}

control if glob(unix_path, data.authz.coding_agent.control_patterns)

deny contains {
	"id": "coding-agent-control-socket",
	"reason": "Whoever listens there acts with more rights than the agent has.",
	"advice": "Ask the user to run the step that needs it.",
} if {
	startswith(input.action.name, "net.")
	control
}

allow contains {"id": "coding-agent-unix"} if {
	startswith(input.action.name, "net.")
	unix_path
}

# The C library's resolver asks the kernel for the machine's addresses (NETLINK_ROUTE).
allow contains {"id": "coding-agent-resolver"} if {
	input.action.name == "system.socket"
	input.resource.id == "netlink:0"
}
