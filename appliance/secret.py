"""The secret that the cookies' keys are derived from.

Owns the file: 64 hexadecimal digits (32 random bytes) and a line end, readable by its owner alone. Called by daemon.py
at start. Must not know what a cookie is. A file that is not like that is never replaced: other boxes may share it.
"""

import os
import secrets
import stat
from pathlib import Path

from appliance.errors import OperatorError

SECRET_BYTES = 32
MAX_FILE_BYTES = 4096


def load_or_create(path: Path) -> bytes:
    """The 32 bytes in the file, which is made first when there is none. Raises OperatorError."""
    try:
        return _read(path)
    except FileNotFoundError:
        _create(path)
    return _read(path)


def _read(path: Path) -> bytes:
    hint = (
        "restore it from a backup or from another box, or remove it to have a new one made (open handshakes fail once)"
    )
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(MAX_FILE_BYTES).strip()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OperatorError(f"{path}: cannot be read: {error.strerror}", "does its owner run levee?") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise OperatorError(
            f"{path}: others than its owner may use the secret (mode {mode & 0o777:04o})", f"chmod 600 {path}"
        )
    if len(text) != 2 * SECRET_BYTES:
        wrong = f"has {len(text)} characters, {2 * SECRET_BYTES} hexadecimal digits would be right"
        raise OperatorError(f"{path}: {wrong}", hint)
    try:
        return bytes.fromhex(text.decode("ascii"))
    except ValueError as error:
        raise OperatorError(f"{path}: is not made of hexadecimal digits", hint) from error


def _create(path: Path) -> None:
    """Writes a new secret beside the path, then links it there: whole or not at all, and the first of two wins."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(f"{secrets.token_hex(SECRET_BYTES)}\n".encode())
                file.flush()
                os.fsync(file.fileno())
            try:
                path.hardlink_to(draft)
            except FileExistsError:
                return  # another process was faster: its secret is the one to use
        finally:
            draft.unlink()
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise OperatorError(
            f"{path}: cannot be created: {error.strerror}", "is the folder there and writable?"
        ) from error
