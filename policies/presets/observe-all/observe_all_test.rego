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
