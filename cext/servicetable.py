"""Services as the table of core/service.h wants them: address intervals that do not overlap, each with its port rules.

Owns that arithmetic. Called by: dataplane.pyx. Must not know: how the table lies in memory. It costs about as much as
sorting all addresses and ports.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cext.dataplane import ServiceSpec

VID_ANY = 0xFFFF  # LV_VID_ANY: sorted behind every VLAN


class Rule(NamedTuple):
    """The ports `first` to `last` in one VLAN (or VID_ANY) are those of service number `slot`."""

    vid: int
    first: int
    last: int
    slot: int


class Interval(NamedTuple):
    """Addresses with the same rules: those from number `rule` on, `count` of them. `portless` is a service number."""

    first: int
    last: int
    rule: int
    count: int
    portless: int
    has_vlans: bool


class _Run(NamedTuple):
    rule: int
    count: int
    portless: int
    has_vlans: bool


def flatten(services: Sequence[ServiceSpec], slots: Mapping[str, int]) -> tuple[list[Interval], list[Rule]]:
    """Intervals and rules, both ascending. Raises ValueError where two services claim one address, port and VLAN."""
    edges: dict[int, tuple[list[int], list[int]]] = {}
    for number, spec in enumerate(services):
        for lo, hi in spec.addresses:
            edges.setdefault(lo, ([], []))[0].append(number)
            edges.setdefault(hi + 1, ([], []))[1].append(number)
    active: dict[int, int] = {}
    runs: dict[tuple[int, ...], _Run] = {}
    intervals: list[Interval] = []
    rules: list[Rule] = []
    points = sorted(edges)
    for here, point in enumerate(points):
        begin, end = edges[point]
        for number in end:
            active[number] -= 1
            if not active[number]:
                del active[number]
        for number in begin:
            active[number] = active.get(number, 0) + 1
        if not active:
            continue
        members = tuple(sorted(active))
        if members not in runs:
            specs = [services[number] for number in members]
            run = _rules(specs, slots)
            runs[members] = _Run(len(rules), len(run), _portless(specs, slots), any(rule.vid < VID_ANY for rule in run))
            rules.extend(run)
        intervals.append(Interval(point, points[here + 1] - 1, *runs[members]))
    return intervals, rules


def _rules(services: Iterable[ServiceSpec], slots: Mapping[str, int]) -> list[Rule]:
    """Of services that share an address; an exception is a rule for everything."""
    rules: list[Rule] = []
    for spec in services:
        if spec.excepted:
            return [Rule(VID_ANY, 0, 65535, slots[spec.name])]
        rules += [Rule(vid, lo, hi, slots[spec.name]) for lo, hi in spec.ports for vid in spec.vids or (VID_ANY,)]
    joined: list[Rule] = []
    for rule in sorted(rules):
        last = joined[-1] if joined else None
        if last is None or last.vid != rule.vid or rule.first > last.last:
            joined.append(rule)
        elif last.slot == rule.slot:
            joined[-1] = last._replace(last=max(last.last, rule.last))
        else:
            one, other = (next(name for name, slot in slots.items() if slot == each.slot) for each in (last, rule))
            raise ValueError(f"the services {one} and {other} claim the same address and port")
    return joined


def _portless(services: Sequence[ServiceSpec], slots: Mapping[str, int]) -> int:
    """Which service of an address decides about what has no ports, such as later fragments."""

    def rank(spec: ServiceSpec) -> tuple[bool, bool, bool]:
        return spec.excepted, spec.protect and spec.fragments_pass, spec.protect

    return slots[max(services, key=rank).name]
