"""The image in QEMU, between the two ends of the lab."""
