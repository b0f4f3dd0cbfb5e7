#!/bin/bash
# Stage 2, process 1 of the guest: mount what a Debian system has, run the one command that lies in
# /run/guest/command, leave its exit code in /run/guest/status, power off. Its output goes to the
# virtio console (hvc0); the serial line belongs to the kernel. bash reaps orphans while it waits.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb
mount -t sysfs sysfs /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/guest /run/lock
mount -t 9p -o rw,trans=virtio,version=9p2000.L,msize=512000,cache=none out /run/guest
ln -sfn /proc/self/fd /dev/fd
hostname guest
ip link set lo up
stty -F /dev/hvc0 raw -echo
touch /run/guest/started
cd /levee || exit 1
# Through a pipe, so that programs see no terminal. Whatever the command leaves behind may hold the pipe
# open: once the command has ended, the rest of the output gets two seconds.
exec 3> >(exec cat >/dev/hvc0)
drain=$!
setsid --wait bash /run/guest/command </dev/null >&3 2>&3
echo $? >/run/guest/status.tmp
exec 3>&-
timeout 2 tail --pid="$drain" -f /dev/null
mv /run/guest/status.tmp /run/guest/status
echo o >/proc/sysrq-trigger
# The poweroff is carried out by a kernel worker; process 1 must not end before.
sleep 60
