# Predicates on network addresses.
package authz

# in_cidr(ip, cidr): the address is in the block. The second argument may be an array or a set of blocks.
in_cidr(ip, cidr) if {
	is_string(cidr)
	net.cidr_contains(cidr, ip)
}

in_cidr(ip, cidrs) if {
	not is_string(cidrs)
	some cidr in cidrs
	net.cidr_contains(cidr, ip)
}

# port_is(port): the port of the address. The argument may be an array or a set of ports.
port_is(port) if {
	is_number(port)
	input.resource.properties.port == port
}

port_is(ports) if {
	not is_number(ports)
	input.resource.properties.port in ports
}
