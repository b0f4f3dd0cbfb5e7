"""Text of the appliance's configuration in the lab.

default() is what `make lab` uses: every port of the server's addresses. Tests add services with
their own text. Pure functions; knows the addressing, not how an appliance is started.
"""

from __future__ import annotations

import json

from netlab.names import BRIDGE, INSIDE, OUTSIDE, Names
from netlab.topology import HOSTS_PER_SIDE, Mode, addressing


def head(mode: Mode, engine: str, names: Names) -> str:
    """Everything but the services; runtime files of a lab stay in its own directories."""
    lines = [
        "version: 1",
        f"mode: {mode}",
        f"engine: {engine}",
        f"outside: {OUTSIDE}",
        *([] if mode is Mode.HOST else [f"inside: {INSIDE}"]),
    ]
    if mode is Mode.BRIDGE:
        lines.append(f"bridge: {BRIDGE}")
    lines += [
        f"runtime_dir: {names.runtime_dir}",
        f"state_dir: {names.lab_dir}/state",
        "cookie:",
        f"  secret_file: {names.lab_dir}/state/secret",
    ]
    return "\n".join(lines) + "\n"


def service(name: str, addresses: list[str], *options: str) -> str:
    """One entry under `services:`; `options` are further lines, `ports: all` stands already."""
    listed = ", ".join(json.dumps(address) for address in addresses)
    lines = [f"  {name}:", f"    addresses: [{listed}]", "    ports: all"]
    return "\n".join([*lines, *(f"    {option}" for option in options)]) + "\n"


def server_range(mode: Mode, first: int = 1, last: int = HOSTS_PER_SIDE) -> str:
    server = addressing(mode).server
    return f"{server.v4_host(first)}-{server.v4_host(last)}"


def default(mode: Mode, engine: str, names: Names) -> str:
    addresses = [server_range(mode), addressing(mode).server.v6]
    return head(mode, engine, names) + "services:\n" + service("lab", addresses)
