"""The list of problems behind DEGRADED: what stays on it, what leaves it, what is logged."""

from __future__ import annotations

import logging

import pytest

from appliance.watch import SHOWN_S, Watch
from cext.queues import QueueStats


def queue(num: int, full: int | None, user: int | None) -> QueueStats:
    return {
        "num": num,
        "carries": "syns",
        "received": 0,
        "batches": 0,
        "verdict_drop": 0,
        "verdict_pass": 0,
        "verdict_rewrite": 0,
        "malformed": 0,
        "truncated": 0,
        "unknown_interface": 0,
        "receive_errors": {},
        "verdict_errors": {},
        "waiting": 0,
        "dropped_queue_full": full,
        "dropped_user": user,
    }


def test_standing_problems_stay_until_they_are_lifted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    watch = Watch()
    for _ in range(3):
        watch.stand("rules", "the rules cannot be loaded")
    assert watch.problems(1e9) == ["the rules cannot be loaded"]
    watch.stand("rules", "the rules cannot be loaded: again")
    watch.stand("rules", None)
    watch.stand("rules", None)
    assert watch.problems(0.0) == []
    assert caplog.messages == [
        "the rules cannot be loaded",
        "the rules cannot be loaded: again",
        "no longer: the rules cannot be loaded: again",
    ]


def test_passing_problems_leave_by_themselves_and_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch()
    for second in range(5):
        watch.passing("seen", float(second))
    assert watch.problems(4.0 + SHOWN_S - 0.1) == ["seen"]
    assert watch.problems(4.0 + SHOWN_S) == []
    assert caplog.messages == ["seen"]
    watch.passing("seen", 100.0)
    assert caplog.messages == ["seen", "seen"]


def test_a_queue_that_loses_packets_is_a_problem_from_its_second_look_on() -> None:
    watch = Watch()
    watch.queues([queue(3, 1000, 7)], 0.0)
    assert watch.problems(0.0) == [], "what was lost before this daemon looked is not its problem"
    watch.queues([queue(3, 1000, 7)], 1.0)
    assert watch.problems(1.0) == []
    watch.queues([queue(3, 1001, 7)], 2.0)
    assert watch.problems(2.0) == ["queue 3 for syns overflows: more comes in than can be looked at"]


def test_a_kernel_that_does_not_tell_is_no_problem() -> None:
    watch = Watch()
    for second in range(3):
        watch.queues([queue(0, None, None)], float(second))
    assert watch.problems(3.0) == []
