package demo_policy_test

effect(name, id) := result if {
	result := data.authz.decision.effect with input as {"action": {"name": name}, "resource": {"id": id}}
		with data.authz.workspace as ["/work"]
}

tcp(ip, port) := result if {
	result := data.authz.decision.effect with input as {
		"action": {"name": "net.connect"},
		"resource": {"id": sprintf("tcp://%s:%d", [ip, port]), "properties": {"ip": ip, "port": port}},
	}
}

test_files if {
	effect("file.write", "/prod/config.yaml") == "deny"
	effect("file.delete", "/prod") == "deny"
	effect("file.write", "/srv/release/VERSION") == "escalate"
	effect("file.create", "/work/a.py") == "allow"
	effect("file.write", "/etc/passwd") == "deny"
	effect("file.read", "/prod/config.yaml") == "allow"
}

test_programs if {
	effect("process.exec", "/usr/bin/mount") == "deny"
	effect("process.exec", "/usr/bin/git") == "allow"
}

test_network if {
	tcp("127.0.0.1", 8080) == "allow"
	tcp("127.0.0.1", 9999) == "deny"
	tcp("192.0.2.1", 8080) == "deny"
	effect("net.connect", "unix:/run/docker.sock") == "deny"
}
