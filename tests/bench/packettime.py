"""Nanoseconds a packet in each program, by BPF_PROG_RUN: the gate's answers and refusals, the splice each way.

A program of frames.bpf.c makes the next frame and calls the one that is measured; what making and calling takes by
itself is measured beside it and taken off. Flows are copies of one that was opened by a real handshake, with other
clients; each packet is of a flow drawn by chance. Runs on the box's core, the engine's thread on the other one.

Part `packet` of `python -m bench`.
"""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from box.box import Talk, service, stamps
from box.wire import V4, Option
from bpf.both import Both
from bpf.kernelbox import KernelBox
from bpf.libbpf import Program, pin_of

from bench import flowcopies, levee, programs
from bench.errors import BenchError
from bench.part import Bars, Effort, Report, Spread, Table
from bench.programs import Frames, Plan
from bench.topology import BOX_CPU, CLIENT_CPU, say

FLOWS = (1_000, 100_000, 1_000_000)
SYN, ACK_OUT, ACK_NONE = "gate: SYN answered", "gate: forged ACK, cookies out", "gate: forged ACK, no cookie out"
TO_SERVER, TO_CLIENT = "splice: ACK to the server, 66 bytes", "splice: ACK to the client, 66 bytes"
_TIMES_PER_S = 200_000  # runs of a program for each second of effort
_HALF_OPEN = 65_536
_DROP, _TX, _REDIRECT = 1, 3, 7
_SYN_OPTIONS: list[Option] = [
    ("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7),
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A program, the frames it gets, the verdict that is right."""

    name: str
    kind: str  # "xdp" or "tc"
    program: Program
    plan: Plan
    verdict: int
    cookies_out: bool = True


def run(effort: Effort) -> Report:
    """Every case with each number of flows."""
    found: dict[str, dict[int, list[float]]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="levee-bench-") as scratch,
        programs.loaded() as frames,
        Both(Path(scratch), (service(),), flows=FLOWS[-1] + FLOWS[0], half_open=_HALF_OPEN) as box,
    ):
        pins = Path(scratch) / "bpf"
        box.begin(V4)
        talk = Talk(box, V4)  # type: ignore[arg-type]  # Both has what Talk asks of a box
        talk.open()
        _confine()
        with flowcopies.pinned_map(pin_of("lv_flows", pins)) as flows:
            model = flows.first_key()
            if not model:
                raise BenchError("the connection that was opened is not in the table of the kernel")
            record = flows.lookup(model)
            for first, count in itertools.pairwise((0, *FLOWS)):
                flowcopies.fill(flows, model, record, first, count)
                for case in _cases(box.kernel, talk, count):
                    series = [_measure(frames, case, pins, effort.seconds) for _ in range(effort.rounds)]
                    found.setdefault(case.name, {})[count] = series
                    say(f"packet: {count} flows: {case.name}: {statistics.median(series):.0f} ns")
    return _report(found)


def _confine() -> None:
    """This thread on the box's core, all others of the process on the client's."""
    for task in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(task.name), {CLIENT_CPU})
    os.sched_setaffinity(0, {BOX_CPU})


def _cases(kernel: KernelBox, talk: Talk, flows: int) -> list[Case]:
    path, times = talk.path, stamps(talk.tsval, talk.echo)
    syn = Plan(path.from_client(flags="S", options=_SYN_OPTIONS))
    ack = Plan(path.from_client(flags="A"))
    to_server = path.from_client(flags="A", seq=talk.c_next, ack=talk.s_next_told, options=times)
    to_client = path.from_server(flags="A", seq=talk.s_next, ack=talk.c_next, options=times)
    outside = Plan(to_server, clients=flows, new_numbers=False)
    inside = Plan(to_client, clients=flows, new_numbers=False, client_sends=False)
    return [
        Case(SYN, "xdp", kernel.gate, syn, _TX),
        Case(ACK_OUT, "xdp", kernel.gate, ack, _DROP),
        Case(ACK_NONE, "xdp", kernel.gate, ack, _DROP, cookies_out=False),
        Case(TO_SERVER, "tc", kernel.splice["outside"], outside, _REDIRECT),
        Case(TO_CLIENT, "tc", kernel.splice["inside"], inside, _REDIRECT),
    ]


def _measure(frames: Frames, case: Case, pins: Path, seconds: int) -> float:
    """Nanoseconds that the program takes for one packet."""
    if not case.cookies_out:
        levee.forget_cookies(pin_of("lv_keys", pins))
    frames.plan(case.plan)
    front, nothing = frames.programs[f"lvb_{case.kind}_case"], frames.programs[f"lvb_{case.kind}_nothing"]
    buffer, times = bytes(len(case.plan.frame)), seconds * _TIMES_PER_S
    frames.measure(case.kind, nothing)
    _, alone_ns = front.time(buffer, times)
    frames.measure(case.kind, case.program)
    verdict, both_ns = front.time(buffer, times)
    if verdict != case.verdict:
        raise BenchError(f"{case.name}: the program's verdict is {verdict}, not {case.verdict}")
    return both_ns - alone_ns


def _report(found: dict[str, dict[int, list[float]]]) -> Report:
    head = ("ns a packet, BPF_PROG_RUN", *(f"{count:_} flows".replace("_", " ") for count in FLOWS), "last of first")
    rows = []
    for name, series in found.items():
        spreads = [Spread.of(series[count]) for count in FLOWS]
        rows.append((name, *(one.text(0) for one in spreads), f"{spreads[-1].median / spreads[0].median:.2f}"))
    return Report(
        tables=(Table("Programs, one packet", head, tuple(rows)),),
        runs={name: {str(count): values for count, values in series.items()} for name, series in found.items()},
        plots=(
            Bars(f"One packet, {FLOWS[-1]} flows", "ns", {name: Spread.of(s[FLOWS[-1]]) for name, s in found.items()}),
        ),
    )
