# coding-agent, programs: any program but those that change who the agent is, and code that has no
# file. Tools may be called; what a tool does to files and addresses is decided as that.
package authz

deny contains {
	"id": "coding-agent-privileged",
	"reason": "This program acts with the rights of another user or outside the session.",
	"advice": "Ask the user to run it.",
} if {
	executes
	named(input.resource.id, data.authz.coding_agent.privileged_programs)
}

escalate contains {
	"id": "coding-agent-anonymous-code",
	"reason": "The code to run has no file that could be judged.",
	"advice": "Write the program to a file in the workspace and run that.",
} if {
	executes
	startswith(input.resource.id, "anon:")
}

# Nothing here allows signals to processes outside, so the kernel can refuse them by itself.
floor.scope contains "signals"

allow contains {"id": "coding-agent-exec"} if {
	executes
	startswith(input.resource.id, "/")
}

allow contains {"id": "coding-agent-tool"} if input.action.name == "tool.call"
