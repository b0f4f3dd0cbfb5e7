"""`levee top`: the busiest services, the reasons and the sources with the most connections, again and again.

Services and reasons are counted a second. Sources are those of connections in the flow table: each of them has proven
itself, a forged address is never among them. An IPv6 source is its /64.
"""

import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Mapping
from ipaddress import IPv6Network
from pathlib import Path
from typing import cast

from appliance import client, exits, screen
from appliance.flows import FlowReport
from appliance.heavy import Heavy
from appliance.report import StatusReport
from appliance.screen import number

CLEAR = "\x1b[H\x1b[J"  # ECMA-48: cursor home, erase what follows
SOURCES = 1024  # counters
MAX_FLOWS = 200_000  # looked at for one screen
SHOWN = 7
COLUMNS = (
    ("SYNs", "syn_received"),
    ("valid", "cookie_valid"),
    ("invalid", "cookie_invalid"),
    ("opened", "opened"),
    ("silent", "timed_out"),
)


def execute(arguments: Namespace) -> int:
    """A screen an interval until it is interrupted, or one."""
    path = client.socket_path(arguments.socket)
    before, before_s = _status(path), time.monotonic()
    code = exits.of_state(before["state"])
    clear = CLEAR if sys.stdout.isatty() and not arguments.once else ""
    try:
        while True:
            time.sleep(arguments.interval)
            now, now_s = _status(path), time.monotonic()
            shown = screen.rates(now, before, now_s - before_s)
            print(f"{clear}{render(shown, sources(path))}", end="" if clear else "\n", flush=True)
            before, before_s, code = now, now_s, exits.of_state(now["state"])
            if arguments.once:
                return code
    except KeyboardInterrupt:
        return code


def _status(path: Path) -> StatusReport:
    return cast(StatusReport, client.call(path, "org.levee.Status"))


def source(address: str) -> str:
    """What counts as one source."""
    return str(IPv6Network((address, 64), strict=False)) if ":" in address else address


def sources(path: Path) -> Heavy:
    """Who has how many connections, by the first MAX_FLOWS of the table."""
    heavy = Heavy(SOURCES)
    cursor: object = 0
    while cursor is not None and heavy.total < MAX_FLOWS:
        reply = client.call(path, "org.levee.Flows", {"cursor": cursor})
        for flow in cast(list[FlowReport], reply["flows"]):
            heavy.add(source(flow["client"]))
        cursor = reply.get("cursor")
    return heavy


def _busiest(counted: Mapping[str, int]) -> Iterable[tuple[str, int]]:
    return sorted(((name, count) for name, count in counted.items() if count), key=lambda item: (-item[1], item[0]))


def render(status: StatusReport, heavy: Heavy) -> str:
    """The screen; the counters of `status` are rates."""
    flows = status["flows"]
    state = f"levee top  {status['state']}  flows {number(flows['used'])} of {number(flows['capacity'])}"
    lines = [state, "", f"{'service, a second':<35}" + "".join(f"{title:>9}" for title, _ in COLUMNS)]
    syns = {name: one["events"].get("syn_received", 0) for name, one in status["services"].items()}
    for name in sorted(syns, key=lambda one: (-syns[one], one))[:SHOWN]:
        events = status["services"][name]["events"]
        lines.append(f"{name:<35}" + "".join(f"{number(events.get(key, 0)):>9}" for _, key in COLUMNS))
    lines += ["", "reason, packets a second"]
    lines += [f"{name:<35}{number(count):>9}" for name, count in list(_busiest(status["drops"]))[:SHOWN]] or ["none"]
    about = f" (of {number(heavy.total)} looked at{f', up to {heavy.error} more each' if heavy.error else ''})"
    lines += ["", f"source, connections{about}"]
    lines += [f"{name:<35}{number(count):>9}" for name, count in heavy.top(SHOWN)] or ["none"]
    return "".join(f"{line}\n" for line in lines)
