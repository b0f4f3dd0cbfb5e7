#!/bin/busybox sh
# Stage 1, from the initramfs: put an overlay over the read-only 9p root and go there.
# Writes land in memory: every boot starts from the same root.
set -e
bb=/bin/busybox
$bb mount -t devtmpfs devtmpfs /dev
$bb mount -t proc proc /proc
for module in /modules/*.ko; do
    $bb insmod "$module"
done
$bb mkdir /lower /rw /new
# The host changes nothing while a guest runs, so the guest may cache names and contents for good.
$bb mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose root /lower
$bb mount -t tmpfs -o size=75% tmpfs /rw
$bb mkdir /rw/upper /rw/work
$bb mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work overlay /new
$bb cp /stage2.sh /new/stage2.sh
$bb mount --move /dev /new/dev
$bb mount --move /proc /new/proc
exec $bb switch_root /new /stage2.sh
