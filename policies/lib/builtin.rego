# Built-in functions whose name space a predicate of package authz hides: there `glob` is the predicate.
package authz_lib

glob_match(path, pattern) if glob.match(pattern, ["/"], path)
