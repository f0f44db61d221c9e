# coding-agent, network: package registries, code hosts and the model's host. Their addresses change
# and their names are known only where name lookups are followed, so the ports decide
# (data.authz.ports: 22, 80, 443), anywhere but on the link-local networks, where clouds serve
# credentials. To narrow it, set data.authz.ports to [] and allow by `input.resource.properties.names`
# or by address blocks.
package authz

unix_path := trim_prefix(input.resource.id, "unix:") if startswith(input.resource.id, "unix:")

ip := input.resource.properties.ip

loopback := {"127.0.0.0/8", "::1/128"}

link_local := {"169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128"}

deny contains {
	"id": "coding-agent-link-local",
	"reason": "Link-local addresses serve the credentials of the machine.",
	"advice": "Use credentials that the user gave to this session.",
} if {
	connects
	in_cidr(ip, link_local)
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
	in_cidr(ip, loopback)
}

# A server of the agent's own, on a port that needs no privilege.
allow contains {"id": "coding-agent-listen"} if {
	input.action.name == "net.bind"
	port := input.resource.properties.port
	unprivileged(port)
}

unprivileged(port) if port == 0

unprivileged(port) if port >= 1024

# Sockets behind which somebody with more rights than the agent does as told, holds keys, or takes
# keystrokes.
control_sockets := {
	"/run/docker.sock", "/var/run/docker.sock", "/run/containerd", "/run/podman", "/run/crio",
	"/run/dbus", "/var/run/dbus", "/run/libvirt", "/run/snapd.socket", "/run/snapd-snap.socket",
	"/run/lxd", "/var/snap/lxd", "/var/lib/lxd", "/run/incus", "/run/systemd", "/run/udev",
	"/run/initctl", "/tmp/.X11-unix",
}

# The parts of systemd's folder that the C library uses to look up names and to log.
harmless_sockets := {
	"/run/systemd/journal", "/run/systemd/resolve", "/run/systemd/userdb", "/run/systemd/notify",
}

control_patterns := {
	"/run/user/*/bus", "/run/user/*/systemd/**", "/run/user/*/docker.sock", "/run/user/*/podman/**",
	"/run/user/*/gnupg/**", "/run/user/*/keyring/**", "/run/user/*/wayland-*", "/tmp/ssh-*/**",
	"/tmp/tmux-*/**", "/tmp/dbus-*", "@/containerd-shim/**", "@/tmp/.X11-unix/*", "@/tmp/dbus-*",
	"/**/.docker/**/*.sock", "/**/.gnupg/**",
}

control if {
	under(unix_path, control_sockets)
	not under(unix_path, harmless_sockets)
}

control if glob(unix_path, control_patterns)

deny contains {
	"id": "coding-agent-control-socket",
	"reason": "Whoever listens there acts with more rights than the agent has.",
	"advice": "Ask the user to run the step that needs it.",
} if {
	input.action.name in {"net.connect", "net.bind"}
	control
}

allow contains {"id": "coding-agent-unix"} if {
	input.action.name in {"net.connect", "net.bind"}
	unix_path
}

# The C library's resolver asks the kernel for the machine's addresses (NETLINK_ROUTE).
allow contains {"id": "coding-agent-resolver"} if {
	input.action.name == "system.socket"
	input.resource.id == "netlink:0"
}
