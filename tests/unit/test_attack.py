"""When an attack begins and ends: by the SYNs that nobody finishes, with a mark for each way."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from appliance.attack import CALM_S, HIGH_PER_S, LOW_PER_S, RISE_S, Attacks

if TYPE_CHECKING:
    from cext.dataplane import Counters


def counters(syns: float, finished: float = 0) -> Counters:
    return {"events": {"syn_received": int(syns), "cookie_valid": int(finished)}, "drops": {}}


class Meter:
    """One service, looked at once a second."""

    def __init__(self) -> None:
        self.attacks = Attacks()
        self.now_s = 100.0
        self.syns = 5_000_000.0
        self.finished = 0.0
        self.look()

    def look(self) -> None:
        self.attacks.look({"web": counters(self.syns, self.finished)}, self.now_s)

    def run(self, seconds: float, syns_per_s: float, finished_per_s: float = 0) -> bool:
        """Whether it is an attack after so many seconds."""
        for _ in range(int(seconds)):
            self.now_s += 1
            self.syns += syns_per_s
            self.finished += finished_per_s
            self.look()
        return "web" in self.attacks.open


def test_what_was_counted_before_the_first_look_is_no_attack() -> None:
    assert not Meter().run(10, 0)


def test_a_flood_is_an_attack_once_it_has_lasted() -> None:
    meter = Meter()
    assert not meter.run(RISE_S - 1, 50_000)
    assert meter.run(1, 50_000)
    assert meter.run(3, 80_000)
    meter.run(1, 20_000)
    attack = meter.attacks.open["web"]
    assert (attack.since_s, attack.now_per_s, attack.peak_per_s) == (100.0, 20_000, 80_000)


def test_clients_that_finish_are_no_attack_however_many() -> None:
    assert not Meter().run(60, 200_000, 199_500)


def test_a_rate_below_the_high_mark_is_none() -> None:
    assert not Meter().run(60, HIGH_PER_S)


def test_one_loud_second_is_none() -> None:
    meter = Meter()
    for _ in range(10):
        assert not meter.run(1, 50_000)
        assert not meter.run(1, 0)


def test_between_the_marks_it_goes_on_and_below_them_it_ends_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    meter = Meter()
    assert meter.run(5, 50_000)
    assert meter.run(10 * CALM_S, LOW_PER_S + 1)
    assert meter.run(CALM_S - 1, LOW_PER_S)
    assert not meter.run(1, LOW_PER_S)
    assert caplog.messages == [
        "attack on web: 50000 unfinished SYNs a second",
        "attack on web is over: it reached 50000 unfinished SYNs a second",
    ]


def test_a_service_that_is_gone_is_under_no_attack() -> None:
    meter = Meter()
    assert meter.run(5, 50_000)
    meter.attacks.look({}, meter.now_s + 1)
    assert not meter.attacks.open


def test_counters_that_begin_again_are_no_attack() -> None:
    meter = Meter()
    meter.syns = 0
    assert not meter.run(1, 0)
