package prod_readonly_test

effect(name, id) := result if {
	result := data.authz.decision.effect with input as {"action": {"name": name}, "resource": {"id": id}}
}

changes := ["file.write", "file.create", "file.delete", "file.rename", "file.link", "file.setattr"]

test_production_does_not_change if {
	every name in changes {
		effect(name, "/prod/config.yaml") == "deny"
		effect(name, "/prod") == "deny"
		effect(name, "foreign:/prod/config.yaml") == "deny"
		effect(name, "unknown:/prod/config.yaml") == "deny"
	}
}

test_a_name_that_only_begins_alike_is_not_production if {
	every name in changes {
		effect(name, "/production/config.yaml") == "allow"
	}
}

test_reading_and_running_is_allowed if {
	effect("file.read", "/prod/config.yaml") == "allow"
	effect("process.exec", "/usr/bin/git") == "allow"
	effect("net.connect", "tcp://192.0.2.1:443") == "allow"
}

test_the_parent_of_production_stays if {
	effect("file.rename", "/srv") == "deny" with data.authz.production as ["/srv/prod"]
	effect("file.write", "/srv/x") == "allow" with data.authz.production as ["/srv/prod"]
}

test_the_system_is_denied_but_for_the_resolver if {
	effect("system.mount", "/prod") == "deny"
	effect("process.ptrace", "1") == "deny"
	effect("system.socket", "netlink:9") == "deny"
	effect("system.socket", "netlink:0") == "allow"
}
