"""The configurations that were in force, with time, user and comment: what `levee rollback` goes back to.

Owns the folder: one JSON file for each entry, written once, the operator's text in it byte for byte. Called by
changes.py. Bounded: MAX_ENTRIES and MAX_BYTES, of which the oldest entries go first. A damaged entry is told and left
out, never guessed at. Must not know how a configuration comes into force.
"""

import logging
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from appliance import durable, statefile
from appliance.errors import OperatorError
from appliance.statefile import UnreadableError

LOG = logging.getLogger(__name__)

HISTORY = "history"  # the folder, within state_dir
MAX_ENTRIES = 100
MAX_BYTES = 32 << 20
SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class Entry:
    """One text, and how it came. `kept`: it was in force and nothing took it back, so one may go back to it unasked."""

    number: int
    time_s: int  # since 1970, UTC
    user: str
    action: str  # start | apply | reload | rollback | restore | aside (a hand edit that was replaced, never in force)
    comment: str
    kept: bool
    text: str


class History:
    """The entries in `folder`, which is made when the first one is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told: set[str] = set()

    def entries(self) -> list[Entry]:
        """Oldest first. Raises OperatorError when the folder cannot be read."""
        found = []
        try:
            paths = sorted(path for path in self._folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))
            for path in paths:
                try:
                    found.append(statefile.record(Entry, statefile.read(path) or {}))
                except UnreadableError:
                    self._tell(path)
        except OSError as error:
            hint = "does its owner run levee?"
            raise OperatorError(f"{self._folder}: cannot be read: {error.strerror}", hint) from error
        return sorted(found, key=lambda entry: entry.number)

    def get(self, number: int) -> Entry:
        """The entry of that number. Raises OperatorError when there is none."""
        found = next((entry for entry in self.entries() if entry.number == number), None)
        if found is None:
            raise OperatorError(f"there is no entry {number} in the history", "see: levee history")
        return found

    def latest(self) -> Entry | None:
        """The entry that came into force last and was kept."""
        return next((entry for entry in reversed(self.entries()) if entry.kept), None)

    def before(self, number: int) -> Entry:
        """What was in force before that entry, with another text. Raises OperatorError when there is none."""
        entries = self.entries()
        text = next((entry.text for entry in entries if entry.number == number), None)
        for entry in reversed(entries):
            if entry.number < number and entry.kept and entry.text != text:
                return entry
        raise OperatorError("there is no earlier configuration to go back to", "see: levee history")

    def add(self, entry: Entry, *, needed: Collection[int] = ()) -> Entry:
        """Writes it with the next number, then lets go of the oldest but those `needed`. Raises OperatorError."""
        entries = self.entries()
        last = max((int(path.stem) for path in self._folder.glob(f"*{SUFFIX}") if path.stem.isdecimal()), default=0)
        added = replace(entry, number=last + 1)
        self._write(added)
        self._prune([*entries, added], {added.number, *needed})
        return added

    def mark(self, number: int, *, kept: bool) -> None:
        """Notes that it was taken back, or kept after all. Raises OperatorError."""
        self._write(replace(self.get(number), kept=kept))

    def drop(self, number: int) -> None:
        """Forgets an entry that never came into force. Raises OperatorError."""
        try:
            durable.remove(self._path(number))
        except OSError as error:
            raise OperatorError(
                f"{self._folder}: cannot be written: {error.strerror}", "does its owner run levee?"
            ) from error

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06}{SUFFIX}"

    def _write(self, entry: Entry) -> None:
        statefile.write(self._path(entry.number), asdict(entry))

    def _prune(self, entries: list[Entry], needed: set[int]) -> None:
        room = MAX_BYTES
        for count, entry in enumerate(sorted(entries, key=lambda entry: entry.number, reverse=True)):
            room -= len(entry.text)
            if (count >= MAX_ENTRIES or room < 0) and entry.number not in needed:
                self.drop(entry.number)

    def _tell(self, path: Path) -> None:
        if path.name not in self._told:
            self._told.add(path.name)
            LOG.warning("%s: is damaged and left out of the history", path)
