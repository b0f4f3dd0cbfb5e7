"""The lab as tests see it: which lab is up, its addresses, sockets at both ends, the appliance.

Built by the fixtures in conftest.py on top of control.py. Knows nothing of pytest.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from netlab import configuration, control, counters, netns, topology, vlans
from netlab.appliance import Appliance, Process
from netlab.crafted import Endpoint
from netlab.names import END_INTERFACE, Names
from netlab.process import LabError, run
from netlab.topology import Mode
from netlab.wire import Capture

# Hosts of the server's 198.19.0.1-250 that the test configuration protects; the others are served
# by the same kernel and the same servers, unprotected: the direct path to compare with.
PROTECTED_LAST = 200
DIRECT_FIRST = 201
FAMILIES = (4, 6)


class NoSuchEnd(LabError):
    """The mode of the lab has no such end; conftest.py makes a skip of it."""


@dataclass(frozen=True)
class Lab:
    names: Names
    mode: Mode
    engine: str

    @property
    def protecting(self) -> bool:
        return self.engine != control.NO_ENGINE

    # -- addresses

    def client_address(self, family: int) -> str:
        client = topology.addressing(self.mode).client
        return client.v4 if family == 4 else client.v6

    def server_address(self, family: int, host: int = 1) -> str:
        """A protected address; IPv6 has one only."""
        server = topology.addressing(self.mode).server
        return server.v4_host(host) if family == 4 else server.v6

    def direct_address(self, family: int) -> str:
        """An address of the same server that the appliance leaves alone."""
        server = topology.addressing(self.mode).server
        return server.v4_host(DIRECT_FIRST) if family == 4 else f"{server.v6}f"

    # -- the appliance

    @property
    def appliance(self) -> Appliance:
        return Appliance(self.names, Path(self._state().levee))

    @property
    def process(self) -> Process:
        return self._state().process

    def status(self) -> dict[str, Any]:
        return self.appliance.status()

    def service_status(self) -> dict[str, Any]:
        """The part of `status` about the protected service."""
        services: dict[str, dict[str, Any]] = self.status()["services"]
        return services["lab"]

    def kill_daemon(self) -> None:
        self.appliance.kill(self.process)

    def start_daemon(self, environment: Mapping[str, str] | None = None) -> None:
        state = self._state()
        process = self.appliance.start(self.names.lab_dir / "levee.yaml", environment=environment)
        control.write_state(
            self.names,
            control.State(state.mode, state.engine, state.configuration, state.levee, process.pid, process.started),
        )

    def _state(self) -> control.State:
        state = control.read_state(self.names)
        if state is None or not state.levee:
            raise LabError("there is no appliance in this lab", "it was brought up with --engine none")
        return state

    # -- the wire

    def capture_client(self) -> Capture:
        return Capture(self.names.client, END_INTERFACE)

    def capture_server(self) -> Capture:
        return Capture(self.names.server, self.names.server_interface)

    def arrived(self) -> dict[str, int]:
        return counters.read(self.names)

    def forget_forged(self) -> None:
        counters.forget(self.names)

    def first_forged(self) -> str:
        """For a test that fails because of them."""
        return "forged packets reached the server: " + "; ".join(counters.forged(self.names))

    def damaged(self) -> int:
        """Segments that the kernels of both ends threw away for a wrong checksum (Tcp InCsumErrors, both families)."""
        return sum(_damaged(namespace) for namespace in (self.names.client, self.names.server))

    def crafted_client(
        self, family: int, remote_port: int, *, host: int = 1, local_port: int | None = None, direct: bool = False
    ) -> Endpoint:
        return Endpoint(
            self.names,
            self.mode,
            at_client=True,
            local=self.client_address(family),
            remote=self.direct_address(family) if direct else self.server_address(family, host),
            remote_port=remote_port,
            local_port=local_port,
        )

    def crafted_server(self, family: int, local_port: int | None = None, *, host: int = 1) -> Endpoint:
        """Takes the first connection to its port; the client's port is known from its SYN."""
        if self.mode is Mode.HOST:
            raise NoSuchEnd("the server is the box's own kernel here: its packets cannot be crafted")
        return Endpoint(
            self.names,
            self.mode,
            at_client=False,
            local=self.server_address(family, host),
            remote=self.client_address(family),
            remote_port=None,
            local_port=local_port,
        )

    # -- sockets of real stacks

    def socket_at_client(self, family: int) -> socket.socket:
        made = netns.new_socket(self.names.client, _domain(family), socket.SOCK_STREAM)
        made.settimeout(20.0)
        return made

    def connect(self, family: int, port: int, *, direct: bool = False) -> socket.socket:
        address = self.direct_address(family) if direct else self.server_address(family)
        made = self.socket_at_client(family)
        try:
            made.connect((address, port))
        except OSError:
            made.close()
            raise
        return made

    def listen(self, family: int, port: int = 0, backlog: int = 128) -> socket.socket:
        """A listening socket on all addresses of the server; port 0 takes a free one."""
        made = netns.new_socket(self.names.server, _domain(family), socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == 6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.settimeout(20.0)
        made.bind(("::" if family == 6 else "0.0.0.0", port))
        made.listen(backlog)
        return made


def _domain(family: int) -> socket.AddressFamily:
    return socket.AF_INET if family == 4 else socket.AF_INET6


def _damaged(namespace: str) -> int:
    lines = run(["cat", "/proc/net/snmp"], namespace=namespace).stdout.splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(values[names.index("InCsumErrors")])


def protected_and_direct(mode: Mode, engine: str, names: Names) -> str:
    """`lab`: protected, .1-.200 and the IPv6 address; `direct`: the same server, unprotected."""
    server = topology.addressing(mode).server
    return (
        configuration.head(mode, engine, names)
        + "services:\n"
        + configuration.service("lab", [configuration.server_range(mode, 1, PROTECTED_LAST), server.v6])
        + configuration.service(
            "direct",
            [configuration.server_range(mode, DIRECT_FIRST), f"{server.v6}f"],
            'protect: "off"',
        )
        + (vlans.services() if mode is Mode.BRIDGE else "")
    )


def bring_up(names: Names, mode: Mode, engine: str, text: str, directory: Path) -> Lab:
    """A fresh lab with counters and shields installed."""
    control.down(names)
    config_file = directory / "levee.yaml"
    config_file.write_text(text)
    control.up(names, mode, engine, config_file)
    names = replace(names, box_serves=mode is Mode.HOST)
    counters.install(names)
    second = f"{topology.addressing(mode).server.v6}f/64"
    run(["ip", "addr", "add", second, "dev", names.server_interface, "nodad"], namespace=names.server)
    return Lab(names, mode, engine)


def wait_until(condition: Callable[[], bool], limit_s: float = 10.0) -> bool:
    """Whether the condition came true; asked every 50 ms."""
    limit = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(0.05)
    return True
