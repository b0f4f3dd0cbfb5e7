"""The capture that goes on: what was asked for, by whom, and what was captured, page by page.

Owns the replies of org.levee.Capture, CaptureTake and CaptureEnd. Called from the table of methods in daemon.py, and
`turn()` about once a second. One capture at a time. It is over when its time is, when its client says so, or when
nobody has taken packets from it for UNREAD_S; until then its packets wait in rings of a fixed size, and those that find
no room are counted. Must not know files, nor how packets are captured.
"""

from __future__ import annotations

import base64
import logging
import time
from typing import TYPE_CHECKING, Protocol, TypedDict

from appliance.addresses import IPV4_MAPPED, parse_addresses
from appliance.errors import OperatorError, WrongValue
from cext.capture import FATES, MOST_BYTES, CaptureQuery
from cext.dataplane import DROP_REASONS

if TYPE_CHECKING:
    from appliance.models import Config
    from appliance.varlink import Call, Parameters
    from cext.capture import Capture, CapturedPacket

LOG = logging.getLogger(__name__)

MAX_SECONDS = 3600
UNREAD_S = 5.0
PAGE_BYTES = 1 << 19  # of packets in one reply: a few milliseconds of the daemon's loop
MAX_NUMBER = (1 << 31) - 1
WORDS = (*FATES, *DROP_REASONS)  # what --reason takes


class PacketReport(TypedDict):
    """One packet. time_ns: since 1970. data: the beginning of its Ethernet frame, as base64; length: of all of it."""

    time_ns: int
    side: str
    fate: str
    reason: str
    service: str
    length: int
    data: str


class HasCapture(Protocol):
    """What is needed of an engine."""

    @property
    def capture(self) -> Capture:
        """Begins, ends, gives captured packets."""


def wanted(
    *, address: str | None, service: str | None, reasons: tuple[str, ...], bytes_each: int, until_ns: int
) -> CaptureQuery:
    """The question in words. Raises WrongValue."""
    for word in reasons:
        if word not in WORDS:
            raise WrongValue(f"{word} is neither a reason nor a fate of a packet", f"some of {', '.join(WORDS)}")
    span = parse_addresses(address) if address else None
    offset = IPV4_MAPPED if span and span.family == 4 else 0
    return CaptureQuery(
        until_ns=until_ns,
        addresses=(span.first + offset, span.last + offset) if span else None,
        service=service,
        reasons=tuple(word for word in reasons if word in DROP_REASONS),
        fates=tuple(word for word in reasons if word in FATES),
        bytes_each=bytes_each,
    )


def packet_report(packet: CapturedPacket, realtime_offset_ns: int) -> PacketReport:
    """One packet as a client sees it."""
    return {
        "time_ns": packet.time_ns + realtime_offset_ns,
        "side": "outside" if packet.outside else "inside",
        "fate": packet.fate,
        "reason": packet.reason,
        "service": packet.service.strip(),
        "length": packet.length,
        "data": base64.b64encode(packet.data).decode(),
    }


class Capturing:
    """Nothing is captured at first."""

    def __init__(self, engine: HasCapture, config: Config) -> None:
        self._engine = engine
        self._config = config
        self._number = 0
        self._user = ""
        self._end_s = 0.0  # of CLOCK_MONOTONIC
        self._taken_s = 0.0
        self._running = False

    def begin(self, call: Call) -> Parameters:
        """Begins a capture. Refused while another one goes on."""
        now_s = time.monotonic()
        self.turn(now_s)
        if self._running:
            left_s = max(1, round(self._end_s - now_s))
            raise OperatorError(f"a capture by {self._user} goes on, for {left_s} s at most", "there is one at a time")
        seconds = call.whole("seconds", 60, low=1, high=MAX_SECONDS)
        asked = call.text("reasons", "")
        try:
            query = wanted(
                address=call.text("address", "") or None,
                service=call.text("service", "") or None,
                reasons=tuple(asked.split(",")) if asked else (),
                bytes_each=call.whole("bytes_each", MOST_BYTES, low=1, high=MOST_BYTES),
                until_ns=time.monotonic_ns() + seconds * 10**9,
            )
            self._engine.capture.begin(query)
        except WrongValue as error:
            raise OperatorError(error.wrong, f"{error.right} would be right") from error
        except KeyError as error:
            raise OperatorError(f"there is no service {error.args[0]}", "levee status names them") from error
        self._number = self._number % MAX_NUMBER + 1
        self._user = call.caller.user
        self._end_s, self._taken_s, self._running = now_s + seconds, now_s, True
        LOG.info("capture %d by %s, for %d s at most", self._number, self._user, seconds)
        return {"capture": self._number, "outside": self._config.outside, "inside": self._config.inside}

    def take(self, call: Call) -> Parameters:
        """What was captured since the last call. After `over` there is nothing more to come."""
        self._check(call)
        now_s = self._taken_s = time.monotonic()
        over = not self._running or now_s >= self._end_s
        if over:
            self._stop()
        found = self._engine.capture.take(PAGE_BYTES)
        offset_ns = time.time_ns() - time.monotonic_ns()
        return {
            "packets": [packet_report(packet, offset_ns) for packet in found],
            "missed": self._engine.capture.missed,
            "over": over and not found,
        }

    def end(self, call: Call) -> Parameters:
        """Captures no more; what waits can still be taken."""
        self._check(call)
        self._stop()
        return {}

    def turn(self, now_s: float) -> None:
        """Ends a capture whose time is over, or whose client is gone."""
        if self._running and (now_s >= self._end_s or now_s - self._taken_s >= UNREAD_S):
            self._stop()

    def _stop(self) -> None:
        if self._running:
            self._running = False
            self._engine.capture.end()
            LOG.info("capture %d is over, %d packets missed", self._number, self._engine.capture.missed)

    def _check(self, call: Call) -> None:
        if call.whole("capture", low=1, high=MAX_NUMBER) != self._number:
            raise OperatorError("this capture is over", "levee was started anew, or another capture was begun")
