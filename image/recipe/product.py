"""The product as one folder of Python: package, compiled modules and what they import, without what pip leaves behind.

Owns how it is made of a wheel, the same each time. Called by slot.py (in the chroot of Debian 13) and deb.py (on this
machine). Knows nothing of where the folder goes.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

# Notes of pip's about the installation, which differ with the wheel's place and time.
_NOTES = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
# Compiled here, in folders whose names pip draws by lot and the compiler writes down; other wheels came compiled.
_COMPILED = ("cext", "systemd")


def pip_arguments(wheel: Path, target: Path) -> list[str]:
    """For a pip that runs in the working tree or its copy; bytecode is made where the product will run."""
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-compile", "--target", str(target)]
    return ["install", *options, "-r", "requirements/runtime.txt", str(wheel)]


def tidy(folder: Path) -> None:
    """Takes away what differs from build to build, manual pages, and starters of commands, which name pip's Python."""
    for name in ("bin", "share"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for path in folder.glob("*.dist-info/*"):
        if path.name in _NOTES:
            path.unlink()
    objects = sorted(path for name in _COMPILED for path in (folder / name).rglob("*.so"))
    subprocess.run(["strip", "--strip-unneeded", "--remove-section=.note.gnu.build-id", *objects], check=True)
