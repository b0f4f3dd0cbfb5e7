"""The gate's floods: what one core of the box takes, answers and drops, beside floors and the kernel's SYN proxy.

Frames are made in the kernel, without socket buffers (generator.py), as many as the client's core can make; what the
box cannot take is lost before it. A rate is packets by CPU time of the box's NAPI thread: where the generator was the
limit, the core was idle for the rest, and the rate says what it would have done.

Part `gate` of `python -m bench`.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from appliance.models import MAX_SERVICES
from bench import flood, levee, meters, peers, programs
from bench.errors import BenchError
from bench.generator import Generator
from bench.part import Bars, Effort, Report, Spread, Table
from bench.programs import Frames, Plan
from bench.topology import (
    BOX,
    BOX_CPU,
    CLIENT,
    CLIENT_CPU,
    CLIENT_IF,
    OUTSIDE_IF,
    SERVER_ADDRESS,
    SERVICE_PORT,
    Shape,
    confine,
    mac_of,
    next_hop,
    say,
    topology,
)
from cext.wire import EPOCH_S

SERVICES = (1, 100, min(10_000, MAX_SERVICES))
_WARM_UP_S = 0.4
_RIGHT_REASON_SHARE = 0.99
_BETWEEN_FLOODS_S = 4.0

DROP, ECHO, SYNPROXY = "XDP_DROP (floor)", "XDP_TX echo (floor)", "nft synproxy"
SYN, ACK = "SYN", "forged ACK"


@dataclass(frozen=True)
class Run:
    """One flood. Rates are packets a second as they came in at the box and as answers came back; ns are CPU time."""

    received_pps: float
    answered_pps: float
    ns_per_packet: float
    busy_share: float  # of the box's core

    @property
    def core_pps(self) -> float:
        """What one core does when it does nothing else."""
        return 1e9 / self.ns_per_packet


@dataclass(frozen=True)
class Scene:
    """A box that is ready: forged frames go out of the client's interface `ifindex`, `napi` does the box's work.

    say_key is told of every run and its key.
    """

    frames: Frames
    shape: Shape
    ifindex: int
    napi: list[int]
    say_key: Callable[[str, Run], None]

    def flood(self, key: str, plan: Plan, seconds: int) -> Run:
        """One run of the plan, which is kept under its key."""
        self.frames.plan(plan)
        with Generator(self.frames, len(plan.frame), self.ifindex):
            time.sleep(_WARM_UP_S)
            before = self._reading()
            time.sleep(seconds)
            after = self._reading()
        spent_s, received, answers, ran_s, idle_s = (b - a for a, b in zip(before, after, strict=True))
        run = Run(
            received_pps=received / spent_s,
            answered_pps=answers / spent_s,
            ns_per_packet=ran_s * 1e9 / max(1, received),
            busy_share=max(0.0, 1 - idle_s / spent_s),
        )
        self.say_key(key, run)
        return run

    def _reading(self) -> tuple[float, int, int, float, float]:
        received = meters.received_frames(BOX, OUTSIDE_IF)
        idle_s, _ = meters.idle_and_stolen(BOX_CPU)
        return time.monotonic(), received, self.frames.answers, sum(map(meters.ran_s, self.napi)), idle_s


def run(effort: Effort) -> Report:
    """Every flood in turn, in each round."""
    os.sched_setaffinity(0, {CLIENT_CPU})
    runs: dict[str, list[Run]] = {}

    def keep(key: str, one: Run) -> None:
        runs.setdefault(key, []).append(one)
        say(f"gate: {key}: {one.received_pps / 1e3:.0f} kpps taken, {one.answered_pps / 1e3:.0f} answered, "
            f"{one.ns_per_packet:.0f} ns, core {one.busy_share:.0%} busy")  # fmt: skip

    for _ in range(effort.rounds):
        for measure in (_floors, _synproxy, _gate):
            measure(keep, effort.seconds)
    return _report(runs)


@contextmanager
def scene(shape: Shape, keep: Callable[[str, Run], None] = lambda _key, _run: None) -> Iterator[Scene]:
    """The wires, with the box on its core and forged clients at the other end."""
    with topology(shape), programs.loaded() as frames:
        napi = confine()
        with programs.attached(frames.programs["lvb_count"], CLIENT, CLIENT_IF) as ifindex:
            yield Scene(frames, shape, ifindex, napi, keep)


def syns(shape: Shape, servers: int = 1) -> Plan:
    """SYNs with all options, each of another client, to `servers` addresses."""
    options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)]
    return Plan(_frame(shape, TCP(dport=SERVICE_PORT, flags="S", window=64240, options=options)), servers=servers)


def acks(shape: Shape) -> Plan:
    """ACKs with any numbers, each of another client."""
    return Plan(_frame(shape, TCP(dport=SERVICE_PORT, flags="A", window=502)))


def _frame(shape: Shape, tcp: TCP) -> bytes:
    link = Ether(src=mac_of(CLIENT, CLIENT_IF).hex(":"), dst=next_hop(shape).hex(":"))
    return bytes(link / IP(src="198.18.128.1", dst=SERVER_ADDRESS, flags="DF") / tcp)


def _floors(keep: Callable[[str, Run], None], seconds: int) -> None:
    with scene(Shape.BRIDGE, keep) as box:
        for key, name in ((DROP, "lvb_drop"), (ECHO, "lvb_echo")):
            with programs.attached(box.frames.programs[name], BOX, OUTSIDE_IF):
                box.flood(key, syns(box.shape), seconds)


def _synproxy(keep: Callable[[str, Run], None], seconds: int) -> None:
    with scene(Shape.ROUTED, keep) as box, peers.SYNPROXY.start([BOX_CPU]):
        flood.verify(box.shape)
        box.flood(_key(SYNPROXY, SYN), syns(box.shape), seconds)
        box.flood(_key(SYNPROXY, ACK), acks(box.shape), seconds)


def _gate(keep: Callable[[str, Run], None], seconds: int) -> None:
    for services in SERVICES:
        with scene(Shape.BRIDGE, keep) as box, levee.running("bpf", [BOX_CPU], services) as one:
            flood.verify(box.shape)
            _await_room_in_epoch(2 * seconds + _BETWEEN_FLOODS_S)
            with _reason(one, "syn_answered"):
                box.flood(_key(gate_title(services), SYN), syns(box.shape, services), seconds)
            if services == SERVICES[0]:
                with _reason(one, "cookie_invalid"):
                    box.flood(_key(OUT, ACK), acks(box.shape), seconds)
                levee.forget_cookies(one.pin("lv_keys"))
                with _reason(one, "ack_no_cookie_out"):
                    box.flood(_key(NONE_OUT, ACK), acks(box.shape), seconds)


def _await_room_in_epoch(for_s: float) -> None:
    """With a new key every other forged ACK names one that no cookie is out with, and is not hashed."""
    left_s = EPOCH_S - time.time() % EPOCH_S
    if left_s < for_s:
        time.sleep(left_s)


OUT, NONE_OUT = "Levee, cookies out", "Levee, no cookie out"


def gate_title(services: int) -> str:
    """What the row of so many services is called."""
    return f"Levee, {services:_} service{'s' if services > 1 else ''}".replace("_", " ")


def _key(who: str, what: str) -> str:
    return f"{who}: {what}"


@contextmanager
def _reason(one: levee.Levee, name: str) -> Iterator[None]:
    """What is dropped within the context is dropped for this reason, else the figure is of something else."""
    before: dict[str, int] = one.status()["drops"]
    yield
    after: dict[str, int] = one.status()["drops"]
    counted = {key: after[key] - before[key] for key in after}
    if counted[name] < _RIGHT_REASON_SHARE * sum(counted.values()):
        raise BenchError(f"what was to be counted as {name} was not", str({k: n for k, n in counted.items() if n}))


# ---- what is said of it ----


def _report(runs: dict[str, list[Run]]) -> Report:
    core = {key: Spread.of([one.core_pps / 1e3 for one in series]) for key, series in runs.items()}
    rows = [_row(runs, core, key) for key in runs]
    head = (
        "one core of the box", "kpps", "ns a packet", "of nft synproxy", "of XDP_TX echo", "of XDP_DROP",
        "taken, kpps", "answered, kpps", "core busy",
    )  # fmt: skip
    note = (
        "kpps: packets by CPU time of the box's core. taken: what came in. answered: SYN-ACKs (or echoes) at the "
        "client's end. Ratios are of kpps; nft synproxy's is for the same kind of packet."
    )
    return Report(
        tables=(Table("Floods at the driver, one core, spoofed sources", head, tuple(rows), (note,)),),
        runs={key: [asdict(one) for one in series] for key, series in runs.items()},
        plots=(Bars("Flood, one core", "kpps", core, logarithmic=True),),
    )


def _row(runs: dict[str, list[Run]], core: dict[str, Spread], key: str) -> tuple[str, ...]:
    series = runs[key]
    same = _key(SYNPROXY, ACK if key.endswith(ACK) else SYN)

    def of(base: str) -> str:
        return f"{core[key].median / core[base].median:.2f}" if base in core else "-"

    return (
        key,
        core[key].text(0),
        Spread.of([one.ns_per_packet for one in series]).text(0),
        "-" if key in (DROP, ECHO) else of(same),
        of(ECHO),
        of(DROP),
        Spread.of([one.received_pps / 1e3 for one in series]).text(0),
        Spread.of([one.answered_pps / 1e3 for one in series]).text(0),
        f"{statistics.median(one.busy_share for one in series):.0%}",
    )
