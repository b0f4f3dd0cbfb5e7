"""The recipe of the bootable image; see image/README.md."""
