# Conditions on the action.
package authz

reads if input.action.name == "file.read"

# Any action that changes a file, its name or its attributes.
writes if input.action.name in {
	"file.write", "file.create", "file.delete",
	"file.rename", "file.link", "file.setattr",
}

executes if input.action.name == "process.exec"

connects if input.action.name == "net.connect"
