package observe_all_test

test_everything_is_allowed if {
	some name in ["file.write", "process.exec", "net.connect", "system.mount", "process.ptrace", "tool.call"]
	decision := data.authz.decision with input as {"action": {"name": name}, "resource": {"id": "/x"}}
	decision.effect == "allow"
}

test_authz_itself_is_protected if {
	decision := data.authz.decision with input as {
		"action": {"name": "file.write"},
		"resource": {"id": "/run/authz/socket"},
	}
		with data.authz.protected as ["/run/authz"]
	decision.effect == "deny"
	decision.rules[0].id == "authz-protected"
}

test_the_signing_key_is_not_read if {
	some path in ["/var/lib/authz/key", "foreign:/var/lib/authz/key"]
	decision := data.authz.decision with input as {"action": {"name": "file.read"}, "resource": {"id": path}}
		with data.authz.protected as ["/run/authz", "/var/lib/authz"]
	decision.effect == "deny"
	decision.rules[0].id == "authz-protected"
}

test_the_public_key_is_read if {
	decision := data.authz.decision with input as {
		"action": {"name": "file.read"},
		"resource": {"id": "/var/lib/authz/key.pub"},
	}
		with data.authz.protected as ["/var/lib/authz"]
	decision.effect == "allow"
}
