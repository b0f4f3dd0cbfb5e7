"""The numbers of Status for Prometheus: its text format, version 0.0.4.

Owns the names. A pure function of the reply of org.levee.Status; called by commands/metrics.py. Must not know how it is
fetched. No label can be chosen by an attacker: services are named by the operator, reasons and events by the one list;
there are no addresses. Events have the kernel's names where the kernel counts the same (/proc/net/stat/synproxy).
Source: prometheus.io, "Exposition formats", "Metric and label naming".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from appliance.report import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from appliance.report import StatusReport

Kind = Literal["counter", "gauge"]
Sample = tuple["Mapping[str, str]", int | float]

# Name, kind, and what it says. Everything that is ever written is in this list.
FAMILIES: dict[str, tuple[Kind, str]] = {
    "levee_up": ("gauge", "Whether the daemon answered."),
    "levee_info": ("gauge", "Always 1; version, mode and engine."),
    "levee_state": ("gauge", "1 for the state the box is in, 0 for the others."),
    "levee_problems": ("gauge", "How many things are not as they should be."),
    "levee_uptime_seconds": ("gauge", "Since the daemon started; counters begin then."),
    "levee_flows": ("gauge", "Connections in the flow table."),
    "levee_flows_capacity": ("gauge", "Connections the flow table can take."),
    "levee_half_open": ("gauge", "Handshakes remembered with all their options."),
    "levee_half_open_capacity": ("gauge", "Handshakes that can be remembered; more are carried by their cookies."),
    "levee_sources": ("gauge", "Sources whose connections are counted, for services with limits."),
    "levee_sources_capacity": ("gauge", "Sources that can be counted; in more, those with the fewest give way."),
    "levee_hold_bytes": ("gauge", "Early data held until a server has answered."),
    "levee_hold_capacity_bytes": ("gauge", "Early data that can be held."),
    "levee_drops_total": ("counter", "Packets not forwarded, by reason."),
    "levee_passed_total": ("counter", "Packets passed on untouched."),
    "levee_translated_total": ("counter", "Packets of open connections translated."),
    "levee_service_events_total": ("counter", "What was counted for a service, by event."),
    "levee_service_drops_total": ("counter", "Packets to a service not forwarded, by reason; those that occurred."),
    "levee_service_protected": ("gauge", "Whether the configuration lets a service be protected."),
    "levee_attack": ("gauge", "1 while a service is flooded."),
    "levee_attack_unfinished_syns_per_second": ("gauge", "SYNs a second that nobody completes, while it is flooded."),
    "levee_queue_received_total": ("counter", "Packets taken from a queue of the kernel."),
    "levee_queue_lost_total": ("counter", "Packets a queue could not take or hand over."),
}


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _family(name: str, samples: Iterable[Sample]) -> list[str]:
    kind, text = FAMILIES[name]
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inner = ",".join(f'{label}="{_escaped(one)}"' for label, one in labels.items())
        lines.append(f"{name}{f'{{{inner}}}' if inner else ''} {value}")
    return lines


def _families(status: StatusReport) -> dict[str, list[Sample]]:
    services = status["services"]
    queues = [({"queue": str(one["num"]), "carries": one["carries"]}, one) for one in status["queues"]]
    return {
        "levee_info": [({name: status[name] for name in ("version", "mode", "engine")}, 1)],
        "levee_state": [({"state": state}, int(state == status["state"])) for state in get_args(State)],
        "levee_problems": [({}, len(status["problems"]))],
        "levee_uptime_seconds": [({}, status["uptime_s"])],
        "levee_flows": [({}, status["flows"]["used"])],
        "levee_flows_capacity": [({}, status["flows"]["capacity"])],
        "levee_half_open": [({}, status["half_open"]["used"])],
        "levee_half_open_capacity": [({}, status["half_open"]["capacity"])],
        "levee_sources": [({}, status["sources"]["used"])],
        "levee_sources_capacity": [({}, status["sources"]["capacity"])],
        "levee_hold_bytes": [({}, status["hold"]["bytes"])],
        "levee_hold_capacity_bytes": [({}, status["hold"]["capacity"])],
        "levee_drops_total": [({"reason": reason}, count) for reason, count in status["drops"].items()],
        "levee_passed_total": [({}, status["passed"])],
        "levee_translated_total": [({}, status["translated"])],
        "levee_service_events_total": [
            ({"service": name, "event": event}, count)
            for name, one in services.items()
            for event, count in one["events"].items()
        ],
        "levee_service_drops_total": [
            ({"service": name, "reason": reason}, count)
            for name, one in services.items()
            for reason, count in one["drops"].items()
            if count
        ],
        "levee_service_protected": [
            ({"service": name}, int(one["protect"] != "off")) for name, one in services.items()
        ],
        "levee_attack": [({"service": name}, int(name in status["attacks"])) for name in services],
        "levee_attack_unfinished_syns_per_second": [
            ({"service": name}, one["now_per_s"]) for name, one in status["attacks"].items()
        ],
        "levee_queue_received_total": [(labels, one["received"]) for labels, one in queues],
        "levee_queue_lost_total": [
            (labels, (one["dropped_queue_full"] or 0) + (one["dropped_user"] or 0)) for labels, one in queues
        ],
    }


def render(status: StatusReport | None) -> str:
    """Everything; None: the daemon did not answer."""
    lines = _family("levee_up", [({}, 0 if status is None else 1)])
    for name, samples in _families(status).items() if status is not None else ():
        lines += _family(name, samples)
    return "\n".join(lines) + "\n"
