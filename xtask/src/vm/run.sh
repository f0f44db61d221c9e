# Process 1, second half: the rest of a usual system, then the command, then its status and power off.
B=/run/vm/busybox
. /run/vm/conf
mnt() { $B mkdir -p "$5"; $B mount -t "$1" -o "$2" "$3" "$5" || echo "vm: no $1 on $5"; }
mnt devpts ptmxmode=666,gid=5,mode=620 devpts on /dev/pts
mnt tmpfs mode=1777 tmpfs on /dev/shm
mnt mqueue rw mqueue on /dev/mqueue
mnt securityfs rw securityfs on /sys/kernel/security
mnt tracefs rw tracefs on /sys/kernel/tracing
mnt debugfs rw debugfs on /sys/kernel/debug
mnt cgroup2 nsdelegate cgroup2 on /sys/fs/cgroup
# Without modprobe: it would fetch bpf_preload's iterators, 0.7 s when emulated.
read -r modprobe < /proc/sys/kernel/modprobe
echo > /proc/sys/kernel/modprobe
mnt bpf mode=700 bpf on /sys/fs/bpf
echo "$modprobe" > /proc/sys/kernel/modprobe
for link in fd:/proc/self/fd stdin:/proc/self/fd/0 stdout:/proc/self/fd/1 stderr:/proc/self/fd/2; do
  [ -e "/dev/${link%%:*}" ] || $B ln -s "${link#*:}" "/dev/${link%%:*}"
done
# Opening these loads their modules.
$B mkdir -p /dev/net
$B mknod /dev/loop-control c 10 237
$B mknod -m 666 /dev/net/tun c 10 200
$B hostname authz-vm
$B ip link set lo up
echo "+cpu +memory +pids +io" > /sys/fs/cgroup/cgroup.subtree_control
if [ -n "$AUTHZ" ]; then $B mkdir -p /usr/local/bin; $B cp "$AUTHZ" /usr/local/bin/authz; fi
cd "$PROJECT" || cd /

n=0
until [ -c /dev/vport0p3 ]; do n=$((n + 1)); [ $n -gt 100 ] && echo "vm: no ports" && $B poweroff -f; $B usleep 50000; done
exec 3>/dev/vport0p1
echo ready >&3
if [ -n "$SHELL_WANTED" ]; then
  $B setsid -c $B sh /run/vm/command </dev/hvc0 >/dev/hvc0 2>&1 3>&-
  status=$?
else
  # Pipes, so that the command sees what it sees under any other harness, and /dev/stdout can be opened again.
  $B mkfifo -m 600 /run/vm/out /run/vm/err
  $B cat /run/vm/out >/dev/vport0p2 3>&- & out=$!
  $B cat /run/vm/err >/dev/vport0p3 3>&- & err=$!
  $B setsid $B sh /run/vm/command </dev/null >/run/vm/out 2>/run/vm/err 3>&- & command=$!
  wait $command
  status=$?
  # Whatever the command left running would hold the pipes open.
  for dir in /proc/[0-9]*; do
    pid=${dir#/proc/}
    case $pid in 1 | $out | $err) ;; *) kill -9 $pid 2>/dev/null ;; esac
  done
  n=0
  while [ -e /proc/$out/exe ] || [ -e /proc/$err/exe ]; do # a zombie has none
    n=$((n + 1)); [ $n -gt 100 ] && echo "vm: output not drained" && break
    $B usleep 20000
  done
fi
$B sync
echo "exit $status" >&3
$B poweroff -f
