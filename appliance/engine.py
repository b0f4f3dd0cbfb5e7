"""The nfqueue engine as the daemon sees it: one data plane, and one worker for each queue.

Owns their life, and the translation of the configuration into what they take. Called by daemon.py; of
the appliance only this file, engine_bpf.py, memory.py and flows.py import cext. Must not know rules or the socket.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from appliance.addresses import AddressRange
from appliance.blocklist import integers
from appliance.errors import OperatorError
from appliance.models import Config, Service
from cext.capture import Capture
from cext.dataplane import DROP_REASONS, Dataplane, DataplaneConfig, ServiceSpec, StateError
from cext.errors import EngineError
from cext.nfqueue import QueueWorker
from cext.notes import Notes

if TYPE_CHECKING:
    from appliance.values import Rate
    from cext.dataplane import AllCounters, Backend, Flow, FlowQuery, Occupancy
    from cext.nfqueue import QueueStats
    from cext.sourcelist import Span

LOG = logging.getLogger(__name__)

TABLE_NAME = "flows"
EXCEPT_NAME = " except"  # no service can be called so
TARGET_NAME = " to {}"
IPV6_HEADER_EXTRA_BYTES = 20


def reasons() -> dict[str, str]:
    """Why packets are not forwarded: every name, with a sentence."""
    return dict(DROP_REASONS)


def dataplane_config(config: Config, secret: bytes, *, kernel: bool = False) -> DataplaneConfig:
    """What the data plane is built with; `secret` is 32 bytes.

    kernel: the flows live in a BPF map, and one thread is enough.

    In the modes routed and host an answer to a client goes back to where its packet came from, but a packet of ours to
    a server has to be routed, or delivered: its next hop is not known here.
    """
    return DataplaneConfig(
        secret=secret,
        path=None if kernel else str(config.runtime_dir / TABLE_NAME),
        workers=1 if kernel else config.nfqueue.queues,
        flows=config.limits.flows,
        half_open=config.limits.half_open,
        hold_per_flow_bytes=config.limits.hold_per_flow,
        hold_total_bytes=config.limits.hold_total,
        sources=config.limits.sources,
        route_outside=False,
        route_inside=config.mode != "bridge",
    )


def _spans(ranges: Iterable[AddressRange]) -> tuple[tuple[int, int], ...]:
    """As the data plane has them: IPv4 in ::ffff:0:0/96, which no range of IPv6 contains, not even ::/0."""
    return tuple(part for span in ranges for part in integers(span))


def service_spec(name: str, service: Service) -> ServiceSpec:
    """One service as the data plane takes it."""
    server = service.server
    return ServiceSpec(
        name=name,
        addresses=_spans(service.addresses),
        ports=tuple((ports.first, ports.last) for ports in service.ports),
        vids=service.vlan or (),
        protect=service.protect != "off",
        window_zero=service.window == "zero",
        fragments_pass=service.fragments == "pass",
        trap=service.trap is not None,
        signed_drop=service.signed == "drop" or service.trap is not None,
        mss4=server.mss,
        mss6=server.mss - IPV6_HEADER_EXTRA_BYTES,
        wscale=server.wscale,
        sack=server.sack,
        timestamps=server.timestamps,
        pinned=server.pin,
        auto=service.protect == "auto",
        most_syns_per_s=service.attack.high_syns_per_s,
        source_new_per_s=service.per_source.new_per_s or 0,
        source_open=service.per_source.open or 0,
        source_prefix4=service.per_source.prefix_ipv4,
        source_prefix6=service.per_source.prefix_ipv6,
        source_over=service.per_source.over,
        forward_port=0 if service.forward_to is None else service.forward_to.port,
        forward_address=_forward_address(service),
        log_refused=_most(service.log.refused),
        log_opened=_most(service.log.opened),
    )


def _most(rate: Rate | None) -> tuple[int, int]:
    return (0, 1) if rate is None else (rate.count, rate.period_s)


def _forward_address(service: Service) -> int | None:
    if service.forward_to is None or service.forward_to.address is None:
        return None
    return integers(service.forward_to.address)[0][0]


def target_spec(name: str, service: Service) -> ServiceSpec:
    """What a service forwards to, which leads back to it."""
    back = integers(service.addresses[0])[0][0] if _forward_address(service) is not None else None
    return ServiceSpec(
        name=TARGET_NAME.format(name),
        addresses=_spans(area.addresses for area in service.targets),
        ports=tuple((ports.first, ports.last) for ports in service.targets[0].ports),
        vids=service.vlan or (),
        protect=False,
        target=True,
        forward_port=service.ports[0].first,
        forward_address=back,
    )


def service_specs(config: Config) -> list[ServiceSpec]:
    """All services, what they forward to, and the hosts that are excepted from all of them."""
    specs = [service_spec(name, service) for name, service in config.services.items()]
    specs += [target_spec(name, service) for name, service in config.services.items() if service.forward_to]
    if config.excepted:
        specs.append(ServiceSpec(EXCEPT_NAME, _spans(config.excepted), ((1, 65535),), protect=False, excepted=True))
    return specs


@contextmanager
def explained() -> Iterator[None]:
    """Errors of the data plane that the operator can act on, as the appliance's own."""
    try:
        yield
    except (EngineError, StateError) as error:
        raise OperatorError(error.message, error.hint) from error


class OnDataplane:
    """What both engines are asked that their data plane alone answers, whatever brings it packets."""

    _dataplane: Dataplane
    capture: Capture
    notes: Notes

    def set_services(self, config: Config) -> None:
        """Replaces all services at once; open connections are not touched."""
        self._dataplane.set_services(service_specs(config))

    def guards(self) -> dict[str, bool]:
        """Services with `protect: auto`, by name: whether they are protected just now."""
        return self._dataplane.guards()

    def set_guard(self, name: str, *, on: bool) -> None:
        """Protects such a service from now on, or only watches it. KeyError: there is none of this name."""
        self._dataplane.set_guard(name, on)

    def backends(self) -> list[Backend]:
        """What is known of servers."""
        return self._dataplane.backends()

    def restore_backends(self, backends: Iterable[Backend]) -> int:
        """Adds what a file remembers of servers that are not known; how many."""
        return self._dataplane.restore_backends(backends)

    def forget_backends(self, older_than_ms: int) -> int:
        """Drops what is known of servers not heard for so long; how many."""
        return self._dataplane.forget_backends(older_than_ms)

    def set_lists(self, spans: Sequence[Span]) -> None:
        """Replaces the lists of blocked and allowed sources; their open connections are cut or go on."""
        self._dataplane.set_lists(spans)

    def caught(self) -> list[tuple[bytes, str]]:
        """Sources that are to be blocked, noted since the last call, each with the service."""
        return self._dataplane.caught()


class Engine(OnDataplane):
    """Open from construction to close(). Raises OperatorError when something the operator can change is in the way."""

    name = "nfqueue"

    def __init__(self, config: Config, secret: bytes) -> None:
        self._undo = ExitStack()
        with ExitStack() as undo, explained():
            self._dataplane = Dataplane(dataplane_config(config, secret))
            undo.callback(self._dataplane.close)
            self.capture = Capture(self._dataplane)
            undo.callback(self.capture.close)
            self.notes = Notes(self._dataplane)
            undo.callback(self.notes.close)
            self.set_services(config)
            self._workers = [
                QueueWorker(
                    self._dataplane,
                    queue=config.nfqueue.first_queue + index,
                    syn_queue=config.nfqueue.first_syn_queue + index,
                    index=index,
                    outside=config.outside,
                    inside=config.inside,
                    mode=config.mode,
                    length=config.nfqueue.length,
                    when_full=config.nfqueue.when_full,
                )
                for index in range(config.nfqueue.queues)
            ]
            self._undo = undo.pop_all()
        LOG.info("flow table ready: %d connections taken up", self._dataplane.taken_up)

    def start(self) -> None:
        """Starts the workers: all queues are bound before any packet can be sent to one."""
        with explained():
            for worker in self._workers:
                self._undo.callback(worker.stop)
                worker.open()
            for worker in self._workers:
                worker.start()

    def close(self) -> None:
        """Answers what is queued, stops the workers, lets go of the memory. The file with the flows stays."""
        self._undo.close()

    def failures(self) -> list[str]:
        """Why workers ended by themselves; empty while all is well."""
        return [worker.failure for worker in self._workers if worker.failure is not None]

    def counters(self) -> AllCounters:
        """Packets by service, event and drop reason since the start."""
        return self._dataplane.counters()

    def occupancy(self) -> Occupancy:
        """How full the tables are."""
        return self._dataplane.occupancy()

    def flow_page(self, query: FlowQuery, cursor: int, limit: int) -> tuple[list[Flow], int | None]:
        """Connections from one part of the table, and where the next one begins."""
        return self._dataplane.flow_page(query, cursor, limit)

    def queues(self) -> list[QueueStats]:
        """One entry for each queue."""
        return [queue for worker in self._workers for queue in worker.stats()["queues"]]
