#!/bin/sh
# sandbox.sh WORK TOOLS COMMAND...: COMMAND in a root of its own, where only WORK (seen as /w) and memory can be
# written; TOOLS is seen as /tools, the project as /project. Random operations of root must not reach the machine's own
# files. With SANDBOX_NET the network is its own too.
set -e
work=$1
tools=$2
project=$(realpath "$(dirname "$0")/../..")
[ "${SANDBOX_READY-}" ] || exec env SANDBOX_READY=1 unshare --mount ${SANDBOX_NET:+--net} --propagation private "$0" "$@"
unset SANDBOX_READY
shift 2
root=/mnt
mount -t tmpfs -o mode=755 sandbox "$root"
cd "$root"
mkdir usr etc proc dev w tools project tmp run home old
chmod 1777 tmp home
for name in bin sbin lib lib64; do
    if [ -L "/$name" ]; then cp -P "/$name" .; fi
done
for name in usr etc; do
    mount --rbind "/$name" "$name"
    mount -o remount,bind,ro "$name"
done
mount --bind "$work" w
mount --bind "$tools" tools
mount --bind "$project" project
mount -o remount,bind,ro tools
mount -o remount,bind,ro project
mount -t proc proc proc
for device in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 666 "dev/${device%:*}" c 1 "${device#*:}"
done
mkdir dev/pts
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
pivot_root . old
umount -l old
rmdir old
cd /w
export HOME=/home TMPDIR=/tmp PATH=/tools:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec "$@"
