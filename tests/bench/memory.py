"""Memory for a million open connections, per connection and in all, with either engine.

bpf engine: the table in the kernel is filled with copies of an open connection; each map's memory is what the kernel
says (memlock in /proc/PID/fdinfo). nfqueue engine: what the data plane says it allocates, which `levee check` prints.
Beside both, what the daemon's process has resident; memory that it shares with the kernel's maps is in that too.

Part `memory` of `python -m bench`.
"""

from __future__ import annotations

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bpf.libbpf import Map

from bench import conversation, flowcopies, levee
from bench.errors import BenchError
from bench.part import Effort, Report, Table
from bench.topology import BOX_CPU, Shape, say, topology
from cext.dataplane import DataplaneConfig, memory_bytes

FLOWS = 1_000_000
_ROOM = 1_000  # for the connections of the bench beside them
_TALK_S = 4.0
_SETTLE_S = 0.5
_SWEEP_WAIT_S = 60.0
_MIB = 1 << 20


def run(effort: Effort) -> Report:
    """Both engines, once: nothing here differs from run to run."""
    del effort
    rows = [*_bpf(), *_nfqueue()]
    head = ("memory at 1 000 000 flows", "MiB", "bytes a flow")
    cells = tuple((what, f"{size / _MIB:.1f}", f"{size / FLOWS:.1f}") for what, size in rows)
    return Report(tables=(Table("Memory", head, cells),), runs=dict(rows))


def _bpf() -> list[tuple[str, int]]:
    """What each map takes, all of them, and the daemon."""
    with (
        topology(Shape.BRIDGE),
        levee.running("bpf", [BOX_CPU], flows=FLOWS + _ROOM) as one,
        conversation.server(),
        flowcopies.pinned_map(one.pin("lv_flows")) as flows,
    ):
        _fill(flows)
        _wait_until_known(one)
        talks = conversation.connect(1.0, 8)
        if talks.failed or not talks.finished:
            raise BenchError(f"{talks.failed} connections beside a million others failed, {talks.finished} did not")
        maps = {pin.name.partition("-")[0]: _map_bytes(pin) for pin in sorted(one.pins.glob("lv_*"))}
        resident = _resident_bytes(one.processes[0])
    total = sum(maps.values())
    return [
        ("bpf engine: lv_flows", maps.pop("lv_flows")),
        *((f"bpf engine: {name}", size) for name, size in maps.items() if size >= _MIB),
        ("bpf engine: all maps", total),
        ("bpf engine: daemon, resident", resident),
    ]


def _fill(flows: Map) -> None:
    """The record of a connection that is open, copied while it is."""
    with ThreadPoolExecutor(1) as pool:
        talking = pool.submit(conversation.exchange, _TALK_S)
        while (key := flows.first_key()) is None and not talking.done():
            time.sleep(0.05)
        if key is None:
            raise BenchError("a connection through the box is not in the table of the kernel", str(talking.result()))
        time.sleep(_SETTLE_S)  # the record of the handshake becomes that of a connection
        record = flows.lookup(key)
        talking.result()
    flowcopies.fill(flows, key, record, 0, FLOWS)
    say(f"memory: {FLOWS} flows are in the table")


def _wait_until_known(one: levee.Levee) -> None:
    """The daemon counts flows when it sweeps."""
    deadline = time.monotonic() + _SWEEP_WAIT_S
    while one.status()["flows"]["used"] < FLOWS:
        if time.monotonic() > deadline:
            raise BenchError(f"levee does not see {FLOWS} flows in its table")
        time.sleep(0.5)


def _map_bytes(pin: Path) -> int:
    """What the kernel charges for a map: map_mem_usage() of each kind, kernel/bpf."""
    with flowcopies.pinned_map(pin) as one:
        text = Path(f"/proc/self/fdinfo/{one.fd}").read_text()
    return int(_field(text, r"memlock:\s+(\d+)"))


def _resident_bytes(process: int) -> int:
    return int(_field(Path(f"/proc/{process}/status").read_text(), r"VmRSS:\s+(\d+) kB")) * 1024


def _field(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    if not found:
        raise BenchError(f"the kernel does not say {pattern.split(':', maxsplit=1)[0]}", "Linux 6.1 or newer is needed")
    return found[1]


def _nfqueue() -> list[tuple[str, int]]:
    """By table, and the daemon."""
    tables = memory_bytes(DataplaneConfig(secret=bytes(32), flows=FLOWS, workers=os.cpu_count() or 1))
    with topology(Shape.ROUTED), levee.running("nfqueue", range(os.cpu_count() or 1), flows=FLOWS) as one:
        resident = _resident_bytes(one.processes[0])
    return [
        ("nfqueue engine: flows", tables["flows"]),
        *((f"nfqueue engine: {name}", size) for name, size in tables.items() if name != "flows" and size >= _MIB),
        ("nfqueue engine: all tables", sum(tables.values())),
        ("nfqueue engine: daemon, resident, without flows", resident),
    ]
