# The policy of net.toml.
package authz

allow contains {"id": "rest"} if not connects

allow contains {"id": "reachable"} if connects

deny contains {"id": "port", "reason": "This port is closed to agents."} if {
	connects
	port_is(7101)
}

deny contains {"id": "address", "reason": "This host is closed to agents."} if {
	connects
	in_cidr(input.resource.properties.ip, "127.0.0.2/32")
}

deny contains {"id": "socket", "reason": "This socket is closed to agents."} if {
	connects
	input.resource.id in {
		"unix:/vol/net/denied.stream", "unix:/vol/net/denied.dgram", "unix:@cases-denied", "unix:@cases-denied.dgram",
	}
}
