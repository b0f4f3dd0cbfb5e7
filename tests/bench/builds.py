"""The benchmark's C programs, compiled when their source changed.

Owns the compilers' command lines. Called by whoever runs or loads one. Must not know what they do.
"""

from __future__ import annotations

import hashlib
import os
import sysconfig
from pathlib import Path

from netlab.names import REPOSITORY
from netlab.process import run

_HERE = Path(__file__).resolve().parent
_FOLDER = REPOSITORY / ".build/bench"
_WARNINGS = ("-O2", "-Wall", "-Wextra", "-Werror")


def binary(name: str) -> Path:
    """The program of `name`.c."""
    return _made(f"{name}.c", name, ["cc", *_WARNINGS])


def bpf_object(name: str) -> Path:
    """The object of `name`.bpf.c."""
    # clang does not look for the host's <asm/types.h> when it compiles for another target.
    include = f"/usr/include/{sysconfig.get_config_var('MULTIARCH')}"
    clang = ["clang-19", "-target", "bpf", "-mcpu=v3", "-g", *_WARNINGS, "-idirafter", include, "-c"]
    return _made(f"{name}.bpf.c", f"{name}.bpf.o", clang)


def _made(source_name: str, name: str, compiler: list[str]) -> Path:
    source = _HERE / source_name
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    made = _FOLDER / digest / name
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        fresh = made.with_suffix(f".{os.getpid()}")
        run([*compiler, str(source), "-o", str(fresh)])
        fresh.replace(made)
    return made
