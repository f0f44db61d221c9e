#!/bin/sh
# Works in $1, which is empty: version control, archives, threads, sockets, temporary files, builds, scripts.
# Says what it found, alike each time.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$1"
export HOME="$1" TMPDIR="$1" LC_ALL=C TZ=UTC PYTHONDONTWRITEBYTECODE=1
export GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.com GIT_COMMITTER_NAME=a \
	GIT_COMMITTER_EMAIL=a@example.com GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'

mkdir repository && cd repository
git init -q -b main .
for n in 1 2 3 4 5; do echo "file $n" > "f$n"; done
git add . && git commit -qm first
git mv f1 moved && git commit -qm second
git log --format=%H
git status --short
cd ..

mkdir tree && cp -r repository/f2 repository/f3 tree/
ln -s f2 tree/symbolic && ln tree/f3 tree/second && chmod 600 tree/f2 && : > tree/f3
tar --sort=name --mtime=@0 --owner=0 --group=0 -cf tree.tar tree
sha256sum tree.tar
mkdir out && tar -xf tree.tar -C out && mv out/tree/f2 out/renamed && rmdir -- "$(mktemp -d)" && rm -r tree

python3 -S "$here/workload.py"
node "$here/workload.js"

printf 'all: one two\none two:\n\techo $@ > $@\n.PHONY: all\n' > Makefile
make -s -j2 && cat one two
printf '#!/bin/sh\necho script "$@"\n' > script && chmod +x script && ./script runs
printf '#!/usr/bin/env -S sh -e\necho another\n' > another && chmod +x another && ./another
(exit 7) || echo "status $?"
find . -path ./repository/.git -prune -o -printf '%y %m %p\n' | sort
find . -path ./repository/.git -prune -o -type f -print0 | sort -z | xargs -0 sha256sum
