"""A Debian 13 kernel and userland in QEMU in which the lab's tests run on the real bridge-family queue."""
