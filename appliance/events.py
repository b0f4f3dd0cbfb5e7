"""The attacks there were: kept in a file, told to the operator's program.

Owns events.json in state_dir, the reply of org.levee.Events, and the hook. Called by daemon.py once a turn with what
attack.py found. The hook gets each event as one line of JSON on its standard input, one run after the other, and is
ended after its time; it never holds up the loop. Must not know when an attack begins or ends.
"""

from __future__ import annotations

import json
import logging
import subprocess
import time
from collections import deque
from typing import TYPE_CHECKING, Any, TypedDict

from appliance import statefile
from appliance.errors import OperatorError
from appliance.log import fields
from appliance.statefile import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from appliance.attack import Change
    from appliance.models import Hook

LOG = logging.getLogger(__name__)

FILE_NAME = "events.json"
VERSION = 1
KEPT = 1000
WAITING = 100  # runs of the hook that may be due at once; more are left out, and said


class EventReport(TypedDict):
    """One attack. Times are seconds since 1970; `ended_s` None: it goes on. `value` crossed `limit` at `measured`.

    `peak_per_s`: most SYNs in a second (with `protect: always` unfinished ones). `cut`: its end was not seen.
    """

    service: str
    started_s: int
    ended_s: int | None
    lasted_s: int
    value: str
    measured: int
    limit: int
    peak_per_s: int
    cut: bool


class Events:
    """The latest KEPT attacks, oldest first; `tell` is given each beginning and each end.

    `problem`: what an operator should know, None while all is well.
    """

    def __init__(self, folder: Path, hook: Hook, tell: Callable[[EventReport], None] | None = None) -> None:
        self._path = folder / FILE_NAME
        self._events: list[EventReport] = []
        self._hook = hook
        self._tell = tell
        self._due: deque[bytes] = deque()
        self._running: tuple[subprocess.Popen[bytes], float] | None = None
        self.problem: str | None = None
        self._load()

    @property
    def all(self) -> list[EventReport]:
        """Oldest first."""
        return self._events

    def take(self, changes: Iterable[Change]) -> None:
        """Notes what began and what ended. Never raises: protection does not depend on a disk."""
        noted = False
        for change in changes:
            noted = True
            self._note(change)
        if noted:
            self._write()
        self._run_hook()

    def close(self) -> None:
        """At the end: attacks that go on are the next daemon's to see end; the hook's run is cut short."""
        if self._running:
            process, _ = self._running
            process.kill()
            process.wait()
            self._running = None

    def _note(self, change: Change) -> None:
        now_s = time.time()
        attack = change.attack
        event: EventReport = {
            "service": change.service,
            "started_s": int(now_s - change.lasted_s),
            "ended_s": int(now_s) if change.over else None,
            "lasted_s": int(change.lasted_s),
            "value": attack.value,
            "measured": round(attack.measured),
            "limit": round(attack.limit),
            "peak_per_s": round(attack.peak_per_s),
            "cut": False,
        }
        open_ones = [n for n, one in enumerate(self._events) if one["service"] == change.service and _goes_on(one)]
        if change.over and open_ones:
            event["started_s"] = self._events[open_ones[-1]]["started_s"]
            self._events[open_ones[-1]] = event
        else:
            self._events = [*self._events, event][-KEPT:]
        if self._tell is not None:
            self._tell(event)
        if self._hook.command is None:
            return
        if len(self._due) >= WAITING:
            LOG.warning("%s: %d events wait for it already, this one is left out", self._hook.command, WAITING)
            return
        self._due.append(json.dumps({"event": "ended" if change.over else "began", **event}).encode() + b"\n")

    def _run_hook(self) -> None:
        """Ends a run that is done or too long, begins the next."""
        command = self._hook.command
        if self._running:
            process, since_s = self._running
            code = process.poll()
            if code is None and time.monotonic() - since_s < self._hook.timeout_s:
                return
            if code is None:
                process.kill()
                process.wait()
                LOG.warning("%s: ended after %d s without an end of its own", command, self._hook.timeout_s)
            elif code:
                LOG.warning("%s: exit code %d", command, code, extra=fields(exit_code=code))
            else:
                LOG.info("%s: done", command)
            self._running = None
        if self._due and command is not None:
            self._start(str(command), self._due.popleft())

    def _start(self, command: str, line: bytes) -> None:
        """The event fits the pipe's buffer (pipe(7): 64 KiB), so writing it does not wait for a reader."""
        try:
            process = subprocess.Popen(
                [command], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            LOG.warning("%s: cannot be run: %s", command, error.strerror)
            return
        if process.stdin is not None:
            try:
                process.stdin.write(line)
                process.stdin.close()
            except BrokenPipeError:
                LOG.debug("%s: does not read its events", command)
        self._running = process, time.monotonic()

    def _load(self) -> None:
        """What a predecessor saw. Attacks whose end it did not see are cut: where they go on, they begin anew."""
        try:
            content = statefile.read(self._path)
            if content is not None:
                self._events = parse(content)
        except UnreadableError as error:
            try:
                self.problem = f"{self._path}: {error}; put aside as {statefile.put_aside(self._path).name}"
            except OperatorError as further:
                self.problem = f"{self._path}: {error}; {further.message}"
        except OperatorError as error:
            self.problem = f"{error.message} ({error.hint})"

    def _write(self) -> None:
        try:
            statefile.write(self._path, {"version": VERSION, "events": self._events})
        except OperatorError as error:
            self.problem = f"{error.message} ({error.hint})"
        else:
            self.problem = None


def _goes_on(event: EventReport) -> bool:
    return event["ended_s"] is None and not event["cut"]


def parse(content: dict[str, Any]) -> list[EventReport]:
    """The events of a file, those that went on cut. Raises UnreadableError."""
    events = content.get("events")
    if content.get("version") != VERSION or not isinstance(events, list) or len(events) > KEPT:
        raise UnreadableError(f"is not a list of at most {KEPT} events of version {VERSION}")
    found: list[EventReport] = []
    for number, one in enumerate(events):
        try:
            ended_s = one["ended_s"]
            event: EventReport = {
                "service": str(one["service"]),
                "started_s": int(one["started_s"]),
                "ended_s": None if ended_s is None else int(ended_s),
                "lasted_s": int(one["lasted_s"]),
                "value": str(one["value"]),
                "measured": int(one["measured"]),
                "limit": int(one["limit"]),
                "peak_per_s": int(one["peak_per_s"]),
                "cut": ended_s is None or one["cut"] is True,
            }
        except (KeyError, TypeError, ValueError) as error:
            raise UnreadableError(f"event {number} cannot be read: {error}") from error
        found.append(event)
    return found
