"""Names and places of the guest: what is cached where, and under which key.

Owns the cache folder's layout, its lock and the one error class of this package. Everybody in this
package asks here for a path; nobody joins one by himself. Knows nothing of apt, chroots or QEMU.

    .cache/guest/lock             one build or one running guest at a time
    .cache/guest/KEY/tools/       QEMU, kernel, busybox: unpacked, never configured
    .cache/guest/KEY/root/        the guest's userland; also a chroot for compiling
    .cache/guest/KEY/vmlinux      the kernel, unpacked
    .cache/guest/KEY/modules/     the modules that stage 1 inserts, unpacked, in order
    .cache/guest/KEY/SUITE/       vmlinux, modules and complete of another suite's kernel
    .cache/guest/KEY/complete     written last: the folder may be used
    .cache/guest/out/             shared with the running guest, read-write: command, status, results
"""

from __future__ import annotations

import fcntl
import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache" / "guest"

# Where the working tree's copy lies in the chroot and in the guest.
TREE_IN_GUEST = Path("/levee")
# Where the guest sees `Layout.out`.
OUT_IN_GUEST = Path("/run/guest")


class GuestError(Exception):
    """Something the operator has to know: a message and, where there is one, what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Layout:
    """Paths of one recipe's cache. kernel: the suite of the kernel to boot, "" for the userland's own."""

    base: Path
    kernel: str = ""

    @property
    def tools(self) -> Path:
        return self.base / "tools"

    @property
    def root(self) -> Path:
        return self.base / "root"

    @property
    def vmlinux(self) -> Path:
        return self.base / self.kernel / "vmlinux"

    @property
    def modules(self) -> Path:
        return self.base / self.kernel / "modules"

    @property
    def complete(self) -> Path:
        return self.base / self.kernel / "complete"

    @property
    def tree(self) -> Path:
        """The working tree's copy, seen from the host."""
        return self.root / TREE_IN_GUEST.relative_to("/")

    @property
    def out(self) -> Path:
        return CACHE / "out"


def layout_for(recipe: str) -> Layout:
    """Paths for the cache of the recipe with this text; another text, another folder."""
    return Layout(CACHE / hashlib.sha256(recipe.encode()).hexdigest()[:16])


def say(message: str) -> None:
    """One line of progress on stderr; stdout belongs to the guest's command."""
    print(f"guest: {message}", file=sys.stderr, flush=True)


@contextmanager
def locked() -> Iterator[None]:
    """Hold the cache: the guest reads the tree over 9p, so nobody may change it meanwhile."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another guest is being built or is running; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
