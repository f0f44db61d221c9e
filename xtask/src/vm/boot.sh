#!/bin/busybox sh
# Process 1, first half: puts the machine's own root, with throwaway writes on top, in place of the initramfs.
B=/bin/busybox
die() { echo "vm: $*"; $B sleep 1; $B poweroff -f; }
$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
$B mount -t devtmpfs dev /dev
. /vm/conf # PROJECT: the project's folder; RW: `tag folder` lines

for module in /modules/*.ko; do $B insmod "$module" || die "cannot load $module"; done

# `loose`: the host's files are taken as unchanging while the machine runs.
p9=trans=virtio,version=9p2000.L,msize=512000
$B mkdir -p /low /throwaway /new /scratch
$B mount -t 9p -o "$p9,ro,cache=loose" root /low || die "no root over 9p"
$B mount -t tmpfs -o size=80%,mode=755 tmpfs /throwaway
$B mkdir /throwaway/upper /throwaway/work
$B mount -t overlay -o lowerdir=/low,upperdir=/throwaway/upper,workdir=/throwaway/work overlay /new || die "no overlay"

# Fresh /tmp and /run; a project that lies inside stays visible.
for name in tmp run; do
  $B mkdir -p /new/$name
  $B mount -t tmpfs -o mode=1777,size=50% tmpfs /scratch
  case "$PROJECT/" in
    /$name/*) $B mkdir -p "/scratch/${PROJECT#/$name/}"; $B mount -o bind "/new$PROJECT" "/scratch/${PROJECT#/$name/}" ;;
  esac
  $B mount -o move /scratch /new/$name
done
$B chmod 755 /new/run
$B ls /new/root >/dev/null 2>&1 || $B mount -t tmpfs -o mode=700 tmpfs /new/root

for name in proc sys dev; do $B mkdir -p /new/$name; $B mount -o move /$name /new/$name; done
release=$($B uname -r)
$B mkdir -p "/new/lib/modules/$release"
$B mount -t 9p -o "$p9,ro,cache=loose" modules "/new/lib/modules/$release" || die "no modules over 9p"
while read -r tag folder; do
  [ -n "$tag" ] || continue
  $B mkdir -p "/new$folder"
  $B mount -t 9p -o "$p9,cache=mmap" "$tag" "/new$folder" || die "cannot share $folder"
done < /vm/rw

$B mkdir /new/run/vm
$B cp /bin/busybox /vm/* /new/run/vm/
exec $B switch_root /new /run/vm/busybox sh /run/vm/run.sh
