"""A first set-up: what is proposed of the servers that were heard, and what it leaves of the services around them."""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance import ports, proposals, setup_calls
from appliance.addresses import (
    AddressRange,
    Area,
    PortRange,
    merge_addresses,
    parse_addresses,
    shared_addresses,
    without_addresses,
    without_ports,
)
from appliance.backends import BackendReport
from appliance.config import loads
from appliance.errors import OperatorError
from appliance.models import Config
from appliance.roles import Caller, Role
from appliance.tui.view import guide
from appliance.varlink import Call, CallError

DELIVERED = Path(__file__).resolve().parents[2] / "image/stick/levee.yaml"
MACHINE: dict[str, Any] = {
    "appliance": False,
    "ports": [
        {"name": "eth0", "mac": "02:00:00:00:00:01", "device": "0000:01:00.0", "use": "outside", "up": True}
        | {"heard": ["02:00:00:00:00:aa"], "others": 0},
        {"name": "eth1", "mac": "02:00:00:00:00:02", "device": "0000:02:00.0", "use": "inside", "up": True}
        | {"heard": ["02:00:00:00:00:b1", "02:00:00:00:00:b2"], "others": 3},
    ],
}


def heard(address: str, port: int, service: str = "everything") -> BackendReport:
    return {
        "address": address,
        "port": port,
        "service": service,
        "pinned": False,
        "mss": 1460,
        "wscale": 7,
        "sack": True,
        "timestamps": True,
        "ecn": False,
        "known": [],
        "window": 65535,
        "age_s": 1,
    }


def delivered() -> Config:
    return loads(DELIVERED.read_bytes(), "levee.yaml")


def test_servers_on_the_same_ports_are_one_service() -> None:
    found = [
        heard("192.0.2.11", 443),
        heard("192.0.2.10", 80),
        heard("192.0.2.10", 443),
        heard("192.0.2.11", 80),
        heard("192.0.2.25", 25),
        heard("2001:db8::25", 25),
        heard("192.0.2.40", 8006),
        heard("192.0.2.41", 443),
    ]
    named = [(one["name"], one["addresses"], one["ports"]) for one in proposals.proposals(found, delivered())]
    assert named == [
        ("web", ["192.0.2.10/31"], ["80", "443"]),
        ("mail", ["192.0.2.25", "2001:db8::25"], ["25"]),
        ("port-8006", ["192.0.2.40"], ["8006"]),
        ("web-2", ["192.0.2.41"], ["443"]),
    ]


@pytest.mark.parametrize(
    ("service", "proposed"),
    [
        ("addresses: [0.0.0.0/0]\n    ports: all\n    protect: auto", True),
        ('addresses: [192.0.0.0/16]\n    ports: all\n    protect: "off"', True),
        ("addresses: [192.0.2.0/24]\n    ports: all\n    protect: auto", False),  # somebody knows these servers
        ("addresses: [0.0.0.0/0]\n    ports: all", False),
        ("addresses: [0.0.0.0/0]\n    ports: all\n    protect: auto\n    vlan: 7", False),
    ],
)
def test_only_servers_of_a_network_that_is_watched_are_proposed(service: str, *, proposed: bool) -> None:
    head = "version: 1\nmode: bridge\nbridge: br0\noutside: a\ninside: b\nservices:\n  everything:\n    "
    config = loads(f"{head}{service}\n".encode(), "levee.yaml")
    assert bool(proposals.proposals([heard("192.0.2.10", 80)], config)) == proposed


SERVERS = st.tuples(
    st.sampled_from(["192.0.2.10", "192.0.2.11", "1.0.0.0", "223.255.255.255", "2001:db8::1", "::2", "198.18.0.1"]),
    st.sampled_from([1, 22, 80, 443, 65535]),
)


@settings(deadline=None, max_examples=40)
@given(st.sets(SERVERS, min_size=1))
def test_what_is_taken_up_leaves_nobody_without_a_service(servers: set[tuple[str, int]]) -> None:
    """Of each address and port: protected if it was taken up, else in a service with what it had before."""
    before = delivered()
    drafts = proposals.proposals([heard(address, port) for address, port in servers], before)
    wanted = [proposals.wanted(one["name"], one["addresses"], one["ports"]) for one in drafts]
    added, narrowed = proposals.taken_up(wanted, before)
    text = guide.text(DELIVERED.read_text(), MACHINE, guide.roles(MACHINE), {"added": added, "narrowed": narrowed})
    after = loads(text.encode(), "levee.yaml")  # no two services share an address and a port
    for address in {address for address, _ in servers} | {"192.0.2.12", "2001:db8::2"}:
        for port in (1, 2, 22, 80, 443, 65535):
            owners = [one for one in after.services.values() if _has(one.areas, address, port)]
            assert [one.protect for one in owners] == ["always" if (address, port) in servers else "auto"], text


def _has(areas: Iterable[Area], address: str, port: int) -> bool:
    ip = ipaddress.ip_address(address)
    return any(
        area.addresses.family == ip.version
        and area.addresses.first <= int(ip) <= area.addresses.last
        and any(one.first <= port <= one.last for one in area.ports)
        for area in areas
    )


RANGES = st.lists(
    st.tuples(st.integers(1, 30), st.integers(0, 9)).map(lambda one: (one[0], one[0] + one[1])), max_size=5
)


@settings(deadline=None)
@given(RANGES, RANGES)
def test_what_is_left_and_what_is_shared_is_that_of_sets(
    ones: list[tuple[int, int]], cut: list[tuple[int, int]]
) -> None:
    def numbers(spans: Iterable[tuple[int, int]]) -> set[int]:
        return {number for first, last in spans for number in range(first, last + 1)}

    def of(found: Iterable[AddressRange | PortRange]) -> set[int]:
        return numbers((one.first, one.last) for one in found)

    spans, others = ([AddressRange(4, *one) for one in each] for each in (ones, cut))
    other_family = [AddressRange(6, *one) for one in cut]
    assert of(without_addresses(spans, others)) == numbers(ones) - numbers(cut)
    assert of(shared_addresses(spans, others)) == numbers(ones) & numbers(cut)
    assert without_addresses(spans, other_family) == merge_addresses(spans)
    assert shared_addresses(spans, other_family) == ()
    found = without_ports([PortRange(*one) for one in ones], [PortRange(*one) for one in cut])
    assert of(found) == numbers(ones) - numbers(cut)


def call(**parameters: object) -> Call:
    return Call(parameters, Caller(1, 1, Role.READER))


@pytest.mark.parametrize("wanted", [None, [], [{}], [{"name": "a", "addresses": [], "ports": ["80"]}], [7]])
def test_what_is_not_a_proposal_is_refused(wanted: object) -> None:
    with pytest.raises(CallError):
        setup_calls.SetupCalls(None).methods()["Propose"].handler(call(wanted=wanted))  # type: ignore[arg-type]


def test_an_address_that_is_none_is_explained() -> None:
    wanted = [{"name": "a", "addresses": ["192.0.2"], "ports": ["80"]}]
    with pytest.raises(OperatorError, match=r"192\.0\.2 is not an address"):
        setup_calls.SetupCalls(None).methods()["Propose"].handler(call(wanted=wanted))  # type: ignore[arg-type]


def test_ports_of_this_machine_have_their_shape() -> None:
    for one in ports.report("lo", "lo"):
        assert set(one) == set(get_type_hints(ports.PortReport))
    assert [one["use"] for one in ports.report("lo", "lo")].count("outside") == 1


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EOPNOTSUPP, "the driver of eth9 cannot blink"),
        (errno.ENODEV, "there is no port eth9"),
        (errno.EBUSY, "eth9 blinks already"),
        (errno.EPERM, "eth9 cannot blink"),
    ],
)
def test_a_port_that_does_not_blink_is_explained(number: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, seconds: int) -> None:  # noqa: ARG001
        raise OSError(number, "no")

    monkeypatch.setattr(ports, "_blink", refuse)
    with pytest.raises(OperatorError, match=words):
        ports.blink("eth9", 5)


def test_ports_change_places_and_advice_is_given() -> None:
    assert guide.with_role({"outside": "a", "inside": "b"}, "outside", "b") == {"outside": "b", "inside": "a"}
    assert guide.with_role({"outside": "a", "inside": "b"}, "inside", "c") == {"outside": "a", "inside": "c"}

    def said(chosen: dict[str, str], machine: dict[str, Any] = MACHINE) -> str:
        return "\n".join(one.text for one in guide.ports(machine, chosen, 80))

    assert "towards the router" in said({"outside": "eth0", "inside": "eth1"})
    assert "swapped" in said({"outside": "eth1", "inside": "eth0"})
    assert "there is no such port" in said({"outside": "eth7", "inside": "eth1"})
    down = {**MACHINE, "ports": [one | {"up": False} for one in MACHINE["ports"]]}
    assert "inside: no link" in said({"outside": "eth0", "inside": "eth1"}, down)
    assert "own system" in said({})
    assert "box.yaml" in said({}, {**MACHINE, "appliance": True})


def test_swapped_ports_are_written_and_nothing_else() -> None:
    before = (
        DELIVERED.read_text().replace("outside: outside", "outside: eth0").replace("inside: inside", "inside: eth1")
    )
    swapped = guide.text(before, MACHINE, {"outside": "eth1", "inside": "eth0"}, {"added": [], "narrowed": []})
    assert (loads(swapped.encode(), "a").outside, loads(swapped.encode(), "a").inside) == ("eth1", "eth0")
    assert swapped == before.replace("outside: eth0", "outside: eth1").replace("inside: eth1\n\n", "inside: eth0\n\n")


def test_a_range_of_everything_but_one_is_written_as_two() -> None:
    left = without_addresses([parse_addresses("0.0.0.0/0")], [parse_addresses("192.0.2.1")])
    assert [str(one) for one in left] == ["0.0.0.0-192.0.2.0", "192.0.2.2-255.255.255.255"]
