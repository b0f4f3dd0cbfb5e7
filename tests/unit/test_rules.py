"""The packet rules are a pure function of the configuration: their text, and what must hold for any text.

The golden files were read line by line and loaded into kernels; UPDATE_GOLDEN=1 writes them anew after a wanted change.
"""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance import rules
from appliance.addresses import AddressRange, Area, PortRange, disjoint, merge_addresses, merge_ports, segments
from appliance.config import loads
from appliance.models import Config

GOLDEN = Path(__file__).with_name("golden")

SERVICES = """\
services:
  web:
    addresses: [198.19.0.1, 198.19.0.0/24, 198.19.0.10-198.19.1.20, "2001:db8:19::1"]
    ports: [80, 443, 8000-8100]
  ssh:
    addresses: [198.19.0.0/16]
    ports: [22]
  watched:
    addresses: [203.0.113.7]
    ports: all
    protect: off
except: [192.0.2.0/24, 192.0.2.128/25, 192.0.2.3, 203.0.113.9, "2001:db8:ffff::/48"]
"""
WITHOUT_EXCEPTIONS = b"""\
version: 1
mode: routed
outside: eth0
inside: eth1
services: {web: {addresses: [198.19.0.1], ports: [80]}}
"""


def configuration(mode: str, nfqueue: str = "queues: 2") -> Config:
    bridge = "bridge: br0\n" if mode == "bridge" else ""
    inside = "" if mode == "host" else "inside: eth1\n"
    head = f"version: 1\nmode: {mode}\n{bridge}outside: eth0\n{inside}nfqueue: {{{nfqueue}}}\n"
    return loads((head + SERVICES).encode(), "levee.yaml")


def text_of(config: Config, method: rules.Method) -> str:
    return rules.ruleset(config, rules.steered_services(config), method)


def test_what_a_service_forwards_to_is_steered_too() -> None:
    text = WITHOUT_EXCEPTIONS.replace(b"ports: [80]", b"ports: [80], forward_to: {port: 81, address: 198.19.0.9}")
    config = loads(text, "levee.yaml")
    written = text_of(config, "queue")
    assert "198.19.0.1 . 80," in written
    assert "198.19.0.9 . 81," in written


CASES: dict[str, tuple[Config, rules.Method]] = {
    "routed_queue": (configuration("routed", "queues: 4, first_queue: 8"), "queue"),
    "routed_queue_bypass": (configuration("routed", "queues: 1, without_daemon: pass"), "queue"),
    "routed_mark": (configuration("routed"), "mark"),
    "host_queue": (configuration("host"), "queue"),
    "host_mark": (configuration("host"), "mark"),
    "bridge_queue": (configuration("bridge", "queues: 2, without_daemon: pass"), "queue"),
}


@pytest.mark.parametrize("name", CASES)
def test_text_is_the_golden_one(name: str) -> None:
    text = text_of(*CASES[name])
    path = GOLDEN / f"{name}.nft"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_what_is_not_configured_costs_no_lookup() -> None:
    text = rules.ruleset(config := loads(WITHOUT_EXCEPTIONS, "levee.yaml"), rules.steered_services(config), "queue")
    chain = text.split("chain prerouting {", 1)[1].split("\n\t}\n", 1)[0]
    assert "@except" not in text
    assert [line.strip().split()[0] for line in chain.splitlines() if line.strip()] == ["type", "iifname", "iifname"]


@pytest.mark.parametrize("name", CASES)
def test_no_set_without_a_name_where_every_packet_passes(name: str) -> None:
    """Its elements are gone for a packet that is still in the old rules when new ones are loaded."""
    matches = [line for line in text_of(*CASES[name]).splitlines() if "iifname" in line]
    assert matches
    assert not [line for line in matches if "{" in line]


def test_every_golden_file_is_tested() -> None:
    assert {path.stem for path in GOLDEN.glob("*.nft")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_table_replaces_its_predecessor_and_touches_no_other(name: str) -> None:
    text = text_of(*CASES[name])
    tables = set(re.findall(r"^(?:delete )?table (\S+ \S+)", text, re.MULTILINE))
    assert tables == {"bridge levee" if name.startswith("bridge") else "inet levee"}
    assert "flush" not in text
    assert text.index("delete table") < text.index("{")


@pytest.mark.parametrize("name", CASES)
def test_in_place_chains_and_sets_stay_and_only_what_is_in_them_goes(name: str) -> None:
    config, method = CASES[name]
    whole = text_of(config, method)
    text = rules.ruleset(config, rules.steered_services(config), method, in_place=True)
    assert "delete" not in text
    assert text[text.index("{") :] == whole[whole.index("{") :]
    sets = re.findall(r"^\tset (\w+)", whole, re.MULTILINE)
    family = "bridge" if name.startswith("bridge") else "inet"
    flushed = [f"flush table {family} levee", *(f"flush set {family} levee {one}" for one in sets)]
    assert re.findall(r"^flush .*", text, re.MULTILINE) == flushed
    assert len(sets) == 6


def test_a_table_left_behind_by_another_mode_goes_in_the_same_transaction() -> None:
    config, method = CASES["routed_queue"]
    present = ["table inet filter", "table bridge levee", "table inet levee", "table ip levee"]
    text = rules.ruleset(config, rules.steered_services(config), method, present)
    assert re.findall(r"^delete .*", text, re.MULTILINE) == ["delete table inet levee", "delete table bridge levee"]


def test_what_is_off_is_not_steered() -> None:
    config, method = CASES["routed_mark"]
    assert "203.0.113.7" not in text_of(config, method)
    assert "203.0.113.7" in rules.ruleset(config, tuple(config.services.values()), method)


@pytest.mark.parametrize("name", CASES)
def test_queues_never_fan_out_by_processor(name: str) -> None:
    """The kernel's hash of both addresses keeps a flow's directions together; `fanout` would not."""
    assert "fanout" not in text_of(*CASES[name])


def test_removal_works_whether_the_table_is_there_or_not() -> None:
    assert rules.removal(CASES["bridge_queue"][0]) == "table bridge levee\ndelete table bridge levee\n"


def test_probe_asks_for_the_queue_expression_in_the_right_family() -> None:
    text = rules.probe(CASES["bridge_queue"][0], queue=True)
    assert text.startswith("table bridge levee_probe {")
    assert "queue flags bypass to 0-1" in text
    assert "queue" not in rules.probe(CASES["bridge_queue"][0], queue=False)


REST = "-m mark --mark 0x4c000000/0x4c000000 -m comment --comment levee -j NFQUEUE --queue-"
SYNS = REST.replace("4c", "4e")
LISTED = [
    "-P PREROUTING ACCEPT",
    "-A PREROUTING -i eth7 -m comment --comment leveed -j DROP",
    '-A PREROUTING -i eth8 -m comment --comment "levee and others" -j DROP',
    "-A PREROUTING -m mark --mark 0x4c000000/0x4c000000 -m comment --comment levee -j NFQUEUE --queue-balance 0:3",
]


@pytest.mark.parametrize(
    ("nfqueue", "expected"),
    [
        ("queues: 2", (f"{SYNS}balance 2:3", f"{REST}balance 0:1")),
        ("queues: 1, first_queue: 7", (f"{SYNS}num 8", f"{REST}num 7")),
        (
            "queues: 3, first_queue: 7, without_daemon: pass",
            (f"{SYNS}balance 10:12 --queue-bypass", f"{REST}balance 7:9 --queue-bypass"),
        ),
    ],
)
def test_iptables_rules(nfqueue: str, expected: tuple[str, str]) -> None:
    """SYNs first: their mark has the bits of the other rule, too."""
    syns, rest = expected
    wanted = (f"PREROUTING {syns}", f"PREROUTING {rest}", f"OUTPUT {rest}")
    assert rules.iptables_wanted(configuration("routed", nfqueue).nfqueue) == wanted


def test_iptables_rules_replace_ours_and_leave_others() -> None:
    assert rules.iptables_change(LISTED, ("PREROUTING NEW", "PREROUTING NEWER", "OUTPUT OWN")) == (
        "*raw\n-I PREROUTING 1 NEW\n-I PREROUTING 2 NEWER\n-I OUTPUT 1 OWN\n"
        "-D PREROUTING -m mark --mark 0x4c000000/0x4c000000 -m comment --comment levee -j NFQUEUE "
        "--queue-balance 0:3\nCOMMIT\n"
    )


def test_iptables_rule_is_taken_away_and_nothing_else() -> None:
    assert rules.iptables_change(LISTED, ()).splitlines()[1:-1] == [LISTED[3].replace("-A", "-D", 1)]
    assert rules.iptables_change(LISTED[:3], ()) == "*raw\nCOMMIT\n"


def test_steering_mark_is_set_and_cleared_with_the_same_bits() -> None:
    assert rules.STEER_MARK.bit_count() > 1, "one bit is easily used by others"
    text = text_of(*CASES["routed_mark"])
    for bits in (rules.STEER_MARK, rules.STEER_MARK | rules.SYN_MARK):
        assert f"set meta mark | {bits:#010x}" in text
        assert f"meta mark & {bits:#010x} == {bits:#010x} meta mark set meta mark & {bits ^ 0xFFFFFFFF:#010x}" in text


@pytest.mark.parametrize("name", CASES)
def test_syns_have_queues_of_their_own(name: str) -> None:
    config, method = CASES[name]
    text = text_of(config, method)
    assert rules.SYN in text
    if method == "queue":
        numbers = re.findall(r"queue (?:flags bypass )?to (\S+)", text)
        assert len(set(numbers)) == 2


# Small numbers, so that areas often touch, nest and overlap.
ADDRESSES = st.builds(
    lambda family, first, length: AddressRange(family, first, first + length),
    st.sampled_from([4, 6]),
    st.integers(0, 20),
    st.integers(0, 6),
)
PORTS = st.builds(lambda first, length: PortRange(first, first + length), st.integers(1, 12), st.integers(0, 4))
AREAS = st.lists(st.builds(lambda span, ports: Area(span, tuple(ports)), ADDRESSES, st.lists(PORTS, min_size=1)))


def points(areas: list[Area] | tuple[Area, ...]) -> list[tuple[int, int, int]]:
    """Every (family, address, port), as often as an area has it."""
    return [
        (span.family, address, port)
        for span, ranges in areas
        for address in range(span.first, span.last + 1)
        for ports in ranges
        for port in range(ports.first, ports.last + 1)
    ]


@given(AREAS)
def test_disjoint_areas_are_the_same_points_each_once(areas: list[Area]) -> None:
    found = points(disjoint(areas))
    assert len(found) == len(set(found))
    assert set(found) == set(points(areas))


@given(AREAS)
def test_disjoint_areas_are_as_few_as_their_neighbours_allow(areas: list[Area]) -> None:
    found = disjoint(areas)
    for one, other in itertools.pairwise(found):
        touching = (one.addresses.family, one.addresses.last + 1) == (other.addresses.family, other.addresses.first)
        assert not (touching and one.ports == other.ports)


@given(AREAS)
def test_segments_name_exactly_the_areas_that_cover_them(areas: list[Area]) -> None:
    for span, indices in segments(areas):
        for index, area in enumerate(areas):
            same = area.addresses.family == span.family
            covered = same and area.addresses.first <= span.first and span.last <= area.addresses.last
            apart = not same or area.addresses.last < span.first or span.last < area.addresses.first
            assert covered if index in indices else apart


@given(st.lists(ADDRESSES))
def test_merged_addresses_are_the_same_ones_with_gaps_between(ranges: list[AddressRange]) -> None:
    merged = merge_addresses(ranges)
    port = (PortRange(1, 1),)
    assert set(points([Area(span, port) for span in merged])) == set(points([Area(span, port) for span in ranges]))
    for one, other in itertools.pairwise(merged):
        assert one.family < other.family or one.last + 1 < other.first


@given(st.lists(PORTS))
def test_merged_ports_are_the_same_ones_with_gaps_between(ranges: list[PortRange]) -> None:
    merged = merge_ports(ranges)
    everything = {port for ports in ranges for port in range(ports.first, ports.last + 1)}
    assert {port for ports in merged for port in range(ports.first, ports.last + 1)} == everything
    assert all(one.last + 1 < other.first for one, other in itertools.pairwise(merged))
