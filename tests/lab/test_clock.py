"""The box's clock is set while clients are in the middle of a handshake, and while connections are open.

The daemon runs with generators/clock.c, which moves its wall clock and leaves the monotonic one.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from netlab.compiled import LIBRARY, compiled
from netlab.pairs import exchange, unopened
from netlab.session import Lab
from netlab.streams import connected

pytestmark = pytest.mark.deep

EPOCH_S = 32  # after which a cookie's key is replaced
HOUR_S = 3600
RESTART_S = 8
# A worker reads the clock with every batch, and at least this often.
SEEN_AFTER_S = 0.2


class Clock:
    """The wall clock of the lab's daemon."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.write_bytes(bytes(8))

    @property
    def environment(self) -> dict[str, str]:
        library = compiled("clock.c", compiler=LIBRARY)
        return {"LD_PRELOAD": str(library), "LAB_CLOCK": str(self._file)}

    def ahead_by(self, seconds: int) -> None:
        with self._file.open("r+b") as file:  # in place: it is mapped
            file.write(struct.pack("=q", seconds))
        time.sleep(SEEN_AFTER_S)


@pytest.fixture(scope="module")
def clock(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clock]:
    made = Clock(tmp_path_factory.mktemp("clock") / "offset")
    lab.kill_daemon()
    lab.start_daemon(made.environment)
    yield made
    lab.kill_daemon()
    lab.start_daemon()


@pytest.fixture
def right(clock: Clock) -> Iterator[Clock]:
    """At its time, in the third epoch since anybody has had a cookie."""
    for epoch in (-2, -1, 0):
        clock.ahead_by(epoch * EPOCH_S)
    yield clock
    clock.ahead_by(0)


@pytest.mark.parametrize("jump_s", [EPOCH_S, 2 * EPOCH_S, 100 * EPOCH_S, -EPOCH_S, -2 * EPOCH_S, -100 * EPOCH_S])
def test_a_client_in_the_middle_of_its_handshake_is_served(lab: Lab, family: int, right: Clock, jump_s: int) -> None:
    """One epoch on is what happens all the time: another key answers from now on."""
    with unopened(lab, family) as pair:
        pair.client.connect()
        right.ahead_by(jump_s)
        pair.client.send("A")
        pair.server.accept()
        exchange(pair)
        pair.client.send("R", options=())


def test_a_key_that_was_replaced_is_good_for_the_next_epoch(lab: Lab, family: int, right: Clock) -> None:
    """With nothing left of its SYN but the cookie: the daemon that answered it is gone."""
    left_s = EPOCH_S - time.time() % EPOCH_S
    if left_s < RESTART_S:
        time.sleep(left_s)  # else the epoch would change by two
    with unopened(lab, family) as pair:
        pair.client.connect()
        lab.kill_daemon()
        right.ahead_by(EPOCH_S)
        lab.start_daemon(right.environment)
        pair.client.send("A")
        pair.server.accept()
        exchange(pair)
        pair.client.send("R", options=())


@pytest.mark.parametrize("jump_s", [24 * HOUR_S, -24 * HOUR_S])
def test_open_connections_go_on_and_new_ones_open(lab: Lab, family: int, right: Clock, jump_s: int) -> None:
    with connected(lab, family, direct=False) as (client, server):
        right.ahead_by(jump_s)
        with connected(lab, family, direct=False) as (other, its_server):
            for one, another in ((client, server), (server, client), (other, its_server), (its_server, other)):
                one.sendall(b"after the jump")
                assert another.recv(20) == b"after the jump"
    assert lab.status()["state"] == "PROTECTING"
