"""Which services are under attack, and which of them are protected because of it.

Owns the marks, the list of what goes on, and the switch of `protect: auto`. Fed by daemon.py about once a second with
the counters, asked for the reply of Status. Must not know packets: the data plane turns protection on by itself when a
second has too many SYNs; here that is noticed, and everything slower is decided. What is written down of an attack is
the business of events.py.

A SYN that nobody completes is unfinished. A service that is always protected is under attack from the moment its
unfinished SYNs stay above `high_syns_per_s` for RISE_S. With `protect: auto` all SYNs count, since all of them reach
the servers, and protection is on for exactly as long as the attack. For both, the share of unfinished SYNs counts
beside the rate. An attack is over when all values have stayed below their low marks for `quiet_s`.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from appliance.log import fields
from appliance.models import AttackMarks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from appliance.models import Service
    from cext.dataplane import Counters

LOG = logging.getLogger(__name__)

RISE_S = 2.0
SHARE_S = 5.0  # a share is measured over so long: a handshake takes its time
SHARE_SYNS = 100  # and not among fewer

Value = Literal["syns_per_s", "unfinished_per_s", "unfinished_percent"]
WORDS: dict[Value, str] = {
    "syns_per_s": "SYNs a second",
    "unfinished_per_s": "unfinished SYNs a second",
    "unfinished_percent": "per cent of the SYNs unfinished",
}


@dataclass(frozen=True, slots=True)
class Attack:
    """One that goes on: since when (seconds of the daemon's clock), what crossed which limit, SYNs a second.

    now_per_s, peak_per_s: unfinished ones, or with `protect: auto` all.
    """

    since_s: float
    value: Value
    measured: float
    limit: float
    now_per_s: float
    peak_per_s: float


@dataclass(frozen=True, slots=True)
class Change:
    """An attack that began, or (over) ended, with its length."""

    service: str
    attack: Attack
    over: bool
    lasted_s: float


@dataclass(frozen=True, slots=True)
class _Sample:
    """Counters of a service at a moment."""

    at_s: float
    syns: int
    finished: int


@dataclass(frozen=True, slots=True)
class _Rates:
    """Between samples: SYNs a second, those unfinished, and their share of late; None where there were too few."""

    syns_per_s: float
    unfinished_per_s: float
    unfinished_percent: float | None


class _Pulse:
    """One service: its latest samples, since when it is above the high mark, when it was last above a low one."""

    def __init__(self, first: _Sample) -> None:
        self.samples = deque([first])
        self.high_since_s: float | None = None
        self.loud_s = first.at_s

    def take(self, now: _Sample) -> _Rates | None:
        """The rates since the sample before; None when the counters began again."""
        before = self.samples[-1]
        if now.at_s <= before.at_s or now.syns < before.syns:
            self.__init__(now)  # type: ignore[misc]  # as new
            return None
        self.samples.append(now)
        while len(self.samples) > 2 and now.at_s - self.samples[1].at_s >= SHARE_S:
            self.samples.popleft()
        elapsed_s = now.at_s - before.at_s
        syns = now.syns - before.syns
        first = self.samples[0]
        lately = now.syns - first.syns
        share = None
        if now.at_s - first.at_s >= SHARE_S and lately >= SHARE_SYNS:
            share = max(0.0, 100.0 * (lately - (now.finished - first.finished)) / lately)
        return _Rates(
            syns_per_s=syns / elapsed_s,
            unfinished_per_s=max(0.0, (syns - (now.finished - before.finished)) / elapsed_s),
            unfinished_percent=share,
        )


class Attacks:
    """The attacks that go on, by service."""

    def __init__(self) -> None:
        self._pulses: dict[str, _Pulse] = {}
        self._open: dict[str, Attack] = {}

    @property
    def open(self) -> Mapping[str, Attack]:
        """By name of the service."""
        return self._open

    def look(
        self,
        counters: Mapping[str, Counters],
        now_s: float,
        services: Mapping[str, Service] | None = None,
        guards: Mapping[str, bool] | None = None,
    ) -> list[Change]:
        """Takes the counters of now; returns what began or ended. A service that is gone is forgotten.

        services: their marks, without one the defaults. guards: of those with `protect: auto`, whether it is protected.
        """
        changes = [self._end(name, now_s) for name in self._open.keys() - counters.keys()]
        for name in self._pulses.keys() - counters.keys():
            del self._pulses[name]
        for name, one in counters.items():
            service = (services or {}).get(name)
            marks = service.attack if service else AttackMarks()
            events = one["events"]
            finished = events["cookie_valid"] + events.get("watched_done", 0)
            sample = _Sample(now_s, events["syn_received"], finished)
            if name not in self._pulses:
                self._pulses[name] = _Pulse(sample)
                rates = None
            else:
                rates = self._pulses[name].take(sample)
            change = self._judge(name, marks, rates, now_s, (guards or {}).get(name))
            changes += [change] if change else []
        return changes

    def _judge(
        self, name: str, marks: AttackMarks, rates: _Rates | None, now_s: float, guard: bool | None
    ) -> Change | None:
        """`guard`: with `protect: auto` whether it is protected, else None."""
        pulse = self._pulses[name]
        auto = guard is not None
        if rates is None:
            return None
        per_s = rates.syns_per_s if auto else rates.unfinished_per_s
        share = rates.unfinished_percent
        if per_s > marks.low_syns_per_s or (share is not None and share > marks.low_unfinished_percent):
            pulse.loud_s = now_s
        attack = self._open.get(name)
        if attack is not None:
            if now_s - pulse.loud_s >= marks.quiet_s:
                return self._end(name, now_s)
            self._open[name] = replace(attack, now_per_s=per_s, peak_per_s=max(per_s, attack.peak_per_s))
            return None
        before_s = pulse.samples[-2].at_s
        if per_s > marks.high_syns_per_s:
            pulse.high_since_s = before_s if pulse.high_since_s is None else pulse.high_since_s
        else:
            pulse.high_since_s = None
        value: Value = "syns_per_s" if auto else "unfinished_per_s"
        if guard or (not auto and pulse.high_since_s is not None and now_s - pulse.high_since_s >= RISE_S):
            since_s = before_s if pulse.high_since_s is None else pulse.high_since_s
            return self._begin(name, Attack(since_s, value, per_s, marks.high_syns_per_s, per_s, per_s), now_s)
        if share is not None and share > marks.high_unfinished_percent:
            since_s, value = now_s - SHARE_S, "unfinished_percent"
            return self._begin(name, Attack(since_s, value, share, marks.high_unfinished_percent, per_s, per_s), now_s)
        return None

    def _begin(self, name: str, attack: Attack, now_s: float) -> Change:
        self._open[name] = attack
        self._pulses[name].loud_s = now_s
        LOG.warning(
            "attack on %s: %d %s, the limit is %d",
            name,
            attack.measured,
            WORDS[attack.value],
            attack.limit,
            extra=fields(service=name, value=attack.value, measured=round(attack.measured), limit=round(attack.limit)),
        )
        return Change(name, attack, over=False, lasted_s=now_s - attack.since_s)

    def _end(self, name: str, now_s: float) -> Change:
        attack = self._open.pop(name)
        lasted_s = now_s - attack.since_s
        LOG.info(
            "attack on %s is over after %d s: it reached %d SYNs a second",
            name,
            lasted_s,
            attack.peak_per_s,
            extra=fields(service=name, lasted_s=round(lasted_s), peak_per_s=round(attack.peak_per_s)),
        )
        if name in self._pulses:
            self._pulses[name].high_since_s = None
        return Change(name, attack, over=True, lasted_s=lasted_s)
