"""What the bootable appliance does around the daemon: ports, the FAT partition, the health of a slot."""
