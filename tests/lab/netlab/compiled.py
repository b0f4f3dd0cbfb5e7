"""The lab's own programs in C, compiled when their source has changed.

Owns the folder they lie in and their names. Called by what runs them. Two runs may compile at once: each its own file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from netlab.names import REPOSITORY
from netlab.process import run

GENERATORS = Path(__file__).resolve().parent.parent / "generators"
BUILD_DIR = REPOSITORY / ".build/lab"
PROGRAM = ("cc", "-O2", "-Wall", "-Wextra", "-Werror")
LIBRARY = (*PROGRAM, "-shared", "-fPIC")
BPF_OBJECT = ("clang-19", "-O2", "-g", "-target", "bpf", "-c")


def compiled(source: str, *headers: str, compiler: Sequence[str] = PROGRAM) -> Path:
    """What comes of generators/`source`, which includes `headers` from there."""
    path = GENERATORS / source
    digest = hashlib.sha256(b"".join((GENERATORS / name).read_bytes() for name in (source, *headers))).hexdigest()[:12]
    binary = BUILD_DIR / f"{path.stem}-{digest}"
    if not binary.exists():
        BUILD_DIR.mkdir(parents=True, exist_ok=True)
        fresh = binary.with_suffix(f".{os.getpid()}")
        run([*compiler, "-o", str(fresh), str(path)])
        fresh.replace(binary)
    return binary
