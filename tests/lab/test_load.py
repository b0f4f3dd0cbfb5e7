"""Real short connections by the thousand, with every option a client may offer, in the middle of a flood.

`make test-load` has a million of them on each engine; here are fewer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from netlab import short
from netlab.flood import Flood, FloodSpec
from netlab.session import FAMILIES, Lab, wait_until

from appliance import client

FLOOD_PPS = 10_000
FLOOD_LIMIT_S = 600
FLOOD_SYNS = FLOOD_PPS * FLOOD_LIMIT_S
LIMIT_S = 500.0  # of one set of connections
LINGER_LIMIT_S = 150.0  # a closed connection lingers for 60 s
GROWTH_KIB = 8 << 10
ALL_EMPTY_FROM = 100_000  # connections: with so many the test also waits for the table to be empty


def private_kib(lab: Lab) -> int:
    """Memory of the daemon that is its own, without the shared table of flows."""
    lines = Path(f"/proc/{lab.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def open_flows(lab: Lab) -> int:
    """Of this test: others leave some that nobody ended."""
    total = 0
    for state in ("syn_sent", "established"):
        cursor: int | None = 0
        while cursor is not None:
            asked: dict[str, object] = {"state": state, "port": str(short.PORT), "cursor": cursor}
            reply: dict[str, Any] = client.call(lab.names.socket, "org.levee.Flows", asked)
            total += len(reply["flows"])
            cursor = reply.get("cursor")
    return total


@pytest.mark.usefixtures("no_forged_packet")
def test_short_connections_with_changing_options_under_a_flood(lab: Lab, connections: int) -> None:
    """None fails and none stands still; the tables end empty, and the daemon's memory is what it was."""
    sets = [(values, family) for values in short.settings() for family in FAMILIES]
    each = -(-connections // len(sets))
    before, memory_kib = lab.service_status()["events"], 0
    with short.served(lab.names):
        for number, (values, family) in enumerate(sets):
            flood = FloodSpec(
                "syn-options", lab.server_address(family), FLOOD_SYNS, FLOOD_LIMIT_S, rate_pps=FLOOD_PPS, seed=number
            )
            with short.offering(lab.names, values), Flood(lab.names, lab.mode, flood) as going:
                done = short.connect(lab.names, lab.server_address(family), each, LIMIT_S)
                assert going.running, "the flood ended first"
            assert (done.failed, done.late, done.finished) == (0, 0, each), f"{values}, IPv{family}: {done.why}"
            if number == len(sets) // 4:
                memory_kib = private_kib(lab)
    assert private_kib(lab) - memory_kib < GROWTH_KIB
    after = lab.service_status()["events"]
    assert after["opened"] - before["opened"] >= each * len(sets)
    assert wait_until(lambda: open_flows(lab) == 0)
    assert lab.status()["hold"]["bytes"] == 0
    if connections >= ALL_EMPTY_FROM:
        assert wait_until(lambda: lab.status()["flows"]["used"] == 0, LINGER_LIMIT_S)
