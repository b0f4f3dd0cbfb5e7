"""From one configuration to the next, with a way back: apply, confirm, roll back, and what a start begins with.

Owns the order of the steps, chosen so that the box may be killed between any two of them: first the entry in the
history, then the record of the way back, then the operator's file, then the running box. The file on disk is the truth:
what is in force is written there byte for byte, and a hand edit that would be lost is set aside in the history. Called
by daemon.py at start, and as jobs (jobs.py) afterwards. Must not know the control socket.
"""

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

from appliance import config as configuration
from appliance import durable, preflight
from appliance.errors import OperatorError
from appliance.history import HISTORY, Entry, History
from appliance.models import Config
from appliance.pending import FILE_NAME as PENDING_NAME
from appliance.pending import Pending, PendingFile, boot_id, now_s
from appliance.running import Running, fixed_differences

LOG = logging.getLogger(__name__)

# Where the way back itself is kept: it must be found again.
ANCHORED = frozenset({"runtime_dir", "state_dir"})
FILE_MODE = 0o644
NOT_RECORDED = 0
NOT_CONFIRMED = "it was not confirmed in time"


@dataclass(frozen=True, slots=True)
class Request:
    """Who wants a change, why, and how many seconds there are to confirm it; 0: it needs no confirmation."""

    user: str
    comment: str
    confirm_s: int


@dataclass(frozen=True, slots=True)
class Applied:
    """The entry that is in force now, the keys for which the box restarts, and a hand edit's entry."""

    number: int
    restarts: tuple[str, ...]
    set_aside: int | None


class Changes:
    """The operator's file at `path`, and what became of it. Its attributes may be read at any time from anywhere."""

    def __init__(self, path: Path, state_dir: Path) -> None:
        self.path = path
        self.number = NOT_RECORDED
        self.text = ""
        self.pending: Pending | None = None
        self.edited = False
        self.problem: str | None = None
        self.next: Config | None = None  # what a restart of the parts is wanted for
        self.history = History(state_dir / HISTORY)
        self._record = PendingFile(state_dir / PENDING_NAME)
        self._running: Running | None = None

    # ---- start ----

    def begin(self) -> Config:
        """The configuration to start with: the file's, or what was in force before a change that was not confirmed."""
        self._running = self.next = None
        self.pending = self._record.read()
        if self.due():
            try:
                return self._back(NOT_CONFIRMED)
            except OperatorError as error:
                self._lost(error)
        data = self._on_disk()
        config = configuration.loads(data, str(self.path))
        self.text = data.decode("utf-8")
        self.number = self.pending.number if self.pending else NOT_RECORDED
        return config

    def failed_to_start(self, error: OperatorError) -> bool:
        """Whether there is something to go back to; then begin() has it."""
        if self.pending is None or self._running is not None:
            return False
        LOG.error("entry %d of the history cannot be started: %s (%s)", self.pending.number, error.message, error.hint)
        try:
            self._back("the box could not start with it")
        except OperatorError as lost:
            self._lost(lost)
            return False
        return True

    def started(self, running: Running) -> None:
        """The box is at work with what begin() gave. A history that cannot be written is a problem, not an end."""
        self._running = running
        try:
            if self.pending and self.pending.until_started:
                self.confirm()
            self._know_current()
            self.problem = None
        except OperatorError as error:
            self.problem = f"the change of configurations is not safe: {error.message}"

    # ---- changes ----

    def apply(self, data: bytes | None, request: Request, *, action: str = "apply") -> Applied:
        """Puts `data` in force, or what the file holds. Raises OperatorError, and then everything is as it was."""
        self._nothing_pending()
        running = self._at_work()
        on_disk = self._on_disk(missing=data is not None)
        wanted_data = on_disk if data is None else data
        wanted = configuration.loads(wanted_data, str(self.path))
        fixed = fixed_differences(running.config, wanted)
        self._possible(wanted, wanted_data, fixed)
        self._know_current()
        aside = self._set_aside(on_disk, wanted_data)
        trial = bool(request.confirm_s or fixed)
        entry = self._add(action, request.user, request.comment, wanted_data.decode("utf-8"), kept=not trial)
        pending = self._on_trial(entry, request) if trial else None
        try:
            if pending:
                self._record.write(pending)
            if wanted_data != on_disk:
                self._write_file(wanted_data)
            if not fixed:
                running.take_over(wanted)
        except OperatorError:
            self._undo(entry, on_disk, wanted_data)
            raise
        self.number, self.text, self.pending, self.edited = entry.number, entry.text, pending, False
        self.next = wanted if fixed else None
        LOG.info("configuration %d is in force, by %s%s", entry.number, request.user, _colon(request.comment))
        return Applied(entry.number, tuple(fixed), aside)

    def confirm(self) -> int:
        """What is on trial stays; returns its number. Raises OperatorError."""
        pending = self.pending
        if pending is None:
            raise OperatorError("there is nothing to confirm", "see: levee history")
        self.history.mark(pending.number, kept=True)
        self._record.remove()
        self.pending = None
        LOG.info("configuration %d is confirmed", pending.number)
        return pending.number

    def restarts_for(self, data: bytes) -> list[str]:
        """The keys for which the parts would be made anew to put `data` in force. Raises ConfigError."""
        return fixed_differences(self._at_work().config, configuration.loads(data, str(self.path)))

    def rollback(self, number: int | None, request: Request) -> Applied:
        """Back to an entry, by default what is on trial is taken back, else the one before. Raises OperatorError."""
        if self.pending and number is None:
            return self.go_back(f"{request.user} took it back")
        self._know_current()
        entry = self.history.before(self.number) if number is None else self.history.get(number)
        comment = f"to {entry.number}{_colon(request.comment)}"
        wanted = Request(request.user, comment, request.confirm_s)
        return self.apply(entry.text.encode("utf-8"), wanted, action="rollback")

    def go_back(self, reason: str) -> Applied:
        """Ends a trial: what was in force before is again."""
        running = self._at_work()
        wanted = self._back(reason)
        try:
            fixed = running.take_over(wanted)
        except OperatorError as error:
            LOG.error("%s (%s): starting anew", error.message, error.hint)  # noqa: TRY400 - explained, not traced
            fixed = ["services"]
        self.next = wanted if fixed else None
        return Applied(self.number, tuple(fixed), None)

    def reload(self) -> list[str]:
        """Takes from the file what can change at work; returns the keys of the rest. Raises OperatorError."""
        self._nothing_pending()
        data = self._on_disk()
        fixed = self._at_work().take_over(configuration.loads(data, str(self.path)))
        self.text, self.number, self.edited = data.decode("utf-8"), NOT_RECORDED, False
        try:
            self._know_current("reload")
        except OperatorError as error:
            self.problem = f"the change of configurations is not safe: {error.message}"
        return fixed

    # ---- time ----

    def expire(self) -> None:
        """Ends a trial that has run out."""
        try:
            self.go_back(NOT_CONFIRMED)
        except OperatorError as error:
            self._lost(error)

    def due(self) -> bool:
        """Whether a trial has run out."""
        return self.pending is not None and not self.pending.until_started and not self.pending.left_s()

    def look(self) -> None:
        """Whether somebody has edited the file since it was put in force."""
        try:
            edited = self._on_disk(missing=True) != self.text.encode("utf-8")
        except OperatorError:
            edited = True
        if edited and not self.edited:
            LOG.info("%s was edited: `levee diff` shows how, `levee apply` puts it in force", self.path)
        self.edited = edited

    # ---- steps ----

    def _back(self, reason: str) -> Config:
        """File and records as before the trial; returns that configuration. Repeats itself if it is interrupted."""
        pending = self.pending
        if pending is None:
            raise OperatorError("no change waits for its confirmation", "see: levee history")
        entry = self.history.get(pending.back_to)
        data = entry.text.encode("utf-8")
        config = configuration.loads(data, str(self.path))
        on_disk = self._on_disk(missing=True)
        self.number, self.text, self.edited = entry.number, entry.text, False
        try:
            if on_disk != data:
                trial = self.history.get(pending.number).text.encode("utf-8")
                if on_disk != trial:
                    self._set_aside(on_disk, data)
                self._write_file(data)
            self._record.remove()
            self.problem = None
        except OperatorError as error:  # the record stays, so a restart goes the same way
            self.problem = f"{self.path} does not hold what is in force: {error.message}"
        self.pending = None
        LOG.warning("configuration %d is in force again instead of %d: %s", entry.number, pending.number, reason)
        return config

    def _lost(self, error: OperatorError) -> None:
        """There is no way back: what is in force stays, and the operator is told."""
        self.problem = f"an unconfirmed change could not be taken back: {error.message}"
        LOG.error("%s (%s)", self.problem, error.hint)
        self.pending = None

    def _possible(self, wanted: Config, data: bytes, fixed: list[str]) -> None:
        if anchored := sorted(ANCHORED & set(fixed)):
            hint = "stop levee, change the file, and start it again"
            raise OperatorError(f"{' and '.join(anchored)} cannot be changed while levee runs", hint)
        if data == self.text.encode("utf-8") and not fixed:
            raise OperatorError("there is nothing to change: this is in force already", "see: levee history")
        preflight.check_interfaces(wanted)
        if not os.access(self.path.resolve().parent, os.W_OK):
            hint = "levee has to write its file to take a change back: see to the folder's owner"
            raise OperatorError(f"{self.path}: cannot be written", hint)

    def _nothing_pending(self) -> None:
        if self.pending is not None:
            left_s = round(self.pending.left_s())
            raise OperatorError(
                f"change {self.pending.number} by {self.pending.user} waits for its confirmation, {left_s} s more",
                "first: levee confirm, or: levee rollback",
            )

    def _at_work(self) -> Running:
        if self._running is None:
            raise OperatorError("levee is starting", "ask again in a second")
        return self._running

    def _know_current(self, action: str = "start") -> None:
        """What is in force has its entry. Raises OperatorError."""
        if self.number != NOT_RECORDED:
            return
        latest = self.history.latest()
        if latest is None or latest.text != self.text:
            comment = "" if latest is None else "as found in the file"
            latest = self._add(action, "-", comment, self.text, kept=True)
        self.number = latest.number

    def _add(self, action: str, user: str, comment: str, text: str, *, kept: bool) -> Entry:
        entry = Entry(0, int(time.time()), user, action, comment, kept, text)
        return self.history.add(entry, needed={self.number})

    def _on_trial(self, entry: Entry, request: Request) -> Pending:
        deadline_s = now_s() + request.confirm_s
        return Pending(entry.number, self.number, request.user, boot_id(), deadline_s, request.confirm_s == 0)

    def _set_aside(self, on_disk: bytes, wanted: bytes) -> int | None:
        """Keeps a hand edit that is about to be replaced; what is not even text is not kept."""
        if not on_disk or on_disk in (wanted, self.text.encode("utf-8")):
            return None
        try:
            text = on_disk.decode("utf-8")
        except UnicodeDecodeError:
            return None
        return self._add("aside", "-", "edited by hand, never in force", text, kept=False).number

    def _undo(self, entry: Entry, on_disk: bytes, wanted: bytes) -> None:
        if wanted != on_disk:
            self._write_file(on_disk)
        self._record.remove()
        self.history.drop(entry.number)

    def _on_disk(self, *, missing: bool = False) -> bytes:
        """What the file holds; with `missing`, nothing when it is not there. Raises OperatorError."""
        try:
            return configuration.read(self.path)
        except OperatorError:
            if missing and not self.path.exists():
                return b""
            raise

    def _write_file(self, data: bytes) -> None:
        path = self.path.resolve()  # a link stays a link
        try:
            before = path.stat() if path.exists() else None
            durable.replace(path, data, mode=before.st_mode & 0o777 if before else FILE_MODE)
            if before and os.geteuid() == 0:
                os.chown(path, before.st_uid, before.st_gid)
        except OSError as error:
            hint = "is there room, and may levee write to its folder?"
            raise OperatorError(f"{self.path}: cannot be written: {error.strerror}", hint) from error


def _colon(comment: str) -> str:
    return f": {comment}" if comment else ""
