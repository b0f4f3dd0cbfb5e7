"""The FAT partition LEVEE of an image that is switched off: what a laptop would do with it.

Owns the calls of mtools(1), which reads a file system inside a file. Called by the tests.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from recipe.places import MIB, partition


def _mtools(program: str, disk: Path, *arguments: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    image = f"{disk}@@{partition('LEVEE').start_mib * MIB}"
    return subprocess.run([program, "-i", image, *arguments], input=data, capture_output=True, check=False)


def write(disk: Path, name: str, text: str) -> None:
    """Puts a file there, in place of one of that name."""
    done = _mtools("mcopy", disk, "-o", "-", f"::/{name}", data=text.encode())
    assert done.returncode == 0, done.stderr


def read(disk: Path, name: str) -> str | None:
    """The file's text, None if there is none of that name."""
    done = _mtools("mtype", disk, f"::/{name}")
    return done.stdout.decode() if done.returncode == 0 else None
