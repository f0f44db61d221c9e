# coding-agent, files: reads but for secrets, writes in the workspace (data.authz.workspace, given by
# the daemon: the folder the session started in and the caches of the home folder) and in the temporary
# folders (data.authz.temporary).
#
# Not treated as secrets: files such as .env and .npmrc, which the builds of a workspace read.
package authz

secret_names := {
	".ssh", ".aws", ".azure", ".gnupg", ".kube", ".docker", ".password-store",
	".netrc", ".git-credentials", ".pgpass", ".vault-token", "gcloud", "keyrings",
}

secret_files := {
	"/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/sudoers",
	"/etc/krb5.keytab", "/dev/mem", "/dev/kmem", "/proc/kcore",
}

secret_patterns := {
	"/etc/sudoers.d/**", "/etc/ssh/*_key", "/etc/ssl/private/**",
	"/proc/*/environ", "/proc/*/mem", "/proc/*/task/*/environ", "/proc/*/task/*/mem",
}

path := trim_prefix(input.resource.id, "foreign:")

secret if {
	some name in split(path, "/")
	name in secret_names
}

secret if path in secret_files

secret if {
	strings.any_prefix_match(path, {"/etc/", "/proc/"})
	glob(path, secret_patterns)
}

touches_a_file if reads

touches_a_file if writes

deny contains {
	"id": "coding-agent-secret",
	"reason": "Agents do not read or change credentials.",
	"advice": "Ask the user to run the step that needs the credential.",
} if {
	touches_a_file
	secret
}

allow contains {"id": "coding-agent-read"} if {
	reads
	strings.any_prefix_match(input.resource.id, ["/", "anon:"])
}

devices := {"/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/ptmx", "/dev/random", "/dev/urandom"}

allow contains {"id": "coding-agent-workspace"} if {
	writes
	under(input.resource.id, data.authz.workspace)
}

allow contains {"id": "coding-agent-temporary"} if {
	writes
	under(input.resource.id, data.authz.temporary)
}

allow contains {"id": "coding-agent-device"} if {
	writes
	is(input.resource.id, devices)
}

allow contains {"id": "coding-agent-terminal"} if {
	writes
	under(input.resource.id, "/dev/pts")
}

# Pipes, sockets, event descriptors and memory files of the agent itself.
allow contains {"id": "coding-agent-anonymous"} if {
	writes
	startswith(input.resource.id, "anon:")
}
