"""A short run of every fuzz target, and that the engine's seeds reach every drop reason and every event.

How long a run takes is bounded by time; what it must come to is not.
"""

from __future__ import annotations

import pytest
from fuzz import run

SECONDS = 7

# Reasons that the engine in user space has no use for.
ONLY_IN_BPF = {"handover_full", "handover_size", "no_daemon", "not_changed"}
# The target's services do not forward: unit/test_engine_forward.py does, packet by packet.
NOT_HERE = {"forward_target"}


def test_every_target_has_seeds() -> None:
    seeded = {path.name for path in (run.HERE / "corpus").iterdir()}
    assert seeded == set(run.targets())
    assert len(seeded) > 7


@pytest.mark.parametrize("target", run.targets())
def test_short_run(target: str) -> None:
    result = run.execute(target, f"-max_total_time={SECONDS}")
    print(f"{target}: {result.executions:,} executions without a finding")
    assert result.executions > len(list((run.HERE / "corpus" / target).iterdir()))


def test_seeds_of_the_engine_reach_every_reason_and_event() -> None:
    reached = run.replay("engine").reached
    assert len(reached) > 40
    assert {name for name, times in reached.items() if not times} == ONLY_IN_BPF | NOT_HERE
