"""Which service a packet belongs to, and exchanging all services while packets run."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from box.box import Box, Talk, mapped, service
from box.wire import V4, V6, Path, fragments

from appliance.config import loads
from appliance.engine import service_specs
from cext.dataplane import Dataplane, ServiceSpec

HOST = ((mapped("198.19.0.10"), mapped("198.19.0.10")),)
ALL_PORTS = ((1, 65535),)


@pytest.fixture
def box() -> Iterator[Box]:
    with Box() as one:
        yield one


def named(box: Box, path: Path) -> str:
    """Name of the service that counts a SYN on this path; "" for none."""
    before = {name: one["events"]["syn_received"] for name, one in box.plane.counters()["services"].items()}
    box.outside(path.from_client(flags="S"))
    after = {name: one["events"]["syn_received"] for name, one in box.plane.counters()["services"].items()}
    return "".join(name for name in after if after[name] > before[name])


def tagged(*vids: int) -> Path:
    return replace(V4, tags=tuple((0x8100, vid) for vid in vids))


@pytest.mark.parametrize(
    ("address", "port", "name"),
    [
        ("198.19.0.9", 80, ""),
        ("198.19.0.10", 80, "range"),
        ("198.19.0.15", 80, "range"),
        ("198.19.0.20", 80, "range"),
        ("198.19.0.21", 80, ""),
        ("198.19.1.0", 443, "prefix"),
        ("198.19.1.255", 443, "prefix"),
        ("198.19.2.0", 443, ""),
        ("198.19.1.7", 442, ""),
        ("198.19.0.15", 22, "ssh"),
        ("198.19.0.15", 8000, "range"),
        ("198.19.0.15", 8100, "range"),
        ("198.19.0.15", 8101, ""),
    ],
)
def test_address_and_port_choose_the_service(box: Box, address: str, port: int, name: str) -> None:
    box.plane.set_services(
        [
            service(
                "range", addresses=((mapped("198.19.0.10"), mapped("198.19.0.20")),), ports=((80, 80), (8000, 8100))
            ),
            service("prefix", addresses=((mapped("198.19.1.0"), mapped("198.19.1.255")),), ports=((443, 443),)),
            service("ssh", addresses=((mapped("198.19.0.0"), mapped("198.19.0.255")),), ports=((22, 22),)),
        ]
    )
    assert named(box, replace(V4, server=address, sport=port)) == name


@pytest.mark.parametrize("last", ["::", "2001:db8:19::fffe", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"])
def test_both_ends_of_a_range_belong_to_it(box: Box, last: str) -> None:
    first, end = sorted((mapped("2001:db8:19::10"), mapped(last)))
    box.plane.set_services([service(addresses=((first, end),))])
    assert named(box, V6) == "web"
    for address, inside in ((first - 1, False), (first, True), (end, True), (end + 1, False)):
        if not 0 < address < 1 << 128 or address >> 120 == 0xFF or address >> 32 == 0:
            continue
        assert named(box, replace(V6, server=str(ipaddress.IPv6Address(address)))) == ("web" if inside else "")


def test_range_over_all_addresses_takes_both_families(box: Box) -> None:
    box.plane.set_services([service(addresses=((0, (1 << 128) - 1),), ports=ALL_PORTS)])
    assert (named(box, V4), named(box, V6)) == ("web", "web")


def test_all_of_ipv6_leaves_ipv4_to_its_services(box: Box) -> None:
    """IPv4 lies within ::/0 in the data plane's numbers, and not in the operator's."""
    services = """
  network: {addresses: [192.0.0.0-192.0.2.0, "::/0"], ports: all, protect: auto}
  web: {addresses: [192.0.2.1], ports: [80]}"""
    head = "version: 1\nmode: bridge\nbridge: br0\noutside: a\ninside: b\n"
    specs = service_specs(loads(f"{head}except: [2001:db8::/32]\nservices:{services}\n".encode(), "levee.yaml"))
    box.plane.set_services(specs)
    spans = [span for spec in specs if spec.name in ("network", "web") for span in spec.addresses]
    for address, count in (("192.0.2.1", 1), ("192.0.2.2", 0), ("2001:db8::1", 1), ("::fffe:c000:201", 1)):
        number = mapped(address)
        assert sum(first <= number <= last for first, last in spans) == count, address


def test_vlan_is_asked_before_any(box: Box) -> None:
    box.plane.set_services([service("any"), service("ten", vids=(10,)), service("twenty", vids=(20, 30))])
    assert named(box, V4) == "any"
    assert named(box, tagged(10)) == "ten"
    assert named(box, tagged(30)) == "twenty"
    assert named(box, tagged(40)) == "any"
    assert named(box, tagged(300, 10)) == "ten"
    assert named(box, tagged(20, 300)) == "twenty"


def test_vlan_of_a_service_is_needed(box: Box) -> None:
    box.plane.set_services([service("ten", vids=(10,))])
    assert box.outside(V4.from_client(flags="S")).verdict == "pass"
    assert box.outside(tagged(11).from_client(flags="S")).verdict == "pass"
    assert box.outside(tagged(10).from_client(flags="S")).verdict == "drop"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {}),
        ({"addresses": HOST}, {}),
        ({"ports": ((1, 65535),)}, {"ports": ((443, 443),)}),
        ({"vids": (10, 20)}, {"vids": (20,)}),
        ({"addresses": HOST, "ports": ((80, 90),)}, {"addresses": HOST, "ports": ((90, 100),)}),
    ],
)
def test_two_services_with_one_claim_are_refused(box: Box, one: dict[str, object], other: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="same address and port"):
        box.plane.set_services([service("one", **one), service("other", **other)])
    assert named(box, V4) == "web", "the services before are still there"


def test_two_services_with_one_name_are_refused(box: Box) -> None:
    with pytest.raises(ValueError, match="one name"):
        box.plane.set_services([service(), service(ports=((22, 22),))])


def test_one_service_may_name_an_address_twice(box: Box) -> None:
    box.plane.set_services([service(addresses=(HOST * 2) + ((mapped("198.19.0.0"), mapped("198.19.0.99")),))])
    assert named(box, V4) == "web"


def test_thousands_of_services(box: Box) -> None:
    first = mapped("198.19.0.0")
    many = [service(f"s{n}", addresses=((first + n, first + n),)) for n in range(4095)]
    box.plane.set_services(many)
    for n in (0, 1, 10, 2047, 4094):
        assert named(box, replace(V4, server=str(ipaddress.ip_address("198.19.0.0") + n))) == f"s{n}"
    assert named(box, replace(V4, server="198.19.15.255")) == ""


def test_ten_thousand_ports_of_one_address(box: Box) -> None:
    """Each a service of its own, next to ranges and a VLAN's: the port is searched, not looked for one by one."""
    many = [service(f"p{port}", addresses=HOST, ports=((port, port),)) for port in range(2, 20002, 2)]
    wide = service("wide", addresses=HOST, ports=((30001, 30099),))
    ten = service("ten", addresses=HOST, ports=((20001, 30050),), vids=(10,))
    for others in ([], [wide], [wide, ten]):  # with the index, with index and search, without the index
        box.plane.set_services([*many, *others])
        for port in (2, 9998, 20000):
            assert named(box, replace(V4, sport=port)) == f"p{port}"
        for port in (1, 9999, 30100):
            assert named(box, replace(V4, sport=port)) == ""
    for port, name in ((30001, "wide"), (30050, "wide"), (30099, "wide")):
        assert named(box, replace(V4, sport=port)) == name
    for port, name in ((20001, "ten"), (30050, "ten"), (30051, "wide"), (20000, "p20000")):
        assert named(box, replace(tagged(10), sport=port)) == name


def test_as_many_port_ranges_as_there_are_ports(box: Box) -> None:
    ports = tuple((port, port) for port in range(1, 65535, 2))
    box.plane.set_services([service(ports=ports)])
    assert [named(box, replace(V4, sport=port)) for port in (1, 2, 32767, 65533)] == ["web", "", "web", "web"]
    with pytest.raises(ValueError, match="65536 port ranges"):
        box.plane.set_services([service(ports=ports, vids=(1, 2, 3))])


@pytest.mark.parametrize("order", [1, -1])
def test_fragments_follow_the_strictest_service_unless_one_takes_them(box: Box, order: int) -> None:
    """They have no ports: one service that is off does not open the way past its protected neighbour."""
    off, web = service("off", ports=((22, 22),), protect=False), service("web", ports=((80, 80),))
    takes = service("takes", ports=((90, 90),), fragments_pass=True)
    _, later = fragments(V4, V4.client_packet(data=b"x" * 64), 32)
    for services, verdict in (([off], "pass"), ([off, web], "drop"), ([off, web, takes], "pass")):
        box.plane.set_services(services[::order])
        assert box.outside(later).verdict == verdict


def test_more_services_than_numbers_are_refused(box: Box) -> None:
    spec = service(addresses=())
    with pytest.raises(ValueError, match="at most"):
        box.plane.set_services([replace(spec, name=str(n)) for n in range(70000)])


def test_no_services_pass_everything(box: Box) -> None:
    box.plane.set_services([])
    assert box.outside(V4.from_client(flags="S")).verdict == "pass"
    assert box.inside(V4.from_server(flags="SA")).verdict == "pass"
    assert box.states() == []


def test_counters_survive_a_reload_by_name(box: Box) -> None:
    box.outside(V4.from_client(flags="S"))
    box.plane.set_services([service("new", ports=((22, 22),)), service()])
    counters = box.plane.counters()["services"]
    assert counters["web"]["events"]["syn_received"] == 1
    assert counters["new"]["events"]["syn_received"] == 0
    box.plane.set_services([service("new", ports=((22, 22),))])
    assert set(box.plane.counters()["services"]) == {"new"}
    box.plane.set_services([service()])
    assert box.plane.counters()["services"]["web"]["events"]["syn_received"] == 0, "it is another one of that name"


def test_connections_survive_a_reload(box: Box) -> None:
    talk = Talk(box)
    talk.open()
    half = Talk(box, V4.other(1))
    half.syn()
    box.plane.set_services([service("renamed")])
    assert talk.server(b"x").forwarded.seq == talk.s_next_told
    assert [one.flags for one in half.ack()] == ["S"]
    assert {flow["service"] for flow in box.plane.flows(5)} == {"renamed"}
    box.plane.set_services([service("other", ports=((22, 22),))])
    assert talk.client(b"x").forwarded.ack == talk.s_next
    assert {flow["service"] for flow in box.plane.flows(5)} == {""}


def test_protection_turned_off_lets_old_connections_end_and_new_ones_through(box: Box) -> None:
    talk = Talk(box)
    talk.open()
    box.plane.set_services([service(protect=False)])
    assert talk.server(b"x").forwarded.seq == talk.s_next_told
    other = Talk(box, V4.other(1))
    assert other.client(flags="S", seq=1, ack=0).verdict == "pass"
    assert other.server(flags="SA", seq=9, ack=2).verdict == "pass"
    talk.server(flags="R")
    assert box.states() == ["closed"]
    assert talk.client(flags="S", seq=1, ack=0).verdict == "pass"
    assert talk.server(flags="SA", seq=9, ack=2).verdict == "pass", "the old numbers mean nothing to this connection"
    assert talk.client(seq=2, ack=10).verdict == "pass"
    assert box.states() == []


def test_settings_of_a_service_change_at_once(box: Box) -> None:
    assert Talk(box).syn().window == 32768
    box.plane.set_services([service(window_zero=True, wscale=None, mss4=1000)])
    answer = Talk(box, V4.other(1)).syn()
    assert (answer.window, answer.option("WScale"), answer.option("MSS")) == (0, None, 1000)


def test_services_are_exchanged_while_workers_run() -> None:
    """Old tables are freed when no worker can hold them any more; packets of each find one service or the other."""
    with Box(workers=2, flows=1024) as box:
        stop = threading.Event()
        seen: list[set[str]] = [set(), set()]

        def work(worker: int) -> None:
            frame = V4.from_client(flags="S")
            number = 0
            while not stop.is_set():
                number += 1
                seen[worker].add(box.plane.packet("outside", frame, box.now_ms + number, worker=worker)[0])

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(2)]
        for thread in threads:
            thread.start()
        for turn in range(1000):
            box.plane.set_services([service(f"s{turn % 7}", window_zero=bool(turn % 2))])
        stop.set()
        for thread in threads:
            thread.join()
        assert seen == [{"drop"}, {"drop"}]


def test_closed_data_plane_says_so() -> None:
    box = Box()
    plane: Dataplane = box.plane
    plane.close()
    plane.close()
    spec: list[ServiceSpec] = [service()]
    calls = (
        lambda: plane.set_services(spec),
        plane.counters,
        plane.occupancy,
        lambda: plane.flows(1),
        plane.backends,
        lambda: plane.packet("outside", bytes(64), 0),
        lambda: plane.tick(0),
    )
    for call in calls:
        with pytest.raises(ValueError, match="closed"):
            call()
