"""The log of packets: a line for each that a service refused or opened, and how many got none.

Owns the words and the sums. Called by daemon.py about once a second, with the counters of that moment. Which packets
get a note is decided where they are (cext/core/note.h), at most so many in a time; how many were left out is what the
counters have beyond the notes. It is said once in such a time, so the log grows by a line more. Must not know journal
or stderr.
"""

from __future__ import annotations

import ipaddress
import logging
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from appliance.log import fields
from appliance.packettext import FLAGS
from cext.dataplane import DROP_REASONS, REFUSALS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from appliance.models import Service
    from appliance.values import Rate
    from cext.dataplane import Counters
    from cext.notes import Note, Notes

LOG = logging.getLogger(__name__)

OPENED = "opened"
SERVERS = {"refused": "its server refused it", "timed_out": "its server did not answer"}  # events that are refusals


class HasNotes(Protocol):
    """What is needed of an engine."""

    @property
    def notes(self) -> Notes:
        """Gives the notes that wait."""


class _Sum:
    """One service, and one of both kinds of lines: what was counted, written and said of it, by reason."""

    def __init__(self, counted: Counter[str]) -> None:
        self._before = self._latest = counted
        self._done: Counter[str] = Counter()
        self._since_s: float | None = None  # something waits to be said

    def written(self, why: str) -> None:
        """A line."""
        self._done[why] += 1

    def began_again(self, counted: Counter[str]) -> bool:
        """Whether these counters are those of another life of the service."""
        return any(count < self._latest[why] for why, count in counted.items())

    def to_say(self, counted: Counter[str], now_s: float, period_s: float) -> Counter[str]:
        """What was left out, once in each period; then it has been said."""
        self._latest = counted
        left = counted - self._before - self._done
        if not left:
            self._since_s = None
            return left
        self._since_s = now_s if self._since_s is None else self._since_s
        if now_s - self._since_s < period_s:
            return Counter()
        self._since_s = None
        self._done += left
        return left


class PacketLog:
    """Of one engine."""

    def __init__(self, engine: HasNotes) -> None:
        self._engine = engine
        self._sums: dict[tuple[str, str], _Sum] = {}

    def turn(
        self, counters: Mapping[str, Counters], services: Mapping[str, Service], now_s: float, *, last: bool = False
    ) -> None:
        """Writes what waits. `last`: what was left out is said now."""
        for note in self._engine.notes.take():
            _write(note)
            if (found := self._sums.get((note.service, OPENED if note.opened else "refused"))) is not None:
                found.written(note.why)
        sums: dict[tuple[str, str], _Sum] = {}
        for name, kind, rate in _logged(services):
            if name not in counters:
                continue
            counted = _counted(counters[name], kind)
            found = self._sums.get((name, kind))
            if found is None or found.began_again(counted):
                found = _Sum(counted)
            sums[name, kind] = found
            if left := found.to_say(counted, now_s, 0 if last else rate.period_s):
                _say(name, kind, left)
        self._sums = sums


def _logged(services: Mapping[str, Service]) -> Iterable[tuple[str, str, Rate]]:
    for name, service in services.items():
        if service.log.refused is not None:
            yield name, "refused", service.log.refused
        if service.log.opened is not None:
            yield name, OPENED, service.log.opened


def _counted(counters: Counters, kind: str) -> Counter[str]:
    """All that could have had a line, by reason."""
    events = (OPENED,) if kind == OPENED else tuple(SERVERS)
    counted = Counter({why: counters["events"][why] for why in events})
    if kind != OPENED:
        counted.update({why: counters["drops"][why] for why in REFUSALS})
    return counted


def _write(note: Note) -> None:
    source, destination = _text(note.source), _text(note.destination)
    flags = "".join(name for bit, name in enumerate(FLAGS) if note.flags >> bit & 1)
    side = "outside" if note.outside else "inside"
    vlan = ".".join(map(str, note.vlans))
    about = {
        "service": note.service,
        "reason": note.why,
        "source": source,
        "source_port": note.source_port,
        "destination": destination,
        "destination_port": note.destination_port,
        "vlan": vlan,
        "side": side,
        "flags": flags,
    }
    LOG.info(
        "%s: %s %s > %s%s%s from %s%s",
        note.service,
        OPENED if note.opened else "refused",
        _end(source, note.source_port),
        _end(destination, note.destination_port),
        f" {flags}" if flags else "",
        f" VLAN {vlan}" if vlan else "",
        side,
        "" if note.opened else f": {SERVERS.get(note.why) or DROP_REASONS[note.why]}",
        extra=fields(**{name: value for name, value in about.items() if value}),
    )


def _say(service: str, kind: str, left: Counter[str]) -> None:
    most = ", ".join(f"{why} {count}" for why, count in left.most_common())
    LOG.info(
        "%s: %d more were %s than this log has lines for: %s",
        service,
        left.total(),
        kind,
        most,
        extra=fields(service=service, left_out=left.total(), kind=kind),
    )


def _text(address: bytes) -> str:
    found = ipaddress.IPv6Address(address)
    return str(found.ipv4_mapped or found)


def _end(address: str, port: int) -> str:
    if not port:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
