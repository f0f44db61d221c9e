# observe-all: everything is allowed, so that everything is recorded. For a first look at what an
# agent does, and for writing a policy from it.
package authz

allow contains {"id": "observe-all", "reason": "Everything is allowed and recorded."} if true
