"""When an attack begins and ends: by the SYNs that nobody finishes, with a mark for each way."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from appliance.attack import RISE_S, SHARE_S, SHARE_SYNS, Attacks, Change
from appliance.config import loads
from appliance.models import AttackMarks

MARKS = AttackMarks()
HIGH_PER_S, LOW_PER_S, CALM_S = MARKS.high_syns_per_s, MARKS.low_syns_per_s, MARKS.quiet_s

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
    assert not Meter().run(60, HIGH_PER_S * 1.5, HIGH_PER_S * 0.5)


def test_one_loud_second_is_none() -> None:
    meter = Meter()
    for _ in range(10):
        assert not meter.run(1, 50_000, 15_000)
        assert not meter.run(1, 0)


def test_between_the_marks_it_goes_on_and_below_them_it_ends_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    meter = Meter()
    assert meter.run(5, 50_000)
    assert meter.run(10 * CALM_S, LOW_PER_S + 1)
    assert meter.run(CALM_S - 1, 2 * LOW_PER_S, LOW_PER_S)
    assert not meter.run(1 + SHARE_S, 2 * LOW_PER_S, LOW_PER_S)
    assert caplog.messages[0] == "attack on web: 50000 unfinished SYNs a second, the limit is 1000"
    assert caplog.messages[1].startswith("attack on web is over after 3")
    assert caplog.messages[1].endswith("it reached 50000 SYNs a second")


def test_a_slow_flood_is_one_by_the_share_of_its_syns_that_nobody_finishes() -> None:
    meter = Meter()
    assert not meter.run(SHARE_S - 1, SHARE_SYNS)
    assert meter.run(1, SHARE_SYNS)
    attack = meter.attacks.open["web"]
    assert (attack.value, attack.measured, attack.limit) == ("unfinished_percent", 100, MARKS.high_unfinished_percent)
    assert not Meter().run(60, SHARE_SYNS / SHARE_S - 1)  # too few to say
    assert not Meter().run(60, 100, 20)  # as much as the mark


AUTO = loads(
    b"""\
version: 1
mode: routed
outside: eth0
inside: eth1
services:
  web: {addresses: [198.19.0.1], ports: [80], protect: auto, attack: {quiet_s: 10}}
""",
    "levee.yaml",
)


class Switch(Meter):
    """A service with `protect: auto`, whose guard the data plane turns on and this test's daemon in both directions."""

    def __init__(self) -> None:
        self.on = False
        self.changes: list[Change] = []
        super().__init__()

    def look(self) -> None:
        found = self.attacks.look(
            {"web": counters(self.syns, self.finished)}, self.now_s, AUTO.services, {"web": self.on}
        )
        for change in found:
            self.on = not change.over
        self.changes += found


def test_with_auto_the_data_plane_begins_and_the_daemon_ends_it() -> None:
    switch = Switch()
    switch.on = True
    assert switch.run(1, 40_000)
    assert switch.run(30, LOW_PER_S + 1, LOW_PER_S + 1)  # clients that finish count too: all reach the servers
    assert len(switch.changes) == 1
    assert not switch.run(10 + SHARE_S, LOW_PER_S, LOW_PER_S)
    began, over = switch.changes
    attack = began.attack
    assert (began.over, attack.value, attack.measured, attack.limit) == (False, "syns_per_s", 40_000, HIGH_PER_S)
    assert (over.over, over.attack.peak_per_s) == (True, 40_000)
    assert over.lasted_s >= 40


def test_with_auto_a_share_of_unfinished_handshakes_begins_protection_too() -> None:
    switch = Switch()
    assert not switch.run(20, 100, 95)
    assert switch.run(SHARE_S + 1, 100, 5)
    assert switch.on
    assert switch.changes[0].attack.value == "unfinished_percent"


def test_a_service_that_is_gone_is_under_no_attack() -> None:
    meter = Meter()
    assert meter.run(5, 50_000)
    meter.attacks.look({}, meter.now_s + 1)
    assert not meter.attacks.open


def test_counters_that_begin_again_are_no_attack() -> None:
    meter = Meter()
    meter.syns = 0
    assert not meter.run(1, 0)
