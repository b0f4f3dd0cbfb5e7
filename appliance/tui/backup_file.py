"""A backup as a file of whoever uses the interface: on a mounted stick, or in a folder of theirs.

Owns the writing. Called by app.py and menu.py with what the daemon gave.
"""

from __future__ import annotations

from pathlib import Path

from appliance import durable
from appliance.errors import OperatorError

WAY_BACK = "The way back is a command, while no daemon runs: levee restore FILE"


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
