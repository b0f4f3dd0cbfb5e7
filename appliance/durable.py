"""Files that are there whole or not at all, whenever the power goes.

Owns the writing: beside the old file, flushed to the disk, then renamed over it. Called by statefile.py, changes.py,
and for backups. Raises OSError as the system calls do: only the caller knows what a full disk means for it.
"""

import contextlib
import os
import secrets
from pathlib import Path


def replace(path: Path, data: bytes, *, mode: int | None = 0o600) -> None:
    """Puts `data` in the place of the file at `path`, or leaves that as it was.

    mode None: ours alone where the file system knows rights; FAT, on a stick, refuses to be told (linux/fs/fat/file.c).
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode or 0o600)
        with os.fdopen(descriptor, "wb") as file:
            if mode is not None:
                os.fchmod(descriptor, mode)  # whatever the umask is
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        draft.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Takes the file away for good; one that is missing is gone already."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Brings the names in the folder to the disk."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
