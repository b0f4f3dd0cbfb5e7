"""`log` on the wire: a line names who was refused and why, and a flood leaves few lines and a number."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator

import pytest
from netlab.flood import FloodSpec, run_flood
from netlab.services import Services
from netlab.session import FAMILIES, Lab, wait_until
from netlab.streams import connected

from cext.dataplane import REFUSALS

LIMIT_S = 60
FLOOD, RATE_PPS = 100_000, 80_000
MOST, LATER = 5, 2  # lines a second; and an hour
LEFT_OUT = re.compile(r"\(service=lab left_out=(\d+) kind=refused\)$", re.MULTILINE)


@pytest.fixture
def services(lab: Lab) -> Iterator[Services]:
    made = Services(lab)
    yield made
    made.give()


class Log:
    """What the daemon writes from here on."""

    def __init__(self, lab: Lab) -> None:
        self._path = lab.appliance.log
        self._at = len(self._path.read_text())

    def text(self) -> str:
        return self._path.read_text()[self._at :]

    def has(self, line: str) -> bool:
        """Whether there is such a line before long."""
        return wait_until(lambda: line in self.text(), LIMIT_S)

    def lines(self) -> int:
        return self.text().count("levee: lab: refused ")

    def left_out(self) -> int:
        return sum(map(int, LEFT_OUT.findall(self.text())))


def refused(lab: Lab) -> int:
    """Everything that could have had a line."""
    status = lab.service_status()
    drops = sum(status["drops"].get(why, 0) for why in REFUSALS)
    return int(drops + status["refused"] + status["timed_out"])


def end(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def test_a_forged_ack_and_a_closed_port_have_a_line(lab: Lab, services: Services) -> None:
    services.give("log: {refused: 100/s, opened: 100/s}")
    log, wanted = Log(lab), list[str]()
    for family in FAMILIES:
        here, there = lab.client_address(family), lab.server_address(family)
        with lab.listen(family) as listener:
            port = listener.getsockname()[1]
            with lab.connect(family, port) as made, listener.accept()[0]:
                own = made.getsockname()[1]
            wanted.append(f"lab: opened {end(here, own)} > {end(there, port)} from outside (service=lab reason=opened ")
        with contextlib.suppress(ConnectionError):  # refused, or reset, by how soon it asks
            lab.connect(family, port).close()
        wanted.append(f"> {end(there, port)} from outside: its server refused it (service=lab ")
        with lab.crafted_client(family, port) as forger:
            forger.send("A", seq=4711, ack=815)
            wanted.append(f"lab: refused {end(here, forger.local_port)} > {end(there, port)} A from outside: ACK ")
    for line in wanted:
        assert log.has(line), line


@pytest.mark.usefixtures("no_forged_packet")
def test_a_flood_leaves_few_lines_and_a_number(lab: Lab, services: Services) -> None:
    """Lines and what was left out are all that was refused. A reload changes how many lines, and cuts nothing."""
    with connected(lab, 4, direct=False) as (client, server):
        services.give(f"log: {{refused: {MOST}/s}}")
        log = Log(lab)
        with lab.crafted_client(4, 80) as forger:
            forger.send("A", seq=4711, ack=815)
        assert wait_until(lambda: log.lines() > 0), "from here on the log counts"
        before, log, begun_s = refused(lab), Log(lab), time.monotonic()
        run_flood(lab.names, lab.mode, FloodSpec("ack", lab.server_address(4), FLOOD, 50, rate_pps=RATE_PPS))
        assert wait_until(lambda: log.lines() + log.left_out() == refused(lab) - before, LIMIT_S)
        assert log.left_out() > 10_000
        periods = time.monotonic() - begun_s + 2  # what earlier tests left open may be refused beside the flood
        assert MOST <= log.lines() <= MOST * periods
        assert len(LEFT_OUT.findall(log.text())) <= periods
        services.give(f"log: {{refused: {LATER}/h}}")
        log = Log(lab)
        before = refused(lab)
        run_flood(lab.names, lab.mode, FloodSpec("ack", lab.server_address(4), 1000, 50, rate_pps=10_000))
        assert wait_until(lambda: refused(lab) - before >= 500)
        assert log.lines() <= LATER
        client.sendall(b"still here")
        assert server.recv(20) == b"still here"
