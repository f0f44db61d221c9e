package mine_test

effect(name, id) := result if {
	result := data.authz.decision.effect with input as {"action": {"name": name}, "resource": {"id": id}}
}

test_applied_migrations if effect("file.write", "/src/app/migrations/applied/001.sql") == "deny"

test_deploy if effect("process.exec", "/usr/local/bin/deploy") == "escalate"
