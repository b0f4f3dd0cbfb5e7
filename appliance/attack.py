"""Which services are under attack: those whose SYNs come faster than handshakes are completed.

Owns the marks and the list. Fed by daemon.py about once a second with the counters, asked for the reply of Status. Must
not know what is done about an attack: the gate answers a flood the same way before and after it was noticed.

A SYN that nobody completes is unfinished. A service is under attack from the moment its unfinished SYNs stay above
HIGH_PER_S for RISE_S, until they have stayed below LOW_PER_S for CALM_S.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from appliance.log import fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cext.dataplane import Counters

LOG = logging.getLogger(__name__)

HIGH_PER_S = 1000.0
LOW_PER_S = 500.0
RISE_S = 2.0
CALM_S = 30.0


@dataclass(frozen=True, slots=True)
class Attack:
    """One that goes on: since when (seconds of the daemon's clock), unfinished SYNs a second now and at most."""

    since_s: float
    now_per_s: float
    peak_per_s: float


@dataclass(frozen=True, slots=True)
class _Pulse:
    """Of one service: its counters at the last look, since when it is above the high mark, when it was last above the
    low one."""

    at_s: float
    syns: int
    finished: int
    high_since_s: float | None
    loud_s: float


class Attacks:
    """The attacks that go on, by service."""

    def __init__(self) -> None:
        self._pulses: dict[str, _Pulse] = {}
        self._open: dict[str, Attack] = {}

    @property
    def open(self) -> Mapping[str, Attack]:
        """By name of the service."""
        return self._open

    def look(self, services: Mapping[str, Counters], now_s: float) -> None:
        """Takes the counters of now; a service that is gone is forgotten."""
        for name in self._pulses.keys() - services.keys():
            del self._pulses[name]
            self._open.pop(name, None)
        for name, counters in services.items():
            self._look_at(name, counters["events"]["syn_received"], counters["events"]["cookie_valid"], now_s)

    def _look_at(self, name: str, syns: int, finished: int, now_s: float) -> None:
        before = self._pulses.get(name)
        if before is None or now_s <= before.at_s or syns < before.syns:
            self._pulses[name] = _Pulse(now_s, syns, finished, None, now_s)
            return
        unfinished = (syns - before.syns) - (finished - before.finished)
        per_s = max(0.0, unfinished / (now_s - before.at_s))
        high_since_s = (
            (before.at_s if before.high_since_s is None else before.high_since_s) if per_s > HIGH_PER_S else None
        )
        loud_s = now_s if per_s > LOW_PER_S else before.loud_s
        self._pulses[name] = _Pulse(now_s, syns, finished, high_since_s, loud_s)
        attack = self._open.get(name)
        if attack is not None:
            self._follow(name, attack, per_s, quiet_s=now_s - loud_s)
        elif high_since_s is not None and now_s - high_since_s >= RISE_S:
            self._open[name] = Attack(high_since_s, per_s, per_s)
            LOG.warning("attack on %s: %d unfinished SYNs a second", name, per_s, extra=fields(service=name))

    def _follow(self, name: str, attack: Attack, per_s: float, *, quiet_s: float) -> None:
        if quiet_s < CALM_S:
            self._open[name] = replace(attack, now_per_s=per_s, peak_per_s=max(per_s, attack.peak_per_s))
            return
        del self._open[name]
        peak = round(attack.peak_per_s)
        LOG.info("attack on %s is over: it reached %d unfinished SYNs a second", name, peak, extra=fields(service=name))
