"""Attack events to a log server: syslog messages over UDP or TCP, which never hold up the loop.

Owns the socket, the messages that wait, and their format. Called by daemon.py: `send()` with each event, `turn()` about
once a second. Nothing blocks and nothing grows: a server that is slow or away keeps at most WAITING messages waiting;
further ones are left out, counted, and said. Over UDP nobody knows what arrived. Must not know when an attack begins.
Source: RFC 5424 (message), RFC 5426 (UDP), RFC 6587 section 3.4.1 (TCP: the length, a blank, the message).
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from appliance.log import fields

if TYPE_CHECKING:
    from appliance.events import EventReport
    from appliance.models import Syslog as Settings

LOG = logging.getLogger(__name__)

FACILITY = 3  # system daemons
WARNING, NOTICE = 4, 5
APP_NAME = "levee"
SD_ID = "attack@32473"  # the number for examples, RFC 5612: Levee has none of its own
MAX_HOSTNAME = 255
WAITING = 100
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
CONNECT_S = 10.0
STUCK_S = 30.0  # a connection that takes nothing for so long is made anew


def _quoted(value: object) -> str:
    """A parameter's value, RFC 5424 section 6.3.3."""
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
    return f'"{text}"'


def message(event: EventReport, hostname: str, process: int) -> bytes:
    """One message. The time is that of the event: its beginning, or its end."""
    over = event["ended_s"] is not None
    at = datetime.fromtimestamp(event["ended_s"] if event["ended_s"] is not None else event["started_s"], UTC)
    data = " ".join(f"{name}={_quoted(value)}" for name, value in event.items() if value is not None)
    said = "ended" if over else "began"
    text = f"attack on {event['service']} {said}: {event['value']} {event['measured']} (limit {event['limit']})"
    if over:
        text += f", {event['lasted_s']} s, at most {event['peak_per_s']} SYNs a second"
    head = f"<{FACILITY * 8 + (NOTICE if over else WARNING)}>1 {at:%Y-%m-%dT%H:%M:%SZ}"
    return f"{head} {hostname} {APP_NAME} {process} {said} [{SD_ID} {data}] {text}".encode()


def hostname() -> str:
    """As RFC 5424 wants it: visible ASCII, or `-` for none."""
    name = "".join(one for one in socket.gethostname() if "!" <= one <= "~")
    return name[:MAX_HOSTNAME] or "-"


class Syslog:
    """`problem`: what an operator should know, None while all is well. Does nothing without an address."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._waiting: deque[bytes] = deque()
        self._left_out = 0
        self._sent = 0  # bytes of the first one
        self._socket: socket.socket | None = None
        self._connected = False
        self._since_s = 0.0  # of the connection's state
        self._not_before_s = 0.0
        self._pause_s = FIRST_PAUSE_S
        self.problem: str | None = None

    def send(self, event: EventReport) -> None:
        """Never raises, never waits."""
        if self._settings.address is None:
            return
        if len(self._waiting) >= WAITING:
            self._left_out += 1
            return
        made = message(event, hostname(), os.getpid())
        if self._settings.transport == "tcp":
            made = f"{len(made)} ".encode() + made
        self._waiting.append(made)

    def turn(self) -> None:
        """Sends what can be sent at once."""
        if not self._waiting:
            return
        now_s = time.monotonic()
        try:
            if self._socket is None:
                if now_s < self._not_before_s:
                    return
                self._open(now_s)
            if self._is_connected(now_s):
                self._flush(now_s)
        except OSError as error:
            self._failed(error, now_s)

    def close(self) -> None:
        """What waits is tried once more, and then lost."""
        self._not_before_s = 0.0
        self.turn()
        if self._waiting:
            LOG.warning("%d events for the log server are lost", len(self._waiting) + self._left_out)
        self._shut()

    def _open(self, now_s: float) -> None:
        address = str(self._settings.address)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        kind = socket.SOCK_STREAM if self._settings.transport == "tcp" else socket.SOCK_DGRAM
        self._socket = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._connected, self._since_s = False, now_s
        found = self._socket.connect_ex((address, self._settings.port))
        if found not in (0, errno.EINPROGRESS):
            raise OSError(found, os.strerror(found))
        self._connected = found == 0

    def _is_connected(self, now_s: float) -> bool:
        if self._connected or self._socket is None:
            return self._connected
        failed = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            raise OSError(failed, os.strerror(failed))
        try:
            self._socket.getpeername()
        except OSError:
            if now_s - self._since_s >= CONNECT_S:
                raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
            return False
        self._connected, self._since_s = True, now_s
        return True

    def _flush(self, now_s: float) -> None:
        """A message of which a part is sent stays the first."""
        while self._waiting and self._socket is not None:
            try:
                self._sent += self._socket.send(self._waiting[0][self._sent :])
            except BlockingIOError:
                if now_s - self._since_s >= STUCK_S:
                    raise OSError(errno.ETIMEDOUT, "it takes nothing") from None
                return
            self._since_s = now_s
            if self._sent >= len(self._waiting[0]):
                self._waiting.popleft()
                self._sent = 0
        self._pause_s, self.problem = FIRST_PAUSE_S, None
        if self._left_out:
            LOG.warning("%d events for the log server were left out", self._left_out, extra=fields(lost=self._left_out))
            self._left_out = 0
        if not self._waiting:
            self._shut()  # events are rare: an idle connection would be cut somewhere, and nobody would know

    def _failed(self, error: OSError, now_s: float) -> None:
        """Again after a pause, which grows. Said once, until it works again."""
        self._shut()
        self._not_before_s = now_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        where = f"{self._settings.address} port {self._settings.port} ({self._settings.transport})"
        said = f"the log server {where} is not reached: {error.strerror}"
        if self.problem is None:
            LOG.warning("%s", said)
        self.problem = said

    def _shut(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self._sent = 0  # the rest of a message means nothing on another connection
