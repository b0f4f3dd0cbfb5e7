"""One daemon at a time: a lock on the runtime folder, and one on the network namespace.

Owns both locks. Called by daemon.py before anything is changed. The kernel lets go of them when the process ends,
however it ends, so nothing is left behind that would have to be cleaned up. Must not know what is protected by them.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.errors import OperatorError

LOCK_NAME = "lock"
# An abstract address (unix(7)): it exists once in each network namespace, as our rules and queues do.
NAMESPACE_LOCK = "\0levee/rules"


@contextmanager
def only_one(runtime_dir: Path) -> Iterator[None]:
    """Holds both locks, or raises OperatorError. The folder is made when it is missing."""
    path = runtime_dir / LOCK_NAME
    try:
        runtime_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        hint = "runtime_dir must be a folder that levee may write to"
        raise OperatorError(f"{path}: cannot be opened: {error.strerror}", hint) from error
    with os.fdopen(descriptor, "r+") as lock, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as name:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = lock.read(32).strip()
            hint = "stop it first: systemctl stop levee, or send it SIGTERM"
            raise OperatorError(f"{runtime_dir}: levee is running already (process {holder})", hint) from error
        try:
            name.bind(NAMESPACE_LOCK)
        except OSError as error:
            hint = "its runtime_dir is another one; find it with: pgrep -a levee"
            raise OperatorError("another levee is running in this network namespace", hint) from error
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield
