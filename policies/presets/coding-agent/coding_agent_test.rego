package coding_agent_test

decided(name, resource) := result if {
	result := data.authz.decision.effect with input as {"action": {"name": name}, "resource": resource}
		with data.authz.workspace as ["/home/dev/project", "/home/dev/.cache"]
}

effect(name, id) := decided(name, {"id": id})

tcp(ip, port) := decided("net.connect", {
	"id": sprintf("tcp://%s:%d", [ip, port]),
	"properties": {"ip": ip, "port": port, "protocol": "tcp"},
})

test_reads_but_not_secrets if {
	effect("file.read", "/usr/include/stdio.h") == "allow"
	effect("file.read", "/home/dev/project/.env") == "allow"
	effect("file.read", "/home/dev/.ssh/id_ed25519") == "deny"
	effect("file.read", "/home/dev/.aws/credentials") == "deny"
	effect("file.read", "foreign:/home/dev/.aws/credentials") == "deny"
	effect("file.read", "/etc/shadow") == "deny"
	effect("file.read", "/etc/ssh/ssh_host_rsa_key") == "deny"
	effect("file.read", "/proc/42/environ") == "deny"
	effect("file.read", "unknown:/x") == "deny"
}

test_writes_in_the_workspace_only if {
	effect("file.write", "/home/dev/project/src/main.rs") == "allow"
	effect("file.create", "/tmp/x") == "allow"
	effect("file.delete", "/home/dev/.cache/pip/x") == "allow"
	effect("file.write", "/dev/null") == "allow"
	effect("file.write", "/dev/pts/3") == "allow"
	effect("file.write", "anon:pipe") == "allow"
	effect("file.write", "/home/dev/.bashrc") == "deny"
	effect("file.write", "/home/dev/project-2/x") == "deny"
	effect("file.write", "/etc/passwd") == "deny"
	effect("file.write", "foreign:/home/dev/project/x") == "deny"
}

test_the_floor_is_where_writes_are_allowed if {
	floor := data.authz.floor with data.authz.workspace as ["/home/dev/project"]
	floor.scope == {"signals"}
	{"/home/dev/project", "/tmp", "/dev/null", "/dev/pts"} - floor.write == set()
	every path in floor.write {
		effect("file.write", path) == "allow" with data.authz.workspace as ["/home/dev/project"]
	}
}

test_programs if {
	effect("process.exec", "/usr/bin/git") == "allow"
	effect("process.exec", "/usr/bin/sudo") == "deny"
	effect("process.exec", "anon:memfd:payload") == "escalate"
	effect("process.ptrace", "1") == "deny"
}

test_network if {
	tcp("192.0.2.7", 443) == "allow"
	tcp("192.0.2.7", 25) == "deny"
	tcp("169.254.169.254", 80) == "deny"
	tcp("127.0.0.1", 5432) == "allow"
	decided("net.connect", {"id": "udp://[::1]:53", "properties": {"ip": "::1", "port": 53}}) == "allow"
	decided("net.bind", {"id": "tcp://0.0.0.0:8080", "properties": {"ip": "0.0.0.0", "port": 8080}}) == "allow"
	decided("net.bind", {"id": "tcp://0.0.0.0:80", "properties": {"ip": "0.0.0.0", "port": 80}}) == "deny"
}

test_unix_sockets if {
	effect("net.connect", "unix:/tmp/server.sock") == "allow"
	effect("net.connect", "unix:anon") == "allow"
	effect("net.connect", "unix:/run/docker.sock") == "deny"
	effect("net.connect", "unix:/run/dbus/system_bus_socket") == "deny"
	effect("net.connect", "unix:/run/user/1000/bus") == "deny"
	effect("net.connect", "unix:/run/systemd/private") == "deny"
	effect("net.connect", "unix:/run/systemd/journal/socket") == "allow"
	effect("net.connect", "unix:@/containerd-shim/x/y.sock") == "deny"
}

test_system if {
	effect("system.socket", "netlink:0") == "allow"
	effect("system.socket", "netlink:9") == "deny"
	effect("system.mount", "/mnt") == "deny"
}
