"""Running commands, in a namespace or outside of one, with errors a person can read.

Owns subprocess use of the lab. LabError is the one exception that lab.py shows without a
traceback: message and, where there is one, a hint.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path


class LabError(Exception):
    """Something the person running the lab can act on."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def in_namespace(namespace: str | None, argv: Sequence[str]) -> list[str]:
    """`argv` as it must be started to run inside `namespace` (None: where we are)."""
    if namespace is None:
        return list(argv)
    return ["ip", "netns", "exec", namespace, *argv]


def run(
    argv: Sequence[str],
    *,
    namespace: str | None = None,
    text_in: str | None = None,
    check: bool = True,
    timeout_s: float = 60.0,
) -> subprocess.CompletedProcess[str]:
    """Run to the end and collect output; LabError when it fails and `check` is set."""
    command = in_namespace(namespace, argv)
    stdin = subprocess.DEVNULL if text_in is None else None
    try:
        done = subprocess.run(
            command,
            input=text_in,
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError as missing:
        raise LabError(f"{missing.filename}: command not found", "install the package that has it") from missing
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise LabError(f"{' '.join(command)}: exit {done.returncode}: {said}")
    return done


def tail(path: Path, lines: int = 20) -> str:
    """Last lines of a log, or a remark that there is none."""
    if not path.exists():
        return f"({path} does not exist)"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def start_time(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot, None when it is gone or a zombie.

    With the pid it names one process for good: pids are used again, pairs are not. proc(5). A process is
    not gone before its last thread is: until then its files are open and its locks are held.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rsplit(")", 1)[1].split()
    if fields[0] in "ZX" and threads <= 1:
        return None
    return int(fields[19])
