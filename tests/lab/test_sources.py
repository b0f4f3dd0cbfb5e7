"""`per_source` between real stacks: what becomes of a client that has too much, and what its servers see of it."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from netlab.names import END_INTERFACE
from netlab.process import run
from netlab.session import Lab, wait_until

from appliance import client

MOST = 2
QUIET_S = 0.5  # so long nothing comes
BLOCK_S = 2
PAIR = {4: 31, 6: 124}  # a prefix that a client shares with its neighbour, and with nobody else
_pairs = itertools.count()

Limit = Callable[..., None]


@pytest.fixture
def limit(lab: Lab) -> Iterator[Limit]:
    """Gives the lab's service such limits, under another name, so that one can see when they are in force."""
    path = lab.names.lab_dir / "levee.yaml"
    original = path.read_text()

    def change(text: str, name: str) -> None:
        path.write_text(text)
        lab.process.signal(signal.SIGHUP)
        assert wait_until(lambda: name in status(lab)["services"])

    def limited(limits: str, name: str = "limited") -> None:
        if "prefix" not in limits:
            limits = limits.replace("}", ", prefix_ipv6: 128}")
        renamed = original.replace("  lab:\n", f"  {name}:\n", 1)
        change(renamed.replace("    ports: all\n", f"    ports: all\n    per_source: {limits}\n", 1), name)

    yield limited
    change(original, "lab")
    if caught := blocked(lab):
        run([str(lab.appliance.levee), "block", "del", *caught, "--socket", str(lab.names.socket)])


def blocked(lab: Lab) -> list[str]:
    argv = [str(lab.appliance.levee), "block", "list", "--json", "--socket", str(lab.names.socket)]
    return [entry["prefix"] for entry in json.loads(run(argv).stdout)["entries"]]


def status(lab: Lab) -> dict[str, Any]:
    """Asked over the socket: starting `levee status` takes longer."""
    found: dict[str, Any] = client.call(lab.names.socket, "org.levee.Status")
    return found


def dropped(lab: Lab, reason: str) -> int:
    found: int = status(lab)["services"]["limited"]["drops"][reason]
    return found


@pytest.fixture
def ends(lab: Lab, family: int) -> Iterator[Ends]:
    with Ends(lab, family) as made:
        yield made


class Ends(contextlib.ExitStack):
    """A server that listens, and clients of one host and its neighbour; all are closed at the end.

    No other test's clients are of these hosts: what those left open would count.
    """

    def __init__(self, lab: Lab, family: int) -> None:
        super().__init__()
        number = 2 * (next(_pairs) % 70)
        if family == 4:
            self.home, self.neighbour = (f"198.18.0.{100 + number + each}" for each in (0, 1))
        else:
            self.home, self.neighbour = (f"2001:db8:18::{0xF000 + 8 * number + each:x}" for each in (0, 1))
            for address in (self.home, self.neighbour):  # deprecated: nobody takes it who does not ask for it
                unasked = ["preferred_lft", "0", "nodad"]
                run(
                    ["ip", "addr", "replace", f"{address}/64", "dev", END_INTERFACE, *unasked],
                    namespace=lab.names.client,
                )
        self.lab, self.family = lab, family
        self.listener = self.enter_context(lab.listen(family))
        self.port: int = self.listener.getsockname()[1]

    def call(self, source: str = "") -> socket.socket:
        """A client that believes itself connected."""
        made = self.enter_context(self.lab.socket_at_client(self.family))
        made.bind((source or self.home, 0))
        made.connect((self.lab.server_address(self.family), self.port))
        return made

    def accepted(self) -> socket.socket:
        """The next connection that the server has."""
        made, _ = self.listener.accept()
        return self.enter_context(made)

    def both(self, source: str = "") -> tuple[socket.socket, socket.socket]:
        return self.call(source), self.accepted()

    def nobody_comes(self) -> None:
        self.listener.settimeout(QUIET_S)
        with pytest.raises(TimeoutError):
            self.listener.accept()
        self.listener.settimeout(20.0)


def test_more_open_than_allowed_waits_for_its_turn(lab: Lab, limit: Limit, ends: Ends) -> None:
    limit(f"{{open: {MOST}}}")
    open_ones = [ends.both() for _ in range(MOST)]
    with lab.capture_server() as seen:
        late = ends.call()
        late.sendall(b"my turn")
        ends.nobody_comes()
    assert not seen.tcp(lambda packet: packet["TCP"].sport == late.getsockname()[1])
    assert dropped(lab, "source_open") > 0
    for caller, server in open_ones[:1]:
        caller.close()
        assert server.recv(1) == b""
        server.close()
    assert ends.accepted().recv(10) == b"my turn"
    open_ones[1][0].sendall(b"still here")
    assert open_ones[1][1].recv(10) == b"still here"


def test_more_a_second_than_allowed_waits_for_its_turn(lab: Lab, limit: Limit, ends: Ends) -> None:
    limit("{new_per_s: 1}")
    callers = [ends.call() for _ in range(3)]
    for number, caller in enumerate(callers):
        caller.sendall(str(number).encode())
    assert sorted(ends.accepted().recv(1) for _ in callers) == [b"0", b"1", b"2"]
    assert dropped(lab, "source_rate") > 0


def test_reset(lab: Lab, limit: Limit, ends: Ends) -> None:
    limit(f"{{open: {MOST}, over: reset}}")
    (first, server), *_ = [ends.both() for _ in range(MOST)]
    with pytest.raises(ConnectionResetError):
        ends.call().recv(1)
    ends.nobody_comes()
    assert dropped(lab, "source_open") > 0
    first.sendall(b"not me")
    assert server.recv(10) == b"not me"


def test_block_begins_and_ends(lab: Lab, limit: Limit, ends: Ends) -> None:
    limit(f"{{open: {MOST}, over: block, block_for: {BLOCK_S}s}}")
    (first, server), *_ = [ends.both() for _ in range(MOST)]
    ends.call().sendall(b"too much")
    assert wait_until(lambda: blocked(lab) == [ends.home])
    first.sendall(b"after the block")
    assert wait_until(lambda: not blocked(lab))
    assert server.recv(20) == b"after the block"


def test_a_prefix_is_one_source(lab: Lab, limit: Limit, ends: Ends) -> None:
    """Two hosts of one prefix share what it may have; with the longest prefix each has its own."""
    limit(f"{{open: 1, prefix_ipv4: {PAIR[4]}, prefix_ipv6: {PAIR[6]}}}")
    ends.both()
    late = ends.call(ends.neighbour)
    late.sendall(b"late")
    ends.nobody_comes()
    assert dropped(lab, "source_open") > 0
    limit("{open: 1, prefix_ipv4: 32, prefix_ipv6: 128}", "apart")
    ends.call(ends.neighbour).sendall(b"own")
    assert ends.accepted().recv(10) in (b"own", b"late")


def test_counts_go_on_when_the_daemon_is_killed(lab: Lab, limit: Limit, ends: Ends) -> None:
    limit(f"{{open: {MOST}}}")
    for _ in range(MOST):
        ends.both()
    lab.kill_daemon()
    lab.start_daemon()
    assert wait_until(lambda: status(lab)["sources"]["used"] > 0)
    ends.call().sendall(b"x")
    ends.nobody_comes()
