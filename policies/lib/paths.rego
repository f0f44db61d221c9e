# Predicates on paths. In scope of every policy, since this is package authz too.
package authz

# under(path, directory): the directory itself or anything below it. `/prod` has `/prod` and `/prod/x`
# under it, not `/production`; `/` has every absolute path; an empty directory has nothing. The second
# argument may be an array or a set of directories, each with or without a `/` at its end.
under(path, directory) if {
	is_string(directory)
	below(path, directory)
}

under(path, directories) if {
	not is_string(directories)

	# One native scan settles the usual case, a path under none of them.
	strings.any_prefix_match(concat("", [path, "/"]), directories)
	under_any(path, directories)
}

# A short list is scanned; in a long one the few ancestors of the path are looked up.
under_any(path, directories) if {
	count(directories) <= 16
	some directory in directories
	below(path, directory)
}

under_any(path, directories) if {
	count(directories) > 16
	some ancestor in ancestors(path)
	ancestor in directories
}

under_any(path, directories) if {
	count(directories) > 16
	some ancestor in ancestors(path)
	concat("", [trim_suffix(ancestor, "/"), "/"]) in directories
}

# "/a/b" has the ancestors "/", "/a" and itself.
ancestors(path) := {"/"} | {ancestor |
	names := split(trim_right(path, "/"), "/")
	some length in numbers.range(1, count(names))
	length > 1
	ancestor := concat("/", array.slice(names, 0, length))
} if {
	startswith(path, "/")
} else := {path} if {
	path != ""
}

below(path, directory) if {
	directory != ""
	startswith(path, concat("", [trim_suffix(directory, "/"), "/"]))
}

below(path, directory) if {
	path != ""
	path == trim_suffix(directory, "/")
}

# is(path, exact): equal, or a member of an array or set.
is(path, exact) if {
	is_string(exact)
	path == exact
}

is(path, exact) if {
	not is_string(exact)
	path in exact
}

# glob(path, pattern): `*` and `?` stay within a name, `**` crosses names. The second argument may be an
# array or a set of patterns.
glob(path, pattern) if {
	is_string(pattern)
	data.authz_lib.glob_match(path, pattern)
}

glob(path, patterns) if {
	not is_string(patterns)
	some pattern in patterns
	data.authz_lib.glob_match(path, pattern)
}

# has_name(path, names): a name in the path, such as `.ssh`, at any depth. The second argument may be an array
# or a set of names.
has_name(path, names) if {
	some name in split(path, "/")
	one_of(name, names)
}

# named(path, names): the last name of the path.
named(path, names) if {
	parts := split(path, "/")
	one_of(parts[count(parts) - 1], names)
}

one_of(name, names) if {
	is_string(names)
	name == names
}

one_of(name, names) if {
	not is_string(names)
	name in names
}
