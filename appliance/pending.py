"""A change that waits for its confirmation, as a record on disk: it outlives the daemon, so the way back does too.

Owns the file and the clock it is measured by. Called by changes.py. Time is CLOCK_BOOTTIME, which nobody can set and
which goes on while no daemon runs; a record of an earlier boot has run out, so a box that lost its power comes up with
what was in force before. Must not know what is changed.
"""

import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from appliance import durable, statefile
from appliance.errors import OperatorError
from appliance.statefile import UnreadableError

LOG = logging.getLogger(__name__)

FILE_NAME = "pending.json"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """A name of this boot of the machine."""
    return BOOT_ID.read_text(encoding="ascii").strip()


def now_s() -> float:
    """Seconds since the machine was booted, also those it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Pending:
    """Entry `number` is in force on trial, else `back_to` is again."""

    number: int
    back_to: int
    user: str
    boot: str
    deadline_s: float  # of now_s()
    until_started: bool  # nobody is asked: it is kept as soon as the box has started with it

    def left_s(self) -> float:
        """How long there still is to confirm; 0 when the time is over."""
        return max(0.0, self.deadline_s - now_s()) if self.boot == boot_id() else 0.0


class PendingFile:
    """The one record there can be."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Pending | None:
        """None when nothing is pending; a record that cannot be understood is set aside, told, and counts as none."""
        try:
            found: dict[str, Any] | None = statefile.read(self._path)
            return None if found is None else statefile.record(Pending, found)
        except UnreadableError:
            aside = statefile.put_aside(self._path)
            LOG.warning("%s: is damaged; kept as %s, the configuration file is used as it is", self._path, aside.name)
            return None

    def write(self, pending: Pending) -> None:
        """From here on the way back is certain. Raises OperatorError."""
        statefile.write(self._path, asdict(pending))

    def remove(self) -> None:
        """Nothing is pending any more. Raises OperatorError."""
        try:
            durable.remove(self._path)
        except OSError as error:
            hint = "until it can be removed, a restart goes back to the earlier configuration"
            raise OperatorError(f"{self._path}: cannot be removed: {error.strerror}", hint) from error
