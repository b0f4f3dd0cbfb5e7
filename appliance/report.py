"""What the daemon says of itself: the reply of org.levee.Status.

Owns its shape (org.levee.varlink describes it to clients) and how it is put together from the engine's numbers. Called
by daemon.py; the shape is used by screen.py. Which counters and drop reasons there are comes from the data plane.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from appliance.attack import Attack
    from appliance.models import Config
    from cext.dataplane import AllCounters, Counters, Occupancy
    from cext.nfqueue import QueueStats

State = Literal["PROTECTING", "ATTACK", "DEGRADED", "BYPASS"]


class UsageReport(TypedDict):
    """Entries of a table."""

    used: int
    capacity: int


class HoldReport(TypedDict):
    """Early data that is held."""

    bytes: int
    capacity: int


class ServiceReport(TypedDict):
    """One service."""

    protect: str
    protected: bool
    syn_received: int
    synack_sent: int
    cookie_valid: int
    cookie_invalid: int
    opened: int
    refused: int
    timed_out: int
    events: dict[str, int]
    drops: dict[str, int]


class QueueReport(TypedDict):
    """One queue; None where the kernel does not tell."""

    num: int
    carries: Literal["connections", "syns"]
    received: int
    dropped_queue_full: int | None
    dropped_user: int | None


class AttackReport(TypedDict):
    """One that goes on: its age, and unfinished SYNs a second."""

    age_s: int
    now_per_s: int
    peak_per_s: int


class LinkReport(TypedDict):
    """An interface; up: it has a carrier."""

    name: str
    up: bool


class PendingReport(TypedDict):
    """A configuration on trial: unless it is confirmed, `back_to` is in force again in `left_s`."""

    number: int
    back_to: int
    user: str
    left_s: int


class ConfigurationReport(TypedDict):
    """The entry of the history that is in force; edited: the file says something else by now.

    restarting: the parts that carry it out are about to be made anew.
    """

    number: int
    edited: bool
    restarting: bool
    pending: PendingReport | None


class StatusReport(TypedDict):
    """Everything."""

    version: str
    mode: str
    engine: str
    engine_reason: str
    steering: str
    uptime_s: int
    state: State
    links: dict[str, LinkReport]
    configuration: ConfigurationReport
    problems: list[str]
    attacks: dict[str, AttackReport]
    flows: UsageReport
    half_open: UsageReport
    sources: UsageReport
    hold: HoldReport
    services: dict[str, ServiceReport]
    drops: dict[str, int]
    passed: int
    translated: int
    queues: list[QueueReport]


def service_report(protect: str, counters: Counters, *, guard: bool = False, bypass: bool = False) -> ServiceReport:
    """One service; `counters` are its own. guard: with `protect: auto`, whether it is protected just now."""
    events = counters["events"]
    return {
        "protect": protect,
        "protected": not bypass and (protect == "always" or (protect == "auto" and guard)),
        "syn_received": events["syn_received"],
        "synack_sent": events["synack_sent"],
        "cookie_valid": events["cookie_valid"],
        "cookie_invalid": events["cookie_invalid"],
        "opened": events["opened"],
        "refused": events["refused"],
        "timed_out": events["timed_out"],
        "events": events,
        "drops": counters["drops"],
    }


def _queue(stats: QueueStats) -> QueueReport:
    return {
        "num": stats["num"],
        "carries": stats["carries"],
        "received": stats["received"],
        "dropped_queue_full": stats["dropped_queue_full"],
        "dropped_user": stats["dropped_user"],
    }


def status_report(
    config: Config,
    *,
    version: str,
    engine: str,
    engine_reason: str,
    steering: str,
    uptime_s: int,
    bypass: bool,
    links: dict[str, LinkReport],
    configuration: ConfigurationReport,
    problems: Sequence[str],
    attacks: Mapping[str, Attack],
    now_s: float,
    guards: Mapping[str, bool],
    counters: AllCounters,
    occupancy: Occupancy,
    queues: Sequence[QueueStats],
) -> StatusReport:
    """The whole reply. Everything in it counts from the start of the daemon.

    A service that is just coming or going, in another thread, is in one of `config` and `counters` only: left out.
    """
    total = counters["total"]
    return {
        "version": version,
        "mode": config.mode,
        "engine": engine,
        "engine_reason": engine_reason,
        "steering": steering,
        "uptime_s": uptime_s,
        "state": "BYPASS" if bypass else "DEGRADED" if problems else "ATTACK" if attacks else "PROTECTING",
        "links": links,
        "configuration": configuration,
        "problems": list(problems),
        "attacks": {
            name: {
                "age_s": int(now_s - attack.since_s),
                "now_per_s": round(attack.now_per_s),
                "peak_per_s": round(attack.peak_per_s),
            }
            for name, attack in attacks.items()
        },
        "flows": {"used": occupancy["flows_used"], "capacity": occupancy["flows_capacity"]},
        "half_open": {"used": occupancy["half_open_used"], "capacity": occupancy["half_open_capacity"]},
        "sources": {"used": occupancy["sources_used"], "capacity": occupancy["sources_capacity"]},
        "hold": {"bytes": occupancy["hold_bytes_used"], "capacity": occupancy["hold_bytes_capacity"]},
        "services": {
            name: service_report(
                service.protect, counters["services"][name], guard=guards.get(name, False), bypass=bypass
            )
            for name, service in config.services.items()
            if name in counters["services"]
        },
        "drops": total["drops"],
        "passed": total["events"]["passed"],
        "translated": total["events"]["translated"],
        "queues": [_queue(stats) for stats in queues],
    }
