"""A backup as a file of whoever uses the interface: on a mounted stick, or in a folder of theirs.

Owns the writing and the reading. Called by app.py and menu.py with what the daemon gave.
"""

from __future__ import annotations

from pathlib import Path

from appliance import durable
from appliance.errors import OperatorError

MAX_BYTES = 64 << 20
WAY_BACK = "The way back: 7, o, i; or, while no daemon runs: levee restore FILE"


def read(file: str) -> bytes:
    """Its bytes; whether it is one is found out where it is put back. Raises OperatorError."""
    path = Path(file).expanduser()
    try:
        with path.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise OperatorError(f"{path}: cannot be read: {error.strerror}", "is the stick mounted?") from error
    if len(data) > MAX_BYTES:
        raise OperatorError(f"{path}: is larger than {MAX_BYTES >> 20} MiB", "the file that a backup wrote")
    return data


def write(file: str, data: bytes) -> str:
    """Writes it, whole or not at all; what there is to say of it. Raises OperatorError."""
    path = Path(file).expanduser()
    if not path.is_absolute():
        raise OperatorError(f"{file} does not say where", "an absolute path would be right: /media/stick/box.levee")
    try:
        durable.replace(path, data, mode=None)
    except OSError as error:
        hint = "name a file in a folder of yours; is the stick mounted?"
        raise OperatorError(f"{path}: cannot be written: {error.strerror}", hint) from error
    return f"{len(data)} bytes are in {path}"
