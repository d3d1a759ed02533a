# Run by `unshare --net --mount --pid --fork`: makes the root of a machine, and is its first process.
# The machine sees the files of this computer; what it writes stays in memory and is lost with it.
# Arguments: a folder for its root, then folders of this computer that it shares, the first one also as /site.
set -e
folder=$1
shift
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" overlay "$folder/root"
mkdir "$folder/root/site"
mount --bind "$1" "$folder/root/site"
for shared; do
  mkdir -p "$folder/root$shared"
  # A folder that another process changes may not be read through an overlay.
  mount --bind "$shared" "$folder/root$shared"
done
cd "$folder/root"
mount -t proc proc proc
mount --rbind /dev dev
mount -t sysfs sysfs sys
mount -t bpf bpf sys/fs/bpf
mount -t tmpfs -o mode=755 tmpfs run
mkdir run/proc
mount -t proc proc run/proc
mkdir -p run/cilium/cgroupv2 var/lib/cilium/bpf etc/cni/net.d opt/cni/bin host
mount -t cgroup2 cgroup2 run/cilium/cgroupv2
# What this computer has of a CNI is not the machine's.
for own in etc/cni/net.d opt/cni/bin var/lib/cilium; do
  mount -t tmpfs -o mode=755 tmpfs "$own"
done
mkdir var/lib/cilium/bpf
# Settings that have no namespace stay as they are.
for global in proc/sys/kernel run/proc/sys/kernel; do
  mount --bind "$global" "$global"
  mount -o remount,bind,ro "$global"
done
ln -sfn /proc host/proc
ln -sfn /etc host/etc
ln -sfn /opt host/opt
mkdir .before
pivot_root . .before
umount -l /.before
rmdir /.before
ip link set lo up
exec sleep infinity
