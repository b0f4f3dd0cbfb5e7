"""Small files of state: a JSON object in state_dir that is read whole, written whole, and survives a power cut.

Owns reading within bounds and writing in one step (durable.py). Called by backends.py, history.py, pending.py and
others that keep state. A file that cannot be understood is put aside under another name, so that it can be looked at
and the box starts without it. Must not know what the files say.
"""

import json
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from appliance import durable
from appliance.errors import OperatorError

MAX_FILE_BYTES = 16 << 20
ASIDE = ".unreadable"

Record = TypeVar("Record")


class UnreadableError(ValueError):
    """What is wrong with the content of a file of state."""


def read(path: Path) -> dict[str, object] | None:
    """The object in the file, None when there is no file.

    Raises UnreadableError for a file that is no JSON object of at most MAX_FILE_BYTES, OperatorError for one that may
    not be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OperatorError(f"{path}: cannot be read: {error.strerror}", "does its owner run levee?") from error
    if len(data) > MAX_FILE_BYTES:
        raise UnreadableError(f"has more than {MAX_FILE_BYTES} bytes")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UnreadableError("is not a JSON object")
    return found


def record(kind: type[Record], found: dict[str, Any]) -> Record:
    """A frozen dataclass of plain values, from what read() gave. Raises UnreadableError on any other key or type."""
    try:
        made = kind(**found)
    except TypeError as error:
        raise UnreadableError(str(error)) from error
    for name, wanted in get_type_hints(kind).items():
        if type(getattr(made, name)) is not wanted:
            raise UnreadableError(f"{name} is of the wrong type")
    return made


def write(path: Path, content: dict[str, object]) -> None:
    """Replaces the file, or leaves it as it was. Raises OperatorError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        durable.replace(path, json.dumps(content, separators=(",", ":")).encode())
    except OSError as error:
        raise OperatorError(
            f"{path}: cannot be written: {error.strerror}", "is state_dir writable, and has its disk room?"
        ) from error


def put_aside(path: Path) -> Path:
    """Renames a file that is of no use; an older one put aside is replaced. Raises OperatorError."""
    aside = path.with_name(path.name + ASIDE)
    try:
        path.rename(aside)
    except OSError as error:
        raise OperatorError(f"{path}: cannot be renamed: {error.strerror}", "is state_dir writable?") from error
    return aside
