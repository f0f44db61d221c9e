# Conditions on the action.
package authz

reads if input.action.name == "file.read"

# Any action that changes a file, its name or its attributes: write, create, delete, rename, link and
# setattr, which is every action on files but reading.
writes if {
	startswith(input.action.name, "file.")
	input.action.name != "file.read"
}

executes if input.action.name == "process.exec"

connects if input.action.name == "net.connect"
