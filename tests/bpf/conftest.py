"""Where the programs cannot be run, all of this is skipped, with the reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_OLDEST = (6, 1)


def _missing() -> str:
    """What these tests lack here, or nothing."""
    if os.geteuid() != 0:
        return "loading BPF programs needs root"
    major, minor = os.uname().release.split(".")[:2]
    if (int(major), int(minor)) < _OLDEST:
        return f"the bpf engine needs Linux {_OLDEST[0]}.{_OLDEST[1]}"
    if not any(line.split()[-1] == "bpf" for line in Path("/proc/filesystems").read_text().splitlines()):
        return "this kernel has no bpf file system"
    return ""


@pytest.fixture(scope="session", autouse=True)
def programs_can_be_run() -> None:
    missing = _missing()
    if missing:
        pytest.skip(missing)
