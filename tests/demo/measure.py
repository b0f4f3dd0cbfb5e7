"""One phase of the demo: clients and a flood, and a sample of everything twice a second.

Owns what is measured and from where: requests from the clients themselves, forged packets from the
kernel at the server's interface, what Levee did from its control socket. Knows nothing of showing.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netlab import control, counters, servers
from netlab.clients import Request, SteadyClients
from netlab.flood import Flood, FloodSpec
from netlab.names import CLIENT_MAC, Names
from netlab.process import run
from netlab.topology import Mode, addressing

from appliance.client import call

CLIENTS = 4
CLIENT_LIMIT_S = 2.0
SAMPLE_S = 0.5
BACKLOG = 511  # nginx's default
# Forged sources lie in the half of the clients' network that is "behind" the client.
SOURCES = "198.18.128.0/17"


@dataclass(frozen=True)
class Setting:
    names: Names
    mode: Mode
    directory: Path
    rate_pps: int
    quiet_s: int
    flood_s: int


@dataclass(frozen=True)
class Sample:
    """What happened in the interval that ended at `at_s` seconds after the start of the phase."""

    at_s: float
    length_s: float
    flooding: bool
    requests: tuple[Request, ...]
    absorbed: int  # forged SYNs that Levee took in
    reached: int  # forged packets at the server's interface

    @property
    def done(self) -> int:
        return sum(not request.failure for request in self.requests)

    @property
    def failed(self) -> int:
        return len(self.requests) - self.done


@dataclass
class Phase:
    title: str
    protected: bool
    samples: list[Sample] = field(default_factory=list)
    sent: int = 0  # forged SYNs, as the generator counted them

    def part(self, *, flooding: bool) -> Part:
        return Part([sample for sample in self.samples if sample.flooding == flooding])


@dataclass(frozen=True)
class Part:
    """The samples of a phase before, or during, the flood."""

    samples: list[Sample]

    @property
    def requests(self) -> list[Request]:
        return [request for sample in self.samples for request in sample.requests]

    @property
    def failed(self) -> int:
        return sum(sample.failed for sample in self.samples)

    @property
    def done(self) -> int:
        return sum(sample.done for sample in self.samples)

    @property
    def per_second(self) -> float:
        return self.done / max(sum(sample.length_s for sample in self.samples), SAMPLE_S)

    @property
    def absorbed(self) -> int:
        return sum(sample.absorbed for sample in self.samples)

    @property
    def reached(self) -> int:
        return sum(sample.reached for sample in self.samples)

    def latency_ms(self, share: float) -> float | None:
        """Quantile of the successful requests' time; None when there was none."""
        times = sorted(request.seconds * 1000 for request in self.requests if not request.failure)
        return times[min(len(times) - 1, int(len(times) * share))] if times else None


def median_ms(requests: tuple[Request, ...]) -> float | None:
    times = [request.seconds * 1000 for request in requests if not request.failure]
    return statistics.median(times) if times else None


def run_phase(setting: Setting, title: str, show: Callable[[Phase, Sample, int], None]) -> Phase:
    """Quiet seconds, then the flood, then one more quiet sample. `show` is called for each sample."""
    names, server = setting.names, addressing(setting.mode).server
    counters.install(names)
    _lead_forged_sources_away(setting)
    phase = Phase(title, _protected(names))
    with (
        servers.nginx(names, setting.directory, BACKLOG),
        SteadyClients(names, [server.v4] * CLIENTS, limit_s=CLIENT_LIMIT_S) as clients,
    ):
        meter = _Meter(names, clients)
        meter.sample_until(phase, show, setting.quiet_s, flooding=False)
        count = setting.rate_pps * setting.flood_s
        spec = FloodSpec("syn-options", server.v4, count, setting.flood_s, rate_pps=setting.rate_pps, sources=SOURCES)
        with Flood(names, setting.mode, spec) as flood:
            meter.sample_until(phase, show, setting.flood_s, flooding=True)
            phase.sent = flood.wait().sent
    return phase


def _lead_forged_sources_away(setting: Setting) -> None:
    """Answers to forged sources vanish behind the client, as they vanish in the Internet.

    Without the route every one would ask for a neighbour, and the neighbour table would fail first.
    """
    names, client = setting.names, addressing(setting.mode).client
    namespace, interface = (names.box, "outside") if setting.mode is Mode.ROUTED else (names.server, "eth0")
    neighbour = ["ip", "neigh", "replace", client.v4, "lladdr", CLIENT_MAC, "dev", interface]
    run([*neighbour, "nud", "permanent"], namespace=namespace)
    run(["ip", "route", "add", SOURCES, "via", client.v4, "dev", interface], namespace=namespace)


def engine(names: Names) -> str:
    """Which engine runs and why, "" without Levee."""
    if not _protected(names):
        return ""
    status: dict[str, Any] = call(names.socket, "org.levee.Status")
    return f"engine: {status['engine_reason']}; steering: {status['steering']}"


def _protected(names: Names) -> bool:
    state = control.read_state(names)
    return state is not None and bool(state.levee)


class _Meter:
    """Turns totals into what happened since the last sample."""

    def __init__(self, names: Names, clients: SteadyClients) -> None:
        self._names, self._clients = names, clients
        self._protecting = _protected(names)
        self._start_s = self._last_s = time.monotonic()
        self._seen = 0
        self._absorbed, self._reached = self._totals()

    def sample_until(
        self, phase: Phase, show: Callable[[Phase, Sample, int], None], length_s: int, *, flooding: bool
    ) -> None:
        limit = time.monotonic() + length_s
        while (left_s := limit - time.monotonic()) > 0:
            time.sleep(min(SAMPLE_S, left_s))
            sample = self._sample(flooding=flooding)
            phase.samples.append(sample)
            show(phase, sample, self._absorbed)

    def _sample(self, *, flooding: bool) -> Sample:
        now_s = time.monotonic()
        absorbed, reached = self._totals()
        upto = len(self._clients.requests)
        sample = Sample(
            at_s=now_s - self._start_s,
            length_s=now_s - self._last_s,
            flooding=flooding,
            requests=tuple(self._clients.requests[self._seen : upto]),
            absorbed=absorbed - self._absorbed,
            reached=reached - self._reached,
        )
        self._seen, self._last_s, self._absorbed, self._reached = upto, now_s, absorbed, reached
        return sample

    def _totals(self) -> tuple[int, int]:
        """(SYNs that Levee received and did not turn into connections, forged packets at the server)."""
        absorbed = 0
        if self._protecting:
            status: dict[str, Any] = call(self._names.socket, "org.levee.Status")
            services: dict[str, dict[str, int]] = status["services"]
            absorbed = sum(each["syn_received"] - each["opened"] for each in services.values())
        return absorbed, counters.read(self._names)["forged"]
