# prod-readonly: a production host. Nothing changes what the inventory marks as production
# (data.authz.production, directories); reading and everything else is allowed. Actions of the system
# are not allowed by default, so mounting over production is denied too.
#
# It states no floor: a floor adds up what is allowed, and cannot take /prod out of /.
package authz

deny contains {
	"id": "prod-readonly",
	"reason": "Agents do not change production files.",
	"advice": "Write to a staging folder and open a change request.",
} if {
	writes
	under(trim_prefix(input.resource.id, "foreign:"), data.authz.production)
}

# Moving a directory moves the production files below it.
deny contains {
	"id": "prod-readonly-parent",
	"reason": "This directory holds production files; moving it moves them.",
	"advice": "Leave the directory in place.",
} if {
	input.action.name == "file.rename"
	some directory in data.authz.production
	under(directory, trim_prefix(input.resource.id, "foreign:"))
}

deny contains {
	"id": "prod-readonly-unknown",
	"reason": "The file could not be named, so it may be a production file.",
	"advice": "Open it by its absolute path.",
} if {
	writes
	startswith(input.resource.id, "unknown:")
}

# The C library's resolver asks the kernel for the machine's addresses (NETLINK_ROUTE).
allow contains {"id": "prod-readonly-resolver"} if {
	input.action.name == "system.socket"
	input.resource.id == "netlink:0"
}
