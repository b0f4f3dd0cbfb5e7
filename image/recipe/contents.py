"""What an image consists of, in lines that a later build of the same commit is compared with.

Owns the file levee-VERSION.contents: for each partition and each path of the root what it is, and its SHA-256. Called
by __main__.py. Must not know how the parts were made.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping
from pathlib import Path

from recipe.places import MIB, PARTITIONS, SECTOR_BYTES

SHOWN = 40
# The partition table's second copy, at the end of the disk: UEFI specification 2.10, section 5.3.
_TABLE_SECTORS = 33


def of_disk(disk: Path) -> dict[str, str]:
    """From the name of a part of the disk to its SHA-256."""
    found = {}
    with disk.open("rb") as file:
        found["disk: MBR and partition table"] = hashlib.sha256(file.read(MIB)).hexdigest()
        for one in PARTITIONS:
            digest = hashlib.sha256()
            file.seek(one.start_mib * MIB)
            for _ in range(one.size_mib):
                digest.update(file.read(MIB))
            found[f"disk: {one.label}"] = digest.hexdigest()
        file.seek(-_TABLE_SECTORS * SECTOR_BYTES, 2)
        found["disk: partition table, its copy"] = hashlib.sha256(file.read()).hexdigest()
    return found


def of_root(root: Path) -> dict[str, str]:
    """From each path below `root` to its mode, owner and SHA-256 or target. Times are the commit's everywhere."""
    found = {}
    for path in sorted(root.rglob("*")):
        state = path.lstat()
        if stat.S_ISLNK(state.st_mode):
            what = f"-> {path.readlink()}"
        elif stat.S_ISREG(state.st_mode):
            what = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            what = f"device {state.st_rdev}"
        found[f"root: /{path.relative_to(root)}"] = f"{state.st_mode:06o} {state.st_uid}:{state.st_gid} {what}"
    return found


def text(parts: Mapping[str, str]) -> str:
    """As the file has it."""
    return "".join(f"{name}\t{what}\n" for name, what in parts.items())


def parse(lines: str) -> dict[str, str]:
    """The opposite of text()."""
    return dict(line.split("\t", 1) for line in lines.splitlines())


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """A line for each part that is not equal, gone, or new."""
    said = [f"{name}: differs" for name, what in before.items() if name in after and after[name] != what]
    said += [f"{name}: only in the first build" for name in before if name not in after]
    said += [f"{name}: only in the second build" for name in after if name not in before]
    return sorted(said)
