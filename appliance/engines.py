"""Chooses the engine: what the configuration says, and what this machine can do.

Owns the choice and its reason. Called by daemon.py. Must not know how an engine works.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from appliance.engine import Engine as NfqueueEngine
from appliance.engine_bpf import BpfEngine
from appliance.errors import OperatorError
from appliance.steering import Steering, detect, remove_all
from cext.bpfengine import remove_programs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from appliance.models import Config, Service
    from cext.capture import Capture
    from cext.dataplane import AllCounters, Backend, Flow, FlowQuery, Occupancy
    from cext.nfqueue import QueueStats
    from cext.notes import Notes
    from cext.sourcelist import Span

LOG = logging.getLogger(__name__)


class AnyEngine(Protocol):
    """What the daemon needs of an engine."""

    @property
    def name(self) -> str:
        """As in the configuration."""

    @property
    def capture(self) -> Capture:
        """Captured packets."""

    @property
    def notes(self) -> Notes:
        """For the log of packets."""

    def start(self) -> None:
        """From here on packets are looked at. Raises OperatorError."""

    def close(self) -> None:
        """Lets go of everything."""

    def set_services(self, config: Config) -> None:
        """Replaces all services at once."""

    def set_lists(self, spans: Sequence[Span]) -> None:
        """Replaces the lists of blocked and allowed sources."""

    def guards(self) -> dict[str, bool]:
        """Services with `protect: auto`, by name: whether they are protected just now."""

    def set_guard(self, name: str, *, on: bool) -> None:
        """Protects such a service from now on, or only watches it. KeyError: there is none of this name."""

    def caught(self) -> list[tuple[bytes, str]]:
        """Sources that are to be blocked, noted since the last call, each with the service."""

    def backends(self) -> list[Backend]:
        """What is known of servers."""

    def restore_backends(self, backends: Iterable[Backend]) -> int:
        """Adds what a file remembers of servers that are not known; how many."""

    def forget_backends(self, older_than_ms: int) -> int:
        """Drops what is known of servers not heard for so long; how many."""

    def failures(self) -> list[str]:
        """Why threads ended by themselves."""

    def counters(self) -> AllCounters:
        """Packets by service, event and drop reason."""

    def occupancy(self) -> Occupancy:
        """How full the tables are."""

    def flow_page(self, query: FlowQuery, cursor: int, limit: int) -> tuple[list[Flow], int | None]:
        """Connections from one part of the table, and where the next one begins: None at its end."""

    def queues(self) -> list[QueueStats]:
        """One entry for each queue of the kernel."""


class AnySteering(Protocol):
    """How packets come to an engine: rules, or the engine's own programs."""

    @property
    def steered_by(self) -> str:
        """What it is that may be missing: "rules" or "programs"."""

    @property
    def description(self) -> str:
        """For the operator: what takes the packets."""

    def apply(self, config: Config, services: Sequence[Service]) -> None:
        """Steers these services. Raises OperatorError."""

    def remove(self, config: Config) -> None:
        """Takes everything away."""

    def present(self, config: Config) -> bool:
        """Whether it is still there: others may have removed it."""

    def warnings(self) -> list[str]:
        """What keeps packets from it although it is there."""


@dataclass(frozen=True)
class Chosen:
    """An engine, not started, and why it is this one."""

    engine: AnyEngine
    steering: AnySteering
    reason: str


def _nfqueue(config: Config, secret: bytes, reason: str) -> Chosen:
    remove_programs(str(config.pin_dir), forget=False)  # left at work by a predecessor that was another engine
    steering = Steering(detect(config))
    return Chosen(NfqueueEngine(config, secret), steering, reason)


def choose(config: Config, secret: bytes) -> Chosen:
    """The engine of this configuration on this machine. Raises OperatorError when there is none."""
    if config.engine == "nfqueue":
        return _nfqueue(config, secret, "nfqueue, as configured")
    if config.mode != "bridge":
        return _nfqueue(config, secret, "nfqueue, because the bpf engine serves mode: bridge")
    if config.forwards:
        return _nfqueue(config, secret, "nfqueue, because the bpf engine has no forward_to")
    try:
        engine = BpfEngine(config, secret)
        remove_all()  # rules, likewise
    except OperatorError as error:
        if config.engine == "bpf":
            raise
        LOG.warning("the bpf engine cannot run here: %s (%s)", error.message, error.hint)
        return _nfqueue(config, secret, f"nfqueue, because bpf cannot run here: {error.message}")
    reason = "bpf, as configured" if config.engine == "bpf" else "bpf, because this kernel and its NICs can run it"
    return Chosen(engine, engine, reason)
