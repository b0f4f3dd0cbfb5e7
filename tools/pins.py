"""Checks that what is installed is what is pinned: every package of the virtual environment, in its exact version.

Called by `make check`. Reads requirements/versions.txt and the metadata of the running Python; changes nothing.
Also the ranges in pyproject.toml must admit the pins, which `pip check` decides.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

VERSIONS = Path(__file__).resolve().parent.parent / "requirements" / "versions.txt"
OWN_NAME = "levee"


def canonical(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned() -> dict[str, str]:
    """Name -> version from the constraint file."""
    lines = (line.partition("#")[0].strip() for line in VERSIONS.read_text().splitlines())
    pairs = (line.partition("==") for line in lines if line)
    return {canonical(name): version for name, _, version in pairs}


def problems() -> list[str]:
    """One line for each installed package that is not the pinned one."""
    pins = pinned()
    found = []
    for package in metadata.distributions():
        name = canonical(package.metadata["Name"])
        if name != OWN_NAME and pins.get(name) != package.version:
            found.append(f"{name} {package.version} is installed, pinned is {pins.get(name, 'nothing')}")
    return sorted(found)


def main() -> int:
    """Print what differs; 0 when nothing does."""
    found = problems()
    for line in found:
        print(line)
    check = subprocess.run([sys.executable, "-m", "pip", "check"], check=False)
    return 1 if found or check.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
