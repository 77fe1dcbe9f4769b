#!/bin/sh
# The first process of a node: makes the node's own view of the machine and stays. Everything of the node runs in the
# process, mount and network namespaces that it holds, and ends with it.
#
#   enter.sh DIRECTORY    cni configuration and kernel settings lie there; `ready` is written when all is in place
set -eu
directory=$1

mount --make-rprivate /
# The control groups are the machine's, whichever their version; the interfaces under /sys are the node's.
mkdir -p "$directory/cgroup"
mount --rbind /sys/fs/cgroup "$directory/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$directory/cgroup" /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
for own in /run /var/lib /var/log; do
    mount -t tmpfs -o mode=755 tmpfs "$own"
done
# Plugins and their configuration lie where they usually do, which is the node's own too.
mount -t tmpfs -o mode=755 tmpfs /opt
mkdir -p /opt/cni/bin /run/etc/upper /run/etc/work
ln -s /usr/lib/cni/* /opt/cni/bin/
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work overlay /etc
mkdir -p /etc/cni/net.d
cp "$directory"/cni/* /etc/cni/net.d/
mkdir -p /run/lock /var/lib/kubelet /var/lib/containerd /var/log/pods
# kubelet wants these settings of the whole machine, and sets what differs: it is shown what it wants to see.
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    name=${setting%%=*}
    [ -e "/proc/sys/$name" ] || continue
    shown=$directory/$(echo "$name" | tr / -)
    echo "${setting#*=}" >"$shown"
    mount --bind "$shown" "/proc/sys/$name"
done
mount --make-rshared /
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
: >"$directory/ready"
# It is the first process here, so it also buries what nobody else waits for.
trap : TERM INT
while :; do sleep 3600 & wait $! || :; done
