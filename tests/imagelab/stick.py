"""The disk of a machine that is switched off: the FAT partition LEVEE as a laptop sees it, and the slots' state.

Owns the calls of mtools(1), which reads a file system inside a file, and GRUB's environment block. Called by the tests.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from recipe.places import MIB, partition
from recipe.slot import BLOCK_BYTES, squashfs_blocks

_ENVIRONMENT = "::/EFI/debian/grubenv"
# grub/include/grub/lib/envblk.h
_SIGNATURE, _BLOCK_BYTES = b"# GRUB Environment Block\n", 1024


def _mtools(
    program: str, disk: Path, *arguments: str, data: bytes | None = None, label: str = "LEVEE"
) -> subprocess.CompletedProcess[bytes]:
    image = f"{disk}@@{partition(label).start_mib * MIB}"
    return subprocess.run([program, "-i", image, *arguments], input=data, capture_output=True, check=False)


def write(disk: Path, name: str, text: str) -> None:
    """Puts a file there, in place of one of that name."""
    done = _mtools("mcopy", disk, "-o", "-", f"::/{name}", data=text.encode())
    assert done.returncode == 0, done.stderr


def read(disk: Path, name: str) -> str | None:
    """The file's text, None if there is none of that name."""
    done = _mtools("mtype", disk, f"::/{name}")
    return done.stdout.decode() if done.returncode == 0 else None


def slots(disk: Path) -> dict[str, str]:
    """What GRUB and RAUC have noted of the slots."""
    done = _mtools("mtype", disk, _ENVIRONMENT, label="levee-esp")
    lines = done.stdout.decode().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def set_slots(disk: Path, **values: str) -> None:
    """Notes these values, as `rauc install` does at its end."""
    found = slots(disk) | values
    text = _SIGNATURE + "".join(f"{name}={value}\n" for name, value in found.items()).encode()
    data = text.ljust(_BLOCK_BYTES, b"#")
    done = _mtools("mcopy", disk, "-o", "-", _ENVIRONMENT, data=data, label="levee-esp")
    assert done.returncode == 0, done.stderr


def put(disk: Path, file: Path, name: str) -> None:
    """Copies a file there, however large."""
    done = _mtools("mcopy", disk, "-o", str(file), f"::/{name}")
    assert done.returncode == 0, done.stderr


def read_slot(disk: Path, target: Path) -> None:
    """Slot A's content as a file of its own."""
    first = partition("levee-a")
    with disk.open("rb") as file, target.open("wb") as writer:
        file.seek(first.start_mib * MIB)
        for _ in range(first.size_mib):
            writer.write(file.read(MIB))


def copy_slot(disk: Path, *, damaged: bool) -> None:
    """Slot A's content into slot B; `damaged`: without the top of the tree by which each block is verified."""
    first, second = partition("levee-a"), partition("levee-b")
    with disk.open("r+b") as file:
        file.seek(first.start_mib * MIB)
        # The text with the root hash follows the squashfs, then come the tree's superblock and its top.
        top_bytes = (squashfs_blocks(file.read(96)) + 2) * BLOCK_BYTES
        for at_mib in range(first.size_mib):
            file.seek((first.start_mib + at_mib) * MIB)
            data = file.read(MIB)
            if not data.strip(b"\0"):
                continue
            file.seek((second.start_mib + at_mib) * MIB)
            file.write(data)
        if damaged:
            file.seek(second.start_mib * MIB + top_bytes)
            file.write(bytes(BLOCK_BYTES))
